//! How values are stored in columns and parsed again. Parsing is strict: what this program did not write is corrupt.

pub(crate) mod check_policy;
pub(crate) mod policy;
