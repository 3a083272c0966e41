//! The policy's rules for one request: an expiry, an overlap, a reason.

use super::{Expiry, Policy, ReasonRule};
use crate::text::Note;
use crate::time::{SECONDS_PER_DAY, Timestamp};
use thiserror::Error;

/// The expiry that a caller requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExpiryWish {
    /// No expiry was requested.
    #[default]
    Unsaid,
    /// The key never expires.
    Never,
    /// This many seconds from now.
    InSeconds(u64),
}

/// The overlap of a rotation that a caller requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverlapWish {
    /// No overlap was requested.
    Unsaid,
    /// This many seconds.
    Seconds(u64),
}

/// A request that the policy forbids, with a text for the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Violation {
    /// Longer than the longest lifetime.
    #[error("the policy allows at most {max_days} days until expiry")]
    ExpiryTooLate {
        /// The longest lifetime in days.
        max_days: u32,
    },
    /// Not one of the lifetimes that the policy offers.
    #[error("the policy allows only the choices of days until expiry that it offers (expiry.choices_days)")]
    ExpiryNotOffered,
    /// Keys must expire.
    #[error("the policy does not allow keys that never expire")]
    NeverExpires,
    /// The expiry cannot be changed after a key is issued.
    #[error("the policy does not allow the expiry of a key to be changed; rotate the key instead")]
    ExpiryFixed,
    /// An expired key cannot be renewed.
    #[error("the policy does not allow an expired key to be renewed; rotate it with a new expiry instead")]
    ExpiredStays,
    /// Longer than the longest overlap.
    #[error("the policy allows an overlap of at most {max_seconds} seconds")]
    OverlapTooLong {
        /// The longest overlap in seconds.
        max_seconds: u64,
    },
}

impl Expiry {
    /// Whether a lifetime of this many seconds may be requested.
    pub fn offers(&self, seconds: u64) -> bool {
        let is_it = |days: &u32| u64::from(*days).saturating_mul(SECONDS_PER_DAY) == seconds;
        self.custom || self.choices_days.iter().any(is_it)
    }
}

impl Policy {
    /// Returns when a key that is issued or rotated at `now` expires; `None` is never.
    pub fn expiry_for(&self, wish: ExpiryWish, now: Timestamp) -> Result<Option<Timestamp>, Violation> {
        let days = |days: u32| now.plus_seconds(u64::from(days).saturating_mul(SECONDS_PER_DAY));
        match wish {
            ExpiryWish::InSeconds(seconds) if !self.expiry.offers(seconds) => Err(Violation::ExpiryNotOffered),
            ExpiryWish::InSeconds(seconds) => {
                let at = now.plus_seconds(seconds);
                match self.expiry.max_days {
                    Some(max_days) if at > days(max_days) => Err(Violation::ExpiryTooLate { max_days }),
                    Some(_) | None => Ok(Some(at)),
                }
            }
            ExpiryWish::Never if self.expiry.allow_never => Ok(None),
            ExpiryWish::Never => Err(Violation::NeverExpires),
            ExpiryWish::Unsaid => match (self.expiry.default_days, self.expiry.max_days) {
                (Some(default), _) => Ok(Some(days(default))),
                (None, _) if self.expiry.allow_never => Ok(None),
                (None, Some(max)) => Ok(Some(days(max))),
                (None, None) => Err(Violation::NeverExpires),
            },
        }
    }

    /// Returns how many seconds the old secret is accepted after a rotation.
    pub fn overlap_for(&self, wish: OverlapWish) -> Result<u64, Violation> {
        let max_seconds = self.rotate.overlap_max_seconds;
        match wish {
            OverlapWish::Unsaid => Ok(self.rotate.overlap_default_seconds.min(max_seconds)),
            OverlapWish::Seconds(seconds) if seconds <= max_seconds => Ok(seconds),
            OverlapWish::Seconds(_) => Err(Violation::OverlapTooLong { max_seconds }),
        }
    }

    /// Whether a revocation with this note lacks a reason.
    pub fn lacks_reason(&self, note: Option<&Note>) -> bool {
        let given = note.is_some_and(|note| !note.as_str().trim().is_empty());
        self.revoke.reason == ReasonRule::Required && !given
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const DAY: u64 = SECONDS_PER_DAY;

    /// The same policy, with lifetimes other than its choices allowed.
    fn with_any_life(policy: &Policy, seconds: u64) -> Result<Option<Timestamp>, Violation> {
        let mut custom = policy.clone();
        custom.expiry.custom = true;
        custom.expiry_for(ExpiryWish::InSeconds(seconds), NOW)
    }

    #[test]
    fn where_only_the_choices_are_allowed_no_other_number_of_days_is() {
        let erase = Preset::Erase.policy();
        for days in [7, 30, 60, 90] {
            let wish = ExpiryWish::InSeconds(days * DAY);
            assert_eq!(erase.expiry_for(wish, NOW), Ok(Some(NOW.plus_seconds(days * DAY))));
        }
        for seconds in [1, DAY, 8 * DAY, 7 * DAY - 1, 7 * DAY + 1, 89 * DAY, 91 * DAY, u64::MAX] {
            let refused = erase.expiry_for(ExpiryWish::InSeconds(seconds), NOW);
            assert_eq!(refused, Err(Violation::ExpiryNotOffered), "{seconds}");
        }
        assert!(with_any_life(&erase, 8 * DAY).is_ok());
    }

    #[test]
    fn a_finite_expiry_is_bounded_and_never_is_a_rule_of_its_own() {
        let erase = Preset::Erase.policy();
        assert_eq!(
            erase.expiry_for(ExpiryWish::InSeconds(90 * DAY), NOW),
            Ok(Some(NOW.plus_seconds(90 * DAY)))
        );
        assert_eq!(
            with_any_life(&erase, 90 * DAY + 1),
            Err(Violation::ExpiryTooLate { max_days: 90 })
        );
        assert_eq!(erase.expiry_for(ExpiryWish::Never, NOW), Ok(None));
        let keep = Preset::Keep.policy();
        assert_eq!(keep.expiry_for(ExpiryWish::Never, NOW), Err(Violation::NeverExpires));
        assert_eq!(
            keep.expiry_for(ExpiryWish::Unsaid, NOW),
            Ok(Some(NOW.plus_seconds(90 * DAY)))
        );
    }

    #[test]
    fn an_unsaid_expiry_takes_the_default_then_never_then_the_maximum() {
        let mut policy = Preset::Standard.policy();
        assert_eq!(policy.expiry_for(ExpiryWish::Unsaid, NOW), Ok(None));
        policy.expiry.allow_never = false;
        assert_eq!(policy.expiry_for(ExpiryWish::Unsaid, NOW), Err(Violation::NeverExpires));
        policy.expiry.max_days = Some(10);
        assert_eq!(
            policy.expiry_for(ExpiryWish::Unsaid, NOW),
            Ok(Some(NOW.plus_seconds(10 * DAY)))
        );
        policy.expiry.default_days = Some(5);
        assert_eq!(
            policy.expiry_for(ExpiryWish::Unsaid, NOW),
            Ok(Some(NOW.plus_seconds(5 * DAY)))
        );
    }

    #[test]
    fn an_overlap_is_at_most_what_the_policy_allows() {
        let erase = Preset::Erase.policy();
        assert_eq!(erase.overlap_for(OverlapWish::Unsaid), Ok(0));
        assert_eq!(erase.overlap_for(OverlapWish::Seconds(0)), Ok(0));
        assert_eq!(
            erase.overlap_for(OverlapWish::Seconds(1)),
            Err(Violation::OverlapTooLong { max_seconds: 0 })
        );
    }

    #[test]
    fn a_required_reason_must_say_something() {
        let mut policy = Preset::Standard.policy();
        assert!(!policy.lacks_reason(None));
        policy.revoke.reason = ReasonRule::Required;
        let note = |text| Note::parse(text).ok();
        assert!(policy.lacks_reason(None) && policy.lacks_reason(note("  ").as_ref()));
        assert!(!policy.lacks_reason(note("left the company").as_ref()));
    }
}
