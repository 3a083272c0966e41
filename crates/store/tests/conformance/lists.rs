//! Lists: order, pages, filters.

use crate::world::{NOW, World, later, revoke_order, subject};
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::policy::{Preset, Undo};
use keyreeve_store::model::{KeyQuery, PageStart, Total};

const fn exactly(count: u64) -> Total {
    Total { count, is_exact: true }
}

pub async fn newest_first_in_pages_by_offset_and_by_cursor(world: World) {
    for called in ["a", "b", "c", "d", "e"] {
        world.issue("user_1", called).await;
    }
    assert_eq!(world.names(world.query()).await, ["e", "d", "c", "b", "a"]);
    let page = |start, limit| KeyQuery {
        start,
        limit,
        ..world.query()
    };
    let first = world.store.list(page(PageStart::Offset(0), 2)).await.unwrap();
    assert_eq!((first.keys.len(), first.total), (2, Some(exactly(5))));
    let second = world
        .store
        .list(page(PageStart::After(first.next.unwrap()), 2))
        .await
        .unwrap();
    assert_eq!(second.keys[0].key.name.as_str(), "c");
    // A key that is issued between two pages does not shift the pages of a cursor.
    world.issue("user_1", "f").await;
    let third = world
        .store
        .list(page(PageStart::After(second.next.unwrap()), 2))
        .await
        .unwrap();
    assert_eq!(third.keys[0].key.name.as_str(), "a");
    assert_eq!((third.keys.len(), third.next), (1, None));
    assert_eq!(world.names(page(PageStart::Offset(4), 2)).await, ["b", "a"]);
    assert!(world.names(page(PageStart::Offset(99), 2)).await.is_empty());
    let exact = world.store.list(page(PageStart::Offset(0), 6)).await.unwrap();
    assert_eq!(exact.next, None);
}

pub async fn filters_by_owner_standing_and_name(world: World) {
    world.issue("user_1", "active").await;
    let held = world.issue("user_1", "held").await;
    let revoked = world.issue("user_1", "revoked").await;
    world.issue_expiring("user_1", "expired", 60).await;
    let held_too = world.issue_expiring("user_1", "held and expired", 60).await;
    world.issue("user_2", "other").await;
    world.disable(held.id).await;
    world.disable(held_too.id).await;
    world.revoke(revoked.id).await;
    let at_end = || KeyQuery {
        now: later(60),
        ..world.query()
    };
    let standing = |standing| KeyQuery {
        standing: Some(standing),
        ..at_end()
    };
    assert_eq!(world.names(standing(Standing::Active)).await, ["other", "active"]);
    assert_eq!(
        world.names(standing(Standing::Disabled)).await,
        ["held and expired", "held"]
    );
    assert_eq!(world.names(standing(Standing::Revoked)).await, ["revoked"]);
    assert_eq!(world.names(standing(Standing::Expired)).await, ["expired"]);
    let usable = KeyQuery {
        hide_revoked: true,
        hide_expired: true,
        ..at_end()
    };
    assert_eq!(
        world.names(usable).await,
        ["other", "held and expired", "held", "active"]
    );
    let of_user_2 = KeyQuery {
        subject: Some(subject("user_2")),
        ..at_end()
    };
    assert_eq!(world.names(of_user_2).await, ["other"]);
    let search = KeyQuery {
        search: Some("HELD".to_owned()),
        ..at_end()
    };
    assert_eq!(world.names(search).await, ["held and expired", "held"]);
}

pub async fn a_search_takes_every_character_as_it_is(world: World) {
    for called in ["100%", "100x", "a_b", "axb", "back\\slash"] {
        world.issue("user_1", called).await;
    }
    let search = |text: &str| KeyQuery {
        search: Some(text.to_owned()),
        ..world.query()
    };
    assert_eq!(world.names(search("0%")).await, ["100%"]);
    assert_eq!(world.names(search("a_b")).await, ["a_b"]);
    assert_eq!(world.names(search("k\\s")).await, ["back\\slash"]);
    assert!(world.names(search("'; --")).await.is_empty());
}

pub async fn a_search_takes_no_regard_of_case_whatever_the_letters(world: World) {
    for called in ["Ärger", "STRASSE", "ΟΔΟΣ", "Привет", "plain", "Cafe\u{301}"] {
        world.issue("user_1", called).await;
    }
    for (text, found) in [
        ("äRG", "Ärger"),
        ("straße", "STRASSE"),
        ("οδος", "ΟΔΟΣ"),
        ("ПРИВЕТ", "Привет"),
        ("PLAIN", "plain"),
        ("a\u{308}rger", "Ärger"),
        ("caf\u{e9}", "Cafe\u{301}"),
    ] {
        let search = KeyQuery {
            search: Some(text.to_owned()),
            ..world.query()
        };
        assert_eq!(world.names(search).await, [found], "{text}");
    }
}

pub async fn a_revocation_whose_time_to_undo_is_over_counts_as_revoked(world: World) {
    let key = world.issue("user_1", "one").await;
    let mut policy = Preset::Hold.policy();
    policy.revoke.undo = Undo::Seconds(60);
    world
        .change(key.id, move |key, _| key.revoke(revoke_order(), &policy, NOW))
        .await
        .unwrap();
    let standing_at = |standing, now| KeyQuery {
        standing: Some(standing),
        now,
        ..world.query()
    };
    assert_eq!(world.names(standing_at(Standing::Disabled, later(59))).await, ["one"]);
    assert!(world.names(standing_at(Standing::Disabled, later(60))).await.is_empty());
    assert_eq!(world.names(standing_at(Standing::Revoked, later(60))).await, ["one"]);
    let unrevoked = KeyQuery {
        hide_revoked: true,
        now: later(60),
        ..world.query()
    };
    assert!(world.names(unrevoked).await.is_empty());
}

pub async fn unused_keys_scopes_and_endings_are_found(world: World) {
    let old = world.issue("user_1", "old").await;
    let used = world.issue("user_1", "used").await;
    world.record_use(used.secret.digest, later(100)).await;
    let unused = |seconds| KeyQuery {
        unused_since: Some(later(seconds)),
        now: later(200),
        ..world.query()
    };
    assert!(world.names(unused(0)).await.is_empty());
    assert_eq!(world.names(unused(50)).await, ["old"]);
    assert_eq!(world.names(unused(150)).await, ["used", "old"]);
    let ending = KeyQuery {
        search: Some("nothing is called so".to_owned()),
        last_four: Some(old.secret.last_four.as_str().to_owned()),
        ..world.query()
    };
    assert!(world.names(ending).await.contains(&"old".to_owned()));
    let scope = |scope: &str| KeyQuery {
        scope: Some(scope.to_owned()),
        ..world.query()
    };
    let held: Vec<_> = old.scopes.iter().collect();
    for scope_held in held {
        assert_eq!(world.names(scope(scope_held)).await.len(), 2);
    }
    assert!(world.names(scope("nobody:has")).await.is_empty());
}

/// However rarely a filter matches: a page examines a bounded number of keys, and returns how many it found and where
/// to continue.
pub async fn a_page_looks_at_so_many_keys_and_says_where_to_go_on(world: World) {
    for number in 0..10 {
        let called = if number % 5 == 0 { "rare" } else { "common" };
        world
            .issue(&format!("user_{number}"), &format!("{called} {number}"))
            .await;
    }
    let rare = |start, look_at| KeyQuery {
        search: Some("rare".to_owned()),
        look_at: Some(look_at),
        start,
        ..world.query()
    };
    let (mut start, mut found, mut pages) = (PageStart::Offset(0), Vec::new(), 0);
    loop {
        let page = world.store.list(rare(start, 3)).await.unwrap();
        let total = Total {
            count: 0,
            is_exact: false,
        };
        assert_eq!(page.total, Some(total), "among the newest three");
        found.extend(page.keys.iter().map(|record| record.key.name.to_string()));
        pages += 1;
        match page.next {
            Some(next) => start = PageStart::After(next),
            None => break,
        }
    }
    assert_eq!((pages, found), (4, vec!["rare 5".to_owned(), "rare 0".to_owned()]));
    let all = world.store.list(rare(PageStart::Offset(0), 10)).await.unwrap();
    assert_eq!((all.total, all.next), (Some(exactly(2)), None));
    let nearly = world.store.list(rare(PageStart::Offset(0), 9)).await.unwrap();
    assert_eq!(nearly.total.map(|total| total.count), Some(1));
    assert!(nearly.next.is_some());
}

pub async fn what_is_not_to_be_counted_is_not(world: World) {
    world.issue("user_1", "one").await;
    let query = KeyQuery {
        look_at: None,
        ..world.query()
    };
    let page = world.store.list(query).await.unwrap();
    assert_eq!((page.keys.len(), page.total, page.next), (1, None, None));
}

/// Keys that expire soon need not be new: the soonest are examined, and the total shows if there are more.
pub async fn of_what_expires_the_soonest_are_looked_at(world: World) {
    for (called, seconds) in [("soon", 60), ("late", 300), ("sooner", 30)] {
        world.issue_expiring("user_1", called, seconds).await;
    }
    world.issue("user_1", "never").await;
    let expiring = |look_at| KeyQuery {
        expires_before: Some(later(600)),
        look_at: Some(look_at),
        ..world.query()
    };
    let page = world.store.list(expiring(2)).await.unwrap();
    let names: Vec<_> = page.keys.iter().map(|record| record.key.name.as_str()).collect();
    let partly = Total {
        count: 2,
        is_exact: false,
    };
    assert_eq!(
        (names, page.total, page.next),
        (vec!["sooner", "soon"], Some(partly), None)
    );
    let all = world.store.list(expiring(3)).await.unwrap();
    assert_eq!(all.total, Some(exactly(3)));
}
