//! From a request to a call: the caller, the tenant, the body and the idempotency key.

use super::bearer::bearer;
use super::credentials::RequestSource;
use super::{answer, conditions};
use crate::verdict_service::VerdictService;
use axum::extract::{FromRef, FromRequest, Request};
use hyper::HeaderMap;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem, json};
use keyreeve_authority::tenants::DEFAULT_TENANT;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::{Call, Caller, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::text::Slug;
use keyreeve_store::model::{Idempotency, Repeat};
use keyreeve_web::failure::no_record;
use keyreeve_web::{Rejected, RequestInfo, body};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Names the tenant of a call.
pub(crate) const TENANT_HEADER: &str = "keyreeve-tenant";
/// The user that a root key with `users:act` acts as.
pub(crate) const ACT_AS_HEADER: &str = "keyreeve-act-as";
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Longest idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How the body of a call is read.
pub(crate) trait Content: Sized {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem>;
}

/// A required body.
pub(crate) struct Json<T>(pub(crate) T);

/// An optional body.
pub(crate) struct MaybeJson<T>(pub(crate) T);

/// No body. One that is sent is ignored (clerk-wire, section 7: SDKs send its content type).
pub(crate) struct NoBody;

impl<T: DeserializeOwned> Content for Json<T> {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        body::require_json(headers)?;
        json::parse(body).map(Self).map_err(|error| body::refused(&error))
    }
}

impl<T: DeserializeOwned + Default> Content for MaybeJson<T> {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        Json::read(headers, body).map(|Json(value)| Self(value))
    }
}

impl Content for NoBody {
    fn read(_: &HeaderMap, _: &[u8]) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// A management call with its body.
pub(crate) struct Incoming<C> {
    pub(crate) call: Call,
    pub(crate) content: C,
}

impl<S, C> FromRequest<S> for Incoming<C>
where
    C: Content,
    S: Send + Sync,
    Arc<VerdictService>: FromRef<S>,
{
    type Rejection = Rejected;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejected> {
        Self::of(request, &Arc::<VerdictService>::from_ref(state)).await
    }
}

impl<C: Content> Incoming<C> {
    /// Authenticates the caller of a request, then reads its body.
    pub(crate) async fn of(request: Request, verdicts: &VerdictService) -> Result<Self, Rejected> {
        let (parts, body) = request.into_parts();
        // Authenticate first: the refusal of an unknown caller must not depend on its body.
        let mut call = identify(&parts, verdicts).await?;
        let bytes = body::read(&parts.headers, body, body::BODY_BYTES_MAX).await?;
        require_unrevoked(&parts, verdicts).await?;
        call.only_if = conditions::only_if(&parts)?;
        call.idempotency = idempotency(&parts, &call.tenant, &bytes)?;
        let content = C::read(&parts.headers, &bytes)?;
        Ok(Self { call, content })
    }
}

/// Authenticates the root key and determines the tenant.
async fn identify(parts: &Parts, verdicts: &VerdictService) -> Result<Call, Rejected> {
    let info = RequestInfo::of(parts)?;
    let peer = answer::peer(parts)?;
    let caller = match (bearer(&parts.headers)?, peer.is_operator) {
        (None, true) => Caller::operator(),
        (None, false) => return Err(root_key_required().into()),
        (Some(secret), _) => {
            let pass = verdicts
                .root_key(RequestSource::of(peer, peer.address), secret)
                .await??;
            pass.ok_or_else(root_key_invalid)?.caller()
        }
    };
    peer.seat.note_known();
    let tenant = tenant(&parts.headers, &caller, verdicts).await?;
    let call = Call {
        caller,
        tenant,
        address: info.address(),
        request_id: info.id.as_str().into(),
        idempotency: None,
        only_if: None,
        is_awaited: !prefers_async(&parts.headers),
    };
    info.caller.set(&call);
    let Some(caller) = acting_user(&parts.headers, &call, verdicts).await? else {
        return Ok(call);
    };
    let call = Call { caller, ..call };
    info.caller.set(&call);
    Ok(call)
}

/// Looks at the root key again after the body, which the client may have held back for longer than a revocation took, or
/// until the root key had expired.
async fn require_unrevoked(parts: &Parts, verdicts: &VerdictService) -> Result<(), Rejected> {
    let peer = answer::peer(parts)?;
    let source = RequestSource::of(peer, peer.address);
    match bearer(&parts.headers)? {
        Some(secret) if verdicts.root_key(source, secret).await??.is_none() => Err(root_key_invalid().into()),
        _ => Ok(()),
    }
}

/// Returns the user that a call acts as, with the permissions that the user and the root key both have.
async fn acting_user(headers: &HeaderMap, call: &Call, verdicts: &VerdictService) -> Result<Option<Caller>, Rejected> {
    let mut values = headers.get_all(ACT_AS_HEADER).iter();
    let Some(user) = values.next() else {
        return Ok(None);
    };
    // A repeated header is refused: two readers could use different values.
    let id = user.to_str().ok().and_then(|id| keyreeve_core::UserId::parse(id).ok());
    let (Some(id), None) = (id, values.next()) else {
        return Err(Problem::field("Keyreeve-Act-As", "must be a user's id, and be given once").into());
    };
    let caller = verdicts.authority().users().act_as(call, id).await;
    let caller = caller.map_err(|failure| match failure {
        Failure::NotFound => Rejected::from(no_such_acting_user()),
        other => Rejected::from(other),
    })?;
    Ok(Some(caller))
}

fn no_such_acting_user() -> Problem {
    let detail = "No user with the id in Keyreeve-Act-As exists in this tenant.";
    Problem::new(Code::NotFound, detail)
}

/// Returns whether the caller prefers a 202 over waiting (RFC 7240, section 4.1).
fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes = values.flat_map(|value| value.split(','));
    wishes.any(|wish| {
        wish.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("respond-async")
    })
}

/// Returns the tenant that the header names. A tenant's own root key may omit it, and may not name another.
async fn tenant(headers: &HeaderMap, caller: &Caller, verdicts: &VerdictService) -> Result<Slug, Rejected> {
    let slug = match (&caller.reach, named_tenant(headers)?) {
        (Reach::Tenant(own), None) => return Ok(own.clone()),
        (Reach::Tenant(own), Some(named)) if named == *own => return Ok(named),
        (Reach::Tenant(_), Some(_)) => return Err(no_such_tenant().into()),
        (Reach::Instance, Some(named)) => named,
        (Reach::Instance, None) => default_tenant()?,
    };
    if verdicts.authority().tenants().exists(&slug).await? {
        Ok(slug)
    } else {
        Err(no_such_tenant().into())
    }
}

/// The tenant of calls without `Keyreeve-Tenant` by callers that are not bound to one.
pub(crate) fn default_tenant() -> Result<Slug, Problem> {
    Slug::parse(DEFAULT_TENANT).map_err(|error| Problem::field("Keyreeve-Tenant", &error.to_string()))
}

/// Returns the tenant that a request names. A repeated header is refused: two readers could use different values.
pub(crate) fn named_tenant(headers: &HeaderMap) -> Result<Option<Slug>, Problem> {
    let mut values = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let slug = value.to_str().ok().and_then(|text| Slug::parse(text).ok());
    match (slug, values.next()) {
        (Some(slug), None) => Ok(Some(slug)),
        _ => Err(Problem::field(
            "Keyreeve-Tenant",
            "must be a tenant's slug, and be given once",
        )),
    }
}

/// Returns the tenant of a call if its header names one.
pub(crate) fn named<'c>(headers: &HeaderMap, call: &'c Call) -> Option<&'c Slug> {
    headers.contains_key(TENANT_HEADER).then_some(&call.tenant)
}

/// Returns the reach that a request narrows its verification to by naming a tenant; `None` if it names none. `own` is
/// the reach of the caller's root key. A call that acts as a user is refused: no role may verify keys.
pub(crate) async fn narrowed(
    verdicts: &VerdictService,
    pass: Option<&RootPass>,
    headers: &HeaderMap,
) -> Result<Option<Reach>, Problem> {
    if headers.contains_key(ACT_AS_HEADER) {
        return Err(refused_as_user(verdicts, pass, headers).await);
    }
    let own = super::verify::reach_of(pass);
    let Some(named) = named_tenant(headers)? else {
        return Ok(None);
    };
    match own {
        Reach::Tenant(slug) if *slug == named => {}
        Reach::Tenant(_) => return Err(no_such_tenant()),
        Reach::Instance => match verdicts.authority().tenants().exists(&named).await {
            Ok(true) => {}
            Ok(false) => return Err(no_such_tenant()),
            Err(failure) => return Err(super::verify::unavailable(&failure)),
        },
    }
    Ok(Some(Reach::Tenant(named)))
}

/// Returns why a verification that acts as a user is refused: what is wrong with the user, else that no role may verify.
async fn refused_as_user(verdicts: &VerdictService, pass: Option<&RootPass>, headers: &HeaderMap) -> Problem {
    let caller = pass.map_or_else(Caller::operator, RootPass::caller);
    let acting = async {
        let call = Call {
            tenant: tenant(headers, &caller, verdicts).await?,
            caller,
            address: None,
            request_id: "".into(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        };
        acting_user(headers, &call, verdicts).await
    };
    match acting.await {
        Err(Rejected(problem)) => problem,
        Ok(_) => {
            let detail = "No role may verify keys. Call without the header Keyreeve-Act-As.";
            Problem::new(Code::PermissionDenied, detail).with("permission", Permission::KeysVerify.as_str())
        }
    }
}

fn no_such_tenant() -> Problem {
    Problem::new(
        Code::NotFound,
        "No tenant with this slug exists. Check the header Keyreeve-Tenant.",
    )
}

pub(crate) fn root_key_required() -> Problem {
    let detail = "This call needs a root key in the header Authorization: Bearer <root key>.";
    Problem::new(Code::RootKeyRequired, detail)
}

pub(crate) fn root_key_invalid() -> Problem {
    let detail = "The credential is not a root key that is accepted here: it is cut off, revoked, replaced or expired, or \
                  may not be used from this address.";
    Problem::new(Code::RootKeyInvalid, detail)
}

/// Reads the idempotency key of an unsafe request, with the digest of method, path, tenant and body.
fn idempotency(parts: &Parts, tenant: &Slug, body: &[u8]) -> Result<Option<Idempotency>, Problem> {
    let mut values = parts.headers.get_all(IDEMPOTENCY_HEADER).iter();
    let Some(value) = values.next().filter(|_| !crate::edge::is_safe(&parts.method)) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    let (Some(key), None) = (key, values.next()) else {
        return Err(Problem::field(
            "Idempotency-Key",
            "must be given once, with 1 to 255 visible characters",
        ));
    };
    let mut fingerprint = Sha256::new();
    for part in [
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        tenant.as_str().as_bytes(),
        body,
    ] {
        fingerprint.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        fingerprint.update(part);
    }
    Ok(Some(Idempotency {
        key: key.into(),
        fingerprint: fingerprint.finalize().into(),
        repeat: Repeat::Replaces,
    }))
}

/// Parses a key's id from the path. A malformed id gets the same answer as an unknown one.
pub(crate) fn key_id(text: &str) -> Result<keyreeve_core::KeyId, Problem> {
    keyreeve_core::KeyId::parse(text).map_err(|_| no_record())
}

pub(crate) use keyreeve_web::text::{
    claims, description, expiry, limits, name, networks, new_subject, note, reason_code, scopes, subject,
};
