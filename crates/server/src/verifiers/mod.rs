//! Verifiers inside applications: each hangs on this process by one connection (coherence.md, section 2.5).
//!
//! What they may do is decided in `keyreeve_authority::children`; here are the connection and the words.

mod marker;
mod session;
mod told;

pub(crate) use marker::Marker;

use crate::App;
use crate::http::answer::Rejected;
use crate::http::bearer::bearer;
use crate::http::call::{Incoming, NoBody};
use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::Response;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, StatusCode, Version};
use keyreeve_api::problem::ErrorBody;
use keyreeve_api::verifiers::PROTOCOL;
use keyreeve_api::{Code, Problem};
use keyreeve_core::access::Permission;
use session::Session;

/// Connect a verifier that answers from its own memory.
///
/// For `keyreeve-client`: both sides then speak JSON lines. The verifier is granted leases, told what to forget, and
/// waited for by every change that takes something away.
#[utoipa::path(
    get, path = "/v1/verifiers", tag = "verify", operation_id = "connectVerifier",
    responses(
        (status = 101, description = "From here on both sides speak `keyreeve-verifier`"),
        (status = 426, description = "UPGRADE_REQUIRED", body = ErrorBody, content_type = "application/problem+json"),
    ),
    security(("root_key" = ["keys:verify"]))
)]
pub(crate) async fn connect(State(app): State<App>, mut request: Request) -> Result<Response, Rejected> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let wishes = request.version() == Version::HTTP_11 && wishes_protocol(request.headers());
    let secret = bearer(request.headers())?.map(str::to_owned);
    let Incoming { call, .. } = Incoming::<NoBody>::from_request(request, &app).await?;
    call.require(Permission::KeysVerify)?;
    let (Some(upgrade), true) = (upgrade, wishes) else {
        let detail = "This address is a connection and no call: it needs HTTP/1.1 with the headers Connection: Upgrade \
                      and Upgrade: keyreeve-verifier.";
        return Err(Problem::new(Code::UpgradeRequired, detail).into());
    };
    let pass = match secret {
        Some(secret) => app.authority().root_key(&secret).await?,
        None => None,
    };
    tokio::spawn(Session::run(app, call.caller.reach, pass, upgrade));
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

fn wishes_protocol(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    wishes
        .flat_map(|value| value.split(','))
        .any(|wish| wish.trim().eq_ignore_ascii_case(PROTOCOL))
}
