//! How often an address may bring secrets to calls that take no other credential, or knock at the dashboard's door. Nobody
//! can guess a secret: the limit is for what it costs to look at them.

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyreeve_api::{Code, Problem};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use super::respond::RETRY_AFTER_SECONDS;

/// Revocations by possession from one address, where a whole company may sit behind a proxy: at once, and a minute.
const REVOCATIONS: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// Reports of found secrets from one address, each with a hundred of them at most: at once, and a minute.
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
    pub(crate) revocations: PerAddress,
    pub(crate) leaks: PerAddress,
    pub(crate) guesses: PerAddress,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            revocations: PerAddress::new(REVOCATIONS),
            leaks: PerAddress::new(LEAKS),
            guesses: PerAddress::new(GUESSES),
        }
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

/// Whoever has an IPv6 address has 2^64 of them.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let limit = PerAddress::new(NonZeroU32::new(1).unwrap());
        let numbers = 0..u32::try_from(REMEMBERED_MAX).unwrap() + 1_000;
        let allowed = numbers.filter(|&number| limit.allow(Some(Ipv4Addr::from_bits(number + 1).into())).is_ok());
        assert_eq!(allowed.count(), REMEMBERED_MAX + 1);
        assert!(limit.0.len() <= REMEMBERED_MAX + 1);
    }
}
