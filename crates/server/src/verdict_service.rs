//! What every way to verify a key needs, and nothing else: verdicts, the root keys of callers within the limit of their
//! address, the address of a client, and the id of a request.

use crate::http::TrustedProxy;
use crate::numbers::Numbers;
use crate::store_deadline::StoreDeadline;
use keyreeve_authority::Authority;
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_core::hex_digits;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Prefix of request ids.
const REQUEST_PREFIX: &str = "req_";

/// Shared by all connections that verify keys.
#[derive(Debug)]
pub(crate) struct VerdictService {
    authority: Arc<Authority>,
    address_rate_limits: Arc<AddressRateLimits>,
    numbers: Arc<Numbers>,
    trusted_proxies: Vec<TrustedProxy>,
    request_prefix: String,
    requests: AtomicU64,
}

impl VerdictService {
    /// `process` distinguishes request ids of this process from those of others.
    pub(crate) fn new(
        authority: Arc<Authority>,
        address_rate_limits: Arc<AddressRateLimits>,
        numbers: Arc<Numbers>,
        trusted_proxies: Vec<TrustedProxy>,
        process: &str,
    ) -> Self {
        Self {
            authority,
            address_rate_limits,
            numbers,
            trusted_proxies,
            request_prefix: format!("{REQUEST_PREFIX}{process}"),
            requests: AtomicU64::new(1),
        }
    }

    /// Returns the use cases.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the rate limits by address.
    pub(crate) fn address_rate_limits(&self) -> &AddressRateLimits {
        &self.address_rate_limits
    }

    /// Returns the counters and histograms of this process.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Returns the proxies whose statement of a client's address is believed.
    pub(crate) fn trusted_proxies(&self) -> &[TrustedProxy] {
        &self.trusted_proxies
    }

    /// Returns a new request id: unique, and cheap enough for the hottest path.
    pub(crate) fn new_request_id(&self) -> String {
        let mut id = Vec::new();
        self.write_request_id(&mut id);
        String::from_utf8_lossy(&id).into_owned()
    }

    /// Appends a new request id.
    pub(crate) fn write_request_id(&self, out: &mut Vec<u8>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(self.request_prefix.as_bytes());
        out.extend_from_slice(&number.to_be_bytes().map(hex_digits).concat());
    }

    /// Returns the verdict on a secret. Every transport calls this, so that each verdict is measured.
    pub(crate) async fn verdict(&self, secret: &str, question: &Question<'_>) -> Verdict {
        self.verdict_within(secret, question, &mut StoreDeadline::default())
            .await
    }

    /// As `verdict`, for one of several verdicts of a request, which share a deadline.
    pub(crate) async fn verdict_within(
        &self,
        secret: &str,
        question: &Question<'_>,
        deadline: &mut StoreDeadline,
    ) -> Verdict {
        let began = Instant::now();
        let verdict = match self.authority.verify_hit(secret, question) {
            Ok(verdict) => verdict,
            Err(miss) => Box::pin(self.verdict_on_miss(miss, question, deadline)).await,
        };
        self.numbers.verifications.observe(began.elapsed());
        verdict
    }
}
