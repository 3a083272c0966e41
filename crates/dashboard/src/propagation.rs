//! The propagation page: the nodes, how far behind each is, and how long the latest changes took to be effective
//! everywhere.

use super::moment::{When, grouped};
use super::page;
use super::page_error::PageError;
use super::shell::{MenuEntry, Shell};
use super::visitor::Visitor;
use crate::Dashboard;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyreeve_authority::children::{ConnectedChild, Presence};
use keyreeve_web::effects::Measured;

/// Longest bar, in units of the chart: a node that was last seen a full lease ago.
const BAR: u64 = 200;

/// Data of the propagation page.
#[derive(Template)]
#[template(path = "propagation.html")]
pub(super) struct PropagationPage {
    pub(super) shell: Shell,
    pub(super) nodes: Vec<NodeRow>,
    pub(super) revision: String,
    /// The lease in ms; `None` without a cluster.
    pub(super) lease_ms: Option<u64>,
    pub(super) changes: Vec<ChangeRow>,
    pub(super) percentiles: Option<(u64, u64)>,
    /// Verifiers of the tenant that are connected to this node, or that changes here wait for.
    pub(super) verifiers: Vec<VerifierRow>,
}

/// A verifier inside an application.
#[derive(Clone, Debug)]
pub(super) struct VerifierRow {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) root_key: String,
    pub(super) since: When,
    pub(super) presence: &'static str,
    pub(super) keys: String,
    /// Seconds in words; `None` if it has no lease.
    pub(super) lease_left: Option<String>,
    /// Age of the oldest invalidation that it has not acknowledged, in ms.
    pub(super) owes_ms: Option<u64>,
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct NodeRow {
    pub(super) name: String,
    pub(super) is_self: bool,
    pub(super) applied: String,
    pub(super) lag: u64,
    pub(super) seen: String,
    /// The part of the lease that has passed, in [`BAR`] units.
    pub(super) age: u64,
    pub(super) is_serving: bool,
}

/// A change, as it was measured.
#[derive(Clone, Debug)]
pub(super) struct ChangeRow {
    pub(super) at: When,
    pub(super) action: &'static str,
    pub(super) target: String,
    pub(super) revision: String,
    pub(super) verifiers: u32,
    pub(super) waited_ms: u64,
    /// In [`BAR`] units, relative to the slowest change.
    pub(super) width: u64,
}

/// Shows the propagation page.
pub(super) async fn show(State(app): State<Dashboard>, visitor: Visitor) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    let seen = app.authority().nodes(&visitor.call).await?;
    let nodes = match app.authority().node() {
        None => vec![NodeRow {
            name: "embedded".to_owned(),
            is_self: true,
            applied: grouped(seen.revision),
            lag: 0,
            seen: "now".to_owned(),
            age: 0,
            is_serving: true,
        }],
        Some(node) => {
            let lease = node.lease_ms();
            let row = |session: &keyreeve_authority::model::NodeSession| NodeRow {
                name: session.node.clone(),
                is_self: node.session() == Some(session.seen.session),
                applied: grouped(session.seen.acked),
                lag: seen.revision.saturating_sub(session.seen.acked),
                seen: format!("{} ms ago", grouped(session.silent_ms)),
                age: (session.silent_ms.min(lease) * BAR) / lease.max(1),
                is_serving: session.silent_ms < lease,
            };
            seen.sessions.iter().map(row).collect()
        }
    };
    let connected = app.authority().verifiers().list(&visitor.call, None)?;
    let measured = app.host().last_effects().of(&visitor.call.tenant);
    let page = PropagationPage {
        nodes,
        revision: grouped(seen.revision),
        lease_ms: app.authority().node().map(|node| node.lease_ms()),
        percentiles: percentiles(&measured),
        changes: changes(&measured, &visitor),
        verifiers: connected.iter().map(|child| verifier(&app, child, &visitor)).collect(),
        shell: Shell::new(&visitor, MenuEntry::Propagation, "Propagation"),
    };
    page::ok(&page)
}

fn verifier(app: &Dashboard, child: &ConnectedChild, visitor: &Visitor) -> VerifierRow {
    let seconds = |ms: u64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
    VerifierRow {
        id: app.host().verifier_id(child.id),
        peer: child.peer.to_string(),
        root_key: child.root_key.map_or_else(|| "–".to_owned(), |id| id.to_string()),
        since: When::new(child.since, visitor.now),
        presence: match child.presence {
            Presence::Connected => "Connected",
            Presence::Dismissed => "Leaving",
            Presence::Disconnected => "Disconnected",
        },
        keys: grouped(u64::try_from(child.keys).unwrap_or(u64::MAX)),
        lease_left: Some(child.lease_left_ms).filter(|&left| left > 0).map(seconds),
        owes_ms: child.oldest_order.map(|order| order.age_ms),
    }
}

fn changes(measured: &[Measured], visitor: &Visitor) -> Vec<ChangeRow> {
    let slowest = measured
        .iter()
        .map(|one| one.effect.waited_ms())
        .max()
        .unwrap_or(0)
        .max(1);
    let row = |one: &Measured| ChangeRow {
        at: When::new(one.at, visitor.now),
        action: one.action,
        target: one.key.clone(),
        revision: grouped(one.effect.revision),
        verifiers: one.effect.verifiers,
        waited_ms: one.effect.waited_ms(),
        width: (one.effect.waited_ms() * BAR / slowest).max(1),
    };
    measured.iter().rev().map(row).collect()
}

/// Returns the 50th and the 99th percentile of the waits, in ms.
fn percentiles(measured: &[Measured]) -> Option<(u64, u64)> {
    let mut waits: Vec<_> = measured.iter().map(|one| one.effect.waited_ms()).collect();
    waits.sort_unstable();
    let at = |part: usize| {
        waits
            .get((waits.len() * part / 100).min(waits.len().saturating_sub(1)))
            .copied()
    };
    Some((at(50)?, at(99)?))
}
