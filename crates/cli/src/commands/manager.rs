//! The service manager that started the server, if one did: told when it is ready, alive, and on its way out
//! (`sd_notify(3)`). Without one nothing is told to nobody.

use sd_notify::NotifyState;
use std::time::Duration;

/// Whoever looks after the process.
pub(super) struct Manager {
    /// How often it wants a sign of life.
    interval: Option<Duration>,
}

impl Manager {
    /// Says that the server answers from now on.
    pub(super) fn ready() -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status("answering")]);
        Self {
            // Twice as often as is asked for, so that one that is late does no harm (`sd_watchdog_enabled(3)`).
            interval: sd_notify::watchdog_enabled()
                .map(|limit| limit / 2)
                .filter(|half| !half.is_zero()),
        }
    }

    /// Gives signs of life for as long as tasks are run. Does not come back.
    pub(super) async fn keep_alive(&self) {
        let Some(interval) = self.interval else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Says that the server finishes what it has begun.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing")]);
    }
}

/// A manager that does not listen is no reason not to serve.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
