//! Writes the file with denials: appended and synced, and compacted when it has grown. A failed write leaves a file that
//! ends at a complete line.

use super::ledger::{Ledger, sealed};
use keyreeve_authority::denials::LedgerLine;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file in a data directory.
pub(crate) const FILE: &str = "denials";
/// Where the file of another instance is kept.
const OTHERS: &str = "denials-of-another-instance";
/// Most such files.
const OTHERS_MAX: u32 = 100;

/// Size up to which the file is not compacted, in bytes.
const SMALL: u64 = 1024 * 1024;
/// Size to which a compaction bounds it: about 170 000 denials of different records. Beyond it the oldest are dropped.
const KEPT_MAX: usize = 32 * 1024 * 1024;

/// The file, to be appended to. Its methods block on the disk.
#[derive(Debug)]
pub(crate) struct DenialsFile {
    path: PathBuf,
    next_number: u64,
    bytes: u64,
    compact_at: u64,
    /// The bounds, smaller in tests.
    small: u64,
    kept_max: usize,
}

impl DenialsFile {
    /// Opens the file of a data directory, with what it contains. It is created by the first line.
    pub(crate) fn open(directory: &Path) -> io::Result<(Self, Option<Ledger>)> {
        Self::open_bounded(directory, SMALL, KEPT_MAX)
    }

    pub(crate) fn open_bounded(directory: &Path, small: u64, kept_max: usize) -> io::Result<(Self, Option<Ledger>)> {
        let path = directory.join(FILE);
        let ledger = Ledger::read(&path)?;
        let mut file = Self {
            path,
            next_number: 0,
            bytes: 0,
            compact_at: small,
            small,
            kept_max,
        };
        if let Some(ledger) = &ledger {
            file.next_number = ledger.next_number;
            file.bytes = ledger.bytes;
            file.compact_at = small.max(ledger.bytes.saturating_mul(2));
            if ledger.is_cut {
                OpenOptions::new().write(true).open(&file.path)?.set_len(ledger.bytes)?;
            }
        }
        Ok((file, ledger))
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends lines. They are durable when this returns.
    pub(crate) fn append(&mut self, lines: &[LedgerLine]) -> io::Result<()> {
        let mut text = String::new();
        let mut number = self.next_number;
        for line in lines {
            text.push_str(&sealed(number, line));
            number += 1;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        if file.metadata()?.len() != self.bytes {
            // An earlier failure left a part of a line, or the file was changed by something else: read it again first.
            return Err(io::Error::other("its length is not the one that was written"));
        }
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // If this fails too, the length is found to be wrong by the next call.
            drop(file.set_len(self.bytes));
            return Err(error);
        }
        if self.bytes == 0 {
            sync_directory(&self.path)?;
        }
        self.next_number = number;
        self.bytes += u64::try_from(text.len()).unwrap_or(0);
        if self.bytes > self.compact_at {
            self.compact()?;
        }
        Ok(())
    }

    /// Rewrites the file without what is superseded or damaged, and within its bound.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let ledger = Ledger::read(&self.path)?.unwrap_or_default();
        let lines = ledger.compacted(self.kept_max);
        let mut text = String::new();
        let mut number = 0;
        for line in &lines {
            text.push_str(&sealed(number, line));
            number += 1;
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_directory(&self.path)?;
        self.next_number = number;
        self.bytes = u64::try_from(text.len()).unwrap_or(0);
        self.compact_at = self.small.max(self.bytes.saturating_mul(2));
        Ok(())
    }

    /// Keeps the file of another instance under another name, and begins an empty one. Returns the name.
    pub(crate) fn put_aside(&mut self) -> io::Result<PathBuf> {
        let kept = (0..OTHERS_MAX)
            .map(|number| self.path.with_file_name(format!("{OTHERS}-{number}")))
            .find(|path| !path.exists());
        let kept = kept.ok_or_else(|| io::Error::other(format!("there are {OTHERS_MAX} files {OTHERS}-*")))?;
        std::fs::rename(&self.path, &kept)?;
        (self.next_number, self.bytes, self.compact_at) = (0, 0, self.small);
        Ok(kept)
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
