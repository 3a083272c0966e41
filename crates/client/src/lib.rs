//! A client for a Keyreeve server: over HTTP with a root key, or through the socket in its data directory.
//!
//! A thin client: it sends, it receives, and it turns error bodies into [`ClientError`]. Answers are JSON values with
//! the field names of the API, so that a caller that prints them prints the API's own object.

mod authorities;
#[cfg(feature = "verifier")]
pub mod verifier;

pub use authorities::Authorities;
#[cfg(feature = "verifier")]
pub use verifier::{Verdict, Verifier};

use bytes::Bytes;
use keyreeve_api::problem::ErrorBody;
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// The timeout of a call. Longer than a revocation can take, so that none is cut off.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The timeout of a stream: a day.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address is no HTTP address.
    #[error("{0} is not an http:// or https:// address")]
    Address(String),
    /// The authorities to trust cannot be read.
    #[error("the certificates of authorities to trust cannot be read: {0}")]
    Authorities(String),
    /// The server could not be reached, or the connection ended.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server returned an error.
    #[error("{} ({}, request {})", .0.detail, .0.code, .0.request_id)]
    Refused(Box<ErrorBody>),
    /// The answer is not one of Keyreeve's: perhaps another server listens there.
    #[error("the server answered {status} with something that is not Keyreeve's")]
    Foreign {
        /// The HTTP status.
        status: u16,
    },
}

/// A connection to a server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    root_key: Option<String>,
    tenant: Option<String>,
    only_if: Option<String>,
}

impl Client {
    /// Creates a client with a root key. With `https://`, only certificates of `authorities` are trusted; without them,
    /// those that the system trusts.
    pub fn trusting(base: &str, root_key: String, authorities: Option<&Authorities>) -> Result<Self, ClientError> {
        let not_an_address = || ClientError::Address(base.to_owned());
        let url = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        Ok(Self {
            http: build(authorities::trust(reqwest::Client::builder(), authorities))?,
            base: url.ok_or_else(not_an_address)?,
            root_key: Some(root_key),
            tenant: None,
            only_if: None,
        })
    }

    /// Creates a client for a server on this machine, through the socket in its data directory. A process that can open
    /// it has every permission.
    pub fn over_socket(path: &Path) -> Result<Self, ClientError> {
        let base = Url::parse("http://operator/").map_err(|error| ClientError::Address(error.to_string()))?;
        Ok(Self {
            http: build(reqwest::Client::builder().unix_socket(path))?,
            base,
            root_key: None,
            tenant: None,
            only_if: None,
        })
    }

    /// Returns the same client for another tenant.
    pub fn for_tenant(mut self, tenant: Option<String>) -> Self {
        self.tenant = tenant;
        self
    }

    /// Returns the same client, with a value of `If-Match`: a record is changed only if it has one of these versions.
    pub fn only_if(mut self, etags: Option<String>) -> Self {
        self.only_if = etags;
        self
    }

    /// Returns the version of a record: its `ETag`, with the quotation marks.
    pub async fn etag(&self, path: &str) -> Result<String, ClientError> {
        let response = self.ask(Method::GET, self.url(path)?, None::<&()>).await?;
        let status = response.status();
        if let Some(etag) = response.headers().get("etag").filter(|_| status.is_success()) {
            return etag.to_str().map(str::to_owned).map_err(|_| foreign(status));
        }
        let bytes = response.bytes().await.map_err(unreachable)?;
        Err(failed(status, &bytes))
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None::<&()>).await
    }

    /// Sends a POST with a JSON body.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.send(Method::POST, self.url(path)?, Some(body)).await
    }

    /// Sends a PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.send(Method::PUT, self.url(path)?, Some(body)).await
    }

    /// Sends a PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.send(Method::PATCH, self.url(path)?, Some(body)).await
    }

    /// Sends a DELETE.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::DELETE, self.url(path)?, None::<&()>).await
    }

    /// Sends a GET whose answer is a stream of bytes, without a limit on its length.
    pub async fn stream(&self, path: &str) -> Result<ByteStream, ClientError> {
        let request = self.http.request(Method::GET, self.url(path)?).timeout(STREAM_TIMEOUT);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        match status.is_success() {
            true => Ok(ByteStream(response)),
            false => Err(failed(status, &response.bytes().await.map_err(unreachable)?)),
        }
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.base
            .join(path)
            .map_err(|error| ClientError::Address(error.to_string()))
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<&impl Serialize>,
    ) -> Result<reqwest::Response, ClientError> {
        let only_if = self.only_if.as_ref().filter(|_| method != Method::GET);
        let mut request = self.http.request(method, url);
        if let Some(etags) = only_if {
            request = request.header("if-match", etags);
        }
        if let Some(root_key) = &self.root_key {
            request = request.bearer_auth(root_key);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("keyreeve-tenant", tenant);
        }
        if let Some(body) = body {
            let json = serde_json::to_vec(body).map_err(|error| ClientError::Unreachable(error.to_string()))?;
            request = request.header("content-type", "application/json").body(json);
        }
        request.send().await.map_err(unreachable)
    }

    async fn send(&self, method: Method, url: Url, body: Option<&impl Serialize>) -> Result<Value, ClientError> {
        let response = self.ask(method, url, body).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        match status.is_success() {
            true => serde_json::from_slice(&bytes).map_err(|_| foreign(status)),
            false => Err(failed(status, &bytes)),
        }
    }
}

/// An answer that is read piece by piece.
pub struct ByteStream(reqwest::Response);

impl ByteStream {
    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// If the connection ends early.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.0.chunk().await.map_err(unreachable)
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").finish_non_exhaustive()
    }
}

/// Without the address, which the caller knows and which may be long.
fn unreachable(error: reqwest::Error) -> ClientError {
    ClientError::Unreachable(root_cause(&error.without_url()))
}

/// Returns the error in an answer that is not a success.
pub(crate) fn failed(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(body) => ClientError::Refused(Box::new(body)),
        Err(_) => foreign(status),
    }
}

fn foreign(status: StatusCode) -> ClientError {
    ClientError::Foreign {
        status: status.as_u16(),
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
    builder
        .timeout(TIMEOUT)
        // A change must not be sent a second time, to an address that the caller has not named.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ClientError::Unreachable(error.to_string()))
}

/// Returns the innermost error, which has the actual cause.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
