//! Browser sessions: tower-sessions with our store behind it. Only the digest of a session's id is stored, so a reader
//! of the database cannot take over a session.

use crate::Dashboard;
use async_trait::async_trait;
use keyreeve_authority::model::{Login, LoginKind};
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::{Duration, OffsetDateTime};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Expiry, SessionManagerLayer, SessionStore};

/// An idle session ends after four hours (docs/acceptance.md, P-43).
const IDLE: Duration = Duration::hours(4);
/// `__Host-`: only this host, only over TLS or on this machine, with the path `/` (RFC 6265bis, section 4.1.3.2).
const COOKIE: &str = "__Host-keyreeve";
/// The session's value with the [`Visit`].
pub(super) const VISIT: &str = "visit";

/// The session's data about the signed-in user.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Visit {
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) csrf: String,
    pub(super) signed_in_at: i64,
    pub(super) confirmed_at: i64,
    pub(super) touched_at: i64,
}

impl Visit {
    pub(super) fn user_id(&self) -> Option<UserId> {
        UserId::parse(&self.user).ok()
    }
}

/// The session store.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Dashboard);

/// The layer that gives each request its session.
pub(super) fn layer(app: Dashboard) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions(app))
        .with_name(COOKIE)
        .with_secure(true)
        .with_http_only(true)
        // Lax, not Strict: a link in a mail to a key's page must find the reader signed in. The CSRF token guards
        // changes.
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(IDLE))
}

/// Returns the digest of a session's id, which is what is stored.
pub(super) fn digest(id: Id) -> Digest {
    Digest::of(id.to_string().as_bytes())
}

fn failed(failure: &keyreeve_authority::Failure) -> Error {
    Error::Backend(failure.to_string())
}

impl Sessions {
    async fn put(&self, record: &Record) -> Result<()> {
        let encode = |error: serde_json::Error| Error::Encode(error.to_string());
        let visit = record.data.get(VISIT).cloned();
        let visit: Option<Visit> = visit.map(serde_json::from_value).transpose().map_err(encode)?;
        let tenant = visit
            .as_ref()
            .map_or(keyreeve_authority::tenants::DEFAULT_TENANT, |visit| &visit.tenant);
        let login = Login {
            digest: digest(record.id),
            kind: LoginKind::Session,
            tenant: Slug::parse(tenant).map_err(|error| Error::Encode(error.to_string()))?,
            user: visit.and_then(|visit| visit.user_id()),
            data: serde_json::to_string(&record.data).map_err(encode)?,
            expires_at: Timestamp::from_millis(record.expiry_date.unix_timestamp().saturating_mul(1_000)),
        };
        let kept = self.0.authority().sign_in().keep_session(login).await;
        kept.map_err(|failure| failed(&failure))
    }
}

#[async_trait]
impl SessionStore for Sessions {
    /// An id has 128 random bits, so a collision need not be handled.
    async fn create(&self, record: &mut Record) -> Result<()> {
        self.put(record).await
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.put(record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.0.authority().sign_in().login(&digest(*id)).await;
        let Some(login) = found.map_err(|failure| failed(&failure))? else {
            return Ok(None);
        };
        if login.kind != LoginKind::Session {
            return Ok(None);
        }
        let decode = |error: String| Error::Decode(error);
        let seconds = login.expires_at.millis().div_euclid(1_000);
        Ok(Some(Record {
            id: *id,
            data: serde_json::from_str(&login.data).map_err(|error| decode(error.to_string()))?,
            expiry_date: OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| decode(error.to_string()))?,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let ended = self.0.authority().sign_in().end_session(digest(*id)).await;
        ended.map_err(|failure| failed(&failure))
    }
}
