//! Limits of keys, by verification.

use crate::world::{HandClock, NOW, World, ask, wish, word};
use keyreeve_authority::keys::{IssueCommand, KeyWithSecret};
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_authority::{Authority, Caller, Failure};
use keyreeve_core::Limits;
use keyreeve_core::access::{Reach, Role};
use keyreeve_core::lifecycle::Edit;
use keyreeve_core::limits::Period;
use keyreeve_core::policy::Preset;
use keyreeve_core::user::Email;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

fn limits(joined: &str) -> Limits {
    Limits::from_joined(joined).unwrap()
}

fn limited(world: &World, joined: &str) -> IssueCommand {
    IssueCommand {
        networks: limits(joined).networks,
        counted: Some(limits(joined).counted),
        ..wish(&world.new_name())
    }
}

pub(crate) async fn issued(world: &World, joined: &str) -> KeyWithSecret {
    let command = limited(world, joined);
    let issued = world.authority.keys().issue(&world.call(), vec![command]).await;
    issued.unwrap().keys.remove(0)
}

pub(crate) async fn asked(authority: &Authority, secret: &str, address: Option<&str>, cost: u32) -> Verdict {
    let question = Question {
        via: Via::Api,
        reach: &Reach::Instance,
        scopes: &["read"],
        now: authority.now(),
        address: address.map(|text| text.parse().unwrap()),
        cost: Some(cost),
    };
    authority.verify(secret, &question).await
}

fn left(verdict: &Verdict) -> u64 {
    verdict.budget.as_ref().unwrap().standings[0].remaining
}

fn retry(verdict: &Verdict) -> Option<u64> {
    verdict.budget.as_ref().unwrap().retry_seconds
}

#[tokio::test]
async fn a_key_with_a_list_of_networks_is_good_from_there_and_nowhere_else() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "net:192.0.2.0/24").await;
    let secret = key.secret.expose();
    for (address, expected) in [
        (Some("192.0.2.7"), "valid"),
        (Some("::ffff:192.0.2.7"), "valid"),
        (Some("198.51.100.1"), "address"),
        (None, "address"),
    ] {
        let verdict = asked(&world.authority, secret, address, 1).await;
        assert_eq!(word(&verdict), expected, "{address:?}");
        assert!(verdict.budget.is_none(), "nothing is counted");
    }
}

#[tokio::test]
async fn a_soft_rate_refuses_what_is_too_much_and_says_when_to_come_again() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "rate:r,60,60,2,soft").await;
    let secret = key.secret.expose();
    for remaining in [1, 0] {
        let verdict = world.verify(secret).await;
        assert_eq!((word(&verdict), left(&verdict)), ("valid", remaining));
    }
    world.stage.is_away.store(true, Ordering::Relaxed);
    let verdict = world.verify(secret).await;
    assert_eq!((word(&verdict), retry(&verdict)), ("limited", Some(1)));
    assert_eq!(verdict.outer().unwrap().status(), 429);
    world.pass(1);
    assert_eq!(world.outcome(secret).await, "valid", "a soft rate needs no store");
}

#[tokio::test]
async fn a_request_that_is_denied_for_another_reason_takes_nothing() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "net:192.0.2.0/24 rate:r,1,60,1,soft").await;
    let secret = key.secret.expose();
    assert_eq!(word(&asked(&world.authority, secret, None, 1).await), "address");
    assert_eq!(
        word(&asked(&world.authority, secret, Some("192.0.2.1"), 0).await),
        "valid",
        "a look takes nothing"
    );
    assert_eq!(
        word(&asked(&world.authority, secret, Some("192.0.2.1"), 1).await),
        "valid"
    );
    assert_eq!(
        word(&asked(&world.authority, secret, Some("192.0.2.1"), 1).await),
        "limited"
    );
}

#[tokio::test]
async fn a_use_may_cost_more_than_one_and_never_more_than_there_is() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:q,10,total").await;
    let secret = key.secret.expose();
    let verdict = asked(&world.authority, secret, None, 7).await;
    assert_eq!((word(&verdict), left(&verdict)), ("valid", 3));
    let verdict = asked(&world.authority, secret, None, 4).await;
    assert_eq!(
        (word(&verdict), retry(&verdict)),
        ("limited", None),
        "it never comes back"
    );
    assert_eq!(word(&asked(&world.authority, secret, None, 3).await), "valid");
}

#[tokio::test]
async fn processes_share_a_hard_limit_and_let_through_no_more() {
    let world = World::under(Preset::Standard).await;
    let other = world.cold();
    for joined in ["rate:r,30,60,30,hard", "rate:r,1000,1,1000,hard", "quota:q,5000,total"] {
        let key = issued(&world, joined).await;
        let most = key.record.key.limits.counted.as_slice()[0].bound.limit();
        let mut valid = 0;
        for number in 0..most * 2 {
            let authority = if number % 3 == 0 { &other } else { &world.authority };
            let verdict = ask(authority, key.secret.expose(), &Reach::Instance).await;
            valid += u64::from(verdict.outcome.is_ok());
        }
        assert!(valid <= most && valid * 10 >= most * 8, "{valid} of {most}: {joined}");
    }
}

#[tokio::test]
async fn what_a_process_did_not_use_of_a_quota_is_there_for_others_when_it_ends() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:q,1000,total").await;
    let secret = key.secret.expose();
    let other = world.cold();
    for _ in 0..30 {
        assert_eq!(word(&ask(&other, secret, &Reach::Instance).await), "valid");
    }
    for _ in 0..32 {
        other.tidy_meters().await;
    }
    let mut valid = 0;
    while world.outcome(secret).await == "valid" {
        valid += 1;
    }
    assert_eq!(valid, 970);
}

/// Returns how many of `uses` verifications are good.
async fn valid_of(authority: &Authority, secret: &str, uses: u64) -> u64 {
    let mut valid = 0;
    for _ in 0..uses {
        valid += u64::from(ask(authority, secret, &Reach::Instance).await.outcome.is_ok());
    }
    valid
}

#[tokio::test]
async fn what_is_given_back_after_the_turn_of_a_period_adds_nothing_to_the_next_one() {
    for period in [Period::Hour, Period::Day, Period::Month] {
        let world = World::under(Preset::Standard).await;
        let (one, other) = (world.cold(), world.cold());
        let key = issued(&world, &format!("quota:q,1000,{}", period.as_str())).await;
        let secret = key.secret.expose();
        // Both hold a part of a slice when the period ends.
        for authority in [&one, &other] {
            assert_eq!(valid_of(authority, secret, 30).await, 30);
        }
        world
            .clock
            .0
            .store(period.end(one.now()).unwrap().millis(), Ordering::Relaxed);
        // One node begins the next period before the other returns the rest of its slice of the last one.
        assert_eq!(valid_of(&one, secret, 400).await, 400);
        for _ in 0..32 {
            other.tidy_meters().await;
        }
        let mut valid = 400 + valid_of(&other, secret, 1_000).await;
        for authority in [&other, &one, &world.authority] {
            for _ in 0..32 {
                authority.tidy_meters().await;
            }
            valid += valid_of(authority, secret, 1_000).await;
        }
        assert_eq!(valid, 1_000, "{period:?}");
    }
}

#[tokio::test]
async fn a_node_whose_clock_comes_late_to_the_turn_does_not_open_the_next_period_again() {
    let world = World::under(Preset::Standard).await;
    let end = Period::Hour.end(world.authority.now()).unwrap().millis();
    let late = world.cold_at(&Arc::new(HandClock(AtomicI64::new(end - 1_500))));
    let key = issued(&world, "quota:q,100,hour").await;
    let secret = key.secret.expose();
    world.clock.0.store(end, Ordering::Relaxed);
    assert_eq!(valid_of(&world.authority, secret, 200).await, 100);
    assert_eq!(
        valid_of(&late, secret, 10).await,
        0,
        "it is counted in the period that has begun"
    );
    assert_eq!(valid_of(&world.cold(), secret, 200).await, 0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_hours_gives_no_period_again() {
    for hours in [1, 2, 30] {
        let world = World::under(Preset::Standard).await;
        let key = issued(&world, "quota:q,100,hour").await;
        let secret = key.secret.expose();
        assert_eq!(valid_of(&world.authority, secret, 150).await, 100);
        world.clock.0.store(NOW + hours * 3_600_000, Ordering::Relaxed);
        assert_eq!(valid_of(&world.authority, secret, 150).await, 100);
        world.clock.0.store(NOW, Ordering::Relaxed);
        assert_eq!(valid_of(&world.authority, secret, 150).await, 0, "{hours} h");
        assert_eq!(valid_of(&world.cold(), secret, 150).await, 0, "also after a restart");
        world.clock.0.store(NOW + hours * 3_600_000, Ordering::Relaxed);
        assert_eq!(valid_of(&world.authority, secret, 150).await, 0);
    }
}

#[tokio::test]
async fn a_rate_is_open_again_after_a_clock_that_was_an_hour_ahead() {
    let world = World::under(Preset::Standard).await;
    for joined in ["rate:r,60,60,5,hard", "rate:r,600,60,100,hard"] {
        let key = issued(&world, joined).await;
        let secret = key.secret.expose();
        world.clock.0.store(NOW + 3_600_000, Ordering::Relaxed);
        valid_of(&world.authority, secret, 200).await;
        world.clock.0.store(NOW, Ordering::Relaxed);
        let again = world.cold();
        let _closed = valid_of(&again, secret, 1).await;
        world.pass(10);
        assert!(valid_of(&again, secret, 200).await >= 5, "{joined}");
    }
}

#[tokio::test]
async fn without_the_store_a_hard_limit_lets_nobody_through_that_it_has_no_slice_for() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "rate:r,5,60,5,hard").await;
    let secret = key.secret.expose();
    assert_eq!(world.outcome(secret).await, "valid");
    world.stage.is_away.store(true, Ordering::Relaxed);
    assert_eq!(world.outcome(secret).await, "unavailable");
    world.stage.is_away.store(false, Ordering::Relaxed);
    assert_eq!(world.outcome(secret).await, "valid");
}

#[tokio::test]
async fn a_changed_limit_holds_when_the_change_is_answered() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:q,2,total").await;
    let secret = key.secret.expose();
    for expected in ["valid", "valid", "limited"] {
        assert_eq!(world.outcome(secret).await, expected);
    }
    let edit = Edit {
        counted: Some(limits("quota:q,3,total").counted),
        ..Edit::default()
    };
    let id = key.record.key.id;
    world.authority.keys().update(&world.call(), id, edit).await.unwrap();
    for expected in ["valid", "limited"] {
        assert_eq!(world.outcome(secret).await, expected, "what was used stays used");
    }
    let edit = Edit {
        counted: Some(limits("").counted),
        ..Edit::default()
    };
    world.authority.keys().update(&world.call(), id, edit).await.unwrap();
    assert_eq!(world.outcome(secret).await, "valid");
}

#[tokio::test]
async fn a_member_says_from_where_but_not_how_often_their_key_may_be_used() {
    let world = World::under(Preset::Standard).await;
    let command = UserCommand {
        email: Email::parse("member@example.com").unwrap(),
        name: None,
        role: Role::Member,
        password: None,
    };
    let user = world.authority.users().create(&world.call(), command).await.unwrap();
    let call = world.call_of(Caller::user(&user));
    let own = |joined: &str| IssueCommand {
        subject: user.subject().unwrap(),
        ..limited(&world, joined)
    };
    let refused = world.authority.keys().issue(&call, vec![own("quota:q,9,total")]).await;
    assert!(matches!(refused, Err(Failure::OwnLimits)));
    let made = world.authority.keys().issue(&call, vec![own("net:192.0.2.0/24")]).await;
    let id = made.unwrap().keys.remove(0).record.key.id;
    let edit = |joined: &str| Edit {
        networks: Some(limits(joined).networks),
        counted: Some(limits(joined).counted),
        ..Edit::default()
    };
    let refused = world.authority.keys().update(&call, id, edit("")).await;
    assert!(matches!(refused, Err(Failure::OwnLimits)));
}

/// Returns the uses that are left of each limit, read with a cost of 0.
async fn looked(authority: &Authority, secret: &str) -> Vec<u64> {
    let verdict = asked(authority, secret, None, 0).await;
    assert_eq!(word(&verdict), "valid", "a look is never refused for limits");
    let standings = verdict.budget.unwrap().standings;
    standings.iter().map(|standing| standing.remaining).collect()
}

#[tokio::test]
async fn a_look_says_how_limits_stand_whoever_asks_and_whenever() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:q,100,total rate:r,10,600,10,hard").await;
    let (secret, id) = (key.secret.expose(), key.record.key.id);
    assert_eq!(valid_of(&world.authority, secret, 4).await, 4);
    assert_eq!(looked(&world.authority, secret).await, [96, 6]);
    let other = world.cold();
    assert_eq!(
        looked(&other, secret).await,
        [96, 6],
        "another process, or one after a restart"
    );
    assert_eq!(valid_of(&other, secret, 1).await, 1);
    assert_eq!(looked(&world.authority, secret).await, [95, 5]);
    world.pass(5);
    for _ in 0..40 {
        world.authority.tidy_meters().await;
    }
    assert_eq!(
        looked(&world.authority, secret).await,
        [95, 5],
        "after some seconds without use"
    );
    let edit = Edit {
        counted: Some(limits("quota:q,50,total rate:r,10,600,10,hard").counted),
        ..Edit::default()
    };
    world.authority.keys().update(&world.call(), id, edit).await.unwrap();
    assert_eq!(
        looked(&world.authority, secret).await,
        [45, 5],
        "after a change of the limit"
    );
    let standings = world.authority.keys().limits(&world.call(), id).await.unwrap();
    assert_eq!(standings.iter().map(|one| one.remaining).collect::<Vec<_>>(), [45, 5]);
    world.stage.is_away.store(true, Ordering::Relaxed);
    let verdict = asked(&world.authority, secret, None, 0).await;
    assert!(
        verdict.outcome.is_ok() && verdict.budget.is_none(),
        "nothing is said that is not known"
    );
}

#[tokio::test]
async fn a_use_that_one_limit_refuses_is_taken_from_no_other() {
    let world = World::under(Preset::Standard).await;
    for joined in [
        "rate:r,10,3600,10,hard quota:q,3,total",
        "quota:q,3,total rate:r,10,3600,10,hard",
    ] {
        let key = issued(&world, joined).await;
        let secret = key.secret.expose();
        assert_eq!(valid_of(&world.authority, secret, 3).await, 3);
        for _ in 0..20 {
            // A new process has no counts and reads both from the store.
            assert_eq!(valid_of(&world.cold(), secret, 1).await, 0);
            world.pass(2);
        }
        let mut left = looked(&world.authority, secret).await;
        left.sort_unstable();
        assert_eq!(left, [0, 7], "{joined}");
    }
}

#[tokio::test]
async fn limits_that_are_set_back_begin_anew_everywhere() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:q,1000,total rate:r,5,60,5,soft rate:h,5,600,5,hard").await;
    let (secret, id) = (key.secret.expose(), key.record.key.id);
    let other = world.cold();
    assert_eq!(valid_of(&world.authority, secret, 9).await, 5);
    world.authority.keys().reset_limits(&world.call(), id).await.unwrap();
    // The rest of this process's slices adds nothing.
    for _ in 0..40 {
        world.authority.tidy_meters().await;
    }
    assert_eq!(looked(&other, secret).await, [1000, 5, 5]);
    assert_eq!(looked(&world.authority, secret).await, [1000, 5, 5]);
    assert_eq!(valid_of(&world.authority, secret, 9).await, 5);
    let key = issued(&world, "").await;
    let nothing = world
        .authority
        .keys()
        .reset_limits(&world.call(), key.record.key.id)
        .await
        .unwrap();
    assert_eq!(nothing.done, keyreeve_store::model::Done::Nothing);
}

#[tokio::test]
async fn a_limit_that_comes_to_have_a_former_name_begins_anew() {
    let world = World::under(Preset::Standard).await;
    let key = issued(&world, "quota:a,10,total").await;
    let (secret, id) = (key.secret.expose(), key.record.key.id);
    assert_eq!(valid_of(&world.authority, secret, 10).await, 10);
    for joined in ["quota:b,10,total", "quota:a,10,total"] {
        let edit = Edit {
            counted: Some(limits(joined).counted),
            ..Edit::default()
        };
        world.authority.keys().update(&world.call(), id, edit).await.unwrap();
    }
    assert_eq!(looked(&world.authority, secret).await, [10]);
}
