//! `keyreeve backup restore`: into an empty data directory or an empty Postgres database.

use super::{BackupOpening, described, print, progress};
use crate::commands::restore_choice::{self, ChoiceOptions};
use crate::output::{self, Format};
use crate::settings::DatabaseOptions;
use anyhow::Context as _;
use clap::Args;
use keyreeve_server::backup::RowProgress;
use keyreeve_server::backup::restore::{BackupToRestore, FirstSteps, RestoreTarget, restore};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  keyreeve backup restore keyreeve.backup --data /var/lib/keyreeve
  keyreeve backup restore keyreeve.backup --data /var/lib/keyreeve --database postgres://keyreeve@db.example/keyreeve
  keyreeve backup restore keyreeve.backup.age --identity identity.txt --data /var/lib/keyreeve

A backup of either database is restored into either. The directory or database must be empty: living data is never
overwritten. Nothing is kept unless all of the backup is verified.
What was changed after the backup is lost. Denials that the file `denials` in the data directory and the files named by
--denials have are written again. For the time for which no denial is known, choose --hold-all, --hold-since or --accept.
Without a choice the server starts and verifies no key, until `restore decide` is called.";

/// Restore a backup.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupRestore {
    #[command(flatten)]
    opening: BackupOpening,
    /// The empty data directory; it is created if it does not exist
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data")]
    data: PathBuf,
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    choice: ChoiceOptions,
    /// A file with denials, from another node or saved from a lost disk; repeat for more
    #[arg(long, value_name = "FILE")]
    denials: Vec<PathBuf>,
    /// The reason, for the audit log
    #[arg(long, default_value = "restored from a backup")]
    reason: String,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl BackupRestore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let backup = BackupToRestore {
            file: self.opening.file.clone(),
            public_key: self.opening.public_key()?,
            identities: self.opening.identities()?,
        };
        let target = match self.database.settle(output::say_waiting)? {
            None => RestoreTarget::Directory(self.data.clone()),
            Some(access) => RestoreTarget::Database {
                access: Box::new(access),
                data: self.data.clone(),
            },
        };
        let steps = FirstSteps {
            choice: self.choice.choice(),
            reason: self.reason,
            denials: self.denials,
        };
        let progress = Arc::new(RowProgress::default());
        let file = &self.opening.file;
        let restoring = async {
            let restored = restore(backup, &target, &steps, Arc::clone(&progress)).await;
            restored.with_context(|| file.display().to_string())
        };
        let (restored, report) = progress::shown("restore", Arc::clone(&progress), restoring).await?;
        let more = json!({"fingerprint": restored.fingerprint, "data": self.data.display().to_string()});
        print(self.output, described(&restored.manifest), &more);
        output::say(&format!(
            "Restored up to revision {}, of {}. Changes after that are lost.",
            restored.manifest.revision,
            output::time(restored.manifest.taken_at)
        ));
        for line in report.iter().flat_map(restore_choice::report) {
            output::say(&line);
        }
        Ok(())
    }
}
