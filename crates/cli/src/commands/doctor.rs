//! `keyreeve doctor`: reports what is insecure or slow, with a remedy.

use crate::exit::AnswerIsNo;
use crate::output::{self, Format};
use crate::settings::GivenOptions;
use clap::Args;
use keyreeve_client::{Client, ClientError};
use keyreeve_server::doctor::{ADDRESS, examine_at_rest};
use keyreeve_server::instance::operator_socket;
use serde_json::Value;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  keyreeve doctor
  keyreeve doctor --data /var/lib/keyreeve -o json
  keyreeve doctor --config /etc/keyreeve/keyreeve.toml      before the server is started

A server that runs on the data directory is asked; it knows how it was set up. Without one, the options of `serve`, the
variables, the settings file and the data are looked at. Exit code 0 if nothing was found, 3 if something was.
docs/operations/doctor.md explains everything that can be found.";

/// Report every setting that is insecure or slow, with a remedy.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    #[command(flatten)]
    options: GivenOptions,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (settings, _) = self.options.settle()?;
        let diagnosis = match ask(&settings.data).await? {
            Some(answered) => answered,
            None => serde_json::to_value(examine_at_rest(&settings).await)?,
        };
        match self.output {
            Format::Json => output::print(&serde_json::to_string_pretty(&diagnosis)?),
            Format::Table => tell(&diagnosis),
        }
        match diagnosis.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            Some(false) | None => Err(AnswerIsNo.into()),
        }
    }
}

/// Returns the findings of a running server; `None` if none is running.
async fn ask(data: &Path) -> anyhow::Result<Option<Value>> {
    let socket = operator_socket(data);
    if !socket.exists() {
        return Ok(None);
    }
    match Client::over_socket(&socket)?.get(ADDRESS, &[]).await {
        Ok(diagnosis) => Ok(Some(diagnosis)),
        // A killed server left its socket behind.
        Err(ClientError::Unreachable(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn tell(diagnosis: &Value) {
    let text = |finding: &Value, name: &str| {
        let value = finding.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let findings = diagnosis.get("findings").and_then(Value::as_array);
    for finding in findings.into_iter().flatten() {
        output::print(&format!(
            "{severity}: {id}: {what}\n    why: {why}\n    fix: {fix}\n",
            severity = text(finding, "severity"),
            id = text(finding, "id"),
            what = text(finding, "what"),
            why = text(finding, "why"),
            fix = text(finding, "fix"),
        ));
    }
    let examined = diagnosis.get("examined").and_then(Value::as_array);
    let examined: Vec<_> = examined.into_iter().flatten().filter_map(Value::as_str).collect();
    let count = findings.map_or(0, Vec::len);
    output::say(&format!("{count} found; examined: {}", examined.join(", ")));
}
