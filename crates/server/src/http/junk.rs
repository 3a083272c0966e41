//! Bounds look-ups of unknown secrets with a valid checksum: each costs a query, so an address may cause a limited
//! number a minute. Answers from memory cost no query and are never refused.

use crate::App;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_authority::verifier::RootPass;
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_core::key::Presented;
use keyreeve_core::verdict::Denial;
use keyreeve_web::address_rate_limits::place;
use keyreeve_web::respond::RETRY_AFTER_SECONDS;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Look-ups of one address in a minute: those that found nothing, and those that are running.
const JUNK_MAX: u32 = 600;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. Above that, new ones share one entry.
const REMEMBERED_MAX: usize = 50_000;

/// Counts by address.
#[derive(Debug, Default)]
pub(crate) struct Junk(Mutex<HashMap<Option<IpAddr>, Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    found_nothing: u32,
    under_way: u32,
}

/// A running look-up.
#[derive(Debug)]
pub(crate) struct LookUp<'j> {
    junk: &'j Junk,
    place: Option<IpAddr>,
}

impl Junk {
    fn counts(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a look-up; a problem if the address has reached its limit.
    pub(crate) fn begin(&self, address: Option<IpAddr>) -> Result<LookUp<'_>, Problem> {
        let now = Instant::now();
        let mut counts = self.counts();
        let mut place = address.map(place);
        if counts.len() >= REMEMBERED_MAX && !counts.contains_key(&place) {
            counts.retain(|_, count| count.under_way > 0 || now.duration_since(count.since) < WINDOW);
            if counts.len() >= REMEMBERED_MAX {
                place = None;
            }
        }
        let count = counts.entry(place).or_insert(Count {
            since: now,
            found_nothing: 0,
            under_way: 0,
        });
        if now.duration_since(count.since) >= WINDOW {
            (count.since, count.found_nothing) = (now, 0);
        }
        // Running look-ups count too, or a burst could exceed the limit before its first result.
        if count.found_nothing.saturating_add(count.under_way) >= JUNK_MAX {
            let wait = WINDOW.saturating_sub(now.duration_since(count.since)).as_secs() + 1;
            let detail = "This address has presented too many unknown secrets. Wait, then try again.";
            return Err(Problem::new(Code::RateLimited, detail).with(RETRY_AFTER_SECONDS, wait));
        }
        count.under_way += 1;
        Ok(LookUp { junk: self, place })
    }
}

impl LookUp<'_> {
    /// Counts the look-up as one that found nothing.
    fn found_nothing(&self) {
        if let Some(count) = self.junk.counts().get_mut(&self.place) {
            count.found_nothing = count.found_nothing.saturating_add(1);
        }
    }
}

impl Drop for LookUp<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.junk.counts().get_mut(&self.place) {
            count.under_way = count.under_way.saturating_sub(1);
        }
    }
}

impl App {
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
        let look_up = self.junk().begin(address)?;
        let found = self.authority().root_key_of(digest).await;
        if matches!(found, Ok(None)) {
            look_up.found_nothing();
        }
        Ok(found)
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
            Err(miss) if self.authority().remembers(&miss) => self.authority().verify_miss(miss, question).await,
            Err(miss) => {
                let look_up = self.junk().begin(from)?;
                let verdict = self.authority().verify_miss(miss, question).await;
                if matches!(verdict.outcome, Err(Denial::Unknown)) {
                    look_up.found_nothing();
                }
                verdict
            }
        };
        self.numbers().verifications.observe(began.elapsed());
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_finds_nothing_counts_and_only_for_a_minute() {
        let junk = Junk::default();
        for _ in 0..2 * JUNK_MAX {
            drop(junk.begin(Some(address(1))).unwrap());
        }
        for _ in 0..JUNK_MAX {
            junk.begin(Some(address(1))).unwrap().found_nothing();
        }
        let refused = junk.begin(Some(address(1))).unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        assert!(junk.begin(Some(address(2))).is_ok());
        tokio::time::advance(WINDOW).await;
        assert!(junk.begin(Some(address(1))).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_at_the_same_time_count_too() {
        let junk = Junk::default();
        let under_way: Vec<_> = (0..JUNK_MAX).map(|_| junk.begin(Some(address(1))).unwrap()).collect();
        assert!(junk.begin(Some(address(1))).is_err());
        drop(under_way);
        assert!(junk.begin(Some(address(1))).is_ok());
    }
}
