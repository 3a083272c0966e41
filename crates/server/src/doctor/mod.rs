//! `keyreeve doctor`: reports settings and circumstances that are insecure or slow, with a remedy for each.
//!
//! A running server is queried by the socket in its data directory, because only it knows its settings; without one,
//! the files are examined. Nothing is changed either way.

mod checks;
mod facts;
mod judge;
#[cfg(test)]
mod tests;

pub use checks::{ALL, DoctorCheck, Severity};

use crate::monitor::Monitor;
use crate::settings::Settings;
use axum::body::Body;
use facts::DoctorFacts;
use hyper::{Response, StatusCode};
use keyreeve_api::doctor::Diagnosis;
use keyreeve_authority::collect_stats;
use keyreeve_store::SqliteStore;
use keyreeve_web::respond;

/// The path at which a running server answers, only on the socket in its data directory.
pub const ADDRESS: &str = "/operator/doctor";

/// Answers with the findings of this server.
pub(crate) async fn serve(monitor: &Monitor) -> Response<Body> {
    let facts = DoctorFacts::running(monitor, &monitor.settings).await;
    let diagnosis = diagnosis(&facts);
    respond::json(StatusCode::OK, &diagnosis).unwrap_or_else(|_| {
        let mut failed = Response::new(Body::empty());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

/// Returns the findings without a running server.
pub async fn examine_at_rest(settings: &Settings) -> Diagnosis {
    let mut facts = DoctorFacts::at_rest(settings);
    let database = settings.data.join("keyreeve.db");
    if settings.database.is_none()
        && database.exists()
        && let Ok(store) = SqliteStore::open_to_read(&database).await
    {
        facts.inventory = collect_stats(&store, facts.now).await.ok();
    }
    diagnosis(&facts)
}

fn diagnosis(facts: &DoctorFacts<'_>) -> Diagnosis {
    let findings = judge::judge(facts);
    let mut examined = vec!["settings", "files"];
    examined.extend(facts.inventory.is_some().then_some("data"));
    examined.extend(facts.running.is_some().then_some("server"));
    Diagnosis {
        ok: findings.is_empty(),
        examined,
        findings,
    }
}
