//! Counts of leak reports, and which of them were logged.

use keyreeve_core::KeyId;
use keyreeve_core::coherence::Moment;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Reports of one key that are logged in an hour, so that the holder of a secret cannot fill the log with it.
const NOTED_AN_HOUR: u32 = 10;
const HOUR_MS: u64 = 3_600_000;
/// Most keys whose logged reports are counted.
const COUNTED_MAX: usize = 50_000;

/// The source of a report. The words are labels of a metric and never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeakSource {
    /// A caller of the API who has the secret.
    Api,
    /// GitHub's secret scanning, authenticated by its signature.
    GitHub,
}

impl LeakSource {
    /// Every source.
    pub const ALL: &[Self] = &[Self::Api, Self::GitHub];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::GitHub => "github",
        }
    }
}

/// The result of a report. The words are labels of a metric and never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeakResult {
    /// The key was revoked.
    Revoked,
    /// A hold was put on the key.
    Held,
    /// The policy wants the report logged and nothing else.
    Noted,
    /// The secret was not accepted any more, or the key was on hold.
    Ended,
    /// No key ever had this secret.
    Unknown,
    /// The report's signature does not verify.
    Refused,
}

impl LeakResult {
    /// Every result.
    pub const ALL: &[Self] = &[
        Self::Revoked,
        Self::Held,
        Self::Noted,
        Self::Ended,
        Self::Unknown,
        Self::Refused,
    ];

    /// Returns the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Held => "held",
            Self::Noted => "noted",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// The state of leak reports in this process.
#[derive(Debug, Default)]
pub(crate) struct LeakReports {
    tallies: [[AtomicU64; LeakResult::ALL.len()]; LeakSource::ALL.len()],
    /// By key: since when reports are counted, and how many were logged.
    noted: Mutex<HashMap<KeyId, (Moment, u32)>>,
}

impl LeakReports {
    pub(crate) fn count(&self, source: LeakSource, result: LeakResult, times: u64) {
        let counter = self
            .tallies
            .get(source as usize)
            .and_then(|row| row.get(result as usize));
        if let Some(counter) = counter {
            counter.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Returns the number of reports by source and result.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (LeakSource, LeakResult, u64)> {
        let rows = LeakSource::ALL.iter().zip(&self.tallies);
        rows.flat_map(|(&source, row)| {
            let results = LeakResult::ALL.iter().zip(row);
            results.map(move |(&result, count)| (source, result, count.load(Ordering::Relaxed)))
        })
    }

    /// Whether one more report of a key may be logged.
    pub(crate) fn may_note(&self, key: KeyId, now: Moment) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: Moment| now.ms_since(since) < HOUR_MS;
        if noted.len() >= COUNTED_MAX {
            noted.retain(|_, (since, _)| is_fresh(*since));
        }
        let is_full = noted.len() >= COUNTED_MAX;
        match noted.get_mut(&key) {
            Some((since, count)) if is_fresh(*since) => {
                *count += 1;
                *count <= NOTED_AN_HOUR
            }
            None if is_full => false,
            Some(_) | None => {
                noted.insert(key, (now, 1));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_key_ten_reports_an_hour_are_written_down() {
        let leaks = LeakReports::default();
        let key = |number: u8| KeyId::from_bytes([number; 16]);
        let at = |ms: u64| Moment::default().plus_ms(ms);
        let noted = |number: u8, ms: u64| (0..30).filter(|_| leaks.may_note(key(number), at(ms))).count();
        assert_eq!((noted(1, 0), noted(1, HOUR_MS - 1), noted(2, 0)), (10, 0, 10));
        assert_eq!(noted(1, HOUR_MS), 10);
    }
}
