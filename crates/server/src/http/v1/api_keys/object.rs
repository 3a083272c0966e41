//! The key object (clerk-wire, section 2).

use crate::http::conditions::versioned;
use crate::management::Management;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use keyreeve_api::keys::{ApiKey, Effect};
use keyreeve_authority::keys::{ChangedKey, KeyWithSecret};
use keyreeve_core::Timestamp;
use keyreeve_core::lifecycle::State;
use keyreeve_store::model::{Done, KeyRecord};
use keyreeve_store::version::Version;
use keyreeve_web::key_limit::limit;
use keyreeve_web::{Rejected, respond};

/// Returns a key as the API shows it at `now`.
pub(crate) fn object(record: &KeyRecord, now: Timestamp) -> ApiKey {
    let key = &record.key;
    let state = state_of(&key.state);
    ApiKey {
        object: "api_key",
        id: key.id.to_string(),
        kind: "api_key",
        subject: key.subject.to_string(),
        name: key.name.to_string(),
        description: key.description.as_ref().map(ToString::to_string),
        claims: key
            .claims
            .as_ref()
            .and_then(|claims| serde_json::from_str(claims.as_json()).ok()),
        scopes: key.scopes.iter().map(str::to_owned).collect(),
        limits: key.limits.counted.as_slice().iter().map(limit).collect(),
        allowed_networks: key.limits.networks.as_slice().iter().map(ToString::to_string).collect(),
        secret: None,
        revoked: state.revoked_at.is_some(),
        revocation_reason: state.note,
        expired: key.is_expired(now),
        expiration: key.expires_at.map(Timestamp::millis),
        created_by: key.created_by.as_ref().map(ToString::to_string),
        last_used_at: record.last_used_at.map(Timestamp::millis),
        last_refused_at: record.last_refused_at.map(Timestamp::millis),
        created_at: key.created_at.millis(),
        updated_at: key.updated_at.millis(),
        state: key.standing(now).as_str(),
        owner_blocked: record.owner_blocked,
        prefix: key.secret.prefix.to_string(),
        last_four: key.secret.last_four.as_str().to_owned(),
        disabled_at: state.disabled_at,
        revoked_at: state.revoked_at,
        revoked_by: state.by,
        reason_code: state.code,
        rotated_at: key.rotated_at.map(Timestamp::millis),
        retiring_until: key.retiring.as_ref().map(|old| old.until.millis()),
        effect: None,
    }
}

/// The fields of the object that come from the stored state.
#[derive(Default)]
struct StateFields {
    disabled_at: Option<i64>,
    revoked_at: Option<i64>,
    by: Option<String>,
    code: Option<&'static str>,
    note: Option<String>,
}

fn state_of(state: &State) -> StateFields {
    match state {
        State::Active => StateFields::default(),
        State::Disabled(hold) => StateFields {
            disabled_at: Some(hold.since.millis()),
            ..StateFields::default()
        },
        State::Revoked(revocation) => StateFields {
            disabled_at: None,
            revoked_at: Some(revocation.at.millis()),
            by: Some(revocation.by.to_string()),
            code: Some(revocation.code.as_str()),
            note: revocation.note.as_ref().map(ToString::to_string),
        },
    }
}

/// Returns a key with its new secret, for the one answer that shows it.
pub(crate) fn with_secret(key: &KeyWithSecret, now: Timestamp) -> ApiKey {
    ApiKey {
        secret: Some(key.secret.expose().to_owned()),
        ..object(&key.record, now)
    }
}

/// Returns the propagation of a change.
pub(crate) fn effect(effect: &keyreeve_authority::Effect) -> Effect {
    Effect {
        revision: effect.revision,
        verifiers: effect.verifiers,
        waited_ms: effect.waited_ms(),
        scope: if effect.is_pending { "pending" } else { "everywhere" },
        durability: effect.durability.as_str(),
    }
}

/// Answers a change of one key.
pub(crate) fn changed(management: &Management, change: &ChangedKey) -> Result<Response, Rejected> {
    let shown = object(&change.record, management.authority().now());
    let is_ending = matches!(change.record.key.state, State::Revoked(_) | State::Disabled(_));
    let key = ApiKey {
        effect: Some(effect(&change.effect)),
        state: if change.effect.is_pending && is_ending {
            REVOKING
        } else {
            shown.state
        },
        ..shown
    };
    if !change.effect.is_pending {
        management.note_change(change);
    }
    let response = answered(management, &change.effect, &key)?;
    Ok(match change.done {
        Done::Erased => response,
        Done::Nothing | Done::Stored => versioned(response, &Version::of_key(&change.record.key)),
    })
}

/// The state of a key whose end is committed and not yet known to every verifier.
pub(crate) const REVOKING: &str = "revoking";

/// Answers a change: 200 if it is effective everywhere, else 202 with the operation, for callers that do not wait.
pub(crate) fn answered(
    management: &Management,
    effect: &keyreeve_authority::Effect,
    body: &impl serde::Serialize,
) -> Result<Response, Rejected> {
    if !effect.is_pending {
        management.note_effect(effect);
        return Ok(respond::json(StatusCode::OK, body)?);
    }
    let mut response = respond::json(StatusCode::ACCEPTED, body)?;
    let headers = response.headers_mut();
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/operations/op_{}", effect.revision)) {
        headers.insert(LOCATION, place);
    }
    Ok(response)
}
