//! The page of a key in each state, and the forms that act on a key.

use crate::browser::Browser;
use crate::world::World;
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn the_page_of_a_key_in_each_state_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (id, secret) = world.issue(&ada.id.to_string(), "orders <b>in production</b>").await;
    world.verify(&secret, 3).await;
    world.pass(60);
    let address = format!("/keys/{id}");
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("key_active", &address).await;
    browser.fill(&format!("{address}/disable"), &[]).await;
    world.verify(&secret, 2).await;
    browser.review_at("key_disabled", &address).await;
    browser
        .review_at("key_reactivate", &format!("{address}/reactivate"))
        .await;
    browser.fill(&format!("{address}/reactivate"), &[]).await;
    browser
        .fill(&format!("{address}/rotate"), &[("overlap", "86400")])
        .await;
    world.pass(60);
    world.verify(&secret, 1).await;
    browser.review_at("key_rotating", &address).await;
    browser.review_at("key_finish", &format!("{address}/finish")).await;
    let leaked = [("reason_code", "leaked"), ("reason", "found in a repository")];
    let page = browser.fill(&format!("{address}/revoke?back={address}"), &leaked).await;
    let page = browser.follow(&page).await;
    browser.review("key_revoked", &page);
    browser
        .review_at("key_rotate_of_a_revoked_key", &format!("{address}/rotate"))
        .await;
    browser.review_at("key_delete", &format!("{address}/delete")).await;
}

#[tokio::test]
async fn the_page_of_an_expired_key_and_of_a_blocked_owner_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let bob = world.make_user("acme", "bob@acme.example", Role::Member).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let mut browser = Browser::of(&world, "bob@acme.example").await;
    browser
        .fill(
            "/keys/new",
            &[("name", "short"), ("expires", "custom"), ("expires_on", "2023-11-16")],
        )
        .await;
    let (id, _) = world.issue(&bob.id.to_string(), "of a suspended user").await;
    world.pass(3 * 86_400);
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let list = browser.get("/tenant/keys?state=expired").await;
    let (_, rest) = list.html.split_once("data-key=\"").unwrap();
    let expired = format!("/keys/{}", rest.split('"').next().unwrap());
    browser.review_at("key_expired", &expired).await;
    let user = bob.id.to_string();
    browser.fill(&format!("/tenant/users/{user}/suspend"), &[]).await;
    browser
        .review_at("key_of_a_suspended_owner", &format!("/keys/{id}"))
        .await;
}

#[tokio::test]
async fn the_revocation_of_each_preset_is_as_reviewed() {
    for preset in [Preset::Erase, Preset::Hold, Preset::Keep, Preset::Standard] {
        let world = World::under(preset).await;
        let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
        let (id, secret) = world.issue(&ada.id.to_string(), "orders").await;
        world.verify(&secret, 1).await;
        let mut browser = Browser::of(&world, "ada@acme.example").await;
        let word = preset.as_str();
        browser.review_at(&format!("list_by_{word}"), "/keys").await;
        browser
            .review_at(&format!("revoke_by_{word}"), &format!("/keys/{id}/revoke"))
            .await;
        let page = browser
            .fill(&format!("/keys/{id}/revoke"), &[("phrase", "REVOKE")])
            .await;
        let page = browser.follow(&page).await;
        browser.review(&format!("revoked_by_{word}"), &page);
    }
}

#[tokio::test]
async fn the_form_that_edits_a_key_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (id, _) = world.issue(&ada.id.to_string(), "orders").await;
    let address = format!("/keys/{id}/edit");
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("edit", &address).await;
    let wrong = [("name", ""), ("scopes", "orders:*:x"), ("networks", "192.0.2.0/99")];
    let page = browser.fill(&address, &wrong).await;
    browser.review("edit_refused", &page);
    let opened = browser.get(&address).await;
    browser.fill(&address, &[("scopes", "orders:read")]).await;
    let page = browser.fill_in(&opened, &address, &[("name", "invoices")]).await;
    browser.review("edit_stale", &page);
}
