//! Pages of the tenant: users, policy, check policies, audit log, propagation; and a user's account.

use crate::browser::Browser;
use crate::world::World;
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn the_pages_of_users_are_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let bob = world.make_user("acme", "bob@acme.example", Role::Member).await;
    world.issue(&bob.id.to_string(), "orders").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("users", "/tenant/users").await;
    let page = browser
        .fill("/tenant/users", &[("email", "not an address"), ("role", "auditor")])
        .await;
    browser.review("users_refused", &page);
    let page = browser
        .fill("/tenant/users", &[("email", "eve@acme.example"), ("role", "auditor")])
        .await;
    browser.review("user_invited", &page);
    let address = format!("/tenant/users/{}", bob.id);
    browser.review_at("user_suspend", &format!("{address}/suspend")).await;
    browser.review_at("user_remove", &format!("{address}/remove")).await;
    let opened = browser.get("/tenant/users").await;
    browser.fill(&format!("{address}/suspend"), &[]).await;
    let page = browser
        .fill_in(&opened, &format!("{address}/role"), &[("role", "admin")])
        .await;
    browser.review("users_stale", &page);
}

#[tokio::test]
async fn the_policy_page_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    world.issue(&ada.id.to_string(), "orders").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let address = "/tenant/policy";
    browser.review_at("policy", address).await;
    let page = browser
        .fill(
            address,
            &[("confirm", "phrase"), ("reason", "required"), ("intent", "try")],
        )
        .await;
    browser.review("policy_preview", &page);
    let page = browser
        .fill(
            address,
            &[("prefix", "UPPER"), ("max_days", "none"), ("intent", "save")],
        )
        .await;
    browser.review("policy_refused", &page);
    let opened = browser.get(address).await;
    browser.fill(address, &[("reveal", "none"), ("intent", "save")]).await;
    let page = browser
        .fill_in(&opened, address, &[("confirm", "phrase"), ("intent", "save")])
        .await;
    browser.review("policy_stale", &page);
}

#[tokio::test]
async fn the_pages_of_check_policies_are_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    let address = "/tenant/check-policies";
    browser.review_at("check_policies_empty", address).await;
    let page = browser
        .fill(address, &[("name", "orders"), ("scopes", "orders:read")])
        .await;
    let page = browser.follow(&page).await;
    browser.review("check_policies", &page);
    let page = browser.fill(address, &[("name", "A b"), ("scopes", "x")]).await;
    browser.review("check_policies_refused", &page);
    browser
        .review_at("check_policy_edit", &format!("{address}/orders/edit"))
        .await;
    browser
        .review_at("check_policy_remove", &format!("{address}/orders/remove"))
        .await;
}

#[tokio::test]
async fn the_audit_log_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (id, _) = world.issue(&ada.id.to_string(), "orders").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.fill(&format!("/keys/{id}/edit"), &[("name", "invoices")]).await;
    browser.review_at("audit", "/audit").await;
    browser
        .review_at("audit_filtered", "/audit?action=key.&actor=ada%40acme.example")
        .await;
    browser
        .review_at("audit_no_match", "/audit?action=key.&until=2001-01-01")
        .await;
    let opened = browser.get("/audit").await;
    let page = browser.fill_in(&opened, "/audit/verify", &[]).await;
    let page = browser.follow(&page).await;
    browser.review("audit_verified", &page);
}

#[tokio::test]
async fn the_propagation_page_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let ada = world.make_user("acme", "ada@acme.example", Role::Admin).await;
    let (id, _) = world.issue(&ada.id.to_string(), "orders").await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("propagation_without_changes", "/propagation").await;
    browser.fill(&format!("/keys/{id}/revoke"), &[]).await;
    browser.review_at("propagation", "/propagation").await;
}

#[tokio::test]
async fn the_account_page_is_as_reviewed() {
    let world = World::under(Preset::Erase).await;
    world.make_user("acme", "ada@acme.example", Role::Member).await;
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("account", "/account").await;
    let wrong = [
        ("password", "a wrong one"),
        ("new_password", "short"),
        ("again", "other"),
    ];
    let opened = browser.get("/account").await;
    let page = browser.fill_in(&opened, "/account/password", &wrong).await;
    browser.review("account_refused", &page);
    browser.set_cookie("keyreeve_theme", "dark");
    browser.set_cookie("keyreeve_shortcuts", "off");
    browser.review_at("account_dark_without_shortcuts", "/account").await;
}
