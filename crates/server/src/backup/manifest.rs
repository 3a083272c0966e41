//! The first member of an archive and its manifest, which are JSON.

use super::FORMAT;
use super::error::{BackupError, printable};
use keyreeve_core::audit::Milestone;
use keyreeve_core::{bytes_of_hex, hex};
use keyreeve_store::copy::{ColumnKind, CopiedColumn, CopiedTable, SnapshotFacts, TABLES};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a reader must know before the rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ArchiveHead {
    /// The version of the format.
    pub(super) format: u64,
    /// The version of Keyreeve that wrote it.
    pub(super) keyreeve: String,
    /// The version of the database schema.
    pub(super) schema: i64,
    /// The tables, in the order of the archive.
    pub(super) tables: Vec<TableColumns>,
    /// Rows in all, to show the progress.
    pub(super) rows: u64,
}

/// The columns of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TableColumns {
    name: String,
    /// `name:type`, in the order of the values in a row.
    columns: Vec<String>,
}

/// What is in a backup, signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u64,
    /// The version of Keyreeve that wrote it.
    pub keyreeve: String,
    /// When the snapshot was taken, in Unix milliseconds.
    pub taken_at: i64,
    /// The database that it was read from: `sqlite` or `postgres`.
    pub database: String,
    /// The version of the database schema.
    pub schema: i64,
    /// The chain hash of the first entry of the audit log, which identifies the instance.
    pub instance: Option<String>,
    /// The timeline of Postgres that was last seen.
    pub timeline: Option<String>,
    /// The last entry of the audit log.
    pub revision: u64,
    /// Its chain hash.
    pub chain: String,
    /// Rows by table.
    pub tables: Vec<TableRows>,
    /// Every member before the manifest, in order.
    pub parts: Vec<PartDigest>,
    /// The public key that verifies the signature, in C2SP's form.
    pub public_key: String,
}

/// The rows of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableRows {
    /// The table.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

/// A member of the archive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartDigest {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Returns the end of the audit log in the backup.
    pub(super) fn end(&self) -> Result<Milestone, BackupError> {
        let chain = bytes_of_hex(&self.chain).ok_or_else(|| BackupError::changed("the manifest has no chain hash"))?;
        Ok(Milestone {
            revision: self.revision,
            chain,
        })
    }

    /// Returns the number of keys.
    pub fn keys(&self) -> u64 {
        let keys = self.tables.iter().find(|table| table.name == "keys");
        keys.map_or(0, |table| table.rows)
    }
}

/// A table of an archive, with the columns that it has there.
pub(super) type KnownTable = (&'static CopiedTable, Arc<[CopiedColumn]>);

impl ArchiveHead {
    pub(super) fn new(facts: &SnapshotFacts) -> Self {
        let tables = TABLES.iter().map(|table| TableColumns {
            name: table.name.to_owned(),
            columns: table.columns.iter().map(named).collect(),
        });
        Self {
            format: u64::from(FORMAT),
            keyreeve: env!("CARGO_PKG_VERSION").to_owned(),
            schema: facts.schema,
            tables: tables.collect(),
            rows: facts.rows.iter().map(|table| table.rows).sum(),
        }
    }

    /// Returns the tables with their columns as this version knows them. A table or column that it does not know is of a
    /// newer version.
    pub(super) fn known(&self) -> Result<Vec<KnownTable>, BackupError> {
        let known = |found: &TableColumns| {
            let newer = |what: &str| BackupError::NewerData(printable(what));
            let table = TABLES.iter().find(|table| table.name == found.name);
            let table = table.ok_or_else(|| newer(&found.name))?;
            let column = |text: &String| {
                let column = table.columns.iter().find(|column| named(column) == *text).copied();
                column.ok_or_else(|| newer(&format!("{}.{text}", table.name)))
            };
            let columns: Result<Vec<_>, _> = found.columns.iter().map(column).collect();
            Ok::<_, BackupError>((table, columns?.into()))
        };
        let known: Vec<KnownTable> = self.tables.iter().map(known).collect::<Result<_, BackupError>>()?;
        let names: BTreeSet<_> = known.iter().map(|(table, _)| table.name).collect();
        match names.len() == known.len() {
            true => Ok(known),
            false => Err(BackupError::changed("a table is listed twice")),
        }
    }
}

fn named((name, kind): &(&'static str, ColumnKind)) -> String {
    format!("{name}:{}", kind.name())
}

/// Returns the manifest's fields that are known when the snapshot is taken.
pub(super) fn begun(facts: &SnapshotFacts, taken_at: i64, public_key: String) -> Manifest {
    Manifest {
        format: u64::from(FORMAT),
        keyreeve: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        database: facts.database.to_owned(),
        schema: facts.schema,
        instance: facts.first.map(|chain| hex(&chain)),
        timeline: facts.timeline.clone(),
        revision: facts.head.revision,
        chain: hex(&facts.head.chain),
        tables: Vec::new(),
        parts: Vec::new(),
        public_key,
    }
}
