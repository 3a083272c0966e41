//! The tower layer.

use super::super::Verifier;
use super::{RequestCredential, RequiredKey};
use http::{Extensions, HeaderMap, Request, Response};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Forwards only requests with a good key. The handlers find [`super::Verified`] in the extensions.
#[derive(Clone, Debug)]
pub struct VerifyLayer {
    verifier: Verifier,
    wanted: Arc<RequiredKey>,
}

/// A service behind a [`VerifyLayer`].
#[derive(Clone, Debug)]
pub struct VerifyService<S> {
    inner: S,
    layer: VerifyLayer,
}

impl VerifyLayer {
    /// Accepts any good key.
    pub fn new(verifier: Verifier) -> Self {
        Self {
            verifier,
            wanted: Arc::default(),
        }
    }

    /// Accepts only keys that have all these scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        Arc::make_mut(&mut self.wanted).scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how to find the end user's address, for keys that may be used from some networks only; without it they are
    /// refused. Behind a proxy, use what the proxy itself has written, never what a client can.
    #[must_use]
    pub fn address(
        mut self,
        locate: impl Fn(&Extensions, &HeaderMap) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.wanted).locate = Some(Arc::new(locate));
        self
    }

    /// Sets the realm of the challenge; the default is `api`.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.wanted).realm = Some(realm.into());
        self
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = VerifyService<S>;

    fn layer(&self, inner: S) -> VerifyService<S> {
        VerifyService {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for VerifyService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The service that is ready is called; the clone becomes ready for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        let credential = RequestCredential::of(request.headers());
        let address = layer.wanted.address(request.extensions(), request.headers());
        Box::pin(async move {
            match layer.wanted.check(&layer.verifier, credential, address).await {
                Ok(verified) => {
                    request.extensions_mut().insert(verified);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refusal.into_response()),
            }
        })
    }
}
