//! A database that was restored, or replaced by an older copy, is made safe before a key of it is verified: denials that
//! it has lost are written again, and for the time for which none are known the operator decides.
//!
//! [`begin`] is called at the end of a restore, with nothing else using the data. Without a choice the server starts,
//! and every verification is answered 503 until the operator decides (`keyreeve restore decide`), or
//! `begin` is repeated with a choice.

mod jobs;
mod lost;
mod serve;
mod watch;

pub(crate) use jobs::RestoreService;
pub use keyreeve_authority::denials::Reapplied;
pub use keyreeve_authority::restored::{HoldProgress, RestoreChoice, RestoreRecord, RestoreStanding, RestoredFrom};
pub use lost::DenialsFileReport;
pub(crate) use lost::DenialsFiles;
use lost::Lost;
pub use serve::ADDRESS;
pub(crate) use serve::serve;
pub(crate) use watch::{RestoreWatch, withhold_if_undecided};

use crate::checkpoints::Evidence;
use crate::history;
use crate::instance::StartError;
use crate::world::{OsEntropy, TokioTimer, WallClock};
use keyreeve_authority::{Authority, VerifierMemory};
use keyreeve_core::Timestamp;
use keyreeve_store::{DatabaseAccess, DirectoryLock, PostgresStore, SqliteStore, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Returns a point in time from milliseconds since 1970, for the options of a command.
pub const fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A restored database that nothing else uses.
#[derive(Debug)]
pub enum RestorePlace<'p> {
    /// The database in a data directory.
    Directory {
        /// The directory.
        data: &'p Path,
        /// Its lock.
        lock: DirectoryLock,
    },
    /// A Postgres database.
    Database {
        /// The data directory of the node, which the caller has locked.
        data: &'p Path,
        /// How it is reached.
        access: &'p DatabaseAccess,
    },
}

/// What to do with a restored database.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOrder<'o> {
    /// Where the copy ended, if that is known otherwise than from the database: a backup has it in its manifest.
    pub from: Option<RestoredFrom>,
    /// The operator's choice for the time for which no denial is known; `None` leaves it open.
    pub choice: Option<RestoreChoice>,
    /// The reason, for the audit log.
    pub reason: &'o str,
    /// Files with denials, besides those in the data directory.
    pub denials: &'o [PathBuf],
}

/// What was done.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The restore, as the audit log has it.
    pub record: RestoreRecord,
    /// What was denied again.
    pub reapplied: Reapplied,
    /// The files that were read.
    pub files: Vec<DenialsFileReport>,
}

/// Makes a restored database safe: reads every file with denials, writes again what the database lacks, carries out the
/// choice, and records all of it in the audit log. The entries begin a new history, which no earlier checkpoint or lease
/// fits. It is interrupted at no point where keys would be verified without it, and may be repeated. An empty database
/// needs nothing: `None`.
///
/// # Errors
/// If a file cannot be read or is another instance's, or the database cannot be read or written. Keys are then not
/// verified, unless nothing was written at all.
pub async fn begin(place: RestorePlace<'_>, order: RestoreOrder<'_>) -> Result<Option<RestoreReport>, StartError> {
    let verifier = Arc::new(VerifierMemory::new(1));
    let (data, store, shared): (_, Arc<dyn Store>, _) = match place {
        RestorePlace::Directory { data, lock } => {
            let store = SqliteStore::open_locked(data, lock, verifier.clone()).await?;
            (data, Arc::new(store), None)
        }
        RestorePlace::Database { data, access } => {
            let store = Arc::new(PostgresStore::open(access, verifier.clone()).await?);
            (data, Arc::clone(&store) as _, Some(store))
        }
    };
    let (clock, entropy) = (Arc::new(WallClock), Arc::new(OsEntropy));
    let authority = Authority::new(store, verifier, clock, entropy, Arc::new(TokioTimer));
    let done = async {
        let mut report = None;
        if let Some(examined) = Examined::of(&authority, data, &order, false).await? {
            report = Some(examined.repair(&authority, &order).await?);
            // Last: a checkpoint of the log that was lost would otherwise prevent the start.
            if was_signed(data) {
                history::sign_again(&authority, data).await?;
            }
        }
        if let Some(store) = shared {
            store.end_restoring().await?;
        }
        Ok(report)
    };
    let done = done.await;
    authority.close().await;
    done
}

fn was_signed(data: &Path) -> bool {
    !matches!(Evidence::read(data), Ok(Evidence::None))
}

/// What was found out about a restored database. Nothing is changed by that.
pub(crate) struct Examined {
    from: RestoredFrom,
    /// Since when an earlier restore has no record of denials, if it waits for a choice.
    open_since: Option<Timestamp>,
    lost: Lost,
    /// The choice of this restore, if it was made with the data directory of another node.
    made: Option<RestoreRecord>,
}

impl Examined {
    /// Examines a database and the files with denials; `None` if its log is empty. `is_shared` is whether nodes with
    /// other data directories use it.
    pub(crate) async fn of(
        authority: &Authority,
        data: &Path,
        order: &RestoreOrder<'_>,
        is_shared: bool,
    ) -> Result<Option<Self>, StartError> {
        let Some(end) = authority.restore().end_before().await? else {
            return Ok(None);
        };
        let standing = authority.restore().standing().await?;
        // A repeated attempt must not take its predecessor's entries for the end of the copy, and a copy of a database
        // that waited for a choice still waits for it.
        let pending = standing.pending().copied();
        let from = earlier(order.from, pending.map(|record| record.from)).unwrap_or(end);
        require_sensible(order.choice, from)?;
        let lost = lost::read(authority, data, order.denials).await?;
        let made = match standing {
            // Only the other nodes of a database inherit a choice; `begin`, a new restore, needs one of its own.
            RestoreStanding::Decided(record) if is_shared && lost.may_inherit(&record) => Some(record),
            _ => None,
        };
        let open_since = pending.map(|record| record.unknown_since);
        Ok(Some(Self {
            from,
            open_since,
            lost,
            made,
        }))
    }

    /// Writes again what is lost, and records it.
    pub(crate) async fn repair(
        self,
        authority: &Authority,
        order: &RestoreOrder<'_>,
    ) -> Result<RestoreReport, StartError> {
        let Self {
            from,
            open_since,
            lost,
            made,
        } = self;
        let (now, made) = (authority.earliest(), made.filter(|_| order.choice.is_none()));
        let from = made.map_or(from, |made| made.from);
        let known_until = lost.covered_until.unwrap_or(from.taken_at).max(from.taken_at);
        let mut record = RestoreRecord {
            revision: 0,
            from,
            unknown_since: known_until.min(now).min(open_since.unwrap_or(now)),
            unknown_until: made.map_or(now, |made| made.unknown_until),
            reapplied: 0,
            held: made.map_or(0, |made| made.held),
            choice: made.and_then(|made| made.choice),
        };
        if made.is_none() {
            authority.restore().begin(&record, order.reason).await?;
        }
        let reapplied = authority.restore().reapply(&lost.denials).await?;
        record.reapplied = reapplied.total();
        if let Some(choice) = order.choice {
            record.held = authority.restore().carry_out(choice, &HoldProgress::default()).await?;
            record.choice = Some(choice);
        }
        record.revision = authority.restore().finish(&record, order.reason).await?;
        Ok(RestoreReport {
            record,
            reapplied,
            files: lost.files,
        })
    }
}

/// Returns the earlier end of two copies.
fn earlier(one: Option<RestoredFrom>, other: Option<RestoredFrom>) -> Option<RestoredFrom> {
    one.into_iter().chain(other).min_by_key(|from| from.taken_at)
}

/// Refuses a time after the end of the copy: no key of it was issued, changed or used then, so none would be held.
fn require_sensible(choice: Option<RestoreChoice>, from: RestoredFrom) -> Result<(), StartError> {
    match choice {
        Some(RestoreChoice::HoldSince(since)) if !from.reaches(since) => Err(StartError::Unsafe(format!(
            "no key of this copy was issued, changed or used at or after {}, because the copy ends at {}: no key would \
             be held. Name an earlier time, or choose --hold-all or --accept. Nothing was changed",
            watch::time(since),
            watch::time(from.taken_at)
        ))),
        _ => Ok(()),
    }
}
