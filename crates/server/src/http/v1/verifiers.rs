//! `/v1/verifiers/connected`: the verifiers inside applications that are connected to this process.
//!
//! Tests: `e2e/hostile/test_verifiers_connected.py`

use crate::http::call::{Incoming, NoBody, named};
use crate::verifiers::VerifierHost;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::verifiers::{AnsweringNode, ConnectedVerifier, ConnectedVerifiers};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_authority::children::ConnectedChild;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_core::hex;
use keyreeve_web::{Rejected, respond};
use std::sync::Arc;

/// List the verifiers that are connected to this process.
///
/// Each has its root key, the end of its lease, and the age of its oldest unacknowledged invalidation. A verifier whose
/// connection has ended is listed as `disconnected` until its lease is over: changes wait for it. A root key of a
/// tenant sees that tenant's. One of the instance sees all, or with `Keyreeve-Tenant` that tenant's. With several
/// nodes, each lists its own; `node` is the one that answered.
#[utoipa::path(
    get, path = "/v1/verifiers/connected", tag = "nodes", operation_id = "listConnectedVerifiers",
    responses((status = 200, description = "The verifiers", body = ConnectedVerifiers)),
    security(("root_key" = ["audit:read"]))
)]
pub(crate) async fn list(
    State(host): State<Arc<VerifierHost>>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let seen = host.authority().verifiers().list(&call, named(&headers, &call))?;
    let verifiers = ConnectedVerifiers {
        data: seen.iter().map(|child| object(&host, child)).collect(),
        node: node(&host),
    };
    Ok(respond::json(StatusCode::OK, &verifiers)?)
}

/// Close the connection of a verifier.
///
/// The connection is closed within half a second. The verifier may connect again: revoke its root key to prevent that.
/// 404 for one that is disconnected already, and for a verifier of another node, which must be closed there.
#[utoipa::path(
    delete, path = "/v1/verifiers/connected/{id}", tag = "nodes", operation_id = "disconnectVerifier",
    params(("id" = String, Path, description = "The verifier", pattern = "^vf_[0-9a-f]{16}_[0-9]{1,20}$")),
    responses((status = 200, description = "The verifier before it was disconnected", body = ConnectedVerifier)),
    security(("root_key" = ["root_keys:write"]))
)]
pub(crate) async fn disconnect(
    State(host): State<Arc<VerifierHost>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Incoming { call, .. }: Incoming<NoBody>,
) -> Result<Response, Rejected> {
    let child = host.parsed(&id).unwrap_or(NO_CHILD);
    let ended = host
        .authority()
        .verifiers()
        .disconnect(&call, named(&headers, &call), child, id)
        .await
        .map_err(|failure| match failure {
            Failure::NotFound => not_here(&host).into(),
            other => Rejected::from(other),
        })?;
    Ok(respond::json(StatusCode::OK, &object(&host, &ended))?)
}

/// The number of no connection.
const NO_CHILD: ChildId = 0;

fn not_here(host: &VerifierHost) -> Problem {
    let detail = format!(
        "No verifier of this id is connected to the node {}. Each node knows only its own verifiers: call the node \
         that listed it.",
        node(host).name
    );
    Problem::new(Code::NotFound, detail)
}

fn node(host: &VerifierHost) -> AnsweringNode {
    let embedded = || "embedded".to_owned();
    let node = host.authority().node();
    let session = node.and_then(|node| node.session());
    AnsweringNode {
        id: session.map_or_else(embedded, |session| format!("node_{}", hex(&session))),
        name: node.map_or_else(embedded, |_| host.node_name().to_owned()),
    }
}

fn object(host: &VerifierHost, child: &ConnectedChild) -> ConnectedVerifier {
    let left_ms = i64::try_from(child.lease_left_ms).unwrap_or(i64::MAX);
    ConnectedVerifier {
        id: host.id(child.id),
        tenant: match &child.reach {
            Reach::Instance => None,
            Reach::Tenant(slug) => Some(slug.to_string()),
        },
        root_key_id: child.root_key.map(|root_key| root_key.to_string()),
        peer: child.peer.to_string(),
        connected_at: child.since.millis(),
        state: child.presence.as_str(),
        lease_ends_at: (left_ms > 0).then(|| host.authority().now().millis().saturating_add(left_ms)),
        keys_held: u64::try_from(child.keys).unwrap_or(u64::MAX),
        oldest_unacknowledged_ms: child.oldest_order.map(|order| order.age_ms),
    }
}
