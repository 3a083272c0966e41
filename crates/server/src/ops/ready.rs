//! `/readyz`: whether this process can do its work, in one line, or with `?verbose` in one line per check.

use super::plain;
use crate::App;
use axum::body::Body;
use hyper::{Response, StatusCode};
use rustix::fs::statvfs;
use std::fmt::Write as _;

/// Free bytes below which a disk accepts no change: a commit needs a few pages.
const FREE_BYTES_MIN: u64 = 32 * 1024;

/// The result of one check.
struct Check {
    name: &'static str,
    standing: Standing,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No problem.
    Good,
    /// A problem that does not prevent verification: the process stays ready.
    Warns,
    /// The process cannot do its work.
    Fails,
}

impl Check {
    fn good(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (Standing::Good, text.into());
        Self { name, standing, text }
    }

    fn warns(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (Standing::Warns, text.into());
        Self { name, standing, text }
    }

    fn fails(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (Standing::Fails, text.into());
        Self { name, standing, text }
    }
}

/// Runs all checks. The text of the first failed one is the one-line answer.
async fn checks(app: &App) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(process(app));
    checks.push(history(app));
    checks.push(restore(app));
    checks.extend(lease(app));
    checks.extend([clock(app), store(app).await, writes(app), checkpoint(app), denials(app)]);
    checks
}

/// Answers `/readyz`.
pub(super) async fn serve(app: &App, query: Option<&str>) -> Response<Body> {
    let checks = checks(app).await;
    let of = |standing| checks.iter().find(|check| check.standing == standing);
    let (status, mut text) = match (of(Standing::Fails), of(Standing::Warns)) {
        (Some(failed), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", failed.text)),
        (None, Some(warning)) => (StatusCode::OK, format!("ok, but {}: {}\n", warning.name, warning.text)),
        (None, None) => (StatusCode::OK, "ok\n".to_owned()),
    };
    if query.is_some_and(|query| query == "verbose" || query.starts_with("verbose=")) {
        // Details first, then the checks: this order is older than the checks.
        details(app, &mut text);
        for check in &checks {
            let sign = if check.standing == Standing::Good { '+' } else { '-' };
            // Writing to memory cannot fail.
            let _done = writeln!(text, "[{sign}]{} {}", check.name, check.text);
        }
    }
    plain(status, text)
}

fn process(app: &App) -> Option<Check> {
    app.is_stopping().then(|| Check::fails("process", "stopping"))
}

/// Returns whether the database is the one that was opened and whose log was signed; with several nodes, whether it has
/// every change that this node knows.
fn history(app: &App) -> Check {
    let Some(node) = app.authority().node() else {
        return match app.authority().verifier().halted() {
            Some(why) => Check::fails("history", why),
            None => Check::good("history", "the database is the one that is signed"),
        };
    };
    match node.health().is_recovering {
        true => Check::fails(
            "history",
            "the database lost changes, and lost denials are written to it again",
        ),
        false => Check::good("history", "the database contains what this node has recorded"),
    }
}

/// Returns whether the reference clock is followed.
fn clock(app: &App) -> Check {
    let whose = match app.authority().node() {
        Some(_) => "the database's clock",
        None => "this machine's clock",
    };
    match app.authority().clock_behind() {
        Some(behind) => Check::fails(
            "clock",
            format!(
                "{whose} is {} s behind the time that was given before: keys are evaluated at the later time until \
                 the clock is right",
                behind.as_secs()
            ),
        ),
        None => Check::good("clock", format!("{whose} is used")),
    }
}

async fn store(app: &App) -> Check {
    match app.is_answered().await {
        true => Check::good("store", "answers"),
        false => Check::fails("store", "the store does not answer"),
    }
}

/// With several nodes: returns whether this one may verify.
fn lease(app: &App) -> Option<Check> {
    let node = app.authority().node()?;
    if node.health().is_on_probation {
        let why = "this node lost its lease too often and is on probation";
        return Some(Check::fails("lease", why));
    }
    Some(match app.authority().holds_lease() {
        false => Check::fails("lease", "this node holds no lease"),
        true => Check::good("lease", format!("{} ms left", node.lease_left_ms())),
    })
}

/// Returns whether changes are possible. Verification does not need them.
fn writes(app: &App) -> Check {
    if let Some(obstacle) = app.authority().obstacle() {
        return Check::warns("writes", format!("failing: {obstacle}; nothing was changed"));
    }
    // With a database server, this disk has nothing that a change needs.
    let free = match app.authority().node() {
        Some(_) => None,
        None => statvfs(&app.settings().data).ok(),
    };
    let free = free.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free.is_some_and(|free| free < FREE_BYTES_MIN) {
        return Check::warns("writes", "failing: the disk is full; nothing was changed");
    }
    let health = app.authority().write_health();
    match health.is_failing() {
        true => Check::warns(
            "writes",
            format!("failing: {}", health.last_failure.unwrap_or_default()),
        ),
        false => Check::good("writes", "possible"),
    }
}

/// Returns whether the end of the audit log is signed.
fn checkpoint(app: &App) -> Check {
    match app.checkpoints().refusal() {
        Some(why) => Check::warns("checkpoint", why),
        None => Check::good("checkpoint", "the audit log is signed"),
    }
}

/// Returns whether an operator has to decide after a restore: until then no key is verified.
fn restore(app: &App) -> Check {
    match app.authority().verifier().withheld() {
        Some(why) => Check::fails("restore", &*why),
        None => Check::good("restore", "no decision of an operator is awaited"),
    }
}

/// Returns whether denials are written to the data directory. Verification does not need it, but a restore does.
fn denials(app: &App) -> Check {
    match app.denials().failing() {
        Some(why) => Check::warns("denials", format!("not written to the data directory: {why}")),
        None => Check::good("denials", "are written to the data directory"),
    }
}

/// Writes details that are worth a look and do not affect readiness.
fn details(app: &App, text: &mut String) {
    let mut line = |name: &str, what: &dyn std::fmt::Display| {
        // Writing to memory cannot fail.
        let _done = writeln!(text, "{name}: {what}");
    };
    line("revision", &app.authority().verifier().applied());
    line("remembered", &app.authority().verifier().entries());
    let writes = app.authority().write_health();
    if let Some(ago) = writes.last_success_ago {
        line("last_write_seconds_ago", &ago.as_secs());
    }
    if let Some(why) = writes.last_failure {
        line("write_failures_in_a_row", &writes.failures_in_a_row);
        line("last_write_failure", &why);
    }
    if let Some(node) = app.authority().node() {
        line("lease_left_ms", &node.lease_left_ms());
        line("durability", &node.health().durability.as_str());
    }
    for report in app.tls().iter().map(crate::tls::Tls::report) {
        line(&format!("tls {}", report.name), &report.certificate);
        if let Some(complaint) = report.complaint {
            line(&format!("tls {} complaint", report.name), &complaint);
        }
    }
}
