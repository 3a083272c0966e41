//! Limits of a key beside its scopes: how often, how much in a period, and from which networks.
//!
//! A **rate** is counted by the generic cell rate algorithm ([`gcra`]), a **quota** by calendar periods ([`Period`]).
//! The count is one number ([`Counter`]). For a hard limit the store has it, and a node takes slices of it
//! ([`slice()`]), beyond which it accepts no use. [`Meter`] has one key's limits on one node.

mod counter;
mod gcra;
mod meter;
mod networks;
mod period;

pub use counter::{Counter, Slice, WantedSlice, slice};
pub use meter::{At, LimitStanding, Meter, Need, Supply, Taken};
pub use period::Period;

use crate::text::LimitName;
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;

/// Most networks of a key.
pub const NETWORKS_MAX: usize = 64;
/// Most limits of a key.
pub const LIMITS_MAX: usize = 8;
/// Most uses of a rate in its time.
pub const RATE_MAX: u32 = 1_000_000_000;
/// The longest time of a rate, in seconds: a day. For longer times there are quotas.
pub const RATE_SECONDS_MAX: u32 = 86_400;
/// Most uses of a quota in its period.
pub const QUOTA_MAX: u64 = 1_000_000_000_000;
/// The highest cost of one verification.
pub const COST_MAX: u32 = 1_000_000;

/// Why limits are not valid.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LimitsError {
    /// Not a network.
    #[error("must be a network such as 192.0.2.0/24 or 2001:db8::/32, or an address")]
    Network,
    /// An address with a prefix that is shorter than the address.
    #[error("has bits set behind its prefix: write {0}")]
    HostBits(IpNet),
    /// Too many networks.
    #[error("must have at most {NETWORKS_MAX} networks")]
    TooManyNetworks,
    /// Too many limits.
    #[error("must have at most {LIMITS_MAX} limits")]
    TooManyLimits,
    /// Two limits have the same name.
    #[error("has two limits of the name {0}")]
    SameName(LimitName),
    /// A rate out of range.
    #[error("must allow 1 to {RATE_MAX} uses in 1 to {RATE_SECONDS_MAX} seconds, and at most as many of them at once")]
    Rate,
    /// A quota out of range.
    #[error("must be 1 to {QUOTA_MAX}")]
    Quota,
    /// A stored limit cannot be parsed.
    #[error("is no limit that was written here")]
    Unreadable,
}

/// How several nodes count a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// Each node counts on its own: nothing waits, and n nodes may accept n times as many uses.
    Soft,
    /// All nodes together never accept more: they take slices of the store's counter.
    Hard,
}

/// What a limit counts, and its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// `limit` uses in `seconds`, evenly spread, and `burst` of them at once.
    Rate {
        /// Uses in `seconds`.
        limit: u32,
        /// The time for `limit` uses.
        seconds: u32,
        /// Uses at once after a pause.
        burst: u32,
        /// How it is counted.
        count: Count,
    },
    /// Uses in a period. Always hard.
    Quota {
        /// Uses in the period.
        limit: u64,
        /// The period.
        period: Period,
    },
}

/// One limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Its name.
    pub name: LimitName,
    /// Its bound.
    pub bound: Bound,
}

impl Limit {
    /// Takes a limit whose numbers are in range.
    pub fn new(name: LimitName, bound: Bound) -> Result<Self, LimitsError> {
        match bound {
            Bound::Rate {
                limit, seconds, burst, ..
            } => {
                let is_sound = (1..=RATE_MAX).contains(&limit)
                    && (1..=RATE_SECONDS_MAX).contains(&seconds)
                    && (1..=limit).contains(&burst);
                is_sound.then_some(()).ok_or(LimitsError::Rate)?;
            }
            Bound::Quota { limit, .. } => {
                (1..=QUOTA_MAX)
                    .contains(&limit)
                    .then_some(())
                    .ok_or(LimitsError::Quota)?;
            }
        }
        Ok(Self { name, bound })
    }
}

impl Bound {
    /// Returns the most uses in its time or period.
    pub fn limit(&self) -> u64 {
        match self {
            Self::Rate { limit, .. } => u64::from(*limit),
            Self::Quota { limit, .. } => *limit,
        }
    }
}

/// The networks that a key may be used from. Empty is any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Takes a list of networks.
    pub fn new(networks: Vec<IpNet>) -> Result<Self, LimitsError> {
        match networks.len() <= NETWORKS_MAX {
            true => Ok(Self(networks)),
            false => Err(LimitsError::TooManyNetworks),
        }
    }

    /// Returns the networks.
    pub fn as_slice(&self) -> &[IpNet] {
        &self.0
    }
}

/// The limits of a key that are counted. Empty is none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CountedLimits(Vec<Limit>);

impl CountedLimits {
    /// Takes a list of limits.
    pub fn new(limits: Vec<Limit>) -> Result<Self, LimitsError> {
        if limits.len() > LIMITS_MAX {
            return Err(LimitsError::TooManyLimits);
        }
        for (place, limit) in limits.iter().enumerate() {
            if limits.iter().take(place).any(|other| other.name == limit.name) {
                return Err(LimitsError::SameName(limit.name.clone()));
            }
        }
        Ok(Self(limits))
    }

    /// Returns the limits.
    pub fn as_slice(&self) -> &[Limit] {
        &self.0
    }
}

/// All limits of a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The networks that it may be used from.
    pub networks: Networks,
    /// The limits that are counted.
    pub counted: CountedLimits,
    /// How often an administrator has reset the counts. A count from before a reset is not used.
    pub resets: u32,
}

impl Limits {
    /// Returns the limits with some parts replaced.
    #[must_use]
    pub fn replaced(self, networks: Option<Networks>, counted: Option<CountedLimits>) -> Self {
        Self {
            networks: networks.unwrap_or(self.networks),
            counted: counted.unwrap_or(self.counted),
            resets: self.resets,
        }
    }

    /// Returns one text with a space between the parts, for storing and for a verifier's memory. Empty without limits.
    pub fn joined(&self) -> String {
        let networks = self.networks.0.iter().map(|network| format!("{NETWORK}{network}"));
        let resets = (self.resets > 0).then(|| format!("{RESETS}{}", self.resets));
        let counted = self.counted.0.iter().map(ToString::to_string);
        networks.chain(resets).chain(counted).collect::<Vec<_>>().join(" ")
    }

    /// Parses what [`Limits::joined`] wrote.
    pub fn from_joined(text: &str) -> Result<Self, LimitsError> {
        let (mut networks, mut counted, mut resets) = (Vec::new(), Vec::new(), 0);
        for part in text.split_ascii_whitespace() {
            match (part.strip_prefix(NETWORK), part.strip_prefix(RESETS)) {
                (Some(text), _) => networks.push(network(text)?),
                (None, Some(count)) => resets = count.parse().map_err(|_| LimitsError::Unreadable)?,
                (None, None) => counted.push(limit(part).ok_or(LimitsError::Unreadable)?),
            }
        }
        Ok(Self {
            networks: Networks::new(networks)?,
            counted: CountedLimits::new(counted)?,
            resets,
        })
    }
}

const NETWORK: &str = "net:";
const RESETS: &str = "resets:";
/// The bits before the IPv4 address in an IPv4-mapped IPv6 address.
const MAPPED_BITS: u8 = 96;
const RATE: &str = "rate:";
const QUOTA: &str = "quota:";

impl fmt::Display for Limit {
    /// Writes the stored form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.bound {
            Bound::Rate {
                limit,
                seconds,
                burst,
                count,
            } => {
                let count = if count == Count::Hard { "hard" } else { "soft" };
                write!(f, "{RATE}{name},{limit},{seconds},{burst},{count}")
            }
            Bound::Quota { limit, period } => write!(f, "{QUOTA}{name},{limit},{period}"),
        }
    }
}

fn limit(text: &str) -> Option<Limit> {
    let (kind, rest) = text.split_at(text.find(':')? + 1);
    let fields: Vec<_> = rest.split(',').collect();
    let (name, bound) = match (kind, fields.as_slice()) {
        (RATE, [name, limit, seconds, burst, count]) => {
            let bound = Bound::Rate {
                limit: limit.parse().ok()?,
                seconds: seconds.parse().ok()?,
                burst: burst.parse().ok()?,
                count: if *count == "hard" { Count::Hard } else { Count::Soft },
            };
            (name, bound)
        }
        (QUOTA, [name, limit, period]) => {
            let bound = Bound::Quota {
                limit: limit.parse().ok()?,
                period: Period::parse(period)?,
            };
            (name, bound)
        }
        _ => return None,
    };
    Limit::new(LimitName::parse(name).ok()?, bound).ok()
}

/// Parses a network such as `192.0.2.0/24`, or an address, which is a network of one.
pub fn network(text: &str) -> Result<IpNet, LimitsError> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| LimitsError::Network)?,
    };
    match network.trunc() == network {
        true => Ok(plain(network)),
        false => Err(LimitsError::HostBits(network.trunc())),
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses (`::ffff:192.0.2.0/120`) to IPv4; addresses are converted before
/// they are compared too (RFC 4291, section 2.5.5.2).
fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let mapped = six
        .addr()
        .to_ipv4_mapped()
        .zip(six.prefix_len().checked_sub(MAPPED_BITS));
    let four = mapped.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    four.map_or(network, IpNet::V4)
}

/// Whether an end user at this address may use a key whose limits are `joined`. With a list of networks, an unknown
/// address is refused.
pub fn admits(joined: &str, address: Option<IpAddr>) -> bool {
    let mut networks = joined
        .split_ascii_whitespace()
        .map_while(|part| part.strip_prefix(NETWORK))
        .peekable();
    if networks.peek().is_none() {
        return true;
    }
    // An IPv4-mapped IPv6 address is the IPv4 address (RFC 4291, section 2.5.5.2).
    let Some(address) = address.map(|address| address.to_canonical()) else {
        return false;
    };
    // Older versions stored networks without this conversion.
    networks.any(|text| {
        text.parse::<IpNet>()
            .is_ok_and(|network| plain(network).contains(&address))
    })
}

/// Whether a key whose limits are `joined` has counted ones.
pub fn counts(joined: &str) -> bool {
    let last = joined.split_ascii_whitespace().next_back();
    last.is_some_and(|part| !part.starts_with(NETWORK) && !part.starts_with(RESETS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LimitName {
        LimitName::parse(text).unwrap()
    }

    fn rate(limit: u32, seconds: u32, burst: u32) -> Result<Limit, LimitsError> {
        let bound = Bound::Rate {
            limit,
            seconds,
            burst,
            count: Count::Hard,
        };
        Limit::new(name("r"), bound)
    }

    #[test]
    fn limits_come_back_as_they_were() {
        let quota = Bound::Quota {
            limit: 10_000,
            period: Period::Month,
        };
        let networks = ["192.0.2.0/24", "2001:db8::/32", "203.0.113.7"].map(|text| network(text).unwrap());
        let counted = vec![rate(120, 60, 20).unwrap(), Limit::new(name("m"), quota).unwrap()];
        let limits = Limits {
            networks: Networks::new(networks.to_vec()).unwrap(),
            counted: CountedLimits::new(counted).unwrap(),
            resets: 0,
        };
        let text = limits.joined();
        assert_eq!(
            text,
            "net:192.0.2.0/24 net:2001:db8::/32 net:203.0.113.7/32 rate:r,120,60,20,hard quota:m,10000,month"
        );
        assert_eq!(Limits::from_joined(&text), Ok(limits.clone()));
        assert_eq!(Limits::from_joined(""), Ok(Limits::default()));
        let again = Limits { resets: 3, ..limits };
        assert_eq!(Limits::from_joined(&again.joined()), Ok(again.clone()));
        let bare = Limits {
            counted: CountedLimits::default(),
            ..again
        };
        assert!(!counts(&bare.joined()) && admits(&bare.joined(), "192.0.2.1".parse().ok()));
        assert!(!admits(&bare.joined(), "192.0.3.1".parse().ok()));
        assert!(counts(&text) && !counts("net:192.0.2.0/24") && !counts(""));
        for bad in ["rate:r,1,1,2,hard", "rate:r,1", "net:x", "what:r,1,2", "nothing"] {
            assert!(Limits::from_joined(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_in_range_and_names_are_not_given_twice() {
        assert!(rate(1, 1, 1).is_ok() && rate(RATE_MAX, RATE_SECONDS_MAX, RATE_MAX).is_ok());
        for (limit, seconds, burst) in [(0, 1, 0), (1, 0, 1), (5, 1, 6), (5, 1, 0), (5, RATE_SECONDS_MAX + 1, 5)] {
            assert_eq!(rate(limit, seconds, burst), Err(LimitsError::Rate));
        }
        let twice = vec![rate(1, 1, 1).unwrap(), rate(2, 2, 2).unwrap()];
        assert_eq!(CountedLimits::new(twice), Err(LimitsError::SameName(name("r"))));
    }

    #[test]
    fn a_mapped_network_means_the_ipv4_network_that_it_maps() {
        for (text, means) in [
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/96", "2001:db8::/96"),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()).as_deref(), Ok(means));
        }
        // This would be all of `::/24`, which is certainly a mistake.
        assert!(network("::ffff:192.0.2.0/24").is_err());
        let address = |text: &str| Some(text.parse().unwrap());
        for (stored, admitted, refused) in [
            ("net:::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("net:192.0.2.0/24", "::ffff:192.0.2.9", "::ffff:192.0.3.9"),
        ] {
            assert!(
                admits(stored, address(admitted)) && !admits(stored, address(refused)),
                "{stored}"
            );
        }
    }

    #[test]
    fn a_network_is_written_as_what_it_is() {
        assert_eq!(
            network("192.0.2.1/24").unwrap_err().to_string(),
            "has bits set behind its prefix: write 192.0.2.0/24"
        );
        for bad in ["", "192.0.2.0/33", "192.0.2/24", "example.org", "::/129"] {
            assert_eq!(network(bad), Err(LimitsError::Network), "{bad}");
        }
    }

    #[test]
    fn an_address_must_be_known_and_in_the_list_where_there_is_one() {
        let admitted = |limits: &str, address: &str| admits(limits, address.parse().ok());
        let list = "net:192.0.2.0/24 net:2001:db8::/32 rate:r,1,1,1,soft";
        assert!(admitted(list, "192.0.2.255") && admitted(list, "2001:db8:1::1"));
        assert!(admitted(list, "::ffff:192.0.2.1"));
        for outside in ["192.0.3.0", "2001:db9::1", "::192.0.2.1", "nobody knows"] {
            assert!(!admitted(list, outside), "{outside}");
        }
        assert!(admitted("", "192.0.3.0") && admitted("rate:r,1,1,1,soft", "nobody knows"));
    }
}
