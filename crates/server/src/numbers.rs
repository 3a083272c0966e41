//! Counters and histograms of this process for `/metrics`, beyond those of the use cases.

use keyreeve_authority::Effect;
use keyreeve_core::Timestamp;
use keyreeve_store::model::Census;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// In seconds: from a commit on this machine to the wait for an unreachable verifier.
const EFFECT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];
/// In seconds: the boundaries that OpenTelemetry recommends for requests.
const REQUEST_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// In microseconds: from a look-up in memory to a store that is nearly unresponsive.
const VERIFICATION_BUCKETS_US: [u32; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
];
/// Methods that are labels. Clients can send any method, and labels must be a bounded set.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The metrics of one process.
pub(crate) struct Numbers {
    /// When the process started.
    pub(crate) started_at: Timestamp,
    /// How long changes took to be effective everywhere.
    pub(crate) effects: Histogram,
    /// How long requests took, except verifications.
    pub(crate) requests: Family<RequestLabels, Histogram>,
    /// How long verdicts took, measured after the request was validated.
    pub(crate) verifications: Durations,
    state: Mutex<State>,
}

/// A lock-free histogram: every verification updates it.
#[derive(Default)]
pub(crate) struct Durations {
    /// Counts by bucket, and those beyond the last one.
    counts: [AtomicU64; VERIFICATION_BUCKETS_US.len() + 1],
    nanoseconds: AtomicU64,
}

impl Durations {
    pub(crate) fn observe(&self, took: Duration) {
        let mut bounds = VERIFICATION_BUCKETS_US.iter();
        let place = bounds.position(|bound| took <= Duration::from_micros(u64::from(*bound)));
        let place = place.unwrap_or(VERIFICATION_BUCKETS_US.len());
        if let Some(counter) = self.counts.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns the sum in seconds, the count, and the buckets by their upper bounds in seconds, each with its own
    /// count.
    pub(crate) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = VERIFICATION_BUCKETS_US.iter().map(|us| f64::from(*us) / 1e6);
        let counts = self.counts.iter().map(|counter| counter.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::MAX]).zip(counts).collect();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        (sum, buckets.iter().map(|(_, count)| count).sum(), buckets)
    }
}

#[derive(Default)]
struct State {
    census: Option<Census>,
    audit_verified_at: Option<Timestamp>,
}

/// The labels of requests, each from a bounded set.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

impl Numbers {
    pub(crate) fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            effects: Histogram::new(EFFECT_BUCKETS),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            verifications: Durations::default(),
            state: Mutex::default(),
        }
    }

    /// Records how long a change took to be effective everywhere.
    pub(crate) fn note_effect(&self, effect: &Effect) {
        self.effects.observe(effect.waited.as_secs_f64());
    }

    /// Records a request. `route` is the pattern that it matched, so the set of labels is bounded.
    pub(crate) fn note_request(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        let labels = RequestLabels {
            http_request_method: METHODS.iter().find(|known| **known == method).unwrap_or(&"_OTHER"),
            http_route: route.unwrap_or("").to_owned(),
            http_response_status_code: status,
        };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Stores the last count of keys.
    pub(crate) fn note_census(&self, census: Census) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).census = Some(census);
    }

    /// Stores that the audit log was verified completely.
    pub(crate) fn note_audit_verified(&self, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.audit_verified_at = Some(now);
    }

    /// Returns the last count of keys.
    pub(crate) fn census(&self) -> Option<Census> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).census.clone()
    }

    /// Returns when this process last verified the complete audit log.
    pub(crate) fn audit_verified_at(&self) -> Option<Timestamp> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .audit_verified_at
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_below_it() {
        let durations = Durations::default();
        for ns in [0, 50_000, 50_001, 1_000_000_000, 1_000_000_001] {
            durations.observe(Duration::from_nanos(ns));
        }
        let (sum, count, buckets) = durations.read();
        assert!((sum - 2.000_100_002).abs() < 1e-9, "{sum}");
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            (count, filled),
            (5, vec![(0.000_05, 2), (0.000_1, 1), (1.0, 1), (f64::MAX, 1)])
        );
    }
}
