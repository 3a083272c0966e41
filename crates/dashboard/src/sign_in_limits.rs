//! Limits on guessing passwords (OWASP ASVS 6.3.1).
//!
//! Only wrong guesses count. Guesses by other clients must not lock a user out, so they are counted by account and
//! address together, and by account alone only with a high limit. A browser that has signed in before has its own
//! count, and so has an open session that asks for the password again.

use super::guesses::{GuessPace, Guesses};
use super::page_error::PageError;
use keyreeve_api::{Code, Problem};
use keyreeve_core::Digest;
use keyreeve_core::user::Email;
use keyreeve_web::address_rate_limits::place;
use std::fmt;
use std::net::IpAddr;

const MINUTE_MS: u64 = 60_000;
/// Guesses by one known browser, or in one session: thirty, then ten per minute.
const USUAL: GuessPace = GuessPace {
    at_once: 30,
    every_ms: MINUTE_MS / 10,
};
/// Guesses at one account from one address: thirty, then one per minute.
const OF_PAIR: GuessPace = GuessPace {
    at_once: 30,
    every_ms: MINUTE_MS,
};
/// Guesses at one account from all addresses, by unknown browsers: two hundred, then two per minute.
const OF_ACCOUNT: GuessPace = GuessPace {
    at_once: 200,
    every_ms: MINUTE_MS / 2,
};
const _: () = assert!(
    OF_PAIR.at_once < OF_ACCOUNT.at_once && OF_PAIR.every_ms > OF_ACCOUNT.every_ms,
    "one address alone must never use up the guesses of an account"
);
/// Guesses from one address at all accounts. A company may share one address: three hundred, then as many per minute.
const OF_ADDRESS: GuessPace = GuessPace {
    at_once: 300,
    every_ms: MINUTE_MS / 300,
};

/// The source of a password attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt<'a> {
    /// A browser that has signed in to this account before, by its mark.
    Known { email: &'a str, mark: &'a str },
    /// Any other client.
    Other { email: &'a str, address: Option<IpAddr> },
    /// An open session that asks for the password again.
    Session(Option<Digest>),
}

/// The sign-in limits of this node.
pub(super) struct SignInLimits {
    known: Guesses,
    pairs: Guesses,
    accounts: Guesses,
    addresses: Guesses,
    sessions: Guesses,
}

impl Default for SignInLimits {
    fn default() -> Self {
        Self {
            known: Guesses::new(USUAL),
            pairs: Guesses::new(OF_PAIR),
            accounts: Guesses::new(OF_ACCOUNT),
            addresses: Guesses::new(OF_ADDRESS),
            sessions: Guesses::new(USUAL),
        }
    }
}

impl fmt::Debug for SignInLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignInLimits").finish_non_exhaustive()
    }
}

impl SignInLimits {
    /// Takes a guess before the password is checked; fails with `RATE_LIMITED` if none is left.
    pub(super) fn begin(&self, who: Attempt<'_>) -> Result<(), PageError> {
        let may = match who {
            Attempt::Known { email, mark } => self.known.take(&(account(email), mark)),
            Attempt::Session(session) => self.sessions.take(&session),
            Attempt::Other { email, address } => {
                let email = account(email);
                let address = address.map(place);
                self.take_other(email.as_ref(), address)
            }
        };
        match may {
            true => Ok(()),
            false => Err(too_often().into()),
        }
    }

    /// Takes a guess of an unknown browser from all three limits or from none. A client on a Unix socket has no address;
    /// the limits by account still apply.
    fn take_other(&self, email: Option<&Email>, address: Option<IpAddr>) -> bool {
        if !address.is_none_or(|address| self.addresses.take(&address)) {
            return false;
        }
        let pair = (email, address);
        if self.pairs.take(&pair) {
            if self.accounts.take(&email) {
                return true;
            }
            self.pairs.give_back(&pair);
        }
        if let Some(address) = address {
            self.addresses.give_back(&address);
        }
        false
    }

    /// Gives the guess back: the password was right.
    pub(super) fn succeeded(&self, who: Attempt<'_>) {
        match who {
            Attempt::Known { email, mark } => self.known.give_back(&(account(email), mark)),
            Attempt::Session(session) => self.sessions.give_back(&session),
            Attempt::Other { email, address } => {
                let email = account(email);
                let address = address.map(place);
                if let Some(address) = address {
                    self.addresses.give_back(&address);
                }
                self.pairs.give_back(&(&email, address));
                self.accounts.give_back(&email);
            }
        }
    }

    /// Counts the use of a setup link that may not exist. It is not given back.
    pub(super) fn allow_link(&self, address: Option<IpAddr>) -> Result<(), PageError> {
        match address.is_none_or(|address| self.addresses.take(&place(address))) {
            true => Ok(()),
            false => Err(too_often().into()),
        }
    }
}

/// Returns one account for all spellings of an address. All texts that are not an address share one count.
fn account(email: &str) -> Option<Email> {
    Email::parse(email).ok()
}

fn too_often() -> Problem {
    Problem::new(
        Code::RateLimited,
        "There were too many attempts to sign in. Wait a minute and try again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other<'a>(email: &'a str, address: &str) -> Attempt<'a> {
        Attempt::Other {
            email,
            address: address.parse().ok(),
        }
    }

    fn guesses(limits: &SignInLimits, who: Attempt<'_>) -> usize {
        (0..1_000).take_while(|_| limits.begin(who).is_ok()).count()
    }

    #[test]
    fn guesses_from_one_address_stop_neither_another_address_nor_another_account() {
        let limits = SignInLimits::default();
        assert_eq!(guesses(&limits, other("ada@example.com", "192.0.2.1")), 30);
        assert!(limits.begin(other("ADA@example.com", "192.0.2.1")).is_err());
        assert!(limits.begin(other("ada@example.com", "192.0.2.2")).is_ok());
        assert!(limits.begin(other("bob@example.com", "192.0.2.1")).is_ok());
    }

    #[test]
    fn a_refused_attempt_takes_no_guess_of_the_address() {
        let limits = SignInLimits::default();
        assert_eq!(guesses(&limits, other("ada@example.com", "192.0.2.1")), 30);
        for _ in 0..1_000 {
            assert!(limits.begin(other("ada@example.com", "192.0.2.1")).is_err());
        }
        assert!(limits.begin(other("bob@example.com", "192.0.2.1")).is_ok());
    }

    #[test]
    fn guesses_from_everywhere_stop_strangers_and_no_browser_that_has_been_in_and_no_session() {
        let limits = SignInLimits::default();
        let address = |number: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        let let_by = (0..300).filter(|&number| limits.begin(other("ada@example.com", &address(number))).is_ok());
        assert_eq!(let_by.count(), 200);
        let known = Attempt::Known {
            email: "ada@example.com",
            mark: "1",
        };
        assert_eq!(guesses(&limits, known), 30);
        assert_eq!(guesses(&limits, Attempt::Session(None)), 30);
    }

    #[test]
    fn passwords_that_are_right_are_no_guesses() {
        let limits = SignInLimits::default();
        for who in [other("ada@example.com", "192.0.2.1"), Attempt::Session(None)] {
            for _ in 0..1_000 {
                assert!(limits.begin(who).is_ok());
                limits.succeeded(who);
            }
            assert_eq!(guesses(&limits, who), 30);
        }
    }

    #[test]
    fn what_is_no_address_is_one_account_however_long_it_is() {
        let limits = SignInLimits::default();
        let long = "x".repeat(100_000);
        assert_eq!(guesses(&limits, other(&long, "192.0.2.1")), 30);
        assert!(limits.begin(other("", "192.0.2.1")).is_err());
    }
}
