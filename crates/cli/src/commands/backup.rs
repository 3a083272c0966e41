//! `keyreeve backup`: makes, verifies and restores backups.

mod create;
mod progress;
mod restore;
mod verify;

use crate::output::{self, Format};
use clap::{Args, Subcommand};
use keyreeve_server::backup::{Identities, Manifest, Recipients};
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  keyreeve backup create --out keyreeve.backup
  keyreeve backup verify keyreeve.backup --public-key /var/lib/keyreeve
  keyreeve backup restore keyreeve.backup --data /var/lib/keyreeve-new
  keyreeve backup create --recipient age1… --out keyreeve.backup.age

A backup has every key, user, tenant and the audit log, and no secret: the same file for SQLite and Postgres.
`serve --backup-dir DIR` makes them regularly. docs/operations/backup.md has the drill.";

/// Make, verify and restore backups.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Backup {
    /// Write a backup of a running server, or of a stopped one, into a file
    Create(create::BackupCreate),
    /// Verify a backup without a server: signature, digests, counts, and the chain of the audit log
    Verify(verify::BackupVerify),
    /// Restore a backup into an empty data directory or an empty Postgres database
    Restore(restore::BackupRestore),
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Verify(verify) => verify.run().await,
            Self::Restore(restore) => restore.run().await,
        }
    }
}

/// What opens a backup, and what it is compared with.
#[derive(Debug, Args)]
struct BackupOpening {
    /// The backup
    file: PathBuf,
    /// The public key that must have signed it: its text, a file, or the data directory that has it
    /// (audit-verifier-key)
    #[arg(long, value_name = "KEY|FILE|DIR")]
    public_key: Option<String>,
    /// A file with an age identity, for an encrypted backup; may be given several times
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

impl BackupOpening {
    fn public_key(&self) -> anyhow::Result<Option<String>> {
        let given = self.public_key.as_deref();
        Ok(given.map(keyreeve_server::backup::public_key).transpose()?)
    }

    fn identities(&self) -> anyhow::Result<Identities> {
        Ok(Identities::read(&self.identity)?)
    }
}

/// Returns the lines that describe a backup.
fn described(manifest: &Manifest) -> Value {
    json!({
        "instance": manifest.instance,
        "taken_at": manifest.taken_at,
        "revision": manifest.revision,
        "chain": manifest.chain,
        "keys": manifest.keys(),
        "database": manifest.database,
        "timeline": manifest.timeline,
        "schema": manifest.schema,
        "format": manifest.format,
        "keyreeve": manifest.keyreeve,
    })
}

/// Prints an object with some more fields.
fn print(format: Format, mut value: Value, more: &Value) {
    if let (Some(fields), Some(more)) = (value.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
    output::one(format, &value);
}

/// Reads the recipients of the command line.
fn recipients(texts: &[String]) -> anyhow::Result<Recipients> {
    Ok(Recipients::parse(texts)?)
}
