//! Work after a restore that takes longer than a request: one at a time, in the background of the server.

use keyreeve_authority::restored::{HoldProgress, Release, RestoreChoice};
use keyreeve_authority::{Authority, Failure};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What answers commands about a restore.
#[derive(Debug)]
pub(crate) struct RestoreService {
    pub(super) authority: Arc<Authority>,
    pub(super) jobs: RestoreJobs,
}

impl RestoreService {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            jobs: RestoreJobs::default(),
        }
    }
}

/// The work that an operator has started.
#[derive(Debug, Default)]
pub(super) struct RestoreJobs(Mutex<Option<RestoreJob>>);

#[derive(Debug)]
struct RestoreJob {
    progress: Arc<HoldProgress>,
    /// The result, once there is one.
    result: Option<Result<Value, String>>,
}

/// What an operator requests.
#[derive(Debug)]
pub(super) enum RestoreWork {
    Decide(RestoreChoice, String),
    Release(Release, bool),
}

impl RestoreJobs {
    /// Returns the state of the newest work.
    pub(super) fn describe(&self) -> Value {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().map_or(Value::Null, |job| {
            let (result, error) = match &job.result {
                None => (None, None),
                Some(Ok(result)) => (Some(result), None),
                Some(Err(why)) => (None, Some(why)),
            };
            json!({
                "is_running": job.result.is_none(),
                "keys": job.progress.done(),
                "result": result,
                "error": error,
            })
        })
    }

    /// Begins work; `None` if some is running.
    fn begin(&self) -> Option<Arc<HoldProgress>> {
        let mut job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if job.as_ref().is_some_and(|job| job.result.is_none()) {
            return None;
        }
        let progress = Arc::new(HoldProgress::default());
        *job = Some(RestoreJob {
            progress: Arc::clone(&progress),
            result: None,
        });
        Some(progress)
    }

    fn end(&self, result: Result<Value, Failure>) {
        let mut job = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = job.as_mut() {
            job.result = Some(result.map_err(|failure| failure.to_string()));
        }
    }
}

/// Starts work in the background. False if some is running.
pub(super) fn start(service: &Arc<RestoreService>, work: RestoreWork) -> bool {
    let Some(progress) = service.jobs.begin() else {
        return false;
    };
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let result = done(&service.authority, work, &progress).await;
        service.jobs.end(result);
    });
    true
}

async fn done(authority: &Authority, work: RestoreWork, progress: &HoldProgress) -> Result<Value, Failure> {
    match work {
        RestoreWork::Decide(choice, reason) => {
            let record = authority.restore().decide(choice, &reason, progress).await?;
            super::withhold_if_undecided(authority).await?;
            Ok(json!({"choice": choice.as_str(), "held": record.held}))
        }
        RestoreWork::Release(filter, is_dry) => {
            let released = authority.restore().release(&filter, is_dry, progress).await?;
            Ok(json!({"matched": released.matched, "released": released.released}))
        }
    }
}
