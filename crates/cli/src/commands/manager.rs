//! Notifies the service manager that started the server, if there is one, that it is ready, alive or stopping
//! (`sd_notify(3)`). Without one, nothing is sent.

use sd_notify::NotifyState;
use std::time::Duration;

/// The service manager.
pub(super) struct Manager {
    /// Interval of its watchdog notifications.
    interval: Option<Duration>,
}

impl Manager {
    /// Notifies that the server serves from now on.
    pub(super) fn ready() -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status("answering")]);
        Self {
            // Half of the watchdog's limit, so that one late notification does no harm (`sd_watchdog_enabled(3)`).
            interval: sd_notify::watchdog_enabled()
                .map(|limit| limit / 2)
                .filter(|half| !half.is_zero()),
        }
    }

    /// Sends watchdog notifications as long as the runtime polls tasks. Never returns.
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

    /// Notifies that the server finishes running requests.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing")]);
    }
}

/// Sends a notification. A failure must not stop the server.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
