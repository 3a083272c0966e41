//! Verification, matched before the router: `/v1/verify`, its batch, and Clerk's verify share this path.

mod clerk;
mod document;
mod render;

pub(super) use document::VerifyDocument;

use super::answer::{family, request_id};
use super::bearer::bearer;
use super::call::{narrowed, root_key_invalid, root_key_required};
use super::client_address;
use super::credentials::RequestSource;
use crate::edge::Peer;
use crate::store_deadline::StoreDeadline;
use crate::verdict_service::VerdictService;
use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use keyreeve_api::verify::{VERIFY_BATCH_MAX, VerifyBatch, VerifyKey, VerifySecret};
use keyreeve_api::{Code, Problem, json};
use keyreeve_authority::Failure;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::verify::{Question, Via};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::limits::COST_MAX;
use keyreeve_core::scope::{SCOPES_MAX, is_scope};
use keyreeve_web::{body, respond};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// Largest body of one request. A key has 87 bytes at most; the rest is for scopes.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a batch.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The routes that are answered here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    One,
    Batch,
    Clerk,
}

impl Route {
    /// Returns the route of a request, if it is one of these. The router refuses other methods on them.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        if *method != Method::POST {
            return None;
        }
        match path {
            "/v1/verify" => Some(Self::One),
            "/v1/verify/batch" => Some(Self::Batch),
            "/v1/api_keys/verify" => Some(Self::Clerk),
            _ => None,
        }
    }
}

/// Answers a verification that the HTTP library has parsed.
pub(crate) async fn serve(
    route: Route,
    verdicts: &VerdictService,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let id = request_id(verdicts, &parts.headers);
    let family = family(parts.uri.path());
    let address = client_address::client(verdicts.trusted_proxies(), peer, &parts.headers);
    let authenticated = async || authenticate_caller(verdicts, peer, address, bearer(&parts.headers)?).await;
    let asked = async {
        let pass = authenticated().await?;
        let narrowed = narrowed(verdicts, pass.as_ref(), &parts.headers).await?;
        Ok((pass, narrowed))
    };
    let (pass, narrowed) = match asked.await {
        Ok(asked) => asked,
        Err(problem) => {
            let response = respond::problem(&problem, family, &id);
            // Only HTTP/1 has a `Connection` header (RFC 9113, section 8.2.2).
            let is_kept = parts.version == Version::HTTP_2 || body::drain(&parts.headers, incoming).await;
            return if is_kept { response } else { respond::closing(response) };
        }
    };
    let reach = narrowed.as_ref().unwrap_or(reach_of(pass.as_ref()));
    let answered = async {
        let body = read_body(route, &parts.headers, incoming).await?;
        // Again, because the client may have held the body back for longer than a revocation took.
        if pass
            .as_ref()
            .is_some_and(|pass| !verdicts.authority().is_still_good(pass))
        {
            Box::pin(authenticated()).await?;
        }
        answer(route, verdicts, reach, &body).await
    };
    match answered.await {
        Ok(response) => respond::with_request_id(response, &id),
        Err(problem) => respond::problem(&problem, family, &id),
    }
}

async fn read_body(route: Route, headers: &HeaderMap, incoming: Incoming) -> Result<Bytes, Problem> {
    let max = if route == Route::Batch {
        BATCH_BYTES_MAX
    } else {
        QUESTION_BYTES_MAX
    };
    let bytes = body::read(headers, incoming, max).await?;
    body::require_json(headers)?;
    Ok(bytes)
}

async fn answer(
    route: Route,
    verdicts: &VerdictService,
    reach: &Reach,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    if route == Route::Clerk {
        let question: VerifySecret<'_> = read(body)?;
        return clerk::answer(verdicts, reach, &question.secret).await;
    }
    let mut out = Vec::new();
    let status = decide(route, verdicts, reach, body, &mut out).await?;
    Ok(respond::verdicts(status, out))
}

fn read<'b, T: serde::Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Problem> {
    json::parse(bytes).map_err(|error| body::refused(&error))
}

/// Authenticates the caller. The root key defines whose keys may be verified; `None` is the operator, who may verify
/// all. `address` is the client's, which the root key must allow, and by which unknown secrets are counted.
pub(crate) async fn authenticate_caller(
    verdicts: &VerdictService,
    peer: &Peer,
    address: Option<IpAddr>,
    secret: Option<&str>,
) -> Result<Option<RootPass>, Problem> {
    let Some(secret) = secret else {
        return if peer.is_operator {
            Ok(None)
        } else {
            Err(root_key_required())
        };
    };
    let known = verdicts.root_key(RequestSource::of(peer, address), secret).await?;
    let known = known.map_err(|failure| unavailable(&failure))?;
    let pass = known.ok_or_else(root_key_invalid)?;
    if may_ask(&pass) {
        peer.seat.note_known();
        return Ok(Some(pass));
    }
    let detail = "The root key lacks the permission keys:verify.";
    Err(Problem::new(Code::PermissionDenied, detail).with("permission", Permission::KeysVerify.as_str()))
}

/// Returns the reach of a root key; the operator has none and reaches all tenants.
pub(crate) fn reach_of(pass: Option<&RootPass>) -> &Reach {
    pass.map_or(&Reach::Instance, RootPass::reach)
}

/// Returns whether a root key may verify keys.
pub(crate) fn may_ask(pass: &RootPass) -> bool {
    pass.permissions().allows(Permission::KeysVerify)
}

/// The problem if the root key cannot be verified now: never a 401.
pub(crate) fn unavailable(failure: &Failure) -> Problem {
    tracing::warn!(%failure, "cannot verify a root key");
    respond::no_verdict()
}

/// Decides a request or a batch, and appends the answer to `out`. Both transports end here. No item is verified before
/// the complete body is known to be valid.
pub(crate) async fn decide(
    route: Route,
    verdicts: &VerdictService,
    reach: &Reach,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<StatusCode, Problem> {
    if route == Route::Batch {
        return batch(verdicts, reach, body, out).await;
    }
    let question: VerifyKey<'_> = read(body)?;
    let asked = VerifyInput::of(&question, &"")?;
    out.reserve(render::VERDICT_BYTES);
    Ok(asked.judge(verdicts, reach, &mut StoreDeadline::default(), out).await)
}

async fn batch(
    verdicts: &VerdictService,
    reach: &Reach,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<StatusCode, Problem> {
    let batch: VerifyBatch<'_> = read(body)?;
    if batch.items.is_empty() || batch.items.len() > VERIFY_BATCH_MAX {
        return Err(Problem::field(
            "items",
            &format!("must have 1 to {VERIFY_BATCH_MAX} items"),
        ));
    }
    let items = batch.items.iter().enumerate();
    let asked = items.map(|(place, question)| VerifyInput::of(question, &format_args!("items[{place}].")));
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    out.reserve(render::VERDICT_BYTES * asked.len());
    out.extend_from_slice(b"{\"data\":[");
    let (mut status, mut deadline) = (StatusCode::OK, StoreDeadline::default());
    for (place, asked) in asked.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        status = status.max(asked.judge(verdicts, reach, &mut deadline, out).await);
    }
    out.extend_from_slice(b"]}");
    Ok(status)
}

/// A request with valid fields.
struct VerifyInput<'q> {
    key: &'q str,
    scopes: Vec<&'q str>,
    address: Option<IpAddr>,
    cost: u32,
}

impl<'q> VerifyInput<'q> {
    /// Validates a request. `within` is the prefix of field names in errors.
    fn of(question: &'q VerifyKey<'_>, within: &impl fmt::Display) -> Result<Self, Problem> {
        let scopes = match &question.scopes {
            None => Vec::new(),
            Some(scopes) => checked_scopes(scopes, within)?,
        };
        let unreadable = |_| Problem::field(&format!("{within}ip"), "must be an IPv4 or IPv6 address");
        let cost = question.cost.map_or(Some(1), |cost| u32::try_from(cost.0).ok());
        let too_much = || Problem::field(&format!("{within}cost"), &format!("must be at most {COST_MAX}"));
        let address = question.ip.as_deref().map(str::parse::<IpAddr>).transpose();
        Ok(Self {
            key: &question.key,
            scopes,
            address: address.map_err(unreadable)?,
            cost: cost.filter(|cost| *cost <= COST_MAX).ok_or_else(too_much)?,
        })
    }

    /// Appends the verdict; 503 if none can be given now.
    async fn judge(
        &self,
        verdicts: &VerdictService,
        reach: &Reach,
        deadline: &mut StoreDeadline,
        out: &mut Vec<u8>,
    ) -> StatusCode {
        let question = Question {
            via: Via::Api,
            reach,
            scopes: &self.scopes,
            now: verdicts.authority().now(),
            address: self.address,
            cost: Some(self.cost),
        };
        let verdict = verdicts.verdict_within(self.key, &question, deadline).await;
        render::verdict(out, &verdict, question.now);
        match verdict.outcome {
            Err(denial) if denial.is_no_verdict() => StatusCode::SERVICE_UNAVAILABLE,
            Ok(()) | Err(_) => StatusCode::OK,
        }
    }
}

fn checked_scopes<'s>(scopes: &'s [Cow<'_, str>], within: &impl fmt::Display) -> Result<Vec<&'s str>, Problem> {
    if scopes.len() > SCOPES_MAX {
        return Err(Problem::field(
            &format!("{within}scopes"),
            &format!("must have at most {SCOPES_MAX} scopes"),
        ));
    }
    for (place, scope) in scopes.iter().enumerate() {
        if !is_scope(scope) {
            let field = format!("{within}scopes[{place}]");
            return Err(Problem::field(
                &field,
                "must be 1 to 128 characters of A-Z a-z 0-9 : . _ * / -",
            ));
        }
    }
    Ok(scopes.iter().map(|scope| &**scope).collect())
}
