//! Finds the denials that a database lacks, in every file that is there.

use crate::denials::{FILE, Ledger, common, contains, first_missing, is_of_instance};
use crate::instance::StartError;
use keyreeve_authority::Authority;
use keyreeve_authority::denials::RecordedDenial;
use keyreeve_authority::restored::RestoreRecord;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::{ChainHash, Milestone};
use std::collections::BTreeMap;
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
    /// The same by history, while files are read.
    missing: Vec<Vec<RecordedDenial>>,
    /// The latest time up to which some file is complete.
    pub(super) covered_until: Option<Timestamp>,
    pub(super) files: Vec<DenialsFileReport>,
    /// What the file in the data directory has in common with the database.
    own: OwnFile,
}

/// What the file in the data directory has in common with the database.
#[derive(Default)]
struct OwnFile {
    /// The newest entry that both have.
    known_until: Option<u64>,
    /// When its newest part was begun.
    begun_at: Option<Timestamp>,
    /// Whether the database has the end of its newest part.
    is_contained: bool,
}

impl Lost {
    /// Whether the choice of a restore is also that of this data directory. It is if its server has not run since, and a server
    /// begins a new part of its file when it starts on a restored database; or if it has followed the database after that
    /// restore and the database has all of it, so that no later one has happened. Without a file it is not.
    pub(super) fn may_inherit(&self, restore: &RestoreRecord) -> bool {
        let is_behind = self.own.known_until.is_some_and(|known| known < restore.revision);
        let is_earlier = self.own.begun_at.is_some_and(|at| at < restore.unknown_until);
        let has_followed = self.own.known_until.is_some_and(|known| known >= restore.revision);
        (is_behind && is_earlier) || (has_followed && self.own.is_contained)
    }
}

/// Reads the files in a data directory, and those that are named.
pub(super) async fn read(authority: &Authority, data: &Path, named: &[PathBuf]) -> Result<Lost, StartError> {
    let mut lost = Lost {
        denials: Vec::new(),
        missing: Vec::new(),
        covered_until: None,
        files: Vec::new(),
        own: OwnFile::default(),
    };
    let own = data.join(FILE);
    for (path, ledger) in DenialsFiles::read(data, named).await?.0 {
        if path == own {
            lost.own = OwnFile::of(authority, &ledger).await?;
        }
        lost.take(authority, path, ledger).await?;
    }
    lost.denials = in_order(std::mem::take(&mut lost.missing));
    Ok(lost)
}

/// The files with denials of a restore.
pub(crate) struct DenialsFiles(Vec<(PathBuf, Ledger)>);

impl DenialsFiles {
    /// Reads the file in a data directory, if there is one, and those that are named, which must exist.
    pub(crate) async fn read(data: &Path, named: &[PathBuf]) -> Result<Self, StartError> {
        let mut paths = vec![data.join(FILE)];
        paths.extend_from_slice(named);
        if paths.len() > FILES_MAX {
            return Err(StartError::Unsafe(format!(
                "at most {FILES_MAX} files with denials are read"
            )));
        }
        let mut files = Vec::new();
        for path in paths {
            if let Some(ledger) = read_file(&path, named.contains(&path)).await? {
                files.push((path, ledger));
            }
        }
        Ok(Self(files))
    }

    /// Refuses files of another instance than the one whose log begins with an entry. A file whose first line cannot be
    /// read is compared with the log later.
    pub(crate) fn require_instance(&self, origin: ChainHash) -> Result<(), StartError> {
        let other = |(_, ledger): &&(PathBuf, Ledger)| ledger.origin.is_some_and(|found| found != origin);
        self.0
            .iter()
            .find(other)
            .map_or(Ok(()), |(path, _)| Err(another_instances(path)))
    }
}

fn another_instances(path: &Path) -> StartError {
    StartError::Unsafe(format!(
        "the denials in {} are another instance's. Nothing was changed; move that file away, or do not name it",
        path.display()
    ))
}

async fn read_file(path: &Path, is_named: bool) -> Result<Option<Ledger>, StartError> {
    let unreadable = |why: String| {
        StartError::Unsafe(format!(
            "the denials in {} cannot be read: {why}. Nothing was changed",
            path.display()
        ))
    };
    let from = path.to_owned();
    let read = tokio::task::spawn_blocking(move || Ledger::read(&from)).await;
    let ledger = read.map_err(|error| unreadable(error.to_string()))?;
    match ledger.map_err(|error| unreadable(error.to_string()))? {
        None if is_named => Err(unreadable("there is no such file".to_owned())),
        Some(ledger) if is_named && ledger.histories.is_empty() => {
            Err(unreadable("it has no line that a server wrote".to_owned()))
        }
        read => Ok(read),
    }
}

/// Merges what several histories lack, each in its own order. Times order denials of different histories only: a clock
/// that was set back must not change the order of one history.
fn in_order(mut histories: Vec<Vec<RecordedDenial>>) -> Vec<RecordedDenial> {
    // An entry that two files have gets one time, the latest. Times only grow, so this ends.
    let mut times: BTreeMap<(u64, ChainHash), Timestamp> = BTreeMap::new();
    let mut is_settled = false;
    while !is_settled {
        is_settled = true;
        for history in &histories {
            let mut last = Timestamp::from_millis(i64::MIN);
            for one in history {
                let time = times.entry((one.entry.revision, one.entry.chain)).or_insert(one.at);
                last = last.max(*time).max(one.at);
                is_settled &= *time == last;
                *time = last;
            }
        }
    }
    for one in histories.iter_mut().flatten() {
        let time = times.get(&(one.entry.revision, one.entry.chain));
        one.at = time.copied().unwrap_or(one.at);
    }
    let mut all: Vec<_> = histories.into_iter().flatten().collect();
    all.sort_by_key(|one| (one.at, one.entry.revision));
    all.dedup();
    all
}

impl OwnFile {
    async fn of(authority: &Authority, ledger: &Ledger) -> Result<Self, StartError> {
        let mut own = Self::default();
        for history in &ledger.histories {
            if let Some(known) = common(authority, history).await? {
                own.known_until = own.known_until.max(Some(known.revision));
            }
            own.begun_at = own.begun_at.max(Some(history.from_at));
        }
        if let Some(newest) = ledger.histories.last() {
            own.is_contained = contains(authority, newest.end).await?;
        }
        Ok(own)
    }
}

impl Lost {
    async fn take(&mut self, authority: &Authority, path: PathBuf, ledger: Ledger) -> Result<(), StartError> {
        if !is_of_instance(authority, &ledger).await? {
            return Err(another_instances(&path));
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
            report.denials += u64::try_from(history.denials.len()).unwrap_or(0);
            let known = first_missing(authority, &history.denials).await?;
            let missing = history.denials.split_off(known);
            report.lost += u64::try_from(missing.len()).unwrap_or(0);
            self.missing.push(missing);
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_authority::denials::{DenialChange, DeniedRecord};
    use keyreeve_authority::restored::RestoredFrom;
    use keyreeve_core::KeyId;
    use keyreeve_core::text::Slug;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn denial(revision: u64, chain: u8, time: i64, change: DenialChange) -> RecordedDenial {
        RecordedDenial {
            entry: Milestone {
                revision,
                chain: [chain; 32],
            },
            at: at(time),
            target: DeniedRecord::Key(Slug::parse("acme").unwrap(), KeyId::from_bytes([1; 16])),
            change,
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_change_the_order_of_one_history() {
        use DenialChange::{GivenBack, Held};
        let (first, second, third) = (
            denial(4, 4, 20, Held),
            denial(5, 5, 10, GivenBack),
            denial(6, 6, 11, Held),
        );
        let complete = vec![first.clone(), second.clone(), third.clone()];
        // Another file ends earlier, or begins later.
        for other in [vec![], vec![first, second.clone()], vec![second, third]] {
            let both = [vec![complete.clone(), other.clone()], vec![other, complete.clone()]];
            for histories in both {
                let merged = in_order(histories);
                let order: Vec<_> = merged.iter().map(|one| one.entry.revision).collect();
                assert_eq!(order, [4, 5, 6], "{merged:?}");
            }
        }
    }

    #[test]
    fn a_choice_is_inherited_unless_a_later_restore_may_have_happened() {
        let restore = RestoreRecord {
            revision: 103,
            from: RestoredFrom {
                taken_at: at(1_000),
                revision: 100,
                chain: [1; 32],
            },
            unknown_since: at(1_000),
            unknown_until: at(2_000),
            reapplied: 0,
            held: 0,
            choice: None,
        };
        let cases = [
            ("it has not run since", Some(100), Some(at(500)), false, true),
            (
                "its part after the restore begins at the copy's end",
                Some(100),
                Some(at(2_500)),
                false,
                false,
            ),
            (
                "the database lacks what it has followed",
                Some(150),
                Some(at(2_500)),
                false,
                false,
            ),
            (
                "the database has all that it has followed",
                Some(150),
                Some(at(2_500)),
                true,
                true,
            ),
            ("it has no file", None, None, false, false),
        ];
        for (case, known_until, begun_at, is_contained, may_inherit) in cases {
            let lost = Lost {
                denials: Vec::new(),
                missing: Vec::new(),
                covered_until: None,
                files: Vec::new(),
                own: OwnFile {
                    known_until,
                    begun_at,
                    is_contained,
                },
            };
            assert_eq!(lost.may_inherit(&restore), may_inherit, "{case}");
        }
    }
}
