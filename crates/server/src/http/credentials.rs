//! The credentials of callers, looked up within the limit of their address.

use crate::store_deadline::StoreDeadline;
use crate::verdict_service::VerdictService;
use keyreeve_api::Problem;
use keyreeve_authority::Failure;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::Denial;
use std::net::IpAddr;
use tokio::time::Instant;

impl VerdictService {
    /// Returns the root key of a secret, if it is one. The outer problem is the rate limit of the address.
    pub(crate) async fn root_key(
        &self,
        address: Option<IpAddr>,
        secret: &str,
    ) -> Result<Result<Option<RootPass>, Failure>, Problem> {
        let Ok(presented) = Presented::parse(secret) else {
            return Ok(Ok(None));
        };
        let digest = presented.digest();
        if let Some(known) = self.authority().root_key_remembered(&digest) {
            return Ok(Ok(known));
        }
        // A miss is rare and its future is large: in a box it is not part of the future of every request.
        let look_up = Box::pin(self.authority().root_key_of(digest));
        Box::pin(
            self.address_rate_limits()
                .bounded(address, look_up, |found| matches!(found, Ok(None))),
        )
        .await
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
