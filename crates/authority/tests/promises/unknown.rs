//! A commit of unknown outcome makes the memory forget what it would have touched, and nothing else.

use crate::world::{World, slug};
use keyreeve_authority::children::{Newcomer, VerifierLine};
use keyreeve_authority::verify::Source;
use keyreeve_core::KeyId;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::{Forget, Order};
use keyreeve_core::policy::Preset;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_store::store::OwnerGate;
use keyreeve_store::{Commit, CommitObserver as _, Store as _};
use std::sync::{Arc, Mutex};

/// Reports a commit of unknown outcome, with a revision after everything that the memory has.
fn lost(world: &World, touched: Commit) {
    let verifier = world.authority.verifier();
    let revision = verifier.applied() + 1;
    verifier.outcome_unknown(&Commit { revision, ..touched });
}

async fn source(world: &World, secret: &str) -> Source {
    world.verify(secret).await.source
}

#[tokio::test]
async fn a_secret_is_read_again_and_all_others_are_still_remembered() {
    let world = World::under(Preset::Standard).await;
    let (touched, other) = (world.issue("one").await, world.issue("two").await);
    for key in [&touched, &other] {
        assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    }
    let secrets = vec![touched.secret.digest()];
    lost(
        &world,
        Commit {
            secrets,
            ..Commit::default()
        },
    );
    assert_eq!(source(&world, other.secret.expose()).await, Source::Memory);
    assert_eq!(source(&world, touched.secret.expose()).await, Source::Store);
    // The commit was not made, so the log ends before it. The reading must still be new enough.
    assert_eq!(source(&world, touched.secret.expose()).await, Source::Memory);
}

/// Rule R5: a reading from before the commit must not be remembered after it.
#[tokio::test]
async fn a_reading_that_such_a_commit_has_overtaken_is_not_believed() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let (verifier, secrets) = (Arc::clone(world.authority.verifier()), vec![key.secret.digest()]);
    *world.stage.meanwhile.lock().unwrap() = Some(Box::new(move || {
        Box::pin(async move {
            verifier.outcome_unknown(&Commit {
                secrets,
                ..Commit::default()
            });
        })
    }));
    let before = world.look_ups();
    assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    assert_eq!(world.look_ups(), before + 2, "it was read once more");
}

#[tokio::test]
async fn a_tenant_is_read_again_with_its_keys_and_other_tenants_are_not() {
    let mut world = World::under(Preset::Standard).await;
    let own = world.issue("one").await;
    world.make_tenant("other", Preset::Standard).await;
    world.tenant = slug("other");
    let others = world.issue("two").await;
    for key in [&own, &others] {
        assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    }
    let owners = |tenant: Slug| {
        let owner = OwnerGate {
            tenant,
            subject: Subject::parse("user_1").unwrap(),
            is_blocked: true,
        };
        Commit {
            owners: vec![owner],
            ..Commit::default()
        }
    };
    lost(&world, owners(slug("acme")));
    assert_eq!(source(&world, others.secret.expose()).await, Source::Memory);
    let again = world.verify(own.secret.expose()).await;
    assert_eq!(
        (again.source, again.outcome),
        (Source::Store, Ok(())),
        "it is asked and not believed"
    );
    let tenant = world.stage.inner.tenant(&slug("other")).await.unwrap().unwrap();
    let tenants = vec![tenant];
    lost(
        &world,
        Commit {
            tenants,
            ..Commit::default()
        },
    );
    assert_eq!(source(&world, own.secret.expose()).await, Source::Memory);
    assert_eq!(source(&world, others.secret.expose()).await, Source::Store);
}

#[derive(Default)]
struct Heard(Mutex<Vec<(Order, Vec<KeyId>)>>);

impl VerifierLine for Heard {
    fn order(&self, order: Order, ended: &[KeyId], _: bool) -> bool {
        self.0.lock().unwrap().push((order, ended.to_vec()));
        true
    }

    fn close(&self) {}
}

#[tokio::test]
async fn only_verifiers_that_hold_what_was_touched_are_told_and_not_that_it_has_ended() {
    let world = World::under(Preset::Standard).await;
    let (touched, other) = (world.issue("one").await, world.issue("two").await);
    let heard: Vec<Arc<Heard>> = (0..2).map(|_| Arc::default()).collect();
    for (key, heard) in [&touched, &other].into_iter().zip(&heard) {
        let line = Arc::clone(heard) as Arc<dyn VerifierLine>;
        let newcomer = Newcomer {
            capacity: 100,
            lease_ms: None,
            reach: Reach::Instance,
            pass: None,
            peer: "192.0.2.1:443".into(),
        };
        let id = world.authority.verifiers().register(newcomer, line).await.unwrap();
        assert!(world.authority.verifiers().grant(id).await.is_some());
        let told = world.authority.verifiers().answer_fetch(id, key.secret.digest()).await;
        assert!(told.unwrap().0.is_some());
    }
    let news = keyreeve_store::KeyNews {
        tenant: slug("acme"),
        id: touched.record.key.id,
        outcome: keyreeve_store::KeyOutcome::Ended,
    };
    let commit = Commit {
        secrets: vec![touched.secret.digest()],
        keys: vec![news],
        ..Commit::default()
    };
    lost(&world, commit);
    let orders = heard[0].0.lock().unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].0.what, Forget::Secrets(vec![touched.secret.digest()]));
    assert!(orders[0].1.is_empty(), "whether it has ended is not known");
    assert!(heard[1].0.lock().unwrap().is_empty());
}
