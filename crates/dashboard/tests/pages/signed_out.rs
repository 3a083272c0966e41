//! Pages without a session.

use crate::browser::Browser;
use crate::world::{PASSWORD, World, call};
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Slug;

#[tokio::test]
async fn the_sign_in_page_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Admin).await;
    world.make_tenant("globex", Preset::Keep).await;
    world.make_user("globex", "ada@acme.example", Role::Member).await;
    let mut browser = Browser::new(&world).await;
    browser.review_frame("frame_signed_out");
    browser.review_at("login", "/login").await;
    browser
        .review_at("login_session_ended", "/login?why=ended&next=/keys")
        .await;
    let email = ("email", "ada@acme.example");
    let page = browser.fill("/login", &[email, ("password", "a wrong one")]).await;
    browser.review("login_refused", &page);
    let page = browser.fill("/login", &[email, ("password", PASSWORD)]).await;
    browser.review("login_tenants", &page);
}

#[tokio::test]
async fn the_pages_of_a_setup_link_are_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    let acme = Slug::parse("acme").unwrap();
    let token = world
        .authority
        .sign_in()
        .first_admin_link(&acme)
        .await
        .unwrap()
        .unwrap();
    let address = format!("/setup?token={}", token.expose());
    let mut browser = Browser::new(&world).await;
    browser.review_at("setup_first_admin", &address).await;
    let wrong = [("email", "ada"), ("new_password", "short"), ("again", "other")];
    let page = browser.fill(&address, &wrong).await;
    browser.review("setup_refused", &page);
    let user = world.make_user("acme", "bob@acme.example", Role::Member).await;
    let (_, token) = world.authority.sign_in().invite(&call("acme"), user.id).await.unwrap();
    browser
        .review_at("setup_user", &format!("/setup?token={}", token.expose()))
        .await;
}
