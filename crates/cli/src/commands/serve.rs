//! `keyreeve serve`: the server.

use super::manager::Manager;
use crate::exit::Interrupted;
use crate::output;
use crate::settings::{GivenOptions, end_wait, has_ended_wait};
use anyhow::Context as _;
use clap::Args;
use keyreeve_server::founding::EmptyStore;
use keyreeve_server::instance::{Addresses, Instance};
use keyreeve_server::log::{self, OutputStream, deliver};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the reader of standard output may take to make room for the first root key.
const ROOT_KEY_PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  keyreeve serve
  keyreeve serve --data /var/lib/keyreeve --listen 0.0.0.0:7300 --root-key-file /etc/keyreeve/root-key
  keyreeve serve --listen 127.0.0.1:0            a free port; the first lines say which
  keyreeve serve --listen 127.0.0.1:7300,unix:/run/keyreeve/api.sock

Standard output: one `name=address` a line, on the very first start the root key, as long as nobody can sign in a link
for the first administrator of the dashboard, then `ready`. The very first start needs a standard output that leads somewhere, or
--root-key-file: what cannot show its root key is not set up.
Every option is also a KEYREEVE_… variable and a key in keyreeve.toml (--config).";

/// Run the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    #[command(flatten)]
    options: GivenOptions,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (settings, level) = self.options.settle()?;
        tracing_subscriber::fmt()
            .with_writer(|| log::standard_error().writer())
            // The library would print them with `eprintln!`, which panics when standard error is closed.
            .log_internal_errors(false)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(level)
            .init();
        log::log_panics();
        for name in &settings.unknown_variables {
            output::say(&format!(
                "warning: the environment variable {name} is not one of Keyreeve's and is ignored"
            ));
        }
        // Before any listener is bound, so that no early signal is lost.
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        // A closed terminal or a log rotation sends it. It needs no reaction: changed TLS files are detected without
        // it.
        let hangups = signal(SignalKind::hangup()).context("cannot wait for signals")?;
        tokio::spawn(note_hangups(hangups));
        let empty = EmptyStore::found(|addresses, root_key| {
            require_reader()?;
            let lines = format!("{}root_key={root_key}\n", listing(addresses));
            deliver(OutputStream::Output, &lines, ROOT_KEY_PATIENCE)
        });
        let start = Instance::start(&settings, empty);
        let (started, has_signal) = noting_signals(start, &mut terminate, &mut interrupt).await;
        let instance = match started {
            Err(_) if has_ended_wait() => return Ok(()),
            started => started?,
        };
        announce(&instance);
        let manager = Manager::ready();
        if !has_signal {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = manager.keep_alive() => {}
            }
        }
        Manager::stopping();
        tokio::select! {
            () = instance.stop() => Ok(()),
            () = manager.keep_alive() => Ok(()),
            // A second signal stops at once.
            _ = terminate.recv() => Err(Interrupted.into()),
            _ = interrupt.recv() => Err(Interrupted.into()),
        }
    }
}

/// Waits for the start, and returns whether a signal to end arrived. A start is not aborted, because a root key may just
/// have been shown: only its wait for a database ends.
async fn noting_signals<T>(
    start: impl Future<Output = T>,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) -> (T, bool) {
    let mut start = pin!(start);
    tokio::select! {
        started = &mut start => return (started, false),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    end_wait();
    (start.await, true)
}

/// Logs each SIGHUP as having no effect.
async fn note_hangups(mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        tracing::info!("SIGHUP is ignored: settings are read at the start, TLS files when they change");
    }
}

/// Writes the first lines on standard output: the listen addresses, unless they were printed with the root key, and the
/// link for the first administrator. A missing reader is no error.
fn announce(instance: &Instance) {
    let mut lines = Vec::new();
    if instance.has_shown_root_key {
        output::say("This is the instance root key. It is shown this once and not stored: keep it.");
    } else {
        lines.push(listing(&instance.addresses));
    }
    if let Some(link) = &instance.first_admin_link {
        lines.push(format!("first_admin_link={}\n", link.expose()));
        output::say(
            "No user can sign in to the dashboard yet. Open the link to make the first administrator: it works once.",
        );
    }
    lines.push("ready\n".to_owned());
    log::standard_output().push(lines.concat().as_bytes());
}

/// Formats the listen addresses, one a line.
fn listing(addresses: &Addresses) -> String {
    let api = addresses.listen.iter().map(|place| format!("listen={place}\n"));
    let check = addresses.check_listen.iter();
    let check = check.map(|place| format!("check_listen={place}\n"));
    let ops = format!("ops_listen={}\n", addresses.ops_listen);
    let lines: Vec<_> = api.chain(check).chain([ops]).collect();
    lines.concat()
}

/// Returns an error if standard output is closed or `/dev/null`: the root key would be lost. (The runtime opens a
/// closed one as `/dev/null` before the program begins.)
fn require_reader() -> io::Result<()> {
    let is_null = |file: &std::fs::Metadata| {
        let null = std::fs::metadata("/dev/null");
        null.is_ok_and(|null| file.file_type().is_char_device() && file.rdev() == null.rdev())
    };
    match std::fs::metadata("/proc/self/fd/1") {
        Ok(out) if is_null(&out) => Err(io::Error::other("it is closed, or leads to /dev/null")),
        // If it cannot be examined, the write shows whether it works.
        Ok(_) | Err(_) => Ok(()),
    }
}
