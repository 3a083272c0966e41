//! Finds the denials that a database lacks, in every file that is there.

use crate::denials::{FILE, Ledger, common, contains, first_missing, is_of_instance};
use crate::instance::StartError;
use keyreeve_authority::Authority;
use keyreeve_authority::denials::RecordedDenial;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::Milestone;
use std::path::{Path, PathBuf};

/// Most files with denials that are read.
const FILES_MAX: usize = 100;

/// A file with denials that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DenialsFileReport {
    /// The file.
    pub path: PathBuf,
    /// Denials in it.
    pub denials: u64,
    /// Of these, the ones that the database lacks.
    pub lost: u64,
    /// Places at which lines are missing or were changed. Everything else in it was used.
    pub damages: u64,
    /// The time up to which it has every denial that the database lacks; `None` if it does not begin early enough.
    pub covers_until: Option<Timestamp>,
}

/// What a database lacks.
pub(super) struct Lost {
    /// In the order in which it happened.
    pub(super) denials: Vec<RecordedDenial>,
    /// The latest time up to which some file is complete.
    pub(super) covered_until: Option<Timestamp>,
    pub(super) files: Vec<DenialsFileReport>,
    /// The newest entry that a file and the database have in common.
    pub(super) known_until: Option<u64>,
    /// Whether the database has everything that the file in the data directory was written from last.
    pub(super) is_contained: bool,
}

/// Reads the files in a data directory, and those that are named.
pub(super) async fn read(authority: &Authority, data: &Path, named: &[PathBuf]) -> Result<Lost, StartError> {
    let mut lost = Lost {
        denials: Vec::new(),
        covered_until: None,
        files: Vec::new(),
        known_until: None,
        is_contained: false,
    };
    let mut paths = vec![data.join(FILE)];
    paths.extend_from_slice(named);
    if paths.len() > FILES_MAX {
        return Err(StartError::Unsafe(format!(
            "at most {FILES_MAX} files with denials are read"
        )));
    }
    for path in paths {
        let is_named = named.contains(&path);
        let unreadable = |why: String| {
            StartError::Unsafe(format!(
                "the denials in {} cannot be read: {why}. Nothing was changed",
                path.display()
            ))
        };
        let from = path.clone();
        let read = tokio::task::spawn_blocking(move || Ledger::read(&from)).await;
        let ledger = read.map_err(|error| unreadable(error.to_string()))?;
        match ledger.map_err(|error| unreadable(error.to_string()))? {
            None if is_named => return Err(unreadable("there is no such file".to_owned())),
            None => {}
            Some(ledger) if is_named && ledger.histories.is_empty() => {
                return Err(unreadable("it has no line that a server wrote".to_owned()));
            }
            Some(ledger) => {
                if !is_named && let Some(newest) = ledger.histories.last() {
                    lost.is_contained = contains(authority, newest.end).await?;
                }
                lost.take(authority, path, ledger).await?;
            }
        }
    }
    lost.denials.sort_by_key(|one| (one.at, one.entry.revision));
    lost.denials.dedup();
    Ok(lost)
}

impl Lost {
    async fn take(&mut self, authority: &Authority, path: PathBuf, ledger: Ledger) -> Result<(), StartError> {
        if !is_of_instance(authority, &ledger).await? {
            return Err(StartError::Unsafe(format!(
                "the denials in {} are another instance's. Nothing was changed; move that file away, or do not name it",
                path.display()
            )));
        }
        let mut report = DenialsFileReport {
            path,
            denials: 0,
            lost: 0,
            damages: ledger.damages,
            covers_until: None,
        };
        // Where the part that is complete for this database ends so far.
        let mut complete: Option<Milestone> = None;
        for mut history in ledger.histories {
            if let Some(known) = common(authority, &history).await? {
                self.known_until = self.known_until.max(Some(known.revision));
            }
            report.denials += u64::try_from(history.denials.len()).unwrap_or(0);
            let known = first_missing(authority, &history.denials).await?;
            let missing = history.denials.split_off(known);
            report.lost += u64::try_from(missing.len()).unwrap_or(0);
            self.denials.extend(missing);
            if complete == Some(history.from) || contains(authority, history.from).await? {
                complete = Some(history.end);
                report.covers_until = report.covers_until.max(Some(history.end_at));
            }
        }
        self.covered_until = self.covered_until.max(report.covers_until);
        self.files.push(report);
        Ok(())
    }
}
