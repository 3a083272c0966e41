//! `keyreeve audit accept-restore`: accepts a database that differs from the signed one, after it has explained the
//! consequences.

use super::restore_choice::{self, ChoiceOptions, time};
use crate::output;
use crate::settings::DatabaseOptions;
use anyhow::bail;
use clap::Args;
use keyreeve_server::history::Acceptance;
use keyreeve_server::restored::RestoreChoice;
use serde_json::json;
use std::io::BufRead as _;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  keyreeve audit accept-restore --data /var/lib/keyreeve --reason \"disk lost, backup of Tuesday\"
  keyreeve audit accept-restore --data /var/lib/keyreeve --reason \"disk lost\" --denials rescued/denials --hold-all
  keyreeve audit accept-restore --data /var/lib/keyreeve --reason \"drill\" --accept --yes
  keyreeve audit accept-restore --data /var/lib/keyreeve --database postgres://keyreeve@db.example/keyreeve --reason \"…\"

Stop the server first. `serve` refuses a database that does not contain what the data directory has signed: an older
copy, another instance's, an empty one. This command says what is missing, asks, writes an entry into the audit log
(instance.restore_accepted), and only then signs anew. The old checkpoint stays, as audit-checkpoint.before-REVISION.
Every denial that the file `denials` in the data directory and the files named by --denials have, and the database has
not, is written again. For the time for which no denial is known, choose --hold-all, --hold-since or --accept. Without
a choice the server starts and verifies no key, until `restore decide` is called.
Among several nodes each data directory has a checkpoint of its own: run it once for each.";

/// The word to type.
const WORD: &str = "accept";

/// Accept a database that is not the one that was signed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AcceptRestore {
    /// The data directory of the stopped server
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data")]
    data: PathBuf,
    #[command(flatten)]
    database: DatabaseOptions,
    /// The reason, for the audit log
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    choice: ChoiceOptions,
    /// A file with denials, from another node or saved from a lost disk; repeat for more
    #[arg(long, value_name = "FILE")]
    denials: Vec<PathBuf>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: output::Format,
}

impl AcceptRestore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let database = self.database.settle(output::say_waiting)?;
        let acceptance = Acceptance::prepare(&self.data, database.as_ref()).await?;
        if !acceptance.is_needed() {
            output::say("The database contains what was signed: there is nothing to accept, and nothing was changed.");
            return Ok(());
        }
        for line in acceptance.explain() {
            output::say(&line);
        }
        if acceptance.is_broken() {
            bail!("this cannot be accepted; put a complete copy in place. Nothing was changed");
        }
        if !self.yes {
            output::say(&format!("Type {WORD} to accept it:"));
            let mut typed = String::new();
            std::io::stdin().lock().read_line(&mut typed)?;
            if typed.trim() != WORD {
                bail!("nothing was accepted and nothing was changed");
            }
        }
        let accepted = acceptance
            .accept(&self.reason, self.choice.choice(), &self.denials)
            .await?;
        let kept: Vec<_> = accepted.kept.iter().map(|path| path.display().to_string()).collect();
        let record = accepted.report.as_ref().map(|report| &report.record);
        let done = json!({
            "revision": accepted.revision,
            "kept": kept,
            "unknown_since": record.map(|record| time(record.unknown_since.millis())),
            "unknown_until": record.map(|record| time(record.unknown_until.millis())),
            "denied_again": record.map(|record| record.reapplied),
            "held": record.map(|record| record.held),
            "choice": record.and_then(|record| record.choice).map(RestoreChoice::as_str),
        });
        output::one(self.output, &done);
        output::say(&format!(
            "Accepted: entry {} of the audit log records it.",
            accepted.revision
        ));
        for line in accepted.report.iter().flat_map(restore_choice::report) {
            output::say(&line);
        }
        output::say(&format!(
            "Look at the root keys before serving: those that were revoked in that time work again. `keyreeve \
             root-keys list --data {}` shows them without a server.",
            self.data.display()
        ));
        Ok(())
    }
}
