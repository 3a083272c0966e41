//! Why a backup could not be made, verified or restored.

use crate::instance::StartError;
use keyreeve_store::StoreError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a backup could not be made, verified or restored. Each is one sentence with a way out.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file does not begin as a backup does.
    #[error("it is not a backup of Keyreeve")]
    NotABackup,
    /// The format is newer than this program.
    #[error(
        "it has format {found}, of a newer version of Keyreeve; this one reads format {known}: use the newer version"
    )]
    Newer {
        /// The format of the archive.
        found: u64,
        /// The newest format that is known.
        known: u32,
    },
    /// The database schema is newer than this program.
    #[error("it has the data of a newer version of Keyreeve ({0}): use the newer version")]
    NewerData(String),
    /// The archive ends before its end.
    #[error("it is cut off: the end of the archive is missing; use another copy of it")]
    Cut,
    /// The archive is not what was written.
    #[error("it was changed or damaged: {0}; use another copy of it")]
    Changed(String),
    /// The archive was signed by another key than expected.
    #[error(
        "it is signed by another key ({found}) than the one that was named ({expected}): it is another instance's, or forged"
    )]
    OtherKey {
        /// The fingerprint of the key in the archive.
        found: String,
        /// The fingerprint of the expected key.
        expected: String,
    },
    /// The public key to compare with cannot be read.
    #[error("the public key to compare with cannot be read: {0}")]
    PublicKey(String),
    /// The archive is encrypted, and no identity was given.
    #[error("it is encrypted: name the file of an age identity with --identity")]
    Encrypted,
    /// No identity opens the archive.
    #[error("it is encrypted to other recipients: none of the identities opens it")]
    WrongIdentity,
    /// A recipient or an identity cannot be read.
    #[error("{0}")]
    Age(String),
    /// The server gave up the backup.
    #[error("the server gave it up: {0}")]
    GivenUp(String),
    /// The file exists.
    #[error("{} exists; name another file, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{what}: {error}")]
    File {
        /// What was done with which file.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] StartError),
    /// The other end of a channel was closed: it has the reason.
    #[error("it was interrupted")]
    Interrupted,
}

/// Most characters of a text from an archive that are printed.
const PRINTED_MAX: usize = 500;

/// Returns a text from an archive without what a terminal would obey, and not all of a long one: it may be forged.
pub(super) fn printable(text: &str) -> String {
    let mut kept = text.chars();
    let shown: String = kept
        .by_ref()
        .take(PRINTED_MAX)
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    if kept.next().is_some() {
        format!("{shown}…")
    } else {
        shown
    }
}

impl BackupError {
    /// Returns what an error while an archive was read means.
    pub(super) fn of_reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ if error.raw_os_error().is_some() => Self::File {
                what: "the backup cannot be read".to_owned(),
                error,
            },
            // The decryption, the decompression and the archive library report damage as errors without a number.
            _ => Self::Changed("its bytes are not those of an archive".to_owned()),
        }
    }

    /// Returns the error of an archive whose content contradicts itself.
    pub(super) fn changed(why: impl Into<String>) -> Self {
        Self::Changed(why.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_an_archive_is_printed_without_control_characters_and_cut() {
        assert_eq!(printable("no\u{1b}[2J\nspace"), "no [2J space");
        assert_eq!(printable(&"a".repeat(PRINTED_MAX + 1)).chars().count(), PRINTED_MAX + 1);
    }
}
