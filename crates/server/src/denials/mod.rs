//! Denials outside the database: a file in each data directory, from which a restored database gets back what it has
//! lost.
//!
//! It is written from the audit log, a little behind the changes and never on the path of an answer. What it could not
//! write, because the disk was full or the process was not running, it reads from the log later.

mod file;
mod keeper;
mod ledger;
mod place;

pub(crate) use file::FILE;
pub(crate) use keeper::{DenialsKeeper, follow};
pub(crate) use ledger::Ledger;
pub(crate) use place::{common, contains, first_missing, is_of_instance};
