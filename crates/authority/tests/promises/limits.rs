//! Limits of keys as verification meets them.

use crate::world::{World, ask, wish, word};
use keyreeve_authority::keys::{IssueCommand, KeyWithSecret};
use keyreeve_authority::users::UserCommand;
use keyreeve_authority::verify::{Question, Verdict, Via};
use keyreeve_authority::{Authority, Caller, Failure};
use keyreeve_core::Limits;
use keyreeve_core::access::{Reach, Role};
use keyreeve_core::lifecycle::Edit;
use keyreeve_core::policy::Preset;
use keyreeve_core::user::Email;
use std::sync::atomic::Ordering;

fn limits(joined: &str) -> Limits {
    Limits::from_joined(joined).unwrap()
}

fn limited(world: &World, joined: &str) -> IssueCommand {
    IssueCommand {
        limits: limits(joined),
        ..wish(&world.new_name())
    }
}

async fn issued(world: &World, joined: &str) -> KeyWithSecret {
    let command = limited(world, joined);
    let issued = world.authority.issue(&world.call(), vec![command]).await;
    issued.unwrap().keys.remove(0)
}

async fn asked(authority: &Authority, secret: &str, address: Option<&str>, cost: u32) -> Verdict {
    let question = Question {
        via: Via::Api,
        reach: &Reach::Instance,
        scopes: &["read"],
        now: authority.now(),
        address: address.map(|text| text.parse().unwrap()),
        cost,
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
    for _ in 0..16 {
        world.pass(11);
        other.tidy_meters().await;
    }
    let mut valid = 0;
    while world.outcome(secret).await == "valid" {
        valid += 1;
    }
    assert_eq!(valid, 970);
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
    world.authority.update(&world.call(), id, edit).await.unwrap();
    for expected in ["valid", "limited"] {
        assert_eq!(world.outcome(secret).await, expected, "what was used stays used");
    }
    let edit = Edit {
        counted: Some(limits("").counted),
        ..Edit::default()
    };
    world.authority.update(&world.call(), id, edit).await.unwrap();
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
    let user = world.authority.create_user(&world.call(), command).await.unwrap();
    let call = world.call_of(Caller::user(&user));
    let own = |joined: &str| IssueCommand {
        subject: user.subject().unwrap(),
        ..limited(&world, joined)
    };
    let refused = world.authority.issue(&call, vec![own("quota:q,9,total")]).await;
    assert!(matches!(refused, Err(Failure::OwnLimits)));
    let mut made = world
        .authority
        .issue(&call, vec![own("net:192.0.2.0/24")])
        .await
        .unwrap();
    let id = made.keys.remove(0).record.key.id;
    let edit = |joined: &str| Edit {
        networks: Some(limits(joined).networks),
        counted: Some(limits(joined).counted),
        ..Edit::default()
    };
    let refused = world.authority.update(&call, id, edit("")).await;
    assert!(matches!(refused, Err(Failure::OwnLimits)));
}
