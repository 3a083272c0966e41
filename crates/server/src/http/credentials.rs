//! The credentials of callers, looked up within the limit of their address.

use super::call::default_tenant;
use crate::edge::Peer;
use crate::store_deadline::StoreDeadline;
use crate::verdict_service::VerdictService;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_authority::{Call, Failure, Refused};
use keyreeve_core::Digest;
use keyreeve_core::access::Reach;
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::Denial;
use std::net::IpAddr;
use tokio::time::Instant;

/// Where a request with a root key comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestSource {
    /// The address by which look-ups of unknown secrets are counted.
    pub(crate) counted: Option<IpAddr>,
    /// The address that must be in the networks of the root key; `None` is a connection without one.
    pub(crate) client: Option<IpAddr>,
    /// Whether it is the socket in the data directory, where networks do not apply.
    pub(crate) is_operator: bool,
}

impl RequestSource {
    /// Returns the source of a request of `client`, which is the peer itself or behind trusted proxies.
    pub(crate) fn of(peer: &Peer, client: Option<IpAddr>) -> Self {
        Self {
            counted: client,
            client,
            is_operator: peer.is_operator,
        }
    }
}

impl VerdictService {
    /// Returns the root key of a secret, if it is one that is accepted from there. The outer problem is the rate limit of
    /// the address.
    pub(crate) async fn root_key(
        &self,
        source: RequestSource,
        secret: &str,
    ) -> Result<Result<Option<RootPass>, Failure>, Problem> {
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(Ok(None));
        };
        let digest = presented.digest();
        let is_foreign = |pass: &RootPass| !source.is_operator && !pass.admits(source.client);
        let known = match self.authority().root_key_remembered(&digest) {
            Some(Some(pass)) if is_foreign(&pass) => {
                self.note_foreign(&pass, source.client);
                // As long as the look-up of an unknown secret takes, and counted like it.
                let look_up = Box::pin(self.authority().root_key_of(Digest::of(digest.bytes())));
                let limits = self.address_rate_limits();
                return Box::pin(limits.bounded(source.counted, look_up, Result::is_ok))
                    .await
                    .map(|looked| looked.map(|_| None));
            }
            Some(known) => Ok(known),
            None => {
                // A miss is rare and its future is large: in a box it is not part of the future of every request.
                let look_up = Box::pin(self.authority().root_key_of(digest));
                let limits = self.address_rate_limits();
                let is_nothing = |found: &Result<Option<RootPass>, Failure>| match found {
                    Ok(Some(pass)) => is_foreign(pass),
                    Ok(None) => true,
                    Err(_) => false,
                };
                Box::pin(limits.bounded(source.counted, look_up, is_nothing)).await?
            }
        };
        let Ok(Some(pass)) = known else {
            return Ok(known);
        };
        if is_foreign(&pass) {
            self.note_foreign(&pass, source.client);
            return Ok(Ok(None));
        }
        self.authority().note_root_key_use(&pass);
        Ok(Ok(Some(pass)))
    }

    /// Records in the audit log that a root key was presented from outside its networks. The client gets the answer to an
    /// unknown secret, and does not wait for the log, so that a thief does not learn that the secret is good.
    #[cold]
    fn note_foreign(&self, pass: &RootPass, client: Option<IpAddr>) {
        let tenant = match pass.reach() {
            Reach::Tenant(slug) => slug.clone(),
            Reach::Instance => match default_tenant() {
                Ok(slug) => slug,
                Err(_) => return,
            },
        };
        let call = Call {
            caller: pass.caller(),
            tenant,
            address: client.map(|address| address.to_string().into()),
            request_id: self.new_request_id().into(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        };
        let refused = Refused {
            target_type: "root_key",
            target_id: pass.id().to_string(),
            what: format!("{}: from outside its networks", Code::RootKeyInvalid.as_str()),
        };
        self.authority().audit().note_refusal_soon(&call, refused);
    }

    /// Returns the verdict on a key that a client presents without another credential. `from` is the client's address.
    pub(crate) async fn verdict_for(
        &self,
        from: Option<IpAddr>,
        secret: &str,
        question: &Question<'_>,
    ) -> Result<Verdict, Problem> {
        let began = Instant::now();
        let verdict = match self.authority().verify_hit(secret, question) {
            Ok(verdict) => verdict,
            Err(miss) if self.authority().remembers(&miss) => {
                Box::pin(self.verdict_on_miss(miss, question, &mut StoreDeadline::default())).await
            }
            Err(miss) => {
                let mut deadline = StoreDeadline::default();
                let look_up = Box::pin(self.verdict_on_miss(miss, question, &mut deadline));
                let is_nothing = |verdict: &Verdict| matches!(verdict.outcome, Err(Denial::Unknown));
                Box::pin(self.address_rate_limits().bounded(from, look_up, is_nothing)).await?
            }
        };
        self.numbers().verifications.observe(began.elapsed());
        Ok(verdict)
    }
}
