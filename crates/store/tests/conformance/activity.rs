//! Counts, events that change nothing, filters of the audit log, and keys whose time to undo is over.

use crate::world::{NOW, World, context, later, revoke_order, slug};
use keyreeve_core::audit::Action;
use keyreeve_core::policy::{Preset, Undo};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::model::{
    ActivityBatch, AuditQuery, AuditRecord, Event, RefusalQuery, Trace, UsageCount, WriteContext,
};

const HOUR: u64 = 3_600;

fn count(key: KeyId, hour: Timestamp, outcome: &str, count: u64) -> UsageCount {
    UsageCount {
        key,
        hour,
        outcome: outcome.to_owned(),
        count,
        extra_cost: 0,
    }
}

async fn add(world: &World, counts: Vec<UsageCount>) {
    let activity = ActivityBatch {
        counts,
        ..ActivityBatch::default()
    };
    world.store.record_activity(activity).await.unwrap();
}

pub async fn counts_add_up_by_hour_and_outcome(world: World) {
    let (key, other) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let head = world.store.head().await.unwrap();
    add(&world, vec![count(key, NOW, "valid", 2), count(other, NOW, "valid", 9)]).await;
    add(&world, vec![count(key, NOW, "valid", 3), count(key, NOW, "revoked", 1)]).await;
    add(&world, vec![count(key, later(HOUR), "valid", 4)]).await;
    let usage = |since, until| world.store.usage(key, since, until);
    let expected = [
        count(key, NOW, "revoked", 1),
        count(key, NOW, "valid", 5),
        count(key, later(HOUR), "valid", 4),
    ];
    assert_eq!(usage(NOW, later(HOUR + 1)).await.unwrap(), expected);
    assert_eq!(usage(NOW, later(HOUR)).await.unwrap(), expected[..2]);
    assert_eq!(usage(later(1), later(HOUR + 1)).await.unwrap(), expected[2..]);
    assert_eq!(world.store.head().await.unwrap(), head, "counting is no change");
}

pub async fn costs_add_up_beside_the_counts(world: World) {
    let key = KeyId::from_bytes([1; 16]);
    let cost = |calls, extra_cost| UsageCount {
        extra_cost,
        ..count(key, NOW, "valid", calls)
    };
    add(&world, vec![cost(2, 0), cost(0, 7)]).await;
    add(&world, vec![cost(1, 4), count(key, NOW, "revoked", 3)]).await;
    let usage = world.store.usage(key, NOW, later(HOUR)).await.unwrap();
    assert_eq!(usage, [count(key, NOW, "revoked", 3), cost(3, 11)]);
    assert_eq!(world.store.usage_of(&[key], NOW, later(HOUR)).await.unwrap(), usage);
    let costs: Vec<_> = usage.iter().map(UsageCount::cost).collect();
    assert_eq!(costs, [0, 14], "refused calls cost nothing");
}

pub async fn counts_are_forgotten_after_ninety_days(world: World) {
    let key = KeyId::from_bytes([1; 16]);
    let ninety_days = 90 * 24 * HOUR;
    add(
        &world,
        vec![count(key, NOW, "valid", 1), count(key, later(HOUR), "valid", 1)],
    )
    .await;
    add(&world, vec![count(key, later(ninety_days + HOUR), "valid", 1)]).await;
    let kept = world.store.usage(key, NOW, later(ninety_days * 2)).await.unwrap();
    let hours: Vec<_> = kept.iter().map(|one| one.hour).collect();
    assert_eq!(hours, [later(HOUR), later(ninety_days + HOUR)]);
}

pub async fn an_event_is_an_entry_and_nothing_else(world: World) {
    let before = world.revision().await;
    let event = |target_id: &str| Event {
        tenant: Some(world.tenant.clone()),
        target_type: "key",
        target_id: target_id.to_owned(),
        subject: None,
        action: Action::AccessRefused,
        reason: Some("PERMISSION_DENIED".into()),
        before: None,
        after: None,
    };
    let revision = world
        .store
        .record_events(context(), vec![event("ak_1"), event("ak_2")])
        .await
        .unwrap();
    assert_eq!(revision, before + 2);
    let entries = world.store.audit_after(before, 10).await.unwrap();
    let targets: Vec<_> = entries.iter().map(|entry| entry.target_id.as_str()).collect();
    assert_eq!(targets, ["ak_1", "ak_2"]);
    assert!(
        entries
            .iter()
            .all(|entry| entry.before.is_none() && entry.after.is_none())
    );
}

fn revisions(records: &[AuditRecord]) -> Vec<u64> {
    records.iter().map(|record| record.revision).collect()
}

pub async fn the_log_is_filtered_by_everything_that_is_asked(world: World) {
    type Narrow = fn(&mut AuditQuery, &str);
    let key = world.issue("user_1", "one").await;
    let at_noon = WriteContext {
        at: later(12 * HOUR),
        ..context()
    };
    let request = world.change_request(key.id, move |key, policy| key.revoke(revoke_order(), policy, NOW));
    let updated = world.store.change(at_noon, request).await.unwrap().revision;
    let created = updated - 1;
    let cases: [(Narrow, &[u64]); 8] = [
        (|query, id| query.target_id = Some(id.to_owned()), &[updated, created]),
        (|query, _| query.action = Some("key.updated".to_owned()), &[updated]),
        (|query, _| query.action = Some("key.".to_owned()), &[updated, created]),
        (|query, _| query.since = Some(later(12 * HOUR)), &[updated]),
        (
            |query, id| (query.until, query.target_id) = (Some(later(12 * HOUR)), Some(id.to_owned())),
            &[created],
        ),
        (|query, _| query.limit = 1, &[updated]),
        (|query, _| query.actor_id = Some("rk_nobody".to_owned()), &[]),
        (|query, _| query.tenant = Some(slug("nowhere")), &[]),
    ];
    for (place, (narrow, expected)) in cases.into_iter().enumerate() {
        let mut query = of(&world);
        narrow(&mut query, &key.id.to_string());
        assert_eq!(
            revisions(&world.store.audit(query).await.unwrap()),
            expected,
            "case {place}"
        );
    }
}

fn of(world: &World) -> AuditQuery {
    AuditQuery {
        tenant: Some(world.tenant.clone()),
        limit: 100,
        ..AuditQuery::default()
    }
}

pub async fn the_log_is_read_in_both_orders_and_in_pages(world: World) {
    world.make_tenant("other", Preset::Standard.policy()).await;
    for called in ["one", "two", "three"] {
        world.issue("user_1", called).await;
    }
    let newest_first = world.store.audit(of(&world)).await.unwrap();
    assert!(newest_first.iter().all(|record| record.tenant == "acme"));
    assert!(revisions(&newest_first).is_sorted_by(|a, b| a > b));
    let mut query = AuditQuery {
        oldest_first: true,
        ..of(&world)
    };
    let mut oldest_first = world.store.audit(query.clone()).await.unwrap();
    query.after = Some(oldest_first[0].revision);
    assert_eq!(world.store.audit(query).await.unwrap(), oldest_first[1..]);
    oldest_first.reverse();
    assert_eq!(oldest_first, newest_first);
    let mut query = of(&world);
    query.before = Some(newest_first[0].revision);
    assert_eq!(world.store.audit(query).await.unwrap(), newest_first[1..]);
}

pub async fn a_window_that_is_over_is_found_until_it_is_written_down(world: World) {
    let key = world.issue("user_1", "one").await;
    let mut policy = Preset::Standard.policy();
    policy.revoke.undo = Undo::Seconds(60);
    world
        .change(key.id, move |key, _| key.revoke(revoke_order(), &policy, NOW))
        .await
        .unwrap();
    assert!(world.store.lapsed(later(59), 10).await.unwrap().is_empty());
    assert_eq!(
        world.store.lapsed(later(60), 10).await.unwrap(),
        [(world.tenant.clone(), key.id)]
    );
    world
        .change(key.id, |key, policy| Ok(key.lapse(policy, later(60))))
        .await
        .unwrap();
    assert!(world.store.lapsed(later(60), 10).await.unwrap().is_empty());
    let stored = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
    assert!(
        matches!(stored.key.state, keyreeve_core::lifecycle::State::Revoked(_)),
        "it is final at any time now"
    );
}

pub async fn keys_about_to_expire_are_listed(world: World) {
    world.issue("user_1", "never").await;
    world.issue_expiring("user_1", "soon", 60).await;
    world.issue_expiring("user_1", "later", 3_600).await;
    let held = world.issue_expiring("user_1", "held", 60).await;
    world.disable(held.id).await;
    let mut query = world.query();
    query.expires_before = Some(later(600));
    assert_eq!(world.names(query.clone()).await, ["soon"]);
    query.now = later(60);
    assert!(world.names(query).await.is_empty(), "what has expired is not about to");
}

pub async fn counts_of_several_keys_and_the_most_refused_are_found(world: World) {
    let (one, two) = (world.issue("user_1", "one").await, world.issue("user_2", "two").await);
    add(
        &world,
        vec![
            count(one.id, NOW, "valid", 2),
            count(one.id, NOW, "expired", 3),
            count(one.id, later(HOUR), "expired", 4),
            count(two.id, NOW, "revoked", 5),
        ],
    )
    .await;
    let both = world.store.usage_of(&[one.id, two.id], NOW, later(HOUR)).await.unwrap();
    assert_eq!(both.iter().map(|row| row.count).sum::<u64>(), 10);
    assert!(world.store.usage_of(&[], NOW, later(HOUR)).await.unwrap().is_empty());
    let asked = |owner: Option<&str>, limit| RefusalQuery {
        tenant: world.tenant.clone(),
        subject: owner.map(crate::world::subject),
        since: NOW,
        limit,
    };
    let refused = world.store.refusals(asked(None, 10)).await.unwrap();
    assert_eq!(
        refused,
        [
            count(one.id, later(HOUR), "expired", 7),
            count(two.id, NOW, "revoked", 5)
        ]
    );
    assert_eq!(world.store.refusals(asked(None, 1)).await.unwrap().len(), 1);
    let of_two = world.store.refusals(asked(Some("user_2"), 10)).await.unwrap();
    assert_eq!(of_two, [count(two.id, NOW, "revoked", 5)]);
}

pub async fn traces_add_up_stay_few_and_go_with_their_key(world: World) {
    let key = world.issue("user_1", "one").await;
    let trace = |address: &str, count, seconds| Trace {
        key: key.id,
        outcome: "valid".to_owned(),
        address: address.to_owned(),
        count,
        last_at: later(seconds),
    };
    let add = async |traces: Vec<Trace>| {
        let activity = ActivityBatch {
            traces,
            ..ActivityBatch::default()
        };
        world.store.record_activity(activity).await.unwrap();
    };
    add(vec![trace("192.0.2.1", 2, 5), trace("", 1, 1)]).await;
    add(vec![trace("192.0.2.1", 3, 2)]).await;
    let found = world.store.traces(key.id).await.unwrap();
    assert_eq!(found, [trace("192.0.2.1", 5, 5), trace("", 1, 1)]);
    let many = (0..100).map(|n| trace(&format!("198.51.100.{n}"), 1, 10 + n)).collect();
    add(many).await;
    let found = world.store.traces(key.id).await.unwrap();
    assert_eq!((found.len(), found[0].address.as_str()), (50, "198.51.100.99"));
    world.delete(key.id).await;
    assert!(world.store.traces(key.id).await.unwrap().is_empty());
}

pub async fn a_refusal_is_apart_from_a_use_and_the_secret_has_arrived(world: World) {
    let key = world.issue("user_1", "one").await;
    let refused = |seconds| ActivityBatch {
        presented: vec![(key.secret.digest, later(seconds))],
        refused: vec![(key.id, later(seconds))],
        ..ActivityBatch::default()
    };
    for seconds in [20, 10] {
        world.store.record_activity(refused(seconds)).await.unwrap();
        let record = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
        assert_eq!((record.last_used_at, record.last_refused_at), (None, Some(later(20))));
        assert!(record.is_presented);
    }
    world.record_use(key.secret.digest, later(15)).await;
    let record = world.store.key(&world.tenant, key.id, NOW).await.unwrap().unwrap();
    assert_eq!(
        (record.last_used_at, record.last_refused_at),
        (Some(later(15)), Some(later(20)))
    );
}
