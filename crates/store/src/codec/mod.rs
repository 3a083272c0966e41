//! How values are written in columns and read back. Reading is strict: what was not written by us is corrupt.

pub(crate) mod check_policy;
pub(crate) mod policy;
