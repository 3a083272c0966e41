//! Bounds look-ups of unknown secrets with a valid checksum: each costs a query, so an address may cause a limited
//! number a minute. Above that, its look-ups wait for one of a few turns that all addresses share, and an unknown
//! secret is refused as too many; one that exists is accepted whatever else the address has sent. Answers from memory
//! cost no query and are never refused.

use crate::address_rate_limits::{AddressRateLimits, AddressTurn, place};
use crate::respond::RETRY_AFTER_SECONDS;
use keyreeve_api::{Code, Problem};
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
pub struct Junk(Mutex<HashMap<Option<IpAddr>, JunkCount>>);

#[derive(Debug)]
struct JunkCount {
    since: Instant,
    found_nothing: u32,
    under_way: u32,
}

/// Permission to look one secret up.
#[derive(Debug)]
enum Permit<'p> {
    /// The address is within its limit.
    Counted(JunkLookUp<'p>),
    /// It is above the limit: the problem is the answer if nothing is found.
    Queued(AddressTurn<'p>, Problem),
}

/// A running look-up.
#[derive(Debug)]
pub struct JunkLookUp<'j> {
    junk: &'j Junk,
    place: Option<IpAddr>,
}

impl Junk {
    fn counts(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, JunkCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a look-up; a problem if the address has reached its limit.
    pub fn begin(&self, address: Option<IpAddr>) -> Result<JunkLookUp<'_>, Problem> {
        let now = Instant::now();
        let mut counts = self.counts();
        let mut place = address.map(place);
        if counts.len() >= REMEMBERED_MAX && !counts.contains_key(&place) {
            counts.retain(|_, count| count.under_way > 0 || now.duration_since(count.since) < WINDOW);
            if counts.len() >= REMEMBERED_MAX {
                place = None;
            }
        }
        let count = counts.entry(place).or_insert(JunkCount {
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
        Ok(JunkLookUp { junk: self, place })
    }
}

impl JunkLookUp<'_> {
    /// Counts the look-up as one that found nothing.
    fn found_nothing(&self) {
        if let Some(count) = self.junk.counts().get_mut(&self.place) {
            count.found_nothing = count.found_nothing.saturating_add(1);
        }
    }
}

impl Drop for JunkLookUp<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.junk.counts().get_mut(&self.place) {
            count.under_way = count.under_way.saturating_sub(1);
        }
    }
}

impl AddressRateLimits {
    /// Runs a look-up within the limit of its address; `is_nothing` returns whether nothing was found. Above
    /// the limit it waits for its turn, and is refused only if it finds nothing or too many are waiting.
    pub async fn bounded<T>(
        &self,
        address: Option<IpAddr>,
        look_up: impl Future<Output = T>,
        is_nothing: impl FnOnce(&T) -> bool,
    ) -> Result<T, Problem> {
        let permit = match self.junk.begin(address) {
            Ok(counted) => Permit::Counted(counted),
            Err(too_many) => match self.look_up_turn(address).await {
                Some(turn) => Permit::Queued(turn, too_many),
                None => return Err(too_many),
            },
        };
        let found = look_up.await;
        match permit {
            Permit::Queued(turn, too_many) => {
                drop(turn);
                if is_nothing(&found) { Err(too_many) } else { Ok(found) }
            }
            Permit::Counted(counted) => {
                if is_nothing(&found) {
                    counted.found_nothing();
                }
                Ok(found)
            }
        }
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
