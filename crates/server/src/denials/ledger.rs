//! Reads the file with denials. Everything that can be read is used, and what cannot is counted: it limits the time for
//! which the file is complete.

use keyreeve_authority::denials::{LedgerLine, RecordedDenial, compact};
use keyreeve_core::Timestamp;
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::hex;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};
use std::path::Path;

/// Largest file that is read, in bytes. The writer keeps it far below.
const READ_MAX: u64 = 128 * 1024 * 1024;
/// Histories that are kept, the newest. One begins at each restore.
const HISTORIES_MAX: usize = 100;
/// Bytes of a line, about, for the estimate of a file's size.
const LINE_BYTES: usize = 192;

/// A file with denials.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ledger {
    /// The chain hash of the log's first entry.
    pub(crate) origin: Option<ChainHash>,
    /// What was written about each history of the log, oldest first.
    pub(crate) histories: Vec<LedgerHistory>,
    /// Places where lines are missing or do not have their checksum.
    pub(crate) damages: u64,
    /// Whether the file ends within a line, as after a crash.
    pub(crate) is_cut: bool,
    /// The number of the next line.
    pub(crate) next_number: u64,
    /// The bytes up to the last complete line.
    pub(crate) bytes: u64,
}

/// A part of the file that is complete for the log that contains `from`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LedgerHistory {
    /// Every denial after this entry is here,
    pub(crate) from: Milestone,
    /// when that was written,
    pub(crate) from_at: Timestamp,
    /// up to this entry.
    pub(crate) end: Milestone,
    /// The last time that is known to be covered.
    pub(crate) end_at: Timestamp,
    /// The denials, in the order of the log.
    pub(crate) denials: Vec<RecordedDenial>,
    /// Whether it ends because lines after it cannot be read.
    pub(crate) is_damaged: bool,
}

impl LedgerHistory {
    pub(crate) const fn begun(from: Milestone, at: Timestamp) -> Self {
        Self {
            from,
            from_at: at,
            end: from,
            end_at: at,
            denials: Vec::new(),
            is_damaged: false,
        }
    }
}

impl Ledger {
    /// Reads a file; `None` if there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(READ_MAX + 1).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= READ_MAX => Ok(Some(Self::parse(&bytes))),
            _ => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {READ_MAX} bytes, which no server writes"),
            )),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut reading = LedgerReading::default();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(complete) => {
                    reading.line(complete);
                    reading.ledger.bytes += u64::try_from(line.len()).unwrap_or(0);
                }
                None => reading.ledger.is_cut = true,
            }
        }
        reading.ledger
    }

    /// Returns the lines of a file with the same effect: without superseded denials, and with the oldest ones dropped
    /// beyond about `bytes_max`. From then on it is complete for fewer old copies, and states that.
    pub(crate) fn compacted(mut self, bytes_max: usize) -> Vec<LedgerLine> {
        for history in &mut self.histories {
            history.denials = compact(std::mem::take(&mut history.denials));
        }
        let surplus = self.histories.len().saturating_sub(HISTORIES_MAX);
        self.histories.drain(..surplus);
        let all: usize = self.histories.iter().map(|one| one.denials.len() + 2).sum();
        let mut surplus = (all * LINE_BYTES).saturating_sub(bytes_max).div_ceil(LINE_BYTES);
        for history in &mut self.histories {
            let dropped = surplus.min(history.denials.len());
            if let Some(last) = history.denials.drain(..dropped).next_back() {
                (history.from, history.from_at) = (last.entry, last.at);
            }
            surplus -= dropped;
        }
        let mut lines: Vec<_> = self.origin.map(LedgerLine::Origin).into_iter().collect();
        for history in self.histories {
            lines.push(LedgerLine::Begins(history.from, history.from_at));
            lines.extend(history.denials.into_iter().map(LedgerLine::Denial));
            lines.push(LedgerLine::Seen(history.end, history.end_at));
        }
        lines
    }
}

/// The state while a file is read.
#[derive(Default)]
struct LedgerReading {
    ledger: Ledger,
    /// Whether lines before the next one are missing.
    is_broken: bool,
}

impl LedgerReading {
    fn line(&mut self, bytes: &[u8]) {
        let read = std::str::from_utf8(bytes).ok().and_then(unsealed);
        let Some((number, body)) = read else {
            self.damage();
            return;
        };
        if number != self.ledger.next_number && !self.is_broken {
            self.damage();
        }
        self.ledger.next_number = number.saturating_add(1);
        match LedgerLine::parse(body) {
            // Of a newer version.
            None => self.damage(),
            Some(line) => self.take(line),
        }
    }

    fn damage(&mut self) {
        if !std::mem::replace(&mut self.is_broken, true) {
            self.ledger.damages += 1;
            if let Some(history) = self.ledger.histories.last_mut() {
                history.is_damaged = true;
            }
        }
        self.ledger.next_number = self.ledger.next_number.saturating_add(1);
    }

    fn take(&mut self, line: LedgerLine) {
        let was_broken = std::mem::take(&mut self.is_broken);
        let (end, at, denial) = match line {
            LedgerLine::Origin(chain) => {
                self.ledger.origin = Some(chain);
                self.is_broken = was_broken;
                return;
            }
            LedgerLine::Begins(from, at) => {
                self.ledger.histories.push(LedgerHistory::begun(from, at));
                return;
            }
            LedgerLine::Seen(end, at) => (end, at, None),
            LedgerLine::Denial(denial) => (denial.entry, denial.at, Some(denial)),
        };
        if was_broken || self.ledger.histories.is_empty() {
            self.ledger.histories.push(LedgerHistory::begun(end, at));
        }
        if let Some(history) = self.ledger.histories.last_mut() {
            history.end = end;
            match denial {
                Some(denial) => history.denials.push(denial),
                None => history.end_at = at,
            }
        }
    }
}

/// Returns a line with its number and checksum, and a line feed.
pub(crate) fn sealed(number: u64, line: &LedgerLine) -> String {
    let body = line.write();
    format!("{number} {} {body}\n", checksum(number, &body))
}

fn unsealed(line: &str) -> Option<(u64, &str)> {
    let mut parts = line.splitn(3, ' ');
    let number = parts.next()?.parse().ok()?;
    let (sum, body) = (parts.next()?, parts.next()?);
    (sum == checksum(number, body)).then_some((number, body))
}

/// Detects accidents; a process that can write the file can also remove it.
fn checksum(number: u64, body: &str) -> String {
    let digest = Sha256::new().chain_update(format!("{number} {body}")).finalize();
    hex(digest.first_chunk::<8>().map_or(&[], |start| start.as_slice()))
}

#[cfg(test)]
mod tests;
