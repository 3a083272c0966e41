//! The visitor of a page: the user of the session, read from the store for each request.

use super::flash::Flash;
use super::page_error::PageError;
use super::preferences::Preferences;
use super::session::{self, VISIT, Visit};
use crate::Dashboard;
use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Call;
use keyreeve_authority::sign_in::AnonymousCaller;
use keyreeve_core::access::Role;
use keyreeve_core::hex;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, Policy, Timestamp, User};
use keyreeve_web::RequestInfo;
use tower_sessions::Session;

/// A session ends half a day after the sign-in, even if it is used.
const LIFE_MS: u64 = 12 * 3_600_000;
/// How long a password entry permits creating, rotating and changing many keys: 15 minutes (OWASP ASVS 7.5.3).
const CONFIRMED_MS: u64 = 15 * 60_000;
/// Shortest time between two extensions of a session, so that viewing pages costs few writes.
const TOUCH_MS: u64 = 5 * 60_000;

/// A signed-in user on a page.
pub(super) struct Visitor {
    pub(super) user: User,
    pub(super) call: Call,
    pub(super) policy: Policy,
    pub(super) csrf: String,
    pub(super) preferences: Preferences,
    pub(super) flash: Option<Flash>,
    pub(super) now: Timestamp,
    /// For links and texts to copy: the public address, otherwise the one at which this machine reaches the server.
    /// Never taken from a request.
    pub(super) origin: String,
    confirmed_at: Timestamp,
    session: Session,
    app: Dashboard,
}

impl Visitor {
    /// Whether the password was entered within the last 15 minutes.
    pub(super) fn is_confirmed(&self) -> bool {
        self.now.millis_since(self.confirmed_at) < CONFIRMED_MS
    }

    pub(super) fn is_admin(&self) -> bool {
        self.user.role == Role::Admin
    }

    /// Whether the visitor sees the tenant's keys, users and audit log.
    pub(super) fn sees_tenant(&self) -> bool {
        matches!(self.user.role, Role::Admin | Role::Auditor)
    }

    /// Returns the patterns of the scopes that the policy lets the visitor's role give; `None` if every scope.
    pub(super) fn scopes_given(&self) -> Option<String> {
        let grant = &self.policy.grant;
        let given = match self.is_admin() {
            true => &grant.admin_scopes,
            false => &grant.member.scopes,
        };
        (*given != Scopes::every()).then(|| given.joined())
    }

    pub(super) fn may_change(&self) -> bool {
        self.user.role != Role::Auditor
    }

    /// Records that the password was entered just now.
    pub(super) async fn confirm(&mut self) -> Result<(), PageError> {
        self.confirmed_at = self.now;
        if let Some(mut visit) = self.session.get::<Visit>(VISIT).await? {
            visit.confirmed_at = self.now.millis();
            self.session.insert(VISIT, visit).await?;
        }
        Ok(())
    }

    /// Stores the message for the next page.
    pub(super) async fn tell(&self, flash: Flash) -> Result<(), PageError> {
        flash.keep(&self.session).await
    }

    /// Returns the digest of this session's id.
    pub(super) fn session_digest(&self) -> Option<Digest> {
        self.session.id().map(session::digest)
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns 128 random bits in hexadecimal.
    pub(super) fn random_hex(&self) -> Result<String, PageError> {
        random_hex(&self.app)
    }
}

/// Begins a session for a user. Its id is new: an id that was planted before (session fixation) becomes invalid.
pub(super) async fn begin(app: &Dashboard, session: &Session, user: &User, now: Timestamp) -> Result<(), PageError> {
    if session.id().is_some() {
        session.flush().await?;
    }
    let visit = Visit {
        tenant: user.tenant.to_string(),
        user: user.id.to_string(),
        csrf: random_hex(app)?,
        signed_in_at: now.millis(),
        confirmed_at: now.millis(),
        touched_at: now.millis(),
    };
    Ok(session.insert(VISIT, visit).await?)
}

/// Returns 128 random bits in hexadecimal.
pub(super) fn random_hex(app: &Dashboard) -> Result<String, PageError> {
    let mut bytes = [0; 16];
    app.host()
        .entropy()
        .fill(&mut bytes)
        .map_err(keyreeve_authority::Failure::from)?;
    Ok(hex(&bytes))
}

/// Returns the address and the request id of a request.
pub(super) fn anonymous_caller(parts: &Parts) -> AnonymousCaller {
    let info = parts.extensions.get::<RequestInfo>();
    let nobody = || AnonymousCaller {
        address: None,
        request_id: "".into(),
    };
    info.map_or_else(nobody, RequestInfo::anonymous_caller)
}

/// Loads the session of a request, within the limit of its address: an unknown session costs a query, too.
pub(super) async fn load(session: &Session, parts: &Parts, app: &Dashboard) -> Result<(), PageError> {
    if session.id().is_none() {
        return Ok(());
    }
    let address = parts.extensions.get::<RequestInfo>().and_then(|info| info.client);
    let look_up = session.get::<Visit>(VISIT);
    app.host()
        .address_rate_limits()
        .bounded(address, look_up, |found| matches!(found, Ok(None)))
        .await??;
    Ok(())
}

impl FromRequestParts<Dashboard> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Dashboard) -> Result<Self, PageError> {
        let session = Session::from_request_parts(parts, app)
            .await
            .map_err(|(_, why)| PageError::internal(why))?;
        load(&session, parts, app).await?;
        let now = app.authority().now();
        let Some((visit, user)) = current(&session, app, now).await? else {
            return Err(PageError::from(signed_out()).signing_in(parts));
        };
        let from = anonymous_caller(parts);
        let call = app.authority().sign_in().call_of(&user, &from);
        if let Some(info) = parts.extensions.get::<RequestInfo>() {
            info.caller.set(&call);
            info.connection.note_known();
        }
        let policy = app.authority().policy().get(&call).await?;
        let flash = match parts.method.is_safe() {
            true => Flash::take(&session).await?,
            false => None,
        };
        Ok(Self {
            user,
            call,
            policy,
            csrf: visit.csrf,
            preferences: Preferences::of(&parts.headers),
            flash,
            now,
            origin: app.host().origin().to_owned(),
            confirmed_at: Timestamp::from_millis(visit.confirmed_at),
            session,
            app: app.clone(),
        })
    }
}

/// Returns the session's visit and its user, if neither has ended.
pub(super) async fn current(
    session: &Session,
    app: &Dashboard,
    now: Timestamp,
) -> Result<Option<(Visit, User)>, PageError> {
    let Some(mut visit) = session.get::<Visit>(VISIT).await? else {
        return Ok(None);
    };
    let since = |millis| now.millis_since(Timestamp::from_millis(millis));
    let (Ok(tenant), Some(id)) = (Slug::parse(&visit.tenant), visit.user_id()) else {
        return Ok(None);
    };
    let user = app.authority().sign_in().signed_in(&tenant, id).await?;
    let Some(user) = user.filter(|_| since(visit.signed_in_at) < LIFE_MS) else {
        session.flush().await?;
        return Ok(None);
    };
    if since(visit.touched_at) > TOUCH_MS {
        visit.touched_at = now.millis();
        session.insert(VISIT, visit.clone()).await?;
    }
    Ok(Some((visit, user)))
}

fn signed_out() -> Problem {
    Problem::new(
        Code::SignInRequired,
        "You are not signed in, or your session has ended. Sign in and go on.",
    )
}
