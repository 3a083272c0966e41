//! Lists of keys, the home page, and forms for several keys.

use crate::browser::Browser;
use crate::world::World;
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn a_list_without_keys_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    world.make_user("acme", "eve@acme.example", Role::Auditor).await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_frame("frame_admin");
    browser.review_at("home_empty", "/").await;
    browser.review_at("keys_empty", "/keys").await;
    browser.review_at("keys_no_match", "/keys?query=nothing").await;
    let mut browser = Browser::of(&world, "eve@acme.example").await;
    browser.review_frame("frame_auditor");
    browser
        .review_at("tenant_keys_empty_for_an_auditor", "/tenant/keys")
        .await;
}

#[tokio::test]
async fn the_lists_of_keys_are_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let bob = world.make_user("acme", "bob@acme.example", Role::Member).await;
    for number in 1..=11 {
        world.issue(&ada.id.to_string(), &format!("key {number}")).await;
        world.pass(3_600);
    }
    let (_, secret) = world.issue(&bob.id.to_string(), "orders <b>in production</b>").await;
    world.verify(&secret, 3).await;
    world.pass(60);
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.set_cookie("keyreeve_page_size", "10");
    browser.review_at("home", "/").await;
    browser.review_at("keys_last_page", "/keys?page=2").await;
    browser
        .review_at("tenant_keys_of_an_owner", "/tenant/keys?owner=bob%40acme.example")
        .await;
    let mut browser = Browser::of(&world, "bob@acme.example").await;
    browser.review_frame("frame_member");
    browser.review_at("keys", "/keys").await;
}

#[tokio::test]
async fn the_forms_for_several_keys_are_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (first, _) = world.issue(&ada.id.to_string(), "first").await;
    let (second, _) = world.issue(&ada.id.to_string(), "second").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let address = format!("/keys/selected?action=revoke&id={first}&id={second}&back=%2Fkeys");
    browser.review_at("selected_revoke", &address).await;
    let page = browser.fill(&address, &[]).await;
    browser.review("selected_results", &page);
    browser.review_at("keys_none_works", "/keys").await;
}
