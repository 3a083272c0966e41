//! Changes of one key.

use crate::world::{NOW, World, context, draft, hold_order, later, name, revoke_order, slug};
use futures_util::FutureExt as _;
use keyreeve_core::access::{Actor, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::lifecycle::{Outcome, Refusal, RotateOrder, State, Verb};
use keyreeve_core::policy::{ExpiryWish, OverlapWish, Preset};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, Note};
use keyreeve_core::verdict::SecretStanding;
use keyreeve_core::{Key, KeyId, Policy, Timestamp};
use keyreeve_store::model::{AuditDraft, ChangeFacts, ChangeManyRequest, Done, Event, WriteContext};
use keyreeve_store::{StoreError, WriteError};

pub async fn a_change_its_entry_and_its_revision_come_together(world: World) {
    let key = world.issue("user_1", "one").await;
    let before = world.revision().await;
    let changed = world.revoke(key.id).await;
    assert_eq!(changed.done, Done::Stored);
    assert_eq!(changed.revision, before + 1);
    assert_eq!(world.revision().await, before + 1);
    let entries = world.store.audit_after(before, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].target_id, key.id.to_string());
    let stored = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
    assert!(matches!(stored.key.state, State::Revoked(_)));
}

pub async fn a_refused_change_writes_nothing(world: World) {
    let key = world.issue("user_1", "one").await;
    world.revoke(key.id).await;
    let head = world.store.head().await.unwrap();
    let refused = world
        .change(key.id, |key, policy| key.disable(hold_order(), policy, NOW))
        .await;
    assert!(matches!(
        refused,
        Err(WriteError::Refused {
            item: 0,
            refusal: Refusal::InvalidTransition {
                verb: Verb::Disable,
                ..
            }
        })
    ));
    assert_eq!(world.store.head().await.unwrap(), head);
}

pub async fn no_change_is_no_entry(world: World) {
    let key = world.issue("user_1", "one").await;
    let first = world.revoke(key.id).await;
    let again = world.revoke(key.id).await;
    assert_eq!(again.done, Done::Nothing);
    assert_eq!(again.revision, first.revision);
    assert_eq!(again.record.unwrap().key, first.record.unwrap().key);
}

pub async fn an_unknown_key_is_not_found(world: World) {
    let id = KeyId::from_bytes([9; 16]);
    let refused = world.change(id, |key, _| Ok(key.delete())).await;
    assert!(matches!(refused, Err(WriteError::NotFound)));
    assert!(world.store.key(&world.tenant, id, NOW).await.unwrap().is_none());
}

pub async fn a_key_of_another_tenant_is_not_found(world: World) {
    world.make_tenant("other", Preset::Standard.policy()).await;
    let key = world.issue("user_1", "one").await;
    let other = slug("other");
    assert!(world.store.key(&other, key.id, NOW).await.unwrap().is_none());
    let mut request = world.change_request(key.id, |key, _| Ok(key.delete()));
    request.tenant = other.clone();
    let refused = world.store.change(context(), request).await;
    assert!(matches!(refused, Err(WriteError::NotFound)));
    let mut query = world.query();
    query.tenant = other;
    assert_eq!(world.count(query).await, 0);
    assert!(world.store.key(&world.tenant, key.id, NOW).await.unwrap().is_some());
}

pub async fn a_caller_who_lost_the_right_meanwhile_changes_nothing(world: World) {
    let key = world.issue("user_1", "one").await;
    let root_key = world.root_key(Reach::Instance);
    world.store.create_root_key(context(), root_key.clone()).await.unwrap();
    world.store.revoke_root_key(context(), None, root_key.id).await.unwrap();
    let as_gone = |actor| WriteContext { actor, ..context() };
    let head = world.store.head().await.unwrap();
    let delete = || world.change_request(key.id, |key, _| Ok(key.delete()));
    let by_root_key = world.store.change(as_gone(Actor::RootKey(root_key.id)), delete()).await;
    assert!(matches!(by_root_key, Err(WriteError::ActorGone)));
    let request = world.issue_request("user_1", &["two"], ExpiryWish::Unsaid);
    let issued = world.store.issue(as_gone(Actor::RootKey(root_key.id)), request).await;
    assert!(matches!(issued, Err(WriteError::ActorGone)));
    assert_eq!(world.store.head().await.unwrap(), head);
    let acting = || WriteContext {
        acting: Some(root_key.id),
        ..context()
    };
    let as_actor = world.store.change(acting(), delete()).await;
    assert!(matches!(as_actor, Err(WriteError::ActorGone)), "its root key is gone");
    let invited = world.store.record_events(acting(), vec![invitation(&world)]).await;
    assert!(
        matches!(invited, Err(WriteError::ActorGone)),
        "an invitation gives access"
    );
    assert_eq!(world.store.head().await.unwrap(), head);

    world.revoke(key.id).await;
    let by_itself = world.store.change(as_gone(Actor::Key(key.id)), delete()).await;
    assert!(matches!(by_itself, Err(WriteError::ActorGone)));
}

fn invitation(world: &World) -> Event {
    Event {
        tenant: Some(world.tenant.clone()),
        target_type: "user",
        target_id: "user_1".to_owned(),
        subject: None,
        action: Action::UserInvited,
        reason: None,
        before: None,
        after: None,
    }
}

pub async fn the_observer_knows_before_the_caller(world: World) {
    let key = world.issue("user_1", "one").await;
    assert!(world.seen.knows(&key.secret.digest));
    world.seen.forget();
    let changed = world.revoke(key.id).await;
    assert!(world.seen.knows(&key.secret.digest));
    let newest = world.seen.0.lock().unwrap().last().unwrap().revision;
    assert_eq!(newest, changed.revision);
    world.seen.forget();
    world.delete(key.id).await;
    assert!(world.seen.knows(&key.secret.digest));
}

pub async fn a_caller_who_goes_away_has_its_change_made_all_the_same(world: World) {
    let key = world.issue("user_1", "one").await;
    let request = world.change_request(key.id, |key, policy| key.revoke(revoke_order(), policy, NOW));
    // Polled once, which puts the change into the queue, and dropped.
    let _gone = world.store.change(context(), request).now_or_never();
    // A later caller finds the change made, and the observer was notified.
    world.issue("user_1", "two").await;
    let stored = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
    assert!(matches!(stored.key.state, State::Revoked(_)));
    assert!(world.seen.knows(&key.secret.digest));
}

/// Returns a key with a value in every field, in a state with a value in every field.
fn full(key: Key) -> Key {
    let mut key = key;
    key.description = Some(Description::parse("two\nlines").unwrap());
    key.claims = Some(Claims::from_checked_json(r#"{"a": [1, "ü"]}"#).unwrap());
    key.created_by = Some(crate::world::subject("user_9"));
    key.scopes = Scopes::parse(["z:last", "a:first"]).unwrap();
    key.expires_at = Some(later(1_000));
    key.name = name("ключ 🔑 'quoted'");
    key
}

pub async fn every_field_of_a_key_comes_back_as_it_was(world: World) {
    let id = world.issue("user_1", "one").await.id;
    let secret = world.secret();
    let rotated = world
        .change(id, move |key, _| {
            let mut policy = Preset::Standard.policy();
            policy.rotate.overlap_max_seconds = 1_000;
            let order = RotateOrder {
                secret,
                name: None,
                expiry: ExpiryWish::Unsaid,
                overlap: OverlapWish::Seconds(600),
            };
            full(key).rotate(order, &policy, NOW)
        })
        .await
        .unwrap();
    let read = |at: Timestamp| world.store.key(&world.tenant, id, at);
    let expected = rotated.record.unwrap().key;
    assert!(expected.retiring.is_some());
    assert_eq!(read(NOW).await.unwrap().unwrap().key, expected);

    let mut policy = Preset::Hold.policy();
    policy.revoke.undo = keyreeve_core::policy::Undo::Seconds(60);
    let mut order = revoke_order();
    order.note = Some(Note::parse("lost\tlaptop").unwrap());
    let held = world
        .change(id, move |key, _| key.revoke(order, &policy, NOW))
        .await
        .unwrap();
    let expected = held.record.unwrap().key;
    assert!(matches!(&expected.state, State::Disabled(hold) if hold.finalize_at == Some(later(60))));
    assert_eq!(read(NOW).await.unwrap().unwrap().key, expected);
    // Settled at the time of the call, not of the change.
    let at_end = read(later(60)).await.unwrap().unwrap().key;
    assert!(matches!(at_end.state, State::Revoked(_)));
    assert_eq!(at_end, expected.settled(later(60)));
}

pub async fn a_closed_store_says_so(world: World) {
    let key = world.issue("user_1", "one").await;
    world.store.close().await;
    let read = world.store.find_credential(&key.secret.digest).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))));
    let written = world.try_issue("user_1", "two").await;
    assert!(matches!(written, Err(WriteError::Store(StoreError::Unavailable(_)))));
}

pub async fn many_keys_change_in_one_commit_and_each_is_decided_on_alone(world: World) {
    let (one, two, refused) = (
        world.issue("user_1", "one").await,
        world.issue("user_1", "two").await,
        world.issue("user_2", "three").await,
    );
    let gone = world.issue("user_2", "four").await;
    world.delete(gone.id).await;
    let before = world.revision().await;
    let keep = refused.id;
    let revoke = move |key: Key, policy: &Policy| match key.id == keep {
        true => Err(Refusal::NameTaken),
        false => key.revoke(revoke_order(), policy, NOW),
    };
    let (changed, commits) = world.change_many(&[one.id, keep, gone.id, two.id], revoke).await;
    assert_eq!((changed.changed, changed.unchanged), (2, 0));
    assert_eq!(changed.revision, before + 2, "an entry for each that changed");
    let [commit] = &commits[..] else {
        panic!("{commits:?}");
    };
    assert_eq!(commit.secrets, [one.secret.digest, two.secret.digest]);
    assert_eq!(
        commit.keys.iter().map(|news| news.id).collect::<Vec<_>>(),
        [one.id, two.id]
    );
    for (id, is_revoked) in [(one.id, true), (keep, false), (two.id, true)] {
        let record = world.store.key(&world.tenant, id, NOW).await.unwrap().unwrap();
        assert_eq!(matches!(record.key.state, State::Revoked(_)), is_revoked);
    }
    let (again, _) = world
        .change_many(&[one.id], |key, policy| key.revoke(revoke_order(), policy, NOW))
        .await;
    assert_eq!((again.changed, again.unchanged, again.revision), (0, 1, before + 2));
}

pub async fn many_keys_are_erased_with_all_their_secrets(world: World) {
    let (one, two) = (world.issue("user_1", "one").await, world.issue("user_1", "two").await);
    let (changed, commits) = world.change_many(&[one.id, two.id], |key, _| Ok(key.delete())).await;
    assert_eq!(changed.changed, 2);
    assert_eq!(commits[0].secrets, [one.secret.digest, two.secret.digest]);
    for key in [one, two] {
        assert_eq!(world.store.key(&world.tenant, key.id, NOW).await.unwrap(), None);
        let found = world.store.find_credential(&key.secret.digest).await.unwrap().value;
        assert_eq!(found.unwrap().secret, SecretStanding::Tombstone);
    }
}

pub async fn what_is_noted_of_keys_is_written_with_what_becomes_of_them(world: World) {
    let (ended, kept) = (world.issue("user_1", "one").await, world.issue("user_1", "two").await);
    let gone = world.issue("user_1", "three").await;
    world.delete(gone.id).await;
    let before = world.revision().await;
    let note = |text: &str| AuditDraft {
        reason: Some(text.into()),
        ..draft(Action::KeyLeaked)
    };
    let keep = kept.id;
    let request = ChangeManyRequest {
        tenant: world.tenant.clone(),
        ids: vec![ended.id, keep, gone.id],
        decide: Box::new(move |facts: ChangeFacts<'_>| match facts.key.id == keep {
            true => Ok((Outcome::Unchanged(facts.key), draft(Action::KeyRevoked))),
            false => Ok((
                facts.key.revoke(revoke_order(), facts.policy, NOW)?,
                draft(Action::KeyRevoked),
            )),
        }),
        notes: [ended.id, keep, gone.id]
            .map(|id| (id, vec![note("here"), note("there")]))
            .into(),
    };
    let changed = world.store.change_many(context(), request).await.unwrap();
    assert_eq!((changed.changed, changed.unchanged), (1, 1));
    let log = world.store.audit_after(before, 100).await.unwrap();
    let said: Vec<_> = log
        .iter()
        .map(|entry| (entry.target_id.as_str(), entry.action.as_str()))
        .collect();
    let (ended, kept) = (ended.id.to_string(), kept.id.to_string());
    let expected = [
        (ended.as_str(), "key.leaked"),
        (ended.as_str(), "key.leaked"),
        (ended.as_str(), "key.revoked"),
        (kept.as_str(), "key.leaked"),
        (kept.as_str(), "key.leaked"),
    ];
    assert_eq!(said, expected, "nothing is written about a key that is gone");
    assert_eq!(log[1].reason.as_deref(), Some("there"));
}
