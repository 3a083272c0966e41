//! Whether a policy is consistent, and which keys it would not issue today.

use super::{After, Names, Policy, Undo};
use crate::lifecycle::{Key, State};
use crate::time::{SECONDS_PER_DAY, Timestamp};
use thiserror::Error;

/// The longest finite lifetime in a policy: 100 years, as for any requested expiry.
const DAYS_MAX: u32 = 36_525;
/// The longest overlap: a year.
const OVERLAP_SECONDS_MAX: u64 = 366 * SECONDS_PER_DAY;
/// Most choices in a dialog.
const CHOICES_MAX: usize = 32;
/// The highest limit of keys; more is no limit in effect.
const KEYS_MAX: u32 = 1_000_000;

/// A policy that contradicts itself: the field and the reason.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{field} {why}")]
pub struct Contradiction {
    /// The field, as a path in the policy document.
    pub field: &'static str,
    /// What is wrong.
    pub why: String,
}

fn no(field: &'static str, why: impl Into<String>) -> Contradiction {
    Contradiction { field, why: why.into() }
}

/// What a policy would not allow about a key today.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Misfit {
    /// It never expires.
    #[error("it never expires")]
    NeverExpires,
    /// Its lifetime is longer than allowed.
    #[error("its life is longer than {max_days} days")]
    ExpiresTooLate {
        /// The longest lifetime in days.
        max_days: u32,
    },
    /// Its lifetime is not one of the choices.
    #[error("its life is not one of the choices")]
    ExpiryNotOffered,
    /// Its owner has more keys than allowed.
    #[error("its owner has more than {max} keys")]
    OverLimit {
        /// Most keys that count.
        max: u32,
    },
    /// A newer usable key of its owner has the same name.
    #[error("another key of its owner has the same name")]
    NameRepeated,
}

impl Policy {
    /// Fails for a policy that contradicts itself.
    pub fn check(&self) -> Result<(), Contradiction> {
        self.check_limit()?;
        self.check_expiry()?;
        self.check_rotate()?;
        self.check_grants()?;
        self.check_revoke()
    }

    fn check_limit(&self) -> Result<(), Contradiction> {
        match self.limit.keys_per_subject {
            Some(0) => Err(no("limit.keys_per_subject", "must be at least 1; null is no limit")),
            Some(max) if max > KEYS_MAX => Err(no(
                "limit.keys_per_subject",
                format!("must be at most {KEYS_MAX}; null is no limit"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn check_expiry(&self) -> Result<(), Contradiction> {
        let expiry = &self.expiry;
        let finite = [
            ("expiry.default_days", expiry.default_days),
            ("expiry.max_days", expiry.max_days),
        ];
        for (field, days) in finite {
            if days.is_some_and(|days| days == 0 || days > DAYS_MAX) {
                return Err(no(field, format!("must be from 1 to {DAYS_MAX} days, or null")));
            }
        }
        if expiry.choices_days.len() > CHOICES_MAX {
            return Err(no(
                "expiry.choices_days",
                format!("must have at most {CHOICES_MAX} choices"),
            ));
        }
        if !expiry.choices_days.iter().all(|days| (1..=DAYS_MAX).contains(days)) {
            return Err(no("expiry.choices_days", format!("must be from 1 to {DAYS_MAX} days")));
        }
        if !expiry.choices_days.is_sorted_by(|a, b| a < b) {
            return Err(no("expiry.choices_days", "must ascend and not repeat"));
        }
        if let Some(max) = expiry.max_days {
            if expiry.default_days.is_some_and(|days| days > max) {
                return Err(no(
                    "expiry.default_days",
                    format!("is longer than expiry.max_days, which is {max}"),
                ));
            }
            if expiry.choices_days.last().is_some_and(|days| *days > max) {
                return Err(no(
                    "expiry.choices_days",
                    format!("offers more than expiry.max_days, which is {max}"),
                ));
            }
        }
        if !expiry.allow_never && expiry.default_days.is_none() && expiry.max_days.is_none() {
            let why = "must be given, or expiry.max_days, where expiry.allow_never is false";
            return Err(no("expiry.default_days", why));
        }
        self.check_choices()
    }

    /// Where only the choices are allowed, the default must be one of them.
    fn check_choices(&self) -> Result<(), Contradiction> {
        let expiry = &self.expiry;
        if expiry.custom {
            return Ok(());
        }
        let unsaid = match (expiry.default_days, expiry.allow_never) {
            (Some(days), _) => ("expiry.default_days", Some(days)),
            (None, true) => return Ok(()),
            (None, false) => ("expiry.max_days", expiry.max_days),
        };
        match unsaid {
            (field, Some(days)) if !expiry.choices_days.contains(&days) => {
                let why = "must be one of expiry.choices_days where expiry.custom is false";
                Err(no(field, why))
            }
            _ => Ok(()),
        }
    }

    /// Administrators may give what members may give; otherwise they could not repeat what members do.
    fn check_grants(&self) -> Result<(), Contradiction> {
        match self.grant.beyond_admin() {
            Some(scope) => {
                let why = format!("has {scope}, which grant.admin.scopes does not allow");
                Err(no("grant.member.scopes", why))
            }
            None => Ok(()),
        }
    }

    fn check_rotate(&self) -> Result<(), Contradiction> {
        let rotate = self.rotate;
        if rotate.overlap_max_seconds > OVERLAP_SECONDS_MAX {
            let why = format!("must be at most {OVERLAP_SECONDS_MAX} seconds");
            return Err(no("rotate.overlap_max_seconds", why));
        }
        if rotate.overlap_default_seconds > rotate.overlap_max_seconds {
            let why = format!(
                "is longer than rotate.overlap_max_seconds, which is {}",
                rotate.overlap_max_seconds
            );
            return Err(no("rotate.overlap_default_seconds", why));
        }
        Ok(())
    }

    fn check_revoke(&self) -> Result<(), Contradiction> {
        match (self.revoke.undo, self.revoke.after) {
            (Undo::Seconds(seconds), _) if seconds == 0 || seconds > u64::from(DAYS_MAX) * SECONDS_PER_DAY => {
                let why = format!("must be never, always, or from 1 second to {DAYS_MAX} days");
                Err(no("revoke.undo", why))
            }
            (Undo::Always, After::Erase) => Err(no(
                "revoke.after",
                "cannot be erase where revoke.undo is always: what can be undone is not erased",
            )),
            _ => Ok(()),
        }
    }

    fn offers_life(&self, ms: u64) -> bool {
        self.expiry.custom || (ms.is_multiple_of(1_000) && self.expiry.offers(ms / 1_000))
    }

    /// Returns what this policy would not allow about an existing key. `newer_same_owner` are the usable keys of its
    /// owner that were issued after it.
    pub fn misfit(&self, key: &Key, newer_same_owner: &[&Key], now: Timestamp) -> Option<Misfit> {
        let key = key.clone().settled(now);
        if matches!(key.state, State::Revoked(_)) || key.is_expired(now) {
            return None;
        }
        let rotated_at = key.rotated_at.unwrap_or(key.created_at);
        let life_ms = |end: Timestamp| end.millis_since(key.created_at.max(rotated_at));
        let is_too_long = |end, days: u32| life_ms(end) > u64::from(days) * SECONDS_PER_DAY * 1_000;
        match (key.expires_at, self.expiry.max_days) {
            (None, _) if !self.expiry.allow_never => return Some(Misfit::NeverExpires),
            (Some(end), Some(max_days)) if is_too_long(end, max_days) => {
                return Some(Misfit::ExpiresTooLate { max_days });
            }
            // A rotation may have kept the expiry that the key had before.
            (Some(end), _)
                if !self.offers_life(end.millis_since(key.created_at))
                    && !self.offers_life(end.millis_since(rotated_at)) =>
            {
                return Some(Misfit::ExpiryNotOffered);
            }
            _ => {}
        }
        let newer = u32::try_from(newer_same_owner.len()).unwrap_or(u32::MAX);
        if let Some(max) = self.limit.keys_per_subject
            && newer >= max
        {
            return Some(Misfit::OverLimit { max });
        }
        let is_repeated = newer_same_owner.iter().any(|other| other.name == key.name);
        (self.names == Names::Unique && is_repeated).then_some(Misfit::NameRepeated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;
    use crate::scope::Scopes;

    #[test]
    fn every_preset_makes_sense() {
        for preset in Preset::ALL {
            assert_eq!(preset.policy().check(), Ok(()), "{preset}");
        }
    }

    #[test]
    fn a_contradiction_names_its_field() {
        type Spoil = fn(&mut Policy);
        let cases: [(&str, Spoil); 18] = [
            ("grant.member.scopes", |policy| {
                policy.grant.admin_scopes = Scopes::parse(["repo:*"]).unwrap();
            }),
            ("expiry.default_days", |policy| {
                (policy.expiry.custom, policy.expiry.default_days) = (false, Some(8));
            }),
            ("expiry.max_days", |policy| {
                (policy.expiry.custom, policy.expiry.max_days) = (false, Some(100));
                (policy.expiry.allow_never, policy.expiry.default_days) = (false, None);
            }),
            ("expiry.default_days", |policy| {
                policy.expiry.choices_days = Vec::new();
                (policy.expiry.custom, policy.expiry.default_days) = (false, Some(7));
            }),
            ("limit.keys_per_subject", |policy| {
                policy.limit.keys_per_subject = Some(0);
            }),
            ("limit.keys_per_subject", |policy| {
                policy.limit.keys_per_subject = Some(1_000_001);
            }),
            ("expiry.default_days", |policy| policy.expiry.default_days = Some(0)),
            ("expiry.default_days", |policy| policy.expiry.default_days = Some(91)),
            ("expiry.default_days", |policy| {
                policy.expiry.max_days = None;
                policy.expiry.choices_days.clear();
                policy.expiry.allow_never = false;
            }),
            ("expiry.max_days", |policy| policy.expiry.max_days = Some(0)),
            ("expiry.max_days", |policy| policy.expiry.max_days = Some(36_526)),
            ("expiry.choices_days", |policy| policy.expiry.choices_days = vec![7, 91]),
            ("expiry.choices_days", |policy| policy.expiry.choices_days = vec![30, 7]),
            ("expiry.choices_days", |policy| policy.expiry.choices_days = vec![0, 7]),
            ("rotate.overlap_default_seconds", |policy| {
                policy.rotate.overlap_default_seconds = 1;
            }),
            ("rotate.overlap_max_seconds", |policy| {
                policy.rotate.overlap_max_seconds = u64::MAX;
            }),
            ("revoke.undo", |policy| policy.revoke.undo = Undo::Seconds(0)),
            ("revoke.after", |policy| policy.revoke.undo = Undo::Always),
        ];
        for (field, spoil) in cases {
            let mut policy = Preset::Erase.policy();
            spoil(&mut policy);
            assert_eq!(policy.check().map_err(|error| error.field), Err(field));
        }
    }
}
