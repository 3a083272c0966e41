//! The audit log: dense, chained, complete.

use crate::world::{NOW, World, context};
use keyreeve_core::access::Actor;
use keyreeve_core::audit::{Action, HashedEntry, link};
use keyreeve_store::model::{AuditRecord, Event, WriteContext};
use std::sync::Arc;

pub async fn revisions_are_dense_under_many_writers(world: World) {
    let before = world.revision().await;
    let world = Arc::new(world);
    let writers = (0..50).map(|number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let key = world.issue(&format!("user_{number}"), "one").await;
            world.revoke(key.id).await.revision
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(world.revision().await, before + 100);
    let entries = world.store.audit_after(before, 1_000).await.unwrap();
    let revisions: Vec<_> = entries.iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, (before + 1..=before + 100).collect::<Vec<_>>());
    check_chain(&world).await;
    let told: Vec<_> = world
        .seen
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|commit| commit.revision)
        .collect();
    assert!(
        told.is_sorted(),
        "the observer hears of commits in their order: {told:?}"
    );
}

pub async fn the_chain_holds_from_the_first_entry_to_the_head(world: World) {
    let key = world.issue("user_1", "one").await;
    world.revoke(key.id).await;
    world.delete(key.id).await;
    check_chain(&world).await;
}

async fn check_chain(world: &World) {
    let mut chain = [0; 32];
    for record in world.store.audit_after(0, 10_000).await.unwrap() {
        chain = link(&chain, &entry(&record));
        assert_eq!(record.chain, chain, "revision {}", record.revision);
    }
    assert_eq!(world.store.head().await.unwrap().chain, chain);
}

fn entry(record: &AuditRecord) -> HashedEntry<'_> {
    HashedEntry {
        revision: record.revision,
        at: record.at,
        tenant: &record.tenant,
        actor_type: &record.actor_type,
        actor_id: &record.actor_id,
        action: &record.action,
        target_type: &record.target_type,
        target_id: &record.target_id,
        subject: record.subject.as_deref(),
        reason: record.reason.as_deref(),
        address: record.address.as_deref(),
        request_id: &record.request_id,
        before: record.before.as_deref(),
        after: record.after.as_deref(),
    }
}

pub async fn an_entry_says_who_what_when_and_where(world: World) {
    let before = world.revision().await;
    let key = world.issue("user_1", "one").await;
    let as_system = WriteContext {
        actor: Actor::System,
        address: None,
        ..context()
    };
    let request = world.change_request(key.id, |key, _| Ok(key.delete()));
    world.store.change(as_system, request).await.unwrap();
    let entries = world.store.audit_after(before, 10).await.unwrap();
    let [created, erased] = entries.as_slice() else {
        panic!("two entries: {entries:?}");
    };
    assert_eq!(created.action, "key.created");
    assert_eq!(
        (created.actor_type.as_str(), created.address.as_deref()),
        ("operator", Some("192.0.2.7"))
    );
    assert_eq!(
        (created.target_type.as_str(), &created.target_id),
        ("key", &key.id.to_string())
    );
    assert_eq!((created.at, created.request_id.as_str()), (NOW, "req_1"));
    assert_eq!(
        (created.tenant.as_str(), created.subject.as_deref()),
        ("acme", Some("user_1"))
    );
    assert_eq!(
        (created.reason.as_deref(), created.after.as_deref()),
        (Some("because"), Some("{}"))
    );
    assert_eq!(
        (erased.actor_type.as_str(), erased.address.as_deref()),
        ("system", None)
    );
    assert_eq!(erased.subject.as_deref(), Some("user_1"));
}

pub async fn the_log_is_read_in_parts(world: World) {
    for number in 0..5 {
        world.issue("user_1", &format!("key {number}")).await;
    }
    let all = world.store.audit_after(0, 100).await.unwrap();
    let (mut parts, mut after) = (Vec::new(), 0);
    loop {
        let part = world.store.audit_after(after, 2).await.unwrap();
        let Some(last) = part.last() else { break };
        after = last.revision;
        parts.extend(part);
    }
    assert_eq!(parts, all);
}

pub async fn events_of_the_instance_are_found_newest_first(world: World) {
    let event = |action, target: &str| Event {
        tenant: None,
        target_type: "instance",
        target_id: target.to_owned(),
        subject: None,
        action,
        reason: None,
        before: None,
        after: None,
    };
    let events = [
        event(Action::RestoreBegun, "keyreeve"),
        event(Action::AccessRefused, "keyreeve"),
        event(Action::Restored, "another"),
        event(Action::Restored, "keyreeve"),
    ];
    world.store.record_events(context(), events.to_vec()).await.unwrap();
    world.issue("user_1", "one").await;
    let found = world.store.instance_events(10).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| one.action.as_str()).collect();
    assert_eq!(found, ["instance.restored", "instance.restore_begun"]);
    assert_eq!(world.store.instance_events(1).await.unwrap().len(), 1);
}
