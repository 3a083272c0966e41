//! Queues verifications of the audit log: one runs at a time, and few wait. One of the complete log, for the operator,
//! does not delay the short ones of tenants.

use crate::capacity::{Capacity, Reservation};
use crate::respond::RETRY_AFTER_SECONDS;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Call;
use keyreeve_core::access::Reach;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Verifications of one tenant, or of callers of the instance, that may run or wait.
const OF_ONE_MAX: usize = 2;
/// Verifications in total that may run or wait.
const IN_ALL_MAX: usize = 64;
/// Seconds after which a refused caller may try again.
const AGAIN_SECONDS: u64 = 2;

/// The verifications of this process.
#[derive(Debug)]
pub struct Walks {
    whole: Semaphore,
    short: Semaphore,
    places: Capacity<Reach>,
}

impl Default for Walks {
    fn default() -> Self {
        Self {
            whole: Semaphore::new(1),
            short: Semaphore::new(1),
            places: Capacity::new(OF_ONE_MAX, IN_ALL_MAX),
        }
    }
}

/// Permission for one verification, held until it is dropped.
#[derive(Debug)]
pub struct WalkTurn<'w> {
    _place: Reservation<Reach>,
    _turn: SemaphorePermit<'w>,
}

impl Walks {
    /// Waits until a caller's verification may begin.
    pub async fn turn(&self, call: &Call) -> Result<WalkTurn<'_>, Problem> {
        let reach = &call.caller.reach;
        let place = self.places.reserve_one(reach.clone()).ok_or_else(too_many)?;
        let lane = match reach {
            Reach::Instance => &self.whole,
            Reach::Tenant(_) => &self.short,
        };
        let turn = lane.acquire().await.map_err(|_| too_many())?;
        Ok(WalkTurn {
            _place: place,
            _turn: turn,
        })
    }
}

fn too_many() -> Problem {
    let detail =
        "The audit log is being verified already, and as many as may are waiting for it. Try again in a moment.";
    Problem::new(Code::RateLimited, detail).with(RETRY_AFTER_SECONDS, AGAIN_SECONDS)
}
