//! How often an address may bring secrets to calls that take no other credential. Nobody can guess a secret: the limit is
//! for what it costs to look at them, and only secrets that nobody has count. However much junk came from an address, one
//! that somebody has is taken from there: a revocation in an emergency is stopped by nobody.

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyreeve_api::{Code, Problem};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::anonymous::AnonymousBytes;
use super::junk::Junk;
use super::respond::RETRY_AFTER_SECONDS;
use crate::capacity::{Capacity, Reservation};

/// Looks at what an address brings, before it is known whether it is junk: at once, and a minute. Beyond that, those of all
/// addresses together wait for their turn.
const LOOKS: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Turns side by side, and how many may have or wait for one: of one address, and in all.
const TURNS: usize = 4;
const TURNS_ASKED: (usize, usize) = (100, 1_000);
/// Revocations by possession of what nobody has, from one address, where a whole company may sit behind a proxy: at once, and a minute.
const REVOCATIONS: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// Reports without a secret that anybody has, from one address, each with a hundred of them at most: at once, and a minute.
const LEAKS: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Keys that nobody has, behind gateways, from one end user's address (G-13): at once, and a minute.
const GUESSES: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Addresses that are remembered. If there are more, the new ones share one place until old ones are let go.
const REMEMBERED_MAX: usize = 50_000;
/// The place of those.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The limits of this node.
#[derive(Debug)]
pub(crate) struct Intake {
    looks: PerAddress,
    turns: Semaphore,
    asked: Capacity<Option<IpAddr>>,
    pub(crate) revocations: PerAddress,
    pub(crate) leaks: PerAddress,
    pub(crate) guesses: PerAddress,
    /// Look-ups of secrets that nobody has.
    pub(crate) junk: Junk,
    /// Bodies that come without a credential.
    pub(crate) bodies: AnonymousBytes,
    /// The same on the check listener, where a gateway asks for everybody.
    pub(crate) messages: AnonymousBytes,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            looks: PerAddress::new(LOOKS),
            turns: Semaphore::new(TURNS),
            asked: Capacity::new(TURNS_ASKED.0, TURNS_ASKED.1),
            revocations: PerAddress::new(REVOCATIONS),
            leaks: PerAddress::new(LEAKS),
            guesses: PerAddress::new(GUESSES),
            junk: Junk::default(),
            bodies: AnonymousBytes::default(),
            messages: AnonymousBytes::default(),
        }
    }
}

/// What an address has brought may be looked at for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn<'i> {
    _asked: Reservation<Option<IpAddr>>,
    _turn: SemaphorePermit<'i>,
}

impl Intake {
    /// Comes back when what an address has brought may be looked at: at once, or if it brings very much, when its turn
    /// comes. Refused only if too many of this address, or in all, wait for theirs.
    pub(crate) async fn turn(&self, address: Option<IpAddr>) -> Result<Option<Turn<'_>>, Problem> {
        let Err(too_many) = self.looks.allow(address) else {
            return Ok(None);
        };
        let Some(asked) = self.asked.reserve_one(address.map(place)) else {
            return Err(too_many);
        };
        let turn = self.turns.acquire().await.map_err(|_| too_many)?;
        Ok(Some(Turn {
            _asked: asked,
            _turn: turn,
        }))
    }
}

/// A limit of so many requests a minute for each address.
pub(crate) struct PerAddress(DefaultKeyedRateLimiter<IpAddr>);

impl fmt::Debug for PerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerAddress").finish_non_exhaustive()
    }
}

impl PerAddress {
    pub(crate) fn new(a_minute: NonZeroU32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(a_minute)))
    }

    /// Counts a request; a problem that says how long to wait if there were too many. On a Unix socket there is no
    /// address, and whoever may open it is trusted with this much.
    pub(crate) fn allow(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        let is_full = self.0.len() >= REMEMBERED_MAX;
        let place = if is_full { OTHERS } else { place(address) };
        self.0.check_key(&place).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let detail = "There were too many requests from this address. Wait, then try again.";
            Problem::new(Code::RateLimited, detail).with(RETRY_AFTER_SECONDS, wait.as_secs().saturating_add(1))
        })?;
        if is_full {
            // Looking through all of them is limited by the place that they share.
            self.0.retain_recent();
        }
        Ok(())
    }
}

/// What counts as one address: whoever has an IPv6 address has 2^64 of them.
pub(crate) fn place(address: IpAddr) -> IpAddr {
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
        let intake = Intake::default();
        let one = "192.0.2.1".parse().ok();
        for _ in 0..LOOKS.get() {
            assert!(intake.turn(one).await.unwrap().is_none());
        }
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(intake.turn(one).await.unwrap().unwrap());
        }
        let mut waiting: Vec<_> = (TURNS..TURNS_ASKED.0).map(|_| Box::pin(intake.turn(one))).collect();
        for turn in &mut waiting {
            assert!(turn.now_or_never().is_none(), "it waits");
        }
        assert!(intake.turn(one).await.is_err(), "no more of this address wait");
        assert!(intake.turn("192.0.2.2".parse().ok()).await.unwrap().is_none());
        drop(waiting);
        turns.pop();
        assert!(intake.turn(one).await.unwrap().is_some());
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
