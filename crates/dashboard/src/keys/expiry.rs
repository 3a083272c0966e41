//! The expiry field of a form, with the choices that the policy offers.

use crate::fields::FormFields;
use crate::moment::day;
use keyreeve_api::Problem;
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::{Policy, Timestamp};

const DAY_SECONDS: u64 = 86_400;
/// The choices in days, if the policy names none.
const DAYS_OFFERED: [u32; 7] = [1, 7, 30, 60, 90, 180, 365];
/// The default in days, if the policy has none.
const DAYS_USUAL: u32 = 90;

/// One choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    /// Days, `never`, `keep` or `custom`.
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) is_chosen: bool,
}

/// Returns the choices of a form. `kept` is the present expiry, which a rotation may keep.
pub(crate) fn choices(policy: &Policy, now: Timestamp, kept: Option<Option<Timestamp>>, chosen: &str) -> Vec<Choice> {
    let days = offered(policy);
    let usual = policy.expiry.default_days.unwrap_or(DAYS_USUAL);
    let default = match (kept, days.contains(&usual)) {
        (Some(_), _) => "keep".to_owned(),
        (None, true) => usual.to_string(),
        (None, false) => days.last().map_or_else(|| "never".to_owned(), ToString::to_string),
    };
    let chosen = if chosen.is_empty() { &default } else { chosen };
    let choice = |value: String, label: String| Choice {
        is_chosen: value == chosen,
        value,
        label,
    };
    let mut all = Vec::new();
    if let Some(kept) = kept {
        let until = kept.map_or_else(|| "never expires".to_owned(), |at| format!("expires {}", day(at)));
        all.push(choice("keep".to_owned(), format!("As it is ({until})")));
    }
    if policy.expiry.allow_never {
        all.push(choice("never".to_owned(), "No expiration".to_owned()));
    }
    for days in days {
        let at = now.plus_seconds(u64::from(days) * DAY_SECONDS);
        let words = match days {
            1 => "1 day".to_owned(),
            365 => "1 year".to_owned(),
            days => format!("{days} days"),
        };
        all.push(choice(days.to_string(), format!("{words} (until {})", day(at))));
    }
    if has_custom(policy) {
        all.push(choice("custom".to_owned(), "Custom".to_owned()));
    }
    all
}

fn offered(policy: &Policy) -> Vec<u32> {
    let choices = match policy.expiry.choices_days.as_slice() {
        [] if !policy.expiry.custom => Vec::new(),
        [] => DAYS_OFFERED.to_vec(),
        chosen => chosen.to_vec(),
    };
    let max = policy.expiry.max_days.unwrap_or(u32::MAX);
    choices.into_iter().filter(|&days| days <= max).collect()
}

/// Whether the form has a field for a date too.
pub(crate) fn has_custom(policy: &Policy) -> bool {
    policy.expiry.custom
}

/// Reads the requested expiry from a form.
pub(crate) fn wish(policy: &Policy, fields: &FormFields, now: Timestamp) -> Result<ExpiryWish, Problem> {
    let unknown = || Problem::field("expires", "must be one of the choices of the form");
    match fields.get("expires") {
        None | Some("keep") => Ok(ExpiryWish::Unsaid),
        Some("never") => Ok(ExpiryWish::Never),
        Some("custom") if has_custom(policy) => custom(fields.get("expires_on"), now),
        Some(days) => match days.parse::<u32>() {
            Ok(days) if offered(policy).contains(&days) => Ok(ExpiryWish::InSeconds(u64::from(days) * DAY_SECONDS)),
            Ok(_) | Err(_) => Err(unknown()),
        },
    }
}

/// Returns the end of the day that was typed.
fn custom(text: Option<&str>, now: Timestamp) -> Result<ExpiryWish, Problem> {
    let unreadable = || Problem::field("expires_on", "must be a date to come, such as 2027-01-31");
    let date: jiff::civil::Date = text.and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
    let end = date
        .at(23, 59, 59, 0)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|_| unreadable())?;
    let seconds = end
        .timestamp()
        .as_second()
        .saturating_sub(now.millis().div_euclid(1_000));
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(ExpiryWish::InSeconds(seconds)),
        Ok(_) | Err(_) => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::policy::Preset;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn values(policy: &Policy) -> Vec<String> {
        choices(policy, NOW, None, "")
            .into_iter()
            .map(|choice| choice.value)
            .collect()
    }

    #[test]
    fn each_preset_offers_its_own_choices() {
        assert_eq!(values(&Preset::Erase.policy()), ["never", "7", "30", "60", "90"]);
        assert_eq!(
            values(&Preset::Hold.policy()),
            ["never", "7", "30", "60", "90", "custom"]
        );
        assert_eq!(values(&Preset::Keep.policy()), ["7", "30", "60", "90", "custom"]);
        let erase = choices(&Preset::Erase.policy(), NOW, None, "");
        let chosen: Vec<_> = erase.iter().filter(|choice| choice.is_chosen).collect();
        assert_eq!(
            (chosen.len(), chosen[0].label.as_str()),
            (1, "90 days (until 12 Feb 2024)")
        );
    }

    #[test]
    fn a_wish_must_be_one_of_the_choices() {
        let erase = Preset::Erase.policy();
        let wished = |query: &[u8]| wish(&erase, &FormFields::parse(query), NOW);
        assert_eq!(wished(b"expires=7"), Ok(ExpiryWish::InSeconds(7 * DAY_SECONDS)));
        assert_eq!(wished(b"expires=never"), Ok(ExpiryWish::Never));
        for query in [
            &b"expires=8"[..],
            b"expires=custom&expires_on=2027-01-31",
            b"expires=x",
            b"expires=-1",
        ] {
            assert!(wished(query).is_err());
        }
        let keep = Preset::Keep.policy();
        let wished = |query: &[u8]| wish(&keep, &FormFields::parse(query), NOW);
        assert_eq!(
            wished(b"expires=custom&expires_on=2023-11-15"),
            Ok(ExpiryWish::InSeconds(86_400 + 6_399))
        );
        for query in [
            &b"expires=custom"[..],
            b"expires=custom&expires_on=2020-01-01",
            b"expires=custom&expires_on=x",
        ] {
            assert!(wished(query).is_err());
        }
    }
}
