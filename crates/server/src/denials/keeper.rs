//! Follows the audit log and writes its denials into the file.

use super::file::DenialsFile;
use super::ledger::Ledger;
use super::place;
use keyreeve_authority::denials::{LedgerLine, RecordedDenial, milestone_of};
use keyreeve_authority::{Authority, Failure};
use keyreeve_core::audit::{Milestone, link};
use keyreeve_store::model::{AuditRecord, entry_of};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

/// Interval at which new entries are written.
const INTERVAL: Duration = Duration::from_millis(500);
/// Interval at which the time is written if there are no new entries.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Entries read at a time.
const PAGE: u32 = 500;
/// Newest entries that a new file begins with. Older ones are not read: the file of an old instance begins here.
const BEGIN_BACK: u64 = 100_000;

/// Why denials could not be written.
#[derive(Debug, Error)]
enum KeepError {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("the audit log cannot be read: {0}")]
    Log(#[from] Failure),
}

/// The file of this process, and what is known of it.
#[derive(Debug)]
pub(crate) struct DenialsKeeper {
    directory: PathBuf,
    following: tokio::sync::Mutex<Option<Following>>,
    failures: AtomicU64,
    revision: AtomicU64,
    bytes: AtomicU64,
    failing: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Following {
    file: DenialsFile,
    end: Milestone,
    written: Instant,
}

impl DenialsKeeper {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            following: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failing: Mutex::default(),
        }
    }

    /// Returns how often the file could not be written.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns the entry of the audit log up to which every denial is in the file; 0 before the first.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Returns the size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns why the file cannot be written at present, if so.
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what is new in the log, and with `is_last` the time in any case. An error is counted, and what was not
    /// written is tried again by the next call.
    pub(crate) async fn catch_up(&self, authority: &Authority, is_last: bool) {
        let is_unsafe = authority.verifier().halted().is_some() || !authority.holds_lease();
        if is_unsafe || authority.obstacle().is_some() {
            return;
        }
        let mut following = self.following.lock().await;
        let done = self.write_news(authority, &mut following, is_last).await;
        if done.is_err() {
            // The next call reads the file again.
            *following = None;
        }
        drop(following);
        let why = match done {
            Ok(()) => None,
            // A store that does not answer is reported elsewhere.
            Err(KeepError::Log(_)) => return,
            Err(KeepError::File(error)) => Some(error.to_string()),
        };
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &why {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if failing.is_none() {
                tracing::error!(%why, "denials are not written to the data directory: a restore could lose them");
            }
        } else if failing.is_some() {
            tracing::info!("denials are written to the data directory again");
        }
        *failing = why;
    }

    async fn write_news(
        &self,
        authority: &Authority,
        place: &mut Option<Following>,
        is_forced: bool,
    ) -> Result<(), KeepError> {
        if place.is_none() {
            *place = self.open(authority).await?;
        }
        let Some(mut following) = place.take() else {
            return Ok(());
        };
        loop {
            let at = authority.earliest();
            let (entries, is_last) = following.news(authority).await?;
            let Some(last) = entries.last() else {
                if is_forced || following.written.elapsed() >= HEARTBEAT {
                    let head = milestone(authority.audit().head().await?);
                    if head == following.end {
                        let seen = LedgerLine::Seen(following.end, at);
                        following = following.write(vec![seen]).await?;
                    } else if head.revision <= following.end.revision {
                        // Another history: the next call finds where it begins.
                        return Ok(());
                    }
                }
                break;
            };
            let first_follows = entries
                .first()
                .is_some_and(|first| link(&following.end.chain, &entry_of(first)) == first.chain);
            if !first_follows {
                return Ok(());
            }
            let end = milestone_of(last);
            let mut lines: Vec<_> = entries
                .iter()
                .flat_map(RecordedDenial::of)
                .map(LedgerLine::Denial)
                .collect();
            lines.push(LedgerLine::Seen(end, if is_last { at } else { last.at }));
            following.end = end;
            following = following.write(lines).await?;
            if is_last {
                break;
            }
            // On a node the rest may not be applied yet; then the next turn finds no entries.
        }
        self.revision.store(following.end.revision, Ordering::Relaxed);
        self.bytes.store(following.file.bytes(), Ordering::Relaxed);
        *place = Some(following);
        Ok(())
    }

    /// Opens the file and finds where to continue; `None` while the log is empty.
    async fn open(&self, authority: &Authority) -> Result<Option<Following>, KeepError> {
        let Some(origin) = place::origin(authority).await? else {
            return Ok(None);
        };
        let directory = self.directory.clone();
        let (mut file, mut ledger) = blocking(move || DenialsFile::open(&directory)).await?;
        if let Some(found) = &ledger
            && !place::is_of_instance(authority, found).await?
        {
            let (put_aside, kept) = blocking(move || file.put_aside().map(|kept| (file, kept))).await?;
            file = put_aside;
            tracing::warn!(kept = %kept.display(), "the file with denials was another instance's, and is kept");
            ledger = None;
        }
        let Some(ledger) = ledger.filter(|ledger| !ledger.histories.is_empty()) else {
            let start = start(authority).await?;
            let lines = vec![
                LedgerLine::Origin(origin),
                LedgerLine::Begins(start, authority.earliest()),
            ];
            return Following::at(file, start).write(lines).await.map(Some);
        };
        let (end, is_continued) = resume(authority, &ledger).await?;
        if ledger.damages > 0 {
            tracing::error!(
                damages = ledger.damages,
                "lines of the file with denials cannot be read; they are written again from the audit log"
            );
            file = blocking(move || file.compact().map(|()| file)).await?;
        }
        if !is_continued && ledger.damages == 0 {
            tracing::warn!(
                revision = end.revision,
                "the audit log and the file with denials differ after this entry, as after a restore"
            );
        }
        let following = Following::at(file, end);
        let mut lines = Vec::new();
        if ledger.origin.is_none() {
            // Its line was damaged.
            lines.push(LedgerLine::Origin(origin));
        }
        if !is_continued {
            lines.push(LedgerLine::Begins(end, authority.earliest()));
        }
        match lines.is_empty() {
            true => Ok(Some(following)),
            false => following.write(lines).await.map(Some),
        }
    }
}

impl Following {
    fn at(file: DenialsFile, end: Milestone) -> Self {
        let written = Instant::now();
        Self { file, end, written }
    }

    /// Returns the next entries that this process has applied, and whether the log had no others.
    async fn news(&self, authority: &Authority) -> Result<(Vec<AuditRecord>, bool), Failure> {
        let applied = authority.verifier().applied();
        if applied <= self.end.revision {
            return Ok((Vec::new(), true));
        }
        let mut entries = authority.audit().after(self.end.revision, PAGE).await?;
        let found = entries.len();
        let is_last = u32::try_from(found).is_ok_and(|found| found < PAGE);
        entries.retain(|entry| entry.revision <= applied);
        let is_complete = is_last && entries.len() == found;
        Ok((entries, is_complete))
    }

    async fn write(self, lines: Vec<LedgerLine>) -> Result<Self, KeepError> {
        let Self { mut file, end, .. } = self;
        let file = blocking(move || file.append(&lines).map(|()| file)).await?;
        Ok(Self::at(file, end))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

const fn milestone(head: keyreeve_store::model::Head) -> Milestone {
    Milestone {
        revision: head.revision,
        chain: head.chain,
    }
}

/// Returns where a new file begins.
async fn start(authority: &Authority) -> Result<Milestone, Failure> {
    let beginning = Milestone {
        revision: 0,
        chain: [0; 32],
    };
    let head = authority.audit().head().await?.revision;
    let Some(before) = head.checked_sub(BEGIN_BACK).filter(|before| *before > 0) else {
        return Ok(beginning);
    };
    let entries = authority.audit().after(before - 1, 1).await?;
    Ok(entries.first().map_or(beginning, milestone_of))
}

/// Returns the entry after which to continue, and whether the newest history goes on. If not, the log has another
/// history than the file, or the file is damaged.
async fn resume(authority: &Authority, ledger: &Ledger) -> Result<(Milestone, bool), Failure> {
    let damaged = ledger.histories.iter().find(|history| history.is_damaged);
    if let Some(history) = damaged
        && let Some(end) = place::common(authority, history).await?
    {
        return Ok((end, false));
    }
    for (age, history) in ledger.histories.iter().rev().enumerate() {
        if let Some(end) = place::common(authority, history).await? {
            let is_continued = age == 0 && end == history.end && ledger.damages == 0;
            return Ok((end, is_continued));
        }
    }
    Ok((start(authority).await?, false))
}

/// Writes denials until the server stops.
pub(crate) async fn follow(
    denials: Arc<DenialsKeeper>,
    authority: Arc<Authority>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
        denials.catch_up(&authority, false).await;
    }
}
