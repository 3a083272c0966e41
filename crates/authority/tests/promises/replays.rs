//! Retries with an idempotency key: no second key, no lost one, no secret returned twice.

use crate::world::{World, revocation, rotation, wish};
use keyreeve_authority::Failure;
use keyreeve_authority::keys::PurgeCommand;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{OverlapWish, Preset};

#[tokio::test]
async fn a_lost_answer_is_made_good_by_a_fresh_secret() {
    let world = World::under(Preset::Standard).await;
    let issue = || async {
        world
            .authority
            .keys()
            .issue(&world.marked("m"), vec![wish("one")])
            .await
    };
    let lost = issue().await.unwrap().keys.remove(0);
    let got = issue().await.unwrap().keys.remove(0);
    assert_eq!(lost.record.key.id, got.record.key.id);
    assert_eq!(world.outcome(lost.secret.expose()).await, "rotated");
    assert_eq!(world.outcome(got.secret.expose()).await, "valid");
}

#[tokio::test]
async fn a_purge_with_an_idempotency_key_deletes_all_that_are_due_and_a_retry_no_more() {
    let world = World::under(Preset::Keep).await;
    for name in ["one", "two", "three"] {
        let key = world.issue(name).await;
        let id = key.record.key.id;
        world
            .authority
            .keys()
            .revoke(&world.call(), id, revocation(ReasonCode::Unspecified))
            .await
            .unwrap();
    }
    world.pass(60);
    let due = || PurgeCommand {
        revoked_before: Some(world.authority.now()),
        expired_before: None,
    };
    let call = world.marked("p");
    assert_eq!(world.authority.keys().purge(&call, due()).await.unwrap(), (3, false));
    assert_eq!(world.authority.keys().purge(&call, due()).await.unwrap(), (0, false));
}

#[tokio::test]
async fn a_retried_deletion_is_done_and_not_unknown() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let id = key.record.key.id;
    let call = world.marked("d");
    world.authority.keys().delete(&call, id, None).await.unwrap();
    world.authority.keys().delete(&call, id, None).await.unwrap();
    let another = world.authority.keys().delete(&world.marked("e"), id, None).await;
    assert!(matches!(another, Err(Failure::NotFound)), "{another:?}");
}

#[tokio::test]
async fn a_secret_that_was_used_is_not_replaced_however_recently() {
    let world = World::under(Preset::Standard).await;
    let issue = || async {
        world
            .authority
            .keys()
            .issue(&world.marked("m"), vec![wish("one")])
            .await
    };
    let got = issue().await.unwrap().keys.remove(0);
    // The retry comes while the use is still in memory only.
    assert_eq!(world.outcome(got.secret.expose()).await, "valid");
    match issue().await {
        Err(Failure::AlreadyCompleted(records)) => assert_eq!(records[0].key.id, got.record.key.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.outcome(got.secret.expose()).await, "valid");
}

#[tokio::test]
async fn a_retried_rotation_leaves_one_secret() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let id = key.record.key.id;
    let rotate = || async {
        let order = rotation(OverlapWish::Unsaid);
        world.authority.keys().rotate(&world.marked("r"), id, order).await
    };
    let lost = rotate().await.unwrap().key.secret;
    let got = rotate().await.unwrap().key.secret;
    for (secret, expected) in [(&key.secret, "rotated"), (&lost, "rotated"), (&got, "valid")] {
        assert_eq!(world.outcome(secret.expose()).await, expected);
    }
    assert!(matches!(rotate().await, Err(Failure::AlreadyCompleted(_))));
}

#[tokio::test]
async fn an_overlap_runs_from_the_rotation_and_not_from_its_retry() {
    let world = World::under(Preset::Standard).await;
    let key = world.issue("one").await;
    let id = key.record.key.id;
    let rotate = || async {
        let order = rotation(OverlapWish::Seconds(60));
        world
            .authority
            .keys()
            .rotate(&world.marked("r"), id, order)
            .await
            .unwrap()
            .key
    };
    rotate().await;
    world.pass(59);
    let got = rotate().await;
    assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    world.pass(1);
    assert_eq!(world.outcome(key.secret.expose()).await, "rotated");
    assert_eq!(world.outcome(got.secret.expose()).await, "valid");
}
