//! Serves verifiers inside applications. Each is connected to this process by one upgraded connection.
//!
//! `keyreeve_authority::children` decides what they may do; this module has the connection and the messages.

mod host;
mod lines;
mod marker;
mod outbox;
mod session;
mod share;
mod told;

pub(crate) use host::VerifierHost;
pub(crate) use marker::Marker;
pub(crate) use share::Shares;

use crate::edge::Peer;
use crate::http::bearer::bearer;
use crate::http::call::{Incoming, NoBody, TENANT_HEADER, root_key_invalid};
use crate::verdict_service::VerdictService;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, StatusCode, Version};
use hyper_util::rt::TokioIo;
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::verifiers::PROTOCOL;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::children::SWEEP_MS;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::{Call, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_web::Rejected;
use session::{AdmittedVerifier, VerifierSession};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// The connection of a verifier.
type Stream = TokioIo<Upgraded>;

/// Connect a verifier that answers from its own memory.
///
/// For `keyreeve-client`: after the upgrade both sides exchange JSON lines. The verifier receives leases and
/// invalidations, and every change that takes something away waits for its acknowledgement. Refused without the upgrade
/// headers, while the tenant is suspended, and above the limit of connections.
#[utoipa::path(
    get, path = "/v1/verifiers", tag = "verify", operation_id = "connectVerifier",
    responses(
        (status = 101, description = "From here on both sides speak `keyreeve-verifier`"),
        (status = 429, description = "VERIFIER_LIMIT_REACHED or VERIFIER_STREAM_SUSPENDED", body = ErrorBody,
            content_type = "application/problem+json"),
        (status = 426, description = "UPGRADE_REQUIRED", body = ErrorBody, content_type = "application/problem+json"),
    ),
    security(("root_key" = ["keys:verify"]))
)]
pub(crate) async fn connect(
    State(host): State<Arc<VerifierHost>>,
    State(verdicts): State<Arc<VerdictService>>,
    mut request: Request,
) -> Result<Response, Rejected> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let wishes = request.version() == Version::HTTP_11 && wishes_protocol(request.headers());
    let seat = request
        .extensions()
        .get::<Peer>()
        .map(|peer| (peer.seat.clone(), peer.seat.busy()));
    let names_tenant = request.headers().contains_key(TENANT_HEADER);
    let secret = bearer(request.headers())?.map(str::to_owned);
    let Incoming { call, .. } = Incoming::<NoBody>::of(request, &verdicts).await?;
    call.require(Permission::KeysVerify)?;
    let (Some(upgrade), true) = (upgrade, wishes) else {
        let detail = "This route serves only upgraded connections: it needs HTTP/1.1 with the headers Connection: \
                      Upgrade and Upgrade: keyreeve-verifier.";
        return Err(Problem::new(Code::UpgradeRequired, detail).into());
    };
    let pass = match secret {
        // The root key may have been revoked since it was checked. The record read here names the owner of the
        // verifier.
        Some(secret) => Some(host.authority().root_key(&secret).await?.ok_or_else(root_key_invalid)?),
        None => None,
    };
    let reach = match names_tenant {
        true => Reach::Tenant(call.tenant.clone()),
        false => call.caller.reach.clone(),
    };
    if !host.authority().verifiers().is_reach_open(&reach).await? {
        let detail = "The tenant is suspended. Its verifiers may connect again when it is active.";
        return Err(Problem::new(Code::PermissionDenied, detail).into());
    }
    let visitor = admitted(&host, &call, pass, reach)?;
    tokio::spawn(async move {
        VerifierSession::run(host, visitor, upgrade).await;
        // The connection counts towards the connection limit, and is never closed as idle.
        drop(seat);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Returns the admission of another verifier, or the limit that refuses it.
fn admitted(
    host: &VerifierHost,
    call: &Call,
    pass: Option<RootPass>,
    reach: Reach,
) -> Result<AdmittedVerifier, Failure> {
    host.authority().verifiers().may_connect(pass.as_ref(), &reach)?;
    let share = host.shares().of(pass.as_ref().map(RootPass::id), &reach);
    let of = "without a `hello`, of this root key or tenant";
    let silent = share.silent().ok_or_else(|| {
        host.shares().count_refused();
        let max = share::SILENT.0;
        Failure::TooManyVerifiers { max, of }
    })?;
    Ok(AdmittedVerifier {
        reach,
        pass,
        peer: call.address.clone().unwrap_or_else(|| "this machine".into()),
        share,
        silent,
    })
}

/// Runs the periodic sweep, which closes verifiers that do not acknowledge in time, also when no other event occurs.
pub(crate) async fn sweep(host: Arc<VerifierHost>, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(SWEEP_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => host.authority().verifiers().sweep(),
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

fn wishes_protocol(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    wishes
        .flat_map(|value| value.split(','))
        .any(|wish| wish.trim().eq_ignore_ascii_case(PROTOCOL))
}
