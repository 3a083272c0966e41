//! Rate limits by address for calls that take a secret and no other credential. Guessing a secret is infeasible; the
//! limits bound the cost of look-ups, and count unknown secrets only. A known secret is accepted from an address
//! whatever it sent before, so that an emergency revocation is never blocked.

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyreeve_api::{Code, Problem};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::anonymous::AnonymousBytes;
use crate::capacity::{Capacity, Reservation};
use crate::junk::Junk;
use crate::respond::RETRY_AFTER_SECONDS;

/// Look-ups of one address before it is known whether they find anything: burst, and per minute. Above that they wait
/// for one of the turns that all addresses share.
const LOOKS: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Turns that run at once, and how many may run or wait: of one address, and in total.
const TURNS: usize = 4;
const TURNS_ASKED: (usize, usize) = (100, 1_000);
/// Longest wait for the turn of a look-up. A verdict takes two seconds at most.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(1);
/// Revocations with an unknown secret from one address, which may be the proxy of a company: burst, and per minute.
const REVOCATIONS: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// Reports without a known secret from one address, each of at most a hundred secrets: burst, and per minute.
const LEAKS: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Unknown keys behind gateways, from one end user's address (G-13): burst, and per minute.
const GUESSES: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Addresses that are remembered. Above that, new ones share one entry until old ones are removed.
const REMEMBERED_MAX: usize = 50_000;
/// The shared entry.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The limits of this node.
#[derive(Debug)]
pub struct AddressRateLimits {
    looks: PerAddress,
    turns: Turns,
    /// The same for look-ups alone: a revocation holds its turn until it is effective.
    look_up_turns: Turns,
    /// Revocations with an unknown secret.
    pub revocations: PerAddress,
    /// Reports of leaks without a known secret.
    pub leaks: PerAddress,
    /// Unknown keys behind gateways (G-13), by the end user's address.
    pub guesses: PerAddress,
    /// Look-ups of unknown secrets.
    pub junk: Junk,
    /// Bodies of requests without a credential.
    pub bodies: AnonymousBytes,
    /// The same on the check listener, where one gateway sends for all clients.
    pub messages: AnonymousBytes,
}

impl Default for AddressRateLimits {
    fn default() -> Self {
        Self {
            looks: PerAddress::new(LOOKS),
            turns: Turns::default(),
            look_up_turns: Turns::default(),
            revocations: PerAddress::new(REVOCATIONS),
            leaks: PerAddress::new(LEAKS),
            guesses: PerAddress::new(GUESSES),
            junk: Junk::default(),
            bodies: AnonymousBytes::default(),
            messages: AnonymousBytes::default(),
        }
    }
}

/// Permission to look up what an address sent, held until it is dropped.
#[derive(Debug)]
pub struct AddressTurn<'i> {
    _asked: Reservation<Option<IpAddr>>,
    _turn: SemaphorePermit<'i>,
}

impl AddressRateLimits {
    /// Waits until what an address sent may be looked up: at once, or above the rate limit when its turn comes. Refused
    /// only if too many of this address, or in total, are waiting.
    pub async fn turn(&self, address: Option<IpAddr>) -> Result<Option<AddressTurn<'_>>, Problem> {
        let Err(too_many) = self.looks.allow(address) else {
            return Ok(None);
        };
        match self.turns.wait(address).await {
            Some(turn) => Ok(Some(turn)),
            None => Err(too_many),
        }
    }

    /// Waits for a turn of a look-up; `None` if too many are waiting, or it does not come within a second.
    pub(crate) async fn look_up_turn(&self, address: Option<IpAddr>) -> Option<AddressTurn<'_>> {
        let turn = tokio::time::timeout(LOOK_UP_PATIENCE, self.look_up_turns.wait(address)).await;
        turn.ok()?
    }
}

/// Turns that all addresses share, and the places of those that have or wait for one.
#[derive(Debug)]
struct Turns {
    free: Semaphore,
    asked: Capacity<Option<IpAddr>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Semaphore::new(TURNS),
            asked: Capacity::new(TURNS_ASKED.0, TURNS_ASKED.1),
        }
    }
}

impl Turns {
    /// Waits for a turn; `None` if too many of this address, or in total, are waiting.
    async fn wait(&self, address: Option<IpAddr>) -> Option<AddressTurn<'_>> {
        let asked = self.asked.reserve_one(address.map(place))?;
        let turn = self.free.acquire().await.ok()?;
        Some(AddressTurn {
            _asked: asked,
            _turn: turn,
        })
    }
}

/// A limit of requests per minute and address.
pub struct PerAddress(DefaultKeyedRateLimiter<IpAddr>);

impl fmt::Debug for PerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerAddress").finish_non_exhaustive()
    }
}

impl PerAddress {
    pub(crate) fn new(a_minute: NonZeroU32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(a_minute)))
    }

    /// Counts a request. Above the limit, returns a problem with the time to wait. Requests by a Unix socket have no
    /// address and no limit.
    pub fn allow(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        let is_full = self.0.len() >= REMEMBERED_MAX;
        let place = if is_full { OTHERS } else { place(address) };
        self.0.check_key(&place).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let detail = "There were too many requests from this address. Wait, then try again.";
            Problem::new(Code::RateLimited, detail).with(RETRY_AFTER_SECONDS, wait.as_secs().saturating_add(1))
        })?;
        if is_full {
            // Scanning all entries is itself limited by the entry that new addresses share.
            self.0.retain_recent();
        }
        Ok(())
    }
}

/// Returns the unit that counts as one address: a client usually has a complete IPv6 /64.
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_neighbourhood_shares_its_limit_and_nobody_elses() {
        let limit = PerAddress::new(NonZeroU32::new(2).unwrap());
        let allow = |address: &str| limit.allow(address.parse().ok());
        assert!(allow("2001:db8::1").is_ok() && allow("2001:db8::2").is_ok());
        let refused = allow("2001:db8::3").unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        let wait = refused
            .meta
            .get(RETRY_AFTER_SECONDS)
            .and_then(serde_json::Value::as_u64);
        assert!(wait.is_some_and(|seconds| (1..=31).contains(&seconds)), "{wait:?}");
        assert!(allow("2001:db8:0:1::1").is_ok() && allow("192.0.2.1").is_ok());
        assert!(allow("::ffff:192.0.2.1").is_ok() && allow("192.0.2.1").is_err());
        assert!(allow("nowhere").is_ok(), "a Unix socket has no address");
    }

    #[tokio::test]
    async fn an_address_that_brings_very_much_waits_for_its_turn_and_holds_up_no_other() {
        let address_rate_limits = AddressRateLimits::default();
        let one = "192.0.2.1".parse().ok();
        for _ in 0..LOOKS.get() {
            assert!(address_rate_limits.turn(one).await.unwrap().is_none());
        }
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(address_rate_limits.turn(one).await.unwrap().unwrap());
        }
        let mut waiting: Vec<_> = (TURNS..TURNS_ASKED.0)
            .map(|_| Box::pin(address_rate_limits.turn(one)))
            .collect();
        for turn in &mut waiting {
            assert!(turn.now_or_never().is_none(), "it waits");
        }
        assert!(
            address_rate_limits.turn(one).await.is_err(),
            "no more of this address wait"
        );
        assert!(
            address_rate_limits
                .turn("192.0.2.2".parse().ok())
                .await
                .unwrap()
                .is_none()
        );
        drop(waiting);
        turns.pop();
        assert!(address_rate_limits.turn(one).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn revocations_that_hold_every_turn_and_place_refuse_no_look_up() {
        let limits = AddressRateLimits::default();
        let one = "192.0.2.1".parse().ok();
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(limits.turns.wait(one).await.unwrap());
        }
        let mut waiting: Vec<_> = (TURNS..TURNS_ASKED.0)
            .map(|_| Box::pin(limits.turns.wait(one)))
            .collect();
        for turn in &mut waiting {
            assert!(turn.now_or_never().is_none(), "it waits");
        }
        assert!(limits.look_up_turn(one).now_or_never().flatten().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_whose_turn_does_not_come_is_refused_after_a_second() {
        let limits = AddressRateLimits::default();
        let mut turns = Vec::new();
        for number in 0..TURNS {
            let address = Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into();
            turns.push(limits.look_up_turn(Some(address)).await.unwrap());
        }
        let began = tokio::time::Instant::now();
        assert!(limits.look_up_turn("192.0.2.1".parse().ok()).await.is_none());
        assert_eq!(began.elapsed(), LOOK_UP_PATIENCE);
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let limit = PerAddress::new(NonZeroU32::new(1).unwrap());
        let numbers = 0..u32::try_from(REMEMBERED_MAX).unwrap() + 1_000;
        let allowed = numbers.filter(|&number| limit.allow(Some(Ipv4Addr::from_bits(number + 1).into())).is_ok());
        assert_eq!(allowed.count(), REMEMBERED_MAX + 1);
        assert!(limit.0.len() <= REMEMBERED_MAX + 1);
    }
}
