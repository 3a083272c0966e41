//! `keyreeve backup restore`: into an empty data directory or an empty Postgres database.

use super::{BackupOpening, described, print, progress};
use crate::output::{self, Format};
use crate::settings::DatabaseOptions;
use anyhow::Context as _;
use clap::Args;
use keyreeve_server::backup::RowProgress;
use keyreeve_server::backup::restore::{BackupToRestore, RestoreTarget, restore};
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
What was changed after the backup is lost: keys that were revoked since work again, until they are revoked again.";

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
        let progress = Arc::new(RowProgress::default());
        let file = &self.opening.file;
        let restoring = async {
            let restored = restore(backup, &target, Arc::clone(&progress)).await;
            restored.with_context(|| file.display().to_string())
        };
        let restored = progress::shown("restore", Arc::clone(&progress), restoring).await?;
        let more = json!({"fingerprint": restored.fingerprint, "data": self.data.display().to_string()});
        print(self.output, described(&restored.manifest), &more);
        output::say(&format!(
            "Restored up to revision {}, of {}. Changes after that are lost: keys that were revoked since work again.",
            restored.manifest.revision,
            output::time(restored.manifest.taken_at)
        ));
        Ok(())
    }
}
