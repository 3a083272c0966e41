//! `/readyz`: whether this process can do its work, in one line, or with `?verbose` in one line per check.

use super::plain;
use crate::monitor::Monitor;
use axum::body::Body;
use hyper::{Response, StatusCode};
use rustix::fs::statvfs;
use std::fmt::Write as _;

/// Free bytes below which a disk accepts no change: a commit needs a few pages.
const FREE_BYTES_MIN: u64 = 32 * 1024;

/// The result of one check.
struct ReadinessCheck {
    name: &'static str,
    standing: CheckStanding,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckStanding {
    /// No problem.
    Good,
    /// A problem that does not prevent verification: the process stays ready.
    Warns,
    /// The process cannot do its work.
    Fails,
}

impl ReadinessCheck {
    fn good(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (CheckStanding::Good, text.into());
        Self { name, standing, text }
    }

    fn warns(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (CheckStanding::Warns, text.into());
        Self { name, standing, text }
    }

    fn fails(name: &'static str, text: impl Into<String>) -> Self {
        let (standing, text) = (CheckStanding::Fails, text.into());
        Self { name, standing, text }
    }
}

/// Runs all checks. The text of the first failed one is the one-line answer.
async fn checks(monitor: &Monitor) -> Vec<ReadinessCheck> {
    let mut checks = Vec::new();
    checks.extend(process(monitor));
    checks.push(history(monitor));
    checks.push(restore(monitor));
    checks.extend(lease(monitor));
    checks.extend([
        clock(monitor),
        store(monitor).await,
        writes(monitor),
        checkpoint(monitor),
        denials(monitor),
    ]);
    checks
}

/// Answers `/readyz`.
pub(super) async fn serve(monitor: &Monitor, query: Option<&str>) -> Response<Body> {
    let checks = checks(monitor).await;
    let of = |standing| checks.iter().find(|check| check.standing == standing);
    let (status, mut text) = match (of(CheckStanding::Fails), of(CheckStanding::Warns)) {
        (Some(failed), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", failed.text)),
        (None, Some(warning)) => (StatusCode::OK, format!("ok, but {}: {}\n", warning.name, warning.text)),
        (None, None) => (StatusCode::OK, "ok\n".to_owned()),
    };
    if query.is_some_and(|query| query == "verbose" || query.starts_with("verbose=")) {
        // Details first, then the checks: this order is older than the checks.
        details(monitor, &mut text);
        for check in &checks {
            let sign = if check.standing == CheckStanding::Good {
                '+'
            } else {
                '-'
            };
            // Writing to memory cannot fail.
            let _done = writeln!(text, "[{sign}]{} {}", check.name, check.text);
        }
    }
    plain(status, text)
}

fn process(monitor: &Monitor) -> Option<ReadinessCheck> {
    monitor
        .readiness
        .is_stopping()
        .then(|| ReadinessCheck::fails("process", "stopping"))
}

/// Returns whether the database is the one that was opened and whose log was signed; with several nodes, whether it has
/// every change that this node knows.
fn history(monitor: &Monitor) -> ReadinessCheck {
    let Some(node) = monitor.authority.node() else {
        return match monitor.authority.verifier().halted() {
            Some(why) => ReadinessCheck::fails("history", why),
            None => ReadinessCheck::good("history", "the database is the one that is signed"),
        };
    };
    match node.health().is_recovering {
        true => ReadinessCheck::fails(
            "history",
            "the database lost changes, and lost denials are written to it again",
        ),
        false => ReadinessCheck::good("history", "the database contains what this node has recorded"),
    }
}

/// Returns whether the reference clock is followed.
fn clock(monitor: &Monitor) -> ReadinessCheck {
    let whose = match monitor.authority.node() {
        Some(_) => "the database's clock",
        None => "this machine's clock",
    };
    match monitor.authority.clock_behind() {
        Some(behind) => ReadinessCheck::fails(
            "clock",
            format!(
                "{whose} is {} s behind the time that was given before: keys are evaluated at the later time until \
                 the clock is right",
                behind.as_secs()
            ),
        ),
        None => ReadinessCheck::good("clock", format!("{whose} is used")),
    }
}

async fn store(monitor: &Monitor) -> ReadinessCheck {
    match monitor.readiness.is_answered().await {
        true => ReadinessCheck::good("store", "answers"),
        false => ReadinessCheck::fails("store", "the store does not answer"),
    }
}

/// With several nodes: returns whether this one may verify.
fn lease(monitor: &Monitor) -> Option<ReadinessCheck> {
    let node = monitor.authority.node()?;
    if node.health().is_on_probation {
        let why = "this node lost its lease too often and is on probation";
        return Some(ReadinessCheck::fails("lease", why));
    }
    Some(match monitor.authority.holds_lease() {
        false => ReadinessCheck::fails("lease", "this node holds no lease"),
        true => ReadinessCheck::good("lease", format!("{} ms left", node.lease_left_ms())),
    })
}

/// Returns whether changes are possible. Verification does not need them.
fn writes(monitor: &Monitor) -> ReadinessCheck {
    if let Some(obstacle) = monitor.authority.obstacle() {
        return ReadinessCheck::warns("writes", format!("failing: {obstacle}; nothing was changed"));
    }
    // With a database server, this disk has nothing that a change needs.
    let free = match monitor.authority.node() {
        Some(_) => None,
        None => statvfs(&monitor.settings.data).ok(),
    };
    let free = free.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free.is_some_and(|free| free < FREE_BYTES_MIN) {
        return ReadinessCheck::warns("writes", "failing: the disk is full; nothing was changed");
    }
    let health = monitor.authority.write_health();
    match health.is_failing() {
        true => ReadinessCheck::warns(
            "writes",
            format!("failing: {}", health.last_failure.unwrap_or_default()),
        ),
        false => ReadinessCheck::good("writes", "possible"),
    }
}

/// Returns whether the end of the audit log is signed.
fn checkpoint(monitor: &Monitor) -> ReadinessCheck {
    match monitor.log_signer.checkpoints().refusal() {
        Some(why) => ReadinessCheck::warns("checkpoint", why),
        None => ReadinessCheck::good("checkpoint", "the audit log is signed"),
    }
}

/// Returns whether an operator has to decide after a restore: until then no key is verified.
fn restore(monitor: &Monitor) -> ReadinessCheck {
    match monitor.authority.verifier().withheld() {
        Some(why) => ReadinessCheck::fails("restore", &*why),
        None => ReadinessCheck::good("restore", "no decision of an operator is awaited"),
    }
}

/// Returns whether denials are written to the data directory. Verification does not need it, but a restore does.
fn denials(monitor: &Monitor) -> ReadinessCheck {
    match monitor.denials.failing() {
        Some(why) => ReadinessCheck::warns("denials", format!("not written to the data directory: {why}")),
        None => ReadinessCheck::good("denials", "are written to the data directory"),
    }
}

/// Writes details that are worth a look and do not affect readiness.
fn details(monitor: &Monitor, text: &mut String) {
    let mut line = |name: &str, what: &dyn std::fmt::Display| {
        // Writing to memory cannot fail.
        let _done = writeln!(text, "{name}: {what}");
    };
    line("revision", &monitor.authority.verifier().applied());
    line("remembered", &monitor.authority.verifier().entries());
    let writes = monitor.authority.write_health();
    if let Some(ago) = writes.last_success_ago {
        line("last_write_seconds_ago", &ago.as_secs());
    }
    if let Some(why) = writes.last_failure {
        line("write_failures_in_a_row", &writes.failures_in_a_row);
        line("last_write_failure", &why);
    }
    if let Some(node) = monitor.authority.node() {
        line("lease_left_ms", &node.lease_left_ms());
        line("durability", &node.health().durability.as_str());
    }
    for report in monitor.tls.iter().map(crate::tls::Tls::report) {
        line(&format!("tls {}", report.name), &report.certificate);
        if let Some(complaint) = report.complaint {
            line(&format!("tls {} complaint", report.name), &complaint);
        }
    }
}
