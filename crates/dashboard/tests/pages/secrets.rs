//! Pages that make a secret, and the page that shows it once.

use crate::browser::Browser;
use crate::world::World;
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn the_creation_of_a_key_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("create", "/keys/new").await;
    let page = browser
        .fill("/keys/new", &[("name", "orders"), ("scopes", "orders:read")])
        .await;
    browser.review("reveal", &page);
    let sent_twice = browser
        .fill("/tenant/keys/new", &[("name", ""), ("owner", "eve@elsewhere.example")])
        .await;
    browser.review("create_refused", &sent_twice);
    world.pass(16 * 60);
    browser
        .review_at("create_for_others_with_password", "/tenant/keys/new")
        .await;
}

#[tokio::test]
async fn a_form_that_is_sent_twice_shows_no_secret() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let opened = browser.get("/keys/new").await;
    browser.fill_in(&opened, "/keys/new", &[("name", "orders")]).await;
    let page = browser.fill_in(&opened, "/keys/new", &[("name", "orders")]).await;
    let page = browser.follow(&page).await;
    browser.review("create_sent_twice", &page);
}

#[tokio::test]
async fn the_rotation_of_a_key_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (id, _) = world.issue(&ada.id.to_string(), "orders").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let address = format!("/keys/{id}/rotate");
    browser.review_at("rotate", &address).await;
    let page = browser.fill(&address, &[("overlap", "1")]).await;
    browser.review("rotate_refused", &page);
    let page = browser.fill(&address, &[]).await;
    browser.review("reveal_rotated", &page);
}
