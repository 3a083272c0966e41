//! Copies an instance from SQLite into an empty Postgres database, in one transaction.

use crate::error::StoreError;
use crate::{PostgresStore, SqliteStore};

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ColumnKind {
    Int,
    Text,
    Blob,
    Flag,
}

/// A table, and its columns in the order in which they are copied.
#[derive(Debug)]
pub(crate) struct CopiedTable {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, ColumnKind)],
}

/// A value to copy.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
    Flag(Option<bool>),
}

use ColumnKind::{Blob, Flag, Int, Text};

/// Every table, after those that it refers to.
pub(crate) const TABLES: [CopiedTable; 11] = [
    CopiedTable {
        name: "tenants",
        columns: &[
            ("slug", Text),
            ("name", Text),
            ("is_suspended", Flag),
            ("policy", Text),
            ("created_at", Int),
            ("is_removed", Flag),
        ],
    },
    CopiedTable {
        name: "check_policies",
        columns: &[
            ("tenant", Text),
            ("name", Text),
            ("document", Text),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    },
    CopiedTable {
        name: "root_keys",
        columns: &[
            ("id", Blob),
            ("name", Text),
            ("tenant", Text),
            ("permissions", Text),
            ("digest", Blob),
            ("last_four", Text),
            ("created_at", Int),
            ("revoked_at", Int),
            ("expires_at", Int),
            ("networks", Text),
            ("rotated_at", Int),
            ("retiring_digest", Blob),
            ("retiring_until", Int),
            ("last_used_at", Int),
            ("is_presented", Flag),
        ],
    },
    CopiedTable {
        name: "replaced_root_secrets",
        columns: &[("digest", Blob), ("root_key", Blob), ("replaced_at", Int)],
    },
    CopiedTable {
        name: "keys",
        columns: &[
            ("id", Blob),
            ("tenant", Text),
            ("subject", Text),
            ("name", Text),
            ("description", Text),
            ("claims", Text),
            ("scopes", Text),
            ("created_by", Text),
            ("digest", Blob),
            ("prefix", Text),
            ("last_four", Text),
            ("retiring", Blob),
            ("retiring_until", Int),
            ("state", Text),
            ("hold_cause", Text),
            ("hold_lock", Text),
            ("finalize_at", Int),
            ("state_since", Int),
            ("state_by", Text),
            ("reason_code", Text),
            ("note", Text),
            ("created_at", Int),
            ("updated_at", Int),
            ("rotated_at", Int),
            ("expires_at", Int),
            ("last_used_at", Int),
            ("limits", Text),
            ("last_refused_at", Int),
            ("folded_name", Text),
        ],
    },
    CopiedTable {
        name: "limit_counters",
        columns: &[
            ("key_id", Blob),
            ("name", Text),
            ("since", Int),
            ("value", Int),
            ("other_since", Int),
            ("other_value", Int),
        ],
    },
    CopiedTable {
        name: "credentials",
        columns: &[
            ("digest", Blob),
            ("key_id", Blob),
            ("tenant", Text),
            ("standing", Text),
            ("until", Int),
            ("last_used_at", Int),
        ],
    },
    CopiedTable {
        name: "idempotency",
        columns: &[
            ("actor", Text),
            ("mark", Text),
            ("fingerprint", Blob),
            ("targets", Blob),
            ("created_at", Int),
        ],
    },
    CopiedTable {
        name: "users",
        columns: &[
            ("id", Blob),
            ("tenant", Text),
            ("email", Text),
            ("name", Text),
            ("role", Text),
            ("status", Text),
            ("password", Text),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    },
    CopiedTable {
        name: "usage",
        columns: &[
            ("key_id", Blob),
            ("hour", Int),
            ("outcome", Text),
            ("count", Int),
            ("extra_cost", Int),
        ],
    },
    CopiedTable {
        name: "log",
        columns: &[
            ("revision", Int),
            ("at", Int),
            ("tenant", Text),
            ("actor_type", Text),
            ("actor_id", Text),
            ("action", Text),
            ("target_type", Text),
            ("target_id", Text),
            ("subject", Text),
            ("reason", Text),
            ("address", Text),
            ("request_id", Text),
            ("before", Text),
            ("after", Text),
            ("chain", Blob),
        ],
    },
];

/// How many rows of a table were copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// Copies everything, or nothing.
///
/// # Errors
/// [`StoreError::Disagreement`] if the target holds an instance already; [`StoreError::Corrupt`] if the row counts
/// differ afterwards, and then nothing was copied.
pub async fn copy(from: &SqliteStore, to: &PostgresStore) -> Result<Vec<Copied>, StoreError> {
    let mut target = to.fill().await?;
    let mut copied = Vec::new();
    for table in &TABLES {
        let rows = from.export_table(table, &mut target).await?;
        copied.push(Copied {
            table: table.name,
            rows,
        });
    }
    target.finish(&copied).await?;
    Ok(copied)
}

impl CopiedTable {
    /// Returns the names of the columns, separated by commas.
    pub(crate) fn list(&self) -> String {
        self.columns
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
