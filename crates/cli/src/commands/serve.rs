//! `keyreeve serve`: the server.

use super::manager::Manager;
use crate::exit::Interrupted;
use crate::output;
use crate::settings::Options;
use anyhow::Context as _;
use clap::Args;
use keyreeve_server::instance::Instance;
use std::io::Write as _;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  keyreeve serve
  keyreeve serve --data /var/lib/keyreeve --listen 0.0.0.0:7300 --root-key-file /etc/keyreeve/root-key
  keyreeve serve --listen 127.0.0.1:0            a free port; the first lines say which
  keyreeve serve --listen 127.0.0.1:7300,unix:/run/keyreeve/api.sock

Standard output: one `name=address` a line, on the very first start the root key, as long as nobody can sign in a link
for the first administrator of the dashboard, then `ready`.
Every option is also a KEYREEVE_… variable and a key in keyreeve.toml (--config).";

/// Run the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    #[command(flatten)]
    options: Options,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (settings, log) = self.options.settle()?;
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(log)
            .init();
        for name in &settings.unknown_variables {
            output::say(&format!(
                "warning: the environment variable {name} is not one of Keyreeve's and is ignored"
            ));
        }
        // Before anything listens, so that no early signal is lost.
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut instance = Instance::start(&settings).await?;
        announce(&mut instance)?;
        let manager = Manager::ready();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = manager.keep_alive() => {}
        }
        Manager::stopping();
        tokio::select! {
            () = instance.stop() => Ok(()),
            () = manager.keep_alive() => Ok(()),
            // Whoever asks twice will not wait.
            _ = terminate.recv() => Err(Interrupted.into()),
            _ = interrupt.recv() => Err(Interrupted.into()),
        }
    }
}

/// The first lines on standard output: where the server really listens, and the one time that its root key is shown.
pub(super) fn announce(instance: &mut Instance) -> anyhow::Result<()> {
    let addresses = &instance.addresses;
    let mut out = std::io::stdout().lock();
    for place in &addresses.listen {
        writeln!(out, "listen={place}")?;
    }
    for place in &addresses.check_listen {
        writeln!(out, "check_listen={place}")?;
    }
    writeln!(out, "ops_listen={}", addresses.ops_listen)?;
    if let Some(root_key) = instance.first_root_key.take() {
        writeln!(out, "root_key={}", root_key.expose())?;
        output::say("This is the instance root key. It is shown this once and not stored: keep it.");
    }
    if let Some(link) = &instance.first_admin_link {
        writeln!(out, "first_admin_link={}", link.expose())?;
        output::say(
            "Nobody can sign in to the dashboard yet. Open the link to make the first administrator: it works once.",
        );
    }
    writeln!(out, "ready")?;
    out.flush()?;
    Ok(())
}
