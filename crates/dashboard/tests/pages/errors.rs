//! Pages of errors.

use crate::browser::Browser;
use crate::world::World;
use keyreeve_core::access::Role;
use keyreeve_core::policy::Preset;

#[tokio::test]
async fn the_page_of_an_error_is_as_reviewed() {
    let world = World::under(Preset::Standard).await;
    world.make_user("acme", "ada@acme.example", Role::Member).await;
    let mut browser = Browser::new(&world).await;
    browser.review_at("error_no_such_page", "/no/such/page").await;
    browser.review_at("error_link_used_up", "/setup?token=unknown").await;
    let page = browser.get("/keys?state=all").await;
    assert_eq!(page.location.as_deref(), Some("/login?next=%2Fkeys%3Fstate%3Dall"));
    let mut browser = Browser::of(&world, "ada@acme.example").await;
    browser.review_at("error_no_such_key", "/keys/ak_0").await;
    browser.review_at("error_of_the_role", "/tenant/users").await;
    let page = browser
        .post("/keys/new", &[("csrf", "another"), ("name", "<b>orders</b>")])
        .await;
    browser.review("error_form_of_another_site", &page);
    let opened = browser.get("/keys/new").await;
    world.authority.close().await;
    let page = browser.fill_in(&opened, "/keys/new", &[("name", "orders")]).await;
    browser.review("error_unavailable", &page);
}
