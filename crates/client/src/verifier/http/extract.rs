//! The axum extractor.

use super::super::Verifier;
use super::{HttpRefusal, RequestCredential, RequiredKey, Verified};
use axum_core::extract::{FromRef, FromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

/// Returns what a [`super::VerifyLayer`] has found; without one, verifies the request's key now, without required
/// scopes.
impl<S> FromRequestParts<S> for Verified
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = HttpRefusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpRefusal> {
        if let Some(verified) = parts.extensions.get::<Self>() {
            return Ok(verified.clone());
        }
        let credential = RequestCredential::of(&parts.headers);
        let verifier = Verifier::from_ref(state);
        RequiredKey::default().check(&verifier, credential, None).await
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        Self::into_response(self)
    }
}
