//! `keyreeve backup verify`: without a server.

use super::{BackupOpening, described, print, progress};
use crate::output::{self, Format};
use anyhow::Context as _;
use clap::Args;
use keyreeve_server::backup::RowProgress;
use keyreeve_server::backup::verify::{CopyPriority, verify};
use serde_json::json;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  keyreeve backup verify keyreeve.backup
  keyreeve backup verify keyreeve.backup --public-key /var/lib/keyreeve
  keyreeve backup verify keyreeve.backup.age --identity identity.txt

Without --public-key, compare the fingerprint that it prints with the one of your server: a forged backup is signed by
another key.";

/// Verify a backup.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupVerify {
    #[command(flatten)]
    opening: BackupOpening,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl BackupVerify {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (key, identities) = (self.opening.public_key()?, self.opening.identities()?);
        let progress = Arc::new(RowProgress::default());
        let file = &self.opening.file;
        let verifying = async {
            let verified = verify(file, key, identities, Arc::clone(&progress), CopyPriority::Usual).await;
            verified.with_context(|| file.display().to_string())
        };
        let verified = progress::shown("verify", Arc::clone(&progress), verifying).await?;
        let more = json!({
            "fingerprint": verified.fingerprint,
            "is_encrypted": verified.is_encrypted,
            "tables": verified.manifest.tables,
        });
        print(self.output, described(&verified.manifest), &more);
        output::say(&format!(
            "{}: signature, digests, counts and audit log are good, up to revision {}.",
            file.display(),
            verified.manifest.revision
        ));
        Ok(())
    }
}
