//! The progress bar of a backup: on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyreeve_server::backup::RowProgress;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the bar is drawn.
const EVERY: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{msg} {bar:30} {human_pos}/{human_len} rows {elapsed} (left {eta})";

/// Does some work, and shows how far it is. An interrupt ends it: what was not finished is removed.
pub(super) async fn shown<T>(
    what: &'static str,
    progress: Arc<RowProgress>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar.set_message(what);
    let draw = async {
        loop {
            tokio::time::sleep(EVERY).await;
            bar.set_length(progress.total());
            bar.set_position(progress.done());
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = draw => Err(anyhow::anyhow!("interrupted")),
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; nothing was kept")),
    };
    bar.finish_and_clear();
    done
}
