//! Every page as a reviewed text: the dashboard over a memory store, with fixed times and fixed ids, read by a browser
//! that sends its cookies and its forms. `snapshots/` has one file for each page or each case of a page.
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod browser;
mod errors;
mod form;
mod key;
mod keys;
mod secrets;
mod signed_out;
mod tenant;
mod text;
mod world;

/// Addresses that answer without a page, or with a redirect only.
const NO_PAGES: &[&str] = &[
    "/keys/search",
    "/keys/{id}/first-use",
    "/tenant",
    "/tenant/keys/search",
    "/audit/verify",
    "/audit/export",
    "/account/preferences",
    "/logout",
    "/logout/everywhere",
    "/_/account",
    "/api-keys",
    "/assets/{name}",
];

/// Returns whether a path has the form of a route.
fn is_of(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    let fits = |(part, one): (&&str, &&str)| part == one || part.starts_with('{');
    route.len() == path.len() && route.iter().zip(&path).all(fits)
}

#[test]
fn every_address_of_a_page_has_a_snapshot() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let router = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let routes: Vec<_> = router
        .split(".route(")
        .skip(1)
        .map(|route| route.split('"').nth(1).unwrap())
        .collect();
    let snapshots = std::fs::read_dir(folder.join("tests/pages/snapshots")).unwrap();
    let requests = snapshots.filter_map(|file| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let line = text.lines().nth(3)?;
        let address = line.strip_prefix("GET ").or_else(|| line.strip_prefix("POST "))?;
        address.split(['?', ',']).next().map(str::to_owned)
    });
    let seen: Vec<_> = requests.collect();
    assert!(routes.len() > 25 && seen.len() > 60, "both were found");
    for route in routes {
        let is_seen = seen.iter().any(|path| is_of(route, path));
        assert_ne!(
            is_seen,
            NO_PAGES.contains(&route),
            "{route}: a page without a snapshot, or no page that has one"
        );
    }
}
