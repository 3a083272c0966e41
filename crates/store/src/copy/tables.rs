//! The tables of a copy, with their columns.

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnKind {
    /// A 64-bit integer.
    Int,
    /// Text in UTF-8.
    Text,
    /// Bytes.
    Blob,
    /// True or false.
    Flag,
}

impl ColumnKind {
    /// Returns its name in the manifest of a backup.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Text => "text",
            Self::Blob => "blob",
            Self::Flag => "flag",
        }
    }
}

/// A column: its name and type.
pub type CopiedColumn = (&'static str, ColumnKind);

/// A table, and its columns in the order in which they are copied.
#[derive(Debug)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [CopiedColumn],
}

/// A value to copy; `None` is null.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// An integer.
    Int(Option<i64>),
    /// A text.
    Text(Option<String>),
    /// Bytes.
    Blob(Option<Vec<u8>>),
    /// A flag.
    Flag(Option<bool>),
}

use ColumnKind::{Blob, Flag, Int, Text};

/// Every table that is copied, after those that it refers to. Sessions, sign-in links and the newest addresses of keys
/// (`logins`, `traces`) are not: they are of one running instance.
pub const TABLES: [CopiedTable; 11] = [
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
