//! Writes an archive: a tar file of compressed parts, with the manifest and its signature at the end.

use super::error::BackupError;
use super::manifest::{self, ArchiveHead, Manifest, PartDigest, TableRows};
use super::{FAILED_NAME, HEAD_NAME, MANIFEST_NAME, MEMBER_BYTES_MAX, PART_BYTES, PARTS_MAX, SIGNATURE_NAME, rows};
use crate::checkpoints::Checkpoints;
use keyreeve_core::hex;
use keyreeve_store::copy::{CopiedTable, RowBatch, RowCounts, SnapshotFacts};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use std::time::Duration;
use zstd::bulk::Compressor;

/// Mode of the members, if the archive is unpacked.
const MODE: u32 = 0o600;
/// Level of the compression: faster than a disk, and half the size. Most of an archive are digests, which are random.
const LEVEL: i32 = 3;

/// An archive that is being written.
pub(super) struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    compressor: Compressor<'static>,
    manifest: Manifest,
    counts: RowCounts,
    /// The part that is being filled.
    table: Option<&'static CopiedTable>,
    number: u32,
    lines: Vec<u8>,
    rows: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive of a snapshot that was taken at `taken_at` (Unix milliseconds).
    pub(super) fn begin(out: W, facts: &SnapshotFacts, taken_at: i64, public_key: String) -> io::Result<Self> {
        let mut archive = Self {
            tar: tar::Builder::new(out),
            compressor: Compressor::new(LEVEL)?,
            manifest: manifest::begun(facts, taken_at, public_key),
            counts: RowCounts::default(),
            table: None,
            number: 0,
            lines: Vec::new(),
            rows: 0,
        };
        let head = serde_json::to_vec(&ArchiveHead::new(facts))?;
        archive.part(HEAD_NAME.to_owned(), &head)?;
        Ok(archive)
    }

    /// Appends rows.
    pub(super) fn add(&mut self, batch: &RowBatch) -> io::Result<()> {
        if self.table.is_none_or(|table| table.name != batch.table.name) {
            self.end_part()?;
            self.table = Some(batch.table);
            self.number = 0;
        }
        for row in &batch.rows {
            rows::write(row, &mut self.lines);
            self.rows += 1;
            if self.lines.len() >= PART_BYTES {
                self.end_part()?;
            }
        }
        self.counts.add(batch);
        Ok(())
    }

    fn end_part(&mut self) -> io::Result<()> {
        let (Some(table), false) = (self.table, self.lines.is_empty()) else {
            return Ok(());
        };
        let name = part_name(table.name, self.number, self.rows);
        let packed = self.compressor.compress(&self.lines)?;
        self.part(name, &packed)?;
        self.number += 1;
        self.lines.clear();
        self.rows = 0;
        Ok(())
    }

    /// Writes a member, and notes its digest.
    fn part(&mut self, name: String, bytes: &[u8]) -> io::Result<()> {
        let is_large = length(bytes) > MEMBER_BYTES_MAX || length(&self.lines) > MEMBER_BYTES_MAX;
        if is_large || self.manifest.parts.len() >= PARTS_MAX {
            return Err(io::Error::other("the instance is too large for this format"));
        }
        self.member(&name, bytes)?;
        self.manifest.parts.push(PartDigest {
            name,
            bytes: length(bytes),
            sha256: hex(&Sha256::digest(bytes)),
        });
        Ok(())
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_mode(MODE);
        header.set_size(length(bytes));
        let taken_at = Duration::from_millis(u64::try_from(self.manifest.taken_at).unwrap_or(0));
        header.set_mtime(taken_at.as_secs());
        header.set_cksum();
        self.tar.append(&header, bytes)
    }

    /// Ends the archive with its signed manifest, which it returns.
    pub(super) fn finish(mut self, signer: &Checkpoints) -> Result<(Manifest, W), BackupError> {
        let mut end = || {
            self.end_part()?;
            let counts = std::mem::take(&mut self.counts).all().into_iter();
            let tables = counts.map(|one| TableRows {
                name: one.table.to_owned(),
                rows: one.rows,
            });
            self.manifest.tables = tables.collect();
            let manifest = serde_json::to_vec_pretty(&self.manifest)?;
            let signature = signer.sign_backup(Sha256::digest(&manifest).into());
            self.member(MANIFEST_NAME, &manifest)?;
            self.member(SIGNATURE_NAME, signature.as_bytes())
        };
        end().map_err(unwritten)?;
        let out = self.tar.into_inner().map_err(unwritten)?;
        Ok((self.manifest, out))
    }

    /// Ends the archive with the reason why it is incomplete, for a reader at the other end of a connection.
    pub(super) fn give_up(mut self, why: &str) {
        // If the reader has gone, it needs no reason.
        drop(
            self.member(FAILED_NAME, why.as_bytes())
                .and_then(|()| self.tar.finish()),
        );
    }
}

/// Returns the name of a part. It has the number of its rows, so that the progress of a stream is known.
pub(super) fn part_name(table: &str, number: u32, rows: u64) -> String {
    format!("tables/{table}/{number:06}-{rows}.jsonl.zst")
}

/// Returns the rows of a part by its name; `None` for other members.
pub(super) fn rows_of_part(name: &str) -> Option<u64> {
    let (_, rest) = name.strip_prefix("tables/")?.rsplit_once('-')?;
    rest.strip_suffix(".jsonl.zst")?.parse().ok()
}

pub(super) fn unwritten(error: io::Error) -> BackupError {
    BackupError::File {
        what: "the backup cannot be written".to_owned(),
        error,
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
