//! Last uses of root keys, until they are written.

use super::root_pass::RootPass;
use keyreeve_core::coherence::{Cached as _, Moment};
use keyreeve_core::{Digest, Timestamp};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// After a use is noted, no other one of the same secret is for this long: the last use is exact to a minute.
const GRAIN_MS: u64 = 60_000;
/// Most uses that wait to be written, and most secrets whose uses are not noted for a minute.
const USES_MAX: usize = 65_536;

/// Uses that are not written yet, and secrets of which a use was noted within the last minute.
#[derive(Debug, Default)]
pub(crate) struct RootUses(Mutex<NotedUses>);

#[derive(Debug, Default)]
struct NotedUses {
    unwritten: Vec<(Digest, Timestamp)>,
    /// In the order in which their uses were noted.
    resting: VecDeque<(RootPass, Moment)>,
}

impl RootUses {
    /// Notes an accepted use, if none was noted within the last minute. The clocks are read only then.
    pub(crate) fn note(&self, pass: &RootPass, now: impl FnOnce() -> (Timestamp, Moment)) {
        if !pass.begin_use() {
            return;
        }
        let (at, moment) = now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.unwritten.len().max(noted.resting.len()) >= USES_MAX {
            pass.forget_use();
            return;
        }
        noted.unwritten.push((*pass.digest(), at));
        noted.resting.push_back((pass.clone(), moment));
    }

    /// Takes the uses that are not written yet.
    pub(crate) fn take(&self, now: Moment) -> Vec<(Digest, Timestamp)> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((pass, _)) = noted
            .resting
            .pop_front_if(|(_, since)| now.ms_since(*since) >= GRAIN_MS)
        {
            pass.forget_use();
        }
        std::mem::take(&mut noted.unwritten)
    }

    /// Puts back what could not be written.
    pub(crate) fn give_back(&self, unwritten: &[(Digest, Timestamp)]) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = USES_MAX.saturating_sub(noted.unwritten.len());
        noted.unwritten.extend(unwritten.iter().take(room));
    }
}
