//! What calls record in the usage of a key.

use crate::limits::{asked, issued};
use crate::world::{World, word};
use keyreeve_core::Timestamp;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn a_look_is_no_use() {
    let world = World::under(Preset::Standard).await;
    for joined in ["", "quota:q,5,total", "rate:r,5,60,5,soft"] {
        let key = issued(&world, joined).await;
        let id = key.record.key.id;
        for _ in 0..9 {
            assert_eq!(
                word(&asked(&world.authority, key.secret.expose(), None, 0).await),
                "valid"
            );
        }
        let record = world.authority.keys().get(&world.call(), id).await.unwrap();
        assert_eq!(record.last_used_at, None, "{joined:?}");
        world.authority.write_activity().await;
        let (since, until) = (
            world.authority.now().plus_seconds(0),
            world.authority.now().plus_seconds(9_999),
        );
        let since = Timestamp::from_millis(since.millis() - 9_999_999);
        let usage = world
            .authority
            .keys()
            .usage(&world.call(), id, since, until)
            .await
            .unwrap();
        assert!(usage.is_empty(), "{usage:?}");
        assert_eq!(world.outcome(key.secret.expose()).await, "valid");
    }
}

#[tokio::test]
async fn usage_sums_what_accepted_calls_cost() {
    let world = World::under(Preset::Standard).await;
    for (joined, rows) in [("", vec![(3, 9)]), ("quota:q,10,total", vec![(1, 0), (3, 9)])] {
        let key = issued(&world, joined).await;
        let secret = key.secret.expose();
        for cost in [1, 3, 5] {
            assert_eq!(word(&asked(&world.authority, secret, None, cost).await), "valid");
        }
        if !joined.is_empty() {
            assert_eq!(word(&asked(&world.authority, secret, None, 2).await), "limited");
        }
        world.authority.flush_activity().await;
        let (since, until) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let call = world.call();
        let usage = world.authority.keys().usage(&call, key.record.key.id, since, until);
        let mut usage: Vec<_> = usage.await.unwrap().iter().map(|one| (one.count, one.cost())).collect();
        usage.sort_unstable();
        assert_eq!(usage, rows, "{joined:?}: three calls cost 9, a refused one nothing");
    }
}

#[tokio::test]
async fn a_reader_of_usage_sees_what_is_being_written() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "").await;
    let id = key.record.key.id;
    asked(&world.authority, key.secret.expose(), Some("192.0.2.1"), 1).await;
    let call = world.call();
    let read = async { world.authority.keys().traces(&call, id).await.unwrap().len() };
    let ((), addresses) = tokio::join!(world.authority.write_activity(), read);
    assert_eq!(addresses, 1);
}
