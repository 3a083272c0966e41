//! What this process counts and measures for `/metrics` beyond what the use cases count themselves.

use keyreeve_authority::Effect;
use keyreeve_core::Timestamp;
use keyreeve_store::model::Census;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// In seconds: from a commit on the machine itself to a wait for a verifier that cannot be reached.
const EFFECT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];
/// In seconds: what OpenTelemetry advises for requests.
const REQUEST_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Methods that are named; whoever asks may write anything.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The numbers of one process.
pub(crate) struct Numbers {
    /// When the process began.
    pub(crate) started_at: Timestamp,
    /// How long changes took to be effective everywhere.
    pub(crate) effects: Histogram,
    /// How long requests took that are no verifications.
    pub(crate) requests: Family<RequestLabels, Histogram>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    census: Option<Census>,
    audit_verified_at: Option<Timestamp>,
}

/// What requests are told apart by: closed sets, all of them.
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
            state: Mutex::default(),
        }
    }

    /// Counts how long a change took to be effective everywhere.
    pub(crate) fn note_effect(&self, effect: &Effect) {
        let ms = u32::try_from(effect.waited_ms).unwrap_or(u32::MAX);
        self.effects.observe(f64::from(ms) / 1_000.0);
    }

    /// Counts a request. `route` is the pattern that it matched, and so one of a few.
    pub(crate) fn note_request(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        let labels = RequestLabels {
            http_request_method: METHODS.iter().find(|known| **known == method).unwrap_or(&"_OTHER"),
            http_route: route.unwrap_or("").to_owned(),
            http_response_status_code: status,
        };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Keeps how many keys there are.
    pub(crate) fn note_census(&self, census: Census) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).census = Some(census);
    }

    /// Keeps that the audit log was found whole.
    pub(crate) fn note_audit_verified(&self, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.audit_verified_at = Some(now);
    }

    /// How many keys there were when they were last counted.
    pub(crate) fn census(&self) -> Option<Census> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).census.clone()
    }

    /// When the audit log was last found whole by this process.
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
