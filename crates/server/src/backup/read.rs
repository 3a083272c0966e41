//! Reads an archive from its first byte to its last, and verifies everything in it.

use super::archive::part_name;
use super::error::{BackupError, printable};
use super::manifest::{ArchiveHead, KnownTable, Manifest, PartDigest};
use super::{
    FAILED_NAME, FORMAT, HEAD_NAME, MANIFEST_NAME, MEMBER_BYTES_MAX, PARTS_MAX, RowProgress, SIGNATURE_NAME, rows,
};
use crate::checkpoints::{fingerprint, open_backup_note};
use keyreeve_core::audit::Walk;
use keyreeve_core::hex;
use keyreeve_store::copy::{RowBatch, RowCounts};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

/// Takes the rows of a table, before the archive is known to be complete.
pub(super) type TakeRows<'t> = &'t mut dyn FnMut(RowBatch) -> Result<(), BackupError>;

/// Reads an archive. Rows are passed on as they are read: they count only if this returns no error.
///
/// `key` is the public key that must have signed it; without one, the key in the manifest only shows that the archive is
/// as it was written.
pub(super) fn read(
    from: impl Read,
    key: Option<&str>,
    progress: &RowProgress,
    take: TakeRows<'_>,
) -> Result<Manifest, BackupError> {
    let is_at_end = Rc::new(Cell::new(false));
    let mut archive = tar::Archive::new(EndNoted {
        from,
        is_at_end: Rc::clone(&is_at_end),
    });
    let failed = |error| match error {
        BackupError::Changed(_) if is_at_end.get() => BackupError::Cut,
        other => other,
    };
    let mut state: Option<ArchiveReading> = None;
    let mut end: Option<(Manifest, Vec<u8>)> = None;
    let mut is_signed = false;
    // Raw: extensions of the tar format are not read, because they have no bound.
    let entries = archive.entries().map_err(|_| BackupError::NotABackup)?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|error| match state {
            None => first_failed(error),
            Some(_) => failed(BackupError::of_reading(error)),
        })?;
        let name = entry.path_bytes().into_owned();
        let bytes = member(&mut entry).map_err(|error| match (failed(error), &state) {
            (BackupError::Cut, None) => BackupError::NotABackup,
            (other, _) => other,
        })?;
        match (&mut state, &end, name.as_slice()) {
            (None, ..) if name == HEAD_NAME.as_bytes() => state = Some(ArchiveReading::begin(&bytes, progress)?),
            (None, ..) => return Err(BackupError::NotABackup),
            (Some(_), None, name) if name == FAILED_NAME.as_bytes() => {
                return Err(BackupError::GivenUp(printable(&String::from_utf8_lossy(&bytes))));
            }
            (Some(reading), None, name) if name == MANIFEST_NAME.as_bytes() => {
                let manifest = serde_json::from_slice(&bytes);
                let manifest: Manifest = manifest.map_err(|_| BackupError::changed("the manifest cannot be read"))?;
                reading.judge(&manifest)?;
                end = Some((manifest, bytes));
            }
            (Some(_), Some((manifest, text)), name) if name == SIGNATURE_NAME.as_bytes() && !is_signed => {
                require_signature(manifest, text, &bytes, key)?;
                is_signed = true;
            }
            (Some(reading), None, name) => progress.add(reading.part(name, &bytes, take)?),
            (Some(_), Some(_), _) => return Err(BackupError::changed("there is more after its end")),
        }
    }
    let Some((manifest, _)) = end.filter(|_| is_signed) else {
        return Err(if state.is_some() {
            BackupError::Cut
        } else {
            BackupError::NotABackup
        });
    };
    require_end(archive.into_inner())?;
    Ok(manifest)
}

/// Notes whether the end of the file was reached: an archive that cannot be read for that reason is cut off.
struct EndNoted<R> {
    from: R,
    is_at_end: Rc<Cell<bool>>,
}

impl<R: Read> Read for EndNoted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            self.is_at_end.set(true);
        }
        Ok(length)
    }
}

/// Returns what an error at the first member means: a file that does not begin as an archive is no backup.
fn first_failed(error: io::Error) -> BackupError {
    match BackupError::of_reading(error) {
        other @ BackupError::File { .. } => other,
        _ => BackupError::NotABackup,
    }
}

/// Only zeros may follow the archive.
fn require_end(mut rest: impl Read) -> Result<(), BackupError> {
    let mut block = [0; 4096];
    loop {
        match rest.read(&mut block).map_err(BackupError::of_reading)? {
            0 => return Ok(()),
            length if block.iter().take(length).all(|byte| *byte == 0) => {}
            _ => return Err(BackupError::changed("there is more after its end")),
        }
    }
}

/// Reads a member into memory, which has a bound.
pub(super) fn member<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, BackupError> {
    let length = entry.header().entry_size().map_err(BackupError::of_reading)?;
    if length > MEMBER_BYTES_MAX {
        return Err(BackupError::changed("a member is too large"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(BackupError::of_reading)?;
    // At the end of the file, the library returns what there is.
    match u64::try_from(bytes.len()) == Ok(length) {
        true => Ok(bytes),
        false => Err(BackupError::Cut),
    }
}

fn require_signature(manifest: &Manifest, text: &[u8], signature: &[u8], key: Option<&str>) -> Result<(), BackupError> {
    let found = manifest.public_key.as_str();
    if let Some(expected) = key
        && expected.trim() != found
    {
        return Err(BackupError::OtherKey {
            found: fingerprint(found).unwrap_or_else(|_| "unreadable".to_owned()),
            expected: fingerprint(expected).map_err(BackupError::PublicKey)?,
        });
    }
    let digest = open_backup_note(&String::from_utf8_lossy(signature), found);
    match digest {
        Ok(digest) if digest == <[u8; 32]>::from(Sha256::digest(text)) => Ok(()),
        Ok(_) | Err(_) => Err(BackupError::changed("the signature does not fit the manifest")),
    }
}

/// What was read so far.
struct ArchiveReading {
    head: ArchiveHead,
    tables: Vec<KnownTable>,
    /// The table of the last part, and the number of the next one.
    place: usize,
    number: u32,
    parts: Vec<PartDigest>,
    counts: RowCounts,
    walk: Walk,
    first: Option<[u8; 32]>,
}

impl ArchiveReading {
    /// Reads the first member.
    fn begin(bytes: &[u8], progress: &RowProgress) -> Result<Self, BackupError> {
        let head: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| BackupError::NotABackup)?;
        // Before the rest is read: a newer format may have another.
        let found = head.get("format").and_then(serde_json::Value::as_u64);
        let found = found.ok_or(BackupError::NotABackup)?;
        if found > u64::from(FORMAT) {
            return Err(BackupError::Newer { found, known: FORMAT });
        }
        let head: ArchiveHead = serde_json::from_value(head).map_err(|_| BackupError::NotABackup)?;
        progress.expect(head.rows);
        Ok(Self {
            tables: head.known()?,
            head,
            place: 0,
            number: 0,
            parts: vec![digest_of(HEAD_NAME, bytes)],
            counts: RowCounts::default(),
            walk: Walk::new(Vec::new()),
            first: None,
        })
    }

    /// Reads a part, and passes its rows on. Returns their number.
    fn part(&mut self, name: &[u8], bytes: &[u8], take: TakeRows<'_>) -> Result<u64, BackupError> {
        let unknown = || BackupError::changed("a member is not where it belongs");
        let name = std::str::from_utf8(name).map_err(|_| unknown())?;
        let table = name.strip_prefix("tables/").and_then(|rest| rest.split('/').next());
        let place = self.tables.iter().position(|(known, _)| Some(known.name) == table);
        let place = place.filter(|place| *place >= self.place).ok_or_else(unknown)?;
        let number = if place == self.place { self.number } else { 0 };
        let (table, columns) = self.tables.get(place).ok_or_else(unknown)?;
        let rows = rows::read(&unpacked(bytes)?, columns)?;
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        if name != part_name(table.name, number, count) || self.parts.len() >= PARTS_MAX {
            return Err(unknown());
        }
        let batch = RowBatch {
            table,
            columns: Arc::clone(columns),
            rows,
        };
        if table.name == "log" {
            self.follow(&batch)?;
        }
        (self.place, self.number) = (place, number + 1);
        self.parts.push(digest_of(name, bytes));
        self.counts.add(&batch);
        take(batch)?;
        Ok(count)
    }

    /// Recomputes the chain of the audit log.
    fn follow(&mut self, batch: &RowBatch) -> Result<(), BackupError> {
        for row in &batch.rows {
            let unreadable = || BackupError::changed("an entry of the audit log cannot be read");
            let (entry, chain) = batch.entry(row).ok_or_else(unreadable)?;
            let step = self.walk.step(&entry, &chain);
            step.map_err(|broken| BackupError::changed(format!("the audit log is broken: {broken}")))?;
            self.first.get_or_insert(chain);
        }
        Ok(())
    }

    /// Compares the manifest with what was read.
    fn judge(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let differs = |what: &str| Err(BackupError::changed(format!("{what} differ from the manifest")));
        if manifest.parts != self.parts {
            return differs("the parts");
        }
        let counts = self.counts.all();
        let counts = counts.iter().map(|one| (one.table, one.rows));
        let expected = manifest.tables.iter().map(|one| (one.name.as_str(), one.rows));
        let missing = |(table, rows): &(&str, u64)| *rows > 0 || expected.clone().any(|(name, _)| name == *table);
        if !counts.filter(missing).eq(expected.clone()) {
            return differs("the counts of rows");
        }
        if manifest.end()? != self.walk.position() || manifest.instance != self.first.map(|chain| hex(&chain)) {
            return differs("the ends of the audit log");
        }
        match manifest.schema == self.head.schema && manifest.format == self.head.format {
            true => Ok(()),
            false => differs("the versions"),
        }
    }
}

fn digest_of(name: &str, bytes: &[u8]) -> PartDigest {
    PartDigest {
        name: name.to_owned(),
        bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        sha256: hex(&Sha256::digest(bytes)),
    }
}

/// Decompresses a part, whose size has a bound.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, BackupError> {
    let broken = |_| BackupError::changed("a part cannot be decompressed");
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(broken)?;
    let mut lines = Vec::new();
    let mut bounded = decoder.take(MEMBER_BYTES_MAX + 1);
    bounded.read_to_end(&mut lines).map_err(broken)?;
    match u64::try_from(lines.len()) {
        Ok(length) if length <= MEMBER_BYTES_MAX => Ok(lines),
        _ => Err(BackupError::changed("a part is too large")),
    }
}
