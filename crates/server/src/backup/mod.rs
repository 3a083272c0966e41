//! Backups: one signed archive of a complete instance, whatever database it is in.
//!
//! An archive is written from a consistent snapshot ([`create`]), read and verified from its first byte to its last
//! ([`verify`]), and loaded into an empty database ([`restore`]). Its layout is in docs/design/backup-format.md. It has
//! digests of secrets, never a secret, and not the key that signs it.

mod archive;
pub mod create;
mod error;
mod file;
mod manifest;
mod progress;
mod read;
pub mod restore;
mod rows;
pub mod schedule;
mod sealed;
pub(crate) mod serve;
mod unfinished;
pub mod verify;

pub use error::BackupError;
pub use file::{BackupFile, StoredBackup};
pub use manifest::{Manifest, PartDigest, TableRows};
pub use progress::RowProgress;
pub use schedule::BackupSchedule;
pub use sealed::{Identities, Recipients};
pub use serve::{ADDRESS, KEPT_ADDRESS};
pub(crate) use unfinished::{refuse_restoring, refuse_unfinished};
pub use verify::{VerifiedBackup, public_key};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The first member: what a reader must know before the rows.
const HEAD_NAME: &str = "keyreeve-backup.json";
/// The member before the last: digests, counts and the end of the audit log.
const MANIFEST_NAME: &str = "manifest.json";
/// The last member: the signature of the manifest.
const SIGNATURE_NAME: &str = "manifest.sig";
/// The last member of an archive that was given up, in place of the manifest: the reason.
const FAILED_NAME: &str = "failed.txt";
/// Bytes of rows after which a part ends, before compression.
const PART_BYTES: usize = 4 << 20;
/// Most bytes of a member, compressed or not.
const MEMBER_BYTES_MAX: u64 = 64 << 20;
/// Most parts of an archive: a hundred million keys have fewer.
const PARTS_MAX: usize = 200_000;
