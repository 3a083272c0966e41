//! The dashboard: pages rendered on the server, through the same use cases as the API (ARCHITECTURE.md, A10). Every
//! page works without script. Script only turns confirmation pages and forms into dialogs.
//!
//! A form is opened by GET and sent by POST to the same address. A refused form is shown again with everything that was
//! filled in.

mod access;
mod account;
mod assets;
mod audit;
mod chart;
mod confirm;
mod device;
mod error_page;
mod errors;
mod events;
mod fields;
mod flash;
mod form;
mod guesses;
mod home;
mod host;
mod keys;
mod labels;
mod moment;
mod page;
mod page_error;
mod password_check;
mod people;
mod preferences;
mod propagation;
#[cfg(test)]
mod samples;
mod sentences;
mod session;
mod shell;
mod sign_in;
mod sign_in_limits;
mod stale;
mod tenant;
mod visitor;

pub use host::{Dashboard, Host};

use axum::Router;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{get, post};
use tower_sec_fetch::SecFetchLayer;

/// Returns the router of all pages, which also answers every address that has no route.
pub fn router(app: Dashboard) -> Router {
    Router::new()
        .route("/", get(home::show))
        .route("/keys", get(keys::list::own))
        .route("/keys/search", post(keys::list::search))
        .route("/keys/new", get(keys::create::ask).post(keys::create::make))
        .route("/keys/selected", get(keys::selected::ask).post(keys::selected::act))
        .route("/keys/{id}", get(keys::view::show))
        .route("/keys/{id}/first-use", get(keys::view::first_use))
        .route("/keys/{id}/rotate", get(keys::rotate::ask).post(keys::rotate::rotate))
        .route("/keys/{id}/edit", get(keys::edit::ask).post(keys::edit::save))
        .route("/keys/{id}/{verb}", get(keys::act::ask).post(keys::act::act))
        .route("/tenant", get(|| async { Redirect::to("/tenant/keys") }))
        .route("/tenant/keys", get(keys::list::tenant))
        .route("/tenant/keys/search", post(keys::list::search))
        .route("/tenant/keys/new", get(keys::create::ask).post(keys::create::make))
        .route("/tenant/policy", get(tenant::policy::show).post(tenant::policy::put))
        .route(
            "/tenant/check-policies",
            get(tenant::checks::show).post(tenant::checks::add),
        )
        .route(
            "/tenant/check-policies/{name}/{verb}",
            get(tenant::checks::ask).post(tenant::checks::act),
        )
        .route("/tenant/users", get(tenant::users::show).post(tenant::users::add))
        .route(
            "/tenant/users/{id}/{verb}",
            get(tenant::users::ask).post(tenant::users::act),
        )
        .route("/audit", get(audit::show))
        .route("/audit/verify", post(audit::verify))
        .route("/audit/export", get(audit::export))
        .route("/propagation", get(propagation::show))
        .route("/account", get(account::show))
        .route("/account/password", post(account::password))
        .route("/account/preferences", post(account::prefer))
        .route("/logout", post(account::sign_out))
        .route("/logout/everywhere", post(account::sign_out_everywhere))
        .route("/login", get(sign_in::ask).post(sign_in::enter))
        .route("/setup", get(sign_in::ask_setup).post(sign_in::set_up))
        // The addresses at which the four systems have their keys (docs/acceptance.md, U-01 and H-12).
        .route("/_/account", get(|| async { Redirect::to("/keys") }))
        .route("/api-keys", get(|| async { Redirect::to("/keys") }))
        .fallback(error_page::not_found)
        .layer(SecFetchLayer::default())
        .layer(session::layer(app.clone()))
        .layer(middleware::from_fn(error_page::render))
        .route("/assets/{name}", get(assets::get))
        .with_state(app)
}
