//! The facts about a request that every handler may use, and the error answer of a handler.

use axum_core::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Call;
use keyreeve_authority::sign_in::AnonymousCaller;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The connection of a request, as far as a handler changes it.
pub trait ClientConnection: fmt::Debug + Send + Sync {
    /// Records that a request on it had a valid credential: it is then not evicted to make room for others.
    fn note_known(&self);
}

/// Facts about the request that every handler may use.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The request's id.
    pub id: String,
    /// The client's network address; `None` on a Unix socket.
    pub client: Option<IpAddr>,
    /// The caller, once it is authenticated.
    pub caller: KnownCaller,
    /// The connection.
    pub connection: Arc<dyn ClientConnection>,
}

impl RequestInfo {
    /// Returns the facts of a request. They are inserted before any handler is called.
    pub fn of(parts: &Parts) -> Result<&Self, Problem> {
        let info = parts.extensions.get();
        info.ok_or_else(|| Problem::new(Code::InternalError, "The request has no request id."))
    }

    /// Returns the client's address, as the audit log has it.
    pub fn address(&self) -> Option<Box<str>> {
        self.client.map(|address| address.to_string().into())
    }

    /// Describes a caller without an identity.
    pub fn anonymous_caller(&self) -> AnonymousCaller {
        AnonymousCaller {
            address: self.address(),
            request_id: self.id.as_str().into(),
        }
    }
}

/// The caller, once it is authenticated. Refusals of an authenticated caller are recorded in the audit log.
#[derive(Clone, Debug, Default)]
pub struct KnownCaller(Arc<Mutex<Option<Call>>>);

impl KnownCaller {
    /// Records the caller.
    pub fn set(&self, call: &Call) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
    }

    /// Returns the caller; `None` if it is not authenticated.
    pub fn get(&self) -> Option<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An error answer. It is rendered last, where the family and the request id are known.
#[derive(Clone, Debug)]
pub struct Rejected(pub Problem);

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
