//! `/v1/nodes` and `/v1/operations`: the nodes, and the propagation of a change.
//!
//! Tests: `e2e/faults/test_nodes.py`, `e2e/hostile/test_own_operations.py`

use crate::http::call::{Incoming, NoBody, named};
use crate::management::Management;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::nodes::{Node, Nodes, Operation};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_core::hex;
use keyreeve_store::cluster::NodeSession;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// List the nodes, with their leases and lags.
///
/// A single server is listed as `embedded`. Root keys need the reach of the instance.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "nodes", operation_id = "listNodes",
    responses((status = 200, description = "The nodes", body = Nodes)),
    security(("root_key" = ["audit:read"]))
)]
pub(crate) async fn list(
    State(management): State<Arc<Management>>,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let seen = management.authority().nodes(&call).await?;
    let own = management.authority().node();
    let nodes = match own {
        None => Nodes {
            data: vec![single(seen.revision)],
            revision: seen.revision,
            lease_ms: None,
            wait_ms: None,
            durability: "local",
        },
        Some(node) => Nodes {
            data: seen
                .sessions
                .iter()
                .map(|session| object(session, node, seen.revision))
                .collect(),
            revision: seen.revision,
            lease_ms: Some(node.lease_ms()),
            wait_ms: Some(node.wait_ms()),
            durability: node.health().durability.as_str(),
        },
    };
    Ok(respond::json(StatusCode::OK, &nodes)?)
}

fn single(revision: u64) -> Node {
    Node {
        id: "embedded".to_owned(),
        name: "embedded".to_owned(),
        is_self: true,
        started_at: None,
        applied_revision: revision,
        lag: 0,
        lease_age_ms: 0,
        state: "serving",
    }
}

fn object(session: &NodeSession, node: &keyreeve_authority::Node, head: u64) -> Node {
    let is_self = node.session() == Some(session.seen.session);
    Node {
        id: format!("node_{}", hex(&session.seen.session)),
        name: session.node.clone(),
        is_self,
        started_at: Some(session.started_at.millis()),
        applied_revision: session.seen.acked,
        lag: head.saturating_sub(session.seen.acked),
        lease_age_ms: session.silent_ms,
        state: if session.silent_ms < node.lease_ms() {
            "serving"
        } else {
            "silent"
        },
    }
}

/// Get the propagation of a change, for callers that sent `Prefer: respond-async`.
///
/// `pending` until every verifier has the change, then `effective`. 404 for an operation of another tenant.
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "nodes", operation_id = "getOperation",
    params(("id" = String, Path, description = "The operation", pattern = "^op_[0-9]{1,18}$")),
    responses((status = 200, description = "The operation", body = Operation)),
    security(("root_key" = ["keys:read"]))
)]
pub(crate) async fn operation(
    State(management): State<Arc<Management>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let unknown = || Problem::new(Code::NotFound, "No operation with this id is known.");
    let revision = id
        .strip_prefix("op_")
        .filter(|digits| digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(unknown)?;
    let reached = management
        .authority()
        .operation(&call, named(&headers, &call), revision)
        .await;
    let reached = reached.map_err(|failure| match failure {
        Failure::NotFound => Rejected::from(unknown()),
        other => other.into(),
    })?;
    let operation = Operation {
        id: format!("op_{revision}"),
        status: if reached.is_some() { "effective" } else { "pending" },
        revision,
        verifiers: reached.unwrap_or(0),
    };
    Ok(respond::json(StatusCode::OK, &operation)?)
}
