//! Bounds how long the verdicts of a request wait for the store, so that a caller gets an answer within two seconds also if
//! the database does not respond.

use crate::verdict_service::VerdictService;
use keyreeve_authority::verify::{Miss, Question, Verdict};
use keyreeve_core::verdict::Denial;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// Time limit of all verdicts of a request. A single read of the store has less, so it fails first with its own error.
const VERDICTS_TIMEOUT: Duration = Duration::from_millis(1_800);

/// The time limit of a request. It begins when its first verdict waits; a request that is answered from memory reads no
/// clock for it.
#[derive(Debug, Default)]
pub(crate) struct StoreDeadline {
    until: Option<Instant>,
    /// Whether the store has not answered this request before: then it is not asked again.
    is_failing: bool,
}

impl StoreDeadline {
    /// Runs a look-up until the deadline; `None` if it does not end in time.
    ///
    /// A look-up that is dropped may have asked the store for a slice of a limit. The slice is then lost: fewer uses are
    /// accepted, never more.
    async fn bound<T>(&mut self, look_up: impl Future<Output = T>) -> Option<T> {
        let late = async {
            let until = *self.until.get_or_insert_with(|| Instant::now() + VERDICTS_TIMEOUT);
            tokio::time::sleep_until(until).await;
        };
        let (look_up, late) = (pin!(look_up), pin!(late));
        tokio::select! {
            biased;
            found = look_up => Some(found),
            () = late => None,
        }
    }
}

impl VerdictService {
    /// Returns the verdict on a secret that memory alone cannot give.
    pub(crate) async fn verdict_on_miss(
        &self,
        miss: Miss,
        question: &Question<'_>,
        deadline: &mut StoreDeadline,
    ) -> Verdict {
        let authority = self.authority();
        if deadline.is_failing && !authority.remembers(&miss) {
            return authority.unanswered(question.via);
        }
        let found = deadline.bound(authority.verify_miss(miss, question)).await;
        let verdict = found.unwrap_or_else(|| authority.unanswered(question.via));
        // With an entry the key was found, and only its limits could not be charged: a full disk does not prevent reads.
        deadline.is_failing |= verdict.outcome.is_err_and(Denial::is_no_verdict) && verdict.entry.is_none();
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test(start_paused = true)]
    async fn all_look_ups_of_a_request_share_one_deadline() {
        let began = Instant::now();
        let mut deadline = StoreDeadline::default();
        for _ in 0..3 {
            assert_eq!(deadline.bound(pending::<()>()).await, None);
        }
        assert_eq!(began.elapsed(), VERDICTS_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_begins_with_the_first_wait_and_memory_answers_after_it() {
        let mut deadline = StoreDeadline::default();
        tokio::time::sleep(VERDICTS_TIMEOUT * 2).await;
        assert_eq!(deadline.bound(ready(1)).await, Some(1));
        assert!(deadline.until.is_none(), "no clock was read");
        let slow = async { tokio::time::sleep(VERDICTS_TIMEOUT / 2).await };
        assert_eq!(deadline.bound(slow).await, Some(()));
        assert_eq!(deadline.bound(pending::<()>()).await, None);
        assert_eq!(deadline.bound(ready(2)).await, Some(2));
    }
}
