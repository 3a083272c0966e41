//! How often somebody may knock: limits on guessing passwords, by account and by address (governor; OWASP ASVS 6.3.1).

use super::trouble::Trouble;
use crate::http::intake::PerAddress;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyreeve_api::{Code, Problem};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// Attempts at one account: thirty at once, then ten a minute. Those that succeed count too.
const OF_ACCOUNT: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(10).unwrap(), NonZeroU32::new(30).unwrap());
/// Attempts from one address, where a whole company may sit behind a proxy: three hundred at once and a minute.
const OF_ADDRESS: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// Accounts that are remembered before the old ones are let go.
const REMEMBERED_MAX: usize = 50_000;

/// The limits of this node.
pub(crate) struct Doors {
    accounts: DefaultKeyedRateLimiter<String>,
    addresses: PerAddress,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            accounts: RateLimiter::keyed(Quota::per_minute(OF_ACCOUNT.0).allow_burst(OF_ACCOUNT.1)),
            addresses: PerAddress::new(OF_ADDRESS),
        }
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    /// Counts a guess at an account.
    pub(super) fn allow_account(&self, email: &str) -> Result<(), Trouble> {
        if self.accounts.len() > REMEMBERED_MAX {
            self.accounts.retain_recent();
        }
        let allowed = self.accounts.check_key(&email.to_ascii_lowercase());
        allowed.map_err(|_| too_often().into())
    }

    /// Counts a guess from an address.
    pub(super) fn allow_address(&self, address: Option<IpAddr>) -> Result<(), Trouble> {
        self.addresses.allow(address).map_err(|_| too_often().into())
    }
}

fn too_often() -> Problem {
    Problem::new(
        Code::RateLimited,
        "There were too many attempts to sign in. Wait a minute and try again.",
    )
}
