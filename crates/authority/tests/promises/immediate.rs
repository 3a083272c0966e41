//! When a change returns, verification already knows it; and what cannot be known is denied.

use crate::world::{World, ask, revocation, rotation, word};
use futures_util::future::BoxFuture;
use keyreeve_authority::Authority;
use keyreeve_authority::verify::Source;
use keyreeve_core::access::Reach;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{OverlapWish, Preset};
use keyreeve_core::verdict::Denial;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

/// Polls once: nothing in the memory store waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).unwrap()
}

#[test]
fn a_verdict_comes_from_memory_after_the_first() {
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        let first = world.verify(key.secret.expose()).await;
        let second = world.verify(key.secret.expose()).await;
        assert_eq!((first.source, second.source), (Source::Store, Source::Memory));
        assert_eq!((word(&first), word(&second)), ("valid", "valid"));
        assert_eq!(world.look_ups(), 1);
    });
}

#[test]
fn what_ends_a_key_is_known_when_it_returns_without_asking_the_store_twice() {
    type Ending = for<'w> fn(&'w World, keyreeve_core::KeyId) -> BoxFuture<'w, ()>;
    let endings: [(&str, &str, Ending); 5] = [
        ("revoke", "revoked", |world, id| {
            Box::pin(async move {
                let code = revocation(ReasonCode::Unspecified);
                world.authority.keys().revoke(&world.call(), id, code).await.unwrap();
            })
        }),
        ("disable", "disabled", |world, id| {
            Box::pin(async move {
                world.authority.keys().disable(&world.call(), id, None).await.unwrap();
            })
        }),
        ("delete", "erased", |world, id| {
            Box::pin(async move {
                world.authority.keys().delete(&world.call(), id, None).await.unwrap();
            })
        }),
        ("rotate", "rotated", |world, id| {
            Box::pin(async move {
                let order = rotation(OverlapWish::Unsaid);
                world.authority.keys().rotate(&world.call(), id, order).await.unwrap();
            })
        }),
        ("its own time", "expired", |world, id| {
            Box::pin(async move {
                let edit = keyreeve_core::lifecycle::Edit {
                    expiry: keyreeve_core::policy::ExpiryWish::InSeconds(1),
                    ..Default::default()
                };
                world.authority.keys().update(&world.call(), id, edit).await.unwrap();
                world.pass(1);
            })
        }),
    ];
    for (ending, expected, end) in endings {
        block_on(async {
            let world = World::under(Preset::Standard).await;
            let key = world.issue("one").await;
            assert_eq!(world.outcome(key.secret.expose()).await, "valid");
            end(&world, key.record.key.id).await;
            assert_eq!(world.outcome(key.secret.expose()).await, expected, "{ending}");
            // It was in memory before: this answer does not read the store.
            let before = world.look_ups();
            assert_eq!(world.outcome(key.secret.expose()).await, expected, "{ending}");
            assert_eq!(world.look_ups(), before, "{ending}");
        });
    }
}

/// R5: the reading has "active", then the key is revoked and the revocation is answered, and only then does the reading
/// arrive. It must not be used.
#[test]
fn a_reading_that_a_revocation_has_overtaken_is_not_believed() {
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        let (authority, call, id) = (Arc::clone(&world.authority), world.call(), key.record.key.id);
        *world.stage.meanwhile.lock().unwrap() = Some(Box::new(move || {
            Box::pin(async move {
                let code = revocation(ReasonCode::Unspecified);
                authority.keys().revoke(&call, id, code).await.unwrap();
            })
        }));
        assert_eq!(world.outcome(key.secret.expose()).await, "revoked");
        assert_eq!(world.outcome(key.secret.expose()).await, "revoked");
        assert_eq!(world.look_ups(), 2, "read again, and only once");
    });
}

#[test]
fn a_key_that_changes_faster_than_it_can_be_read_is_unavailable_and_never_guessed() {
    fn rename_again(
        authority: Arc<Authority>,
        call: keyreeve_authority::Call,
        id: keyreeve_core::KeyId,
        stage: &Arc<crate::world::Stage>,
    ) {
        let again = (Arc::clone(&authority), call.clone(), Arc::clone(stage));
        *stage.meanwhile.lock().unwrap() = Some(Box::new(move || {
            Box::pin(async move {
                let note = authority.keys().disable(&call, id, None).await;
                drop(note);
                authority.keys().reactivate(&call, id, None).await.unwrap();
                rename_again(again.0, again.1, id, &again.2);
            })
        }));
    }
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        let id = key.record.key.id;
        rename_again(Arc::clone(&world.authority), world.call(), id, &world.stage);
        assert_eq!(world.outcome(key.secret.expose()).await, "unavailable");
        world.stage.meanwhile.lock().unwrap().take();
        assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    });
}

#[test]
fn what_cannot_be_known_is_denied_and_what_is_known_is_answered() {
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let (known, unknown) = (world.issue("one").await, world.issue("two").await);
        assert_eq!(world.outcome(known.secret.expose()).await, "valid");
        world.stage.is_away.store(true, std::sync::atomic::Ordering::Relaxed);
        let verdict = world.verify(unknown.secret.expose()).await;
        assert_eq!(verdict.outcome, Err(Denial::Unavailable));
        // In a single process, nothing can have changed without this process.
        assert_eq!(world.outcome(known.secret.expose()).await, "valid");
        assert!(world.authority.root_key(unknown.secret.expose()).await.is_err());
        // A failure is not remembered.
        world.stage.is_away.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(world.outcome(unknown.secret.expose()).await, "valid");
    });
}

#[test]
fn after_a_commit_of_unknown_outcome_nothing_remembered_is_trusted() {
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        assert_eq!(world.outcome(key.secret.expose()).await, "valid");
        world.authority.verifier().forget_everything();
        assert_eq!(world.verify(key.secret.expose()).await.source, Source::Store);
    });
}

#[test]
fn a_mistyped_key_never_reaches_the_store() {
    block_on(async {
        let world = World::under(Preset::Standard).await;
        let key = world.issue("one").await;
        let mut mistyped = key.secret.expose().to_owned();
        let last = mistyped.pop().unwrap();
        mistyped.push(if last == 'x' { 'y' } else { 'x' });
        for secret in [mistyped.as_str(), "ak_kr1", "hello", &"x".repeat(10_000)] {
            assert_eq!(world.outcome(secret).await, "malformed");
        }
        assert_eq!(world.outcome("").await, "missing");
        assert_eq!(world.look_ups(), 0);
    });
}

/// In any history of changes and verifications, memory answers exactly as a process that remembers nothing.
#[test]
fn memory_never_differs_from_the_truth() {
    let history = proptest::collection::vec((0..8_u8, 0..3_usize), 1..60);
    let mut runner = TestRunner::new(Config::with_cases(200));
    runner
        .run(&history, |steps| {
            block_on(live_through(&steps));
            Ok(())
        })
        .unwrap();
}

async fn live_through(steps: &[(u8, usize)]) {
    let world = World::under(Preset::Hold).await;
    let mut keys = Vec::new();
    let mut secrets = Vec::new();
    for name in ["a", "b", "c"] {
        let key = world.issue(name).await;
        keys.push(key.record.key.id);
        secrets.push(key.secret);
    }
    let call = world.call();
    for &(verb, which) in steps {
        let (id, authority) = (keys[which], &world.authority);
        // A refusal is a valid step too.
        match verb {
            0 => drop(authority.keys().disable(&call, id, None).await),
            1 => drop(authority.keys().reactivate(&call, id, None).await),
            2 => drop(
                authority
                    .keys()
                    .revoke(&call, id, revocation(ReasonCode::Unspecified))
                    .await,
            ),
            3 => drop(
                authority
                    .keys()
                    .revoke(&call, id, revocation(ReasonCode::KeyCompromise))
                    .await,
            ),
            4 => drop(authority.keys().delete(&call, id, None).await),
            5 => drop(world.verify(secrets[which].expose()).await),
            6 => world.pass(1),
            _ => {
                if let Ok(rotated) = authority.keys().rotate(&call, id, rotation(OverlapWish::Unsaid)).await {
                    secrets.push(rotated.key.secret);
                }
            }
        }
        let cold = world.cold();
        for secret in &secrets {
            let truth = ask(&cold, secret.expose(), &Reach::Instance).await;
            let told = world.verify(secret.expose()).await;
            assert_eq!(told.outcome, truth.outcome, "after {verb} in {steps:?}");
        }
    }
}
