//! Checks that the database in a data directory is the one whose log was signed there, and lets an operator accept
//! another.
//!
//! Nothing is served from an older copy, another instance's database or an empty one beside a signed checkpoint: keys
//! and root keys that were revoked since would be accepted again, and once as many changes were made as were lost, a
//! new signature would hide the loss. Only `keyreeve audit accept-restore` ends that, and first writes it into the
//! audit log.

use crate::checkpoints::{self, Checkpoints, Evidence};
use crate::instance::StartError;
use crate::restored::{Examined, RestoreChoice, RestoreOrder, RestoreReport};
use crate::world::{OsEntropy, TokioTimer, WallClock};
use keyreeve_authority::env::Entropy as _;
use keyreeve_authority::restored::standing_of;
use keyreeve_authority::{Authority, Failure, VerifierMemory, compare_log};
use keyreeve_core::audit::{ChainHash, Comparison, Milestone, compare};
use keyreeve_core::hex;
use keyreeve_store::model::Head;
use keyreeve_store::{
    DATABASE_FILE, DatabaseAccess, DirectoryLock, FoundDatabase, PostgresStore, SqliteStore, Store, inspect_database,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The command that accepts a database, as messages name it.
const COMMAND: &str = "keyreeve audit accept-restore";

/// The state of a database, compared with what was signed.
#[derive(Clone, Debug)]
struct DatabaseStanding {
    /// The signed end, if it can be read.
    signed: Option<Milestone>,
    /// The end of the database's log; revision 0 if it is empty.
    head: Milestone,
    /// What is wrong; `None` if the log contains the signed end.
    mismatch: Option<Mismatch>,
}

/// What can be wrong with a database beside a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Mismatch {
    /// The database file is missing.
    Missing,
    /// Nothing was ever written to the database.
    Empty,
    /// Its log ends before the checkpoint.
    Older,
    /// Its log has a different history.
    Other,
    /// The database file and its WAL are from different copies, or entries are missing.
    Mixed,
    /// The checkpoint, or the signing key, is unusable.
    Evidence(String),
}

impl DatabaseStanding {
    /// Describes what is wrong, in a sentence or two.
    fn describe(&self, mismatch: &Mismatch) -> String {
        let signed = self.signed.map_or(0, |signed| signed.revision);
        let head = self.head.revision;
        match mismatch {
            Mismatch::Missing => {
                format!("there is no database, and a checkpoint of revision {signed} was signed for one")
            }
            Mismatch::Empty => {
                format!("the database is empty, and a checkpoint of revision {signed} was signed for it")
            }
            Mismatch::Older => format!(
                "the database ends at revision {head}, and revision {signed} was signed: it is an older copy, or was \
                 truncated"
            ),
            Mismatch::Other => format!(
                "the database's history differs from the one that was signed up to revision {signed}: it is another \
                 instance's, or continued from an older copy"
            ),
            Mismatch::Mixed => format!(
                "the file {DATABASE_FILE} and the log beside it ({DATABASE_FILE}-wal) are not of the same copy, or \
                 entries of the audit log are missing in between"
            ),
            Mismatch::Evidence(why) => format!("what was signed for the database cannot be used: {why}"),
        }
    }
}

/// Compares a directory's checkpoint with its SQLite database. The caller holds the directory's lock.
async fn standing(data: &Path) -> Result<DatabaseStanding, StartError> {
    let evidence = read_evidence(data)?;
    let signed = match &evidence {
        Evidence::Signed(end) => Some(*end),
        Evidence::None | Evidence::Unusable(_) => None,
    };
    let found = inspect_database(data, signed.map_or(0, |end| end.revision)).await?;
    let head = match found {
        FoundDatabase::Missing | FoundDatabase::Empty => milestone(None),
        FoundDatabase::Log { head, .. } => milestone(Some(head)),
    };
    let mismatch = match (evidence, found) {
        (Evidence::None, _) => None,
        (Evidence::Unusable(why), _) => Some(Mismatch::Evidence(why)),
        (Evidence::Signed(end), FoundDatabase::Missing | FoundDatabase::Empty) if end.revision == 0 => None,
        (Evidence::Signed(_), FoundDatabase::Missing) => Some(Mismatch::Missing),
        (Evidence::Signed(_), FoundDatabase::Empty) => Some(Mismatch::Empty),
        (
            Evidence::Signed(end),
            FoundDatabase::Log {
                chain_there,
                has_gaps,
                is_older_than_log,
                ..
            },
        ) => judge(end, head, chain_there, has_gaps || is_older_than_log),
    };
    Ok(DatabaseStanding { signed, head, mismatch })
}

fn judge(signed: Milestone, head: Milestone, chain_there: Option<ChainHash>, is_mixed: bool) -> Option<Mismatch> {
    match compare(signed, head, chain_there) {
        Comparison::Contained if is_mixed => Some(Mismatch::Mixed),
        Comparison::Contained => None,
        Comparison::Older => Some(Mismatch::Older),
        Comparison::Other => Some(Mismatch::Other),
    }
}

fn milestone(head: Option<Head>) -> Milestone {
    head.map_or(
        Milestone {
            revision: 0,
            chain: [0; 32],
        },
        |head| Milestone {
            revision: head.revision,
            chain: head.chain,
        },
    )
}

fn read_evidence(data: &Path) -> Result<Evidence, StartError> {
    Evidence::read(data).map_err(|error| StartError::Checkpoints {
        path: data.to_owned(),
        error,
    })
}

/// Opens the checkpoints of a data directory, whose key is created the first time. A key that is missing or unusable beside
/// what was signed prevents the start: its end is accepted by an operator, or the key put back.
pub(crate) fn checkpoints(data: &Path) -> Result<Checkpoints, StartError> {
    let mut entropy = [0; 32];
    OsEntropy.fill(&mut entropy).map_err(Failure::from)?;
    Checkpoints::open_directory(data, entropy).map_err(|error| match Evidence::read(data) {
        Ok(Evidence::Unusable(why)) => StartError::History(format!(
            "{data}: the audit log cannot be signed: {why}. Nothing is served. Put the file back. If it is lost, \
             `{COMMAND} --data {data}`, with `--database` where there is one, shows what continuing without it means, \
             and asks for confirmation",
            data = data.display()
        )),
        Ok(Evidence::None | Evidence::Signed(_)) | Err(_) => StartError::Checkpoints {
            path: data.to_owned(),
            error,
        },
    })
}

/// Refuses to serve a database that does not contain the signed end. The caller holds the directory's lock.
pub(crate) async fn require_contained(data: &Path) -> Result<(), StartError> {
    let standing = standing(data).await?;
    let Some(mismatch) = &standing.mismatch else {
        return Ok(());
    };
    let what = standing.describe(mismatch);
    let way_out = match mismatch {
        Mismatch::Mixed => format!(
            "Put a complete copy in place: its {DATABASE_FILE} together with its own {DATABASE_FILE}-wal, and where \
             it has none, none"
        ),
        _ => format!(
            "Put the newest database back. If it is lost, `{COMMAND} --data {}` shows what accepting this one means, \
             and asks for confirmation",
            data.display()
        ),
    };
    Err(StartError::History(format!(
        "{}: {what}. Nothing is served: keys that were revoked since would work again. {way_out}",
        data.display()
    )))
}

/// A database that an operator may accept, with its directory locked.
pub struct Acceptance {
    data: PathBuf,
    database: Option<DatabaseAccess>,
    lock: DirectoryLock,
    standing: DatabaseStanding,
    /// Whether an earlier acceptance, or a restore, was interrupted or left the choice open.
    is_open: bool,
}

/// The result of an acceptance.
#[derive(Clone, Debug)]
pub struct AcceptedDatabase {
    /// The entry of the audit log that records it.
    pub revision: u64,
    /// Where the old files are kept.
    pub kept: Vec<PathBuf>,
    /// What was denied again and chosen; `None` if the database has no log.
    pub report: Option<RestoreReport>,
}

impl Acceptance {
    /// Examines the database and the checkpoint. Nothing is changed.
    ///
    /// # Errors
    /// If a server uses the directory, or the database cannot be read.
    pub async fn prepare(data: &Path, database: Option<&DatabaseAccess>) -> Result<Self, StartError> {
        if database.is_none() {
            crate::moving::refuse_moved(data)?;
        }
        if !data.is_dir() {
            let why = format!("there is no data directory {}; name it with --data", data.display());
            return Err(StartError::Unsafe(why));
        }
        let lock = DirectoryLock::take(data)?;
        let (standing, is_open) = match database {
            None => {
                let standing = standing(data).await?;
                let is_open = standing.mismatch.is_none() && standing.head.revision > 0 && is_open_in(data).await?;
                (standing, is_open)
            }
            Some(access) => standing_at(data, access).await?,
        };
        Ok(Self {
            is_open,
            data: data.to_owned(),
            database: database.cloned(),
            lock,
            standing,
        })
    }

    /// Returns whether there is anything to accept.
    pub fn is_needed(&self) -> bool {
        self.standing.mismatch.is_some() || self.is_open
    }

    /// Returns whether the database is inconsistent: that cannot be accepted, and must be repaired.
    pub fn is_broken(&self) -> bool {
        self.standing.mismatch == Some(Mismatch::Mixed)
    }

    /// Explains the signed end, the present one, and the meaning of accepting it, in lines of text.
    pub fn explain(&self) -> Vec<String> {
        let Some(mismatch) = &self.standing.mismatch else {
            return vec![format!(
                "{}: the database was restored. It contains what was signed, and what happens with its keys is not \
                 decided.",
                self.data.display()
            )];
        };
        let end = |end: Milestone| format!("revision {}, {}", end.revision, hex(&end.chain));
        let signed = self.standing.signed.map_or_else(|| "cannot be read".to_owned(), end);
        let lost = self.standing.signed.map_or(0, |signed| signed.revision);
        let lost = lost.saturating_sub(self.standing.head.revision);
        let meaning = match mismatch {
            Mismatch::Missing | Mismatch::Empty => format!(
                "All {lost} signed changes are lost: every key, tenant and user. The next start makes a new instance, \
                 and shows a new root key."
            ),
            Mismatch::Older => format!(
                "At least {lost} changes that were answered for are lost, and keys that they issued are unknown. Denials \
                 that a file with denials has are written again. Without it, KEYS AND ROOT KEYS THAT THEY REVOKED WORK \
                 AGAIN, and users and tenants that they suspended or removed are back."
            ),
            Mismatch::Other | Mismatch::Mixed | Mismatch::Evidence(_) => {
                "Which changes are lost is unknown. KEYS AND ROOT KEYS THAT WERE REVOKED MAY WORK AGAIN, and keys \
                 that were issued may be unknown."
                    .to_owned()
            }
        };
        vec![
            format!("{}: {}.", self.data.display(), self.standing.describe(mismatch)),
            format!("  signed:   {signed}"),
            format!("  database: {}", end(self.standing.head)),
            meaning,
        ]
    }

    /// Accepts the database: records that in its audit log, writes again the denials that it has lost, and signs again
    /// once all of that is durable. The old checkpoint is kept under another name. If it is interrupted, nothing was
    /// accepted, and it can be repeated. Without a choice for the time for which no denial is known, the server starts
    /// and verifies no key.
    ///
    /// # Errors
    /// If the database or the directory cannot be written to, or a file with denials cannot be used.
    pub async fn accept(
        self,
        reason: &str,
        choice: Option<RestoreChoice>,
        denials: &[PathBuf],
    ) -> Result<AcceptedDatabase, StartError> {
        let (data, standing) = (self.data, self.standing);
        let verifier = Arc::new(VerifierMemory::new(1));
        let (store, _lock): (Arc<dyn Store>, _) = match &self.database {
            None => {
                let store = SqliteStore::open_locked(&data, self.lock, verifier.clone()).await?;
                (Arc::new(store), None)
            }
            Some(access) => (
                Arc::new(PostgresStore::open(access, verifier.clone()).await?),
                Some(self.lock),
            ),
        };
        let (clock, entropy) = (Arc::new(WallClock), Arc::new(OsEntropy));
        let authority = Authority::new(Arc::clone(&store), verifier, clock, entropy, Arc::new(TokioTimer));
        let order = RestoreOrder {
            from: None,
            choice,
            reason,
            denials,
        };
        // Before anything is written: a file that cannot be used changes nothing.
        let examined = Examined::of(&authority, &data, &order, self.database.is_some()).await?;
        let mut revision = 0;
        if standing.mismatch.is_some() {
            revision = note_accepted(&authority, &standing, reason).await?;
        }
        let report = match examined {
            Some(examined) => Some(examined.repair(&authority, &order).await?),
            None => None,
        };
        let kept = match standing.mismatch.is_some() {
            true => sign_again(&authority, &data).await?,
            false => Vec::new(),
        };
        authority.close().await;
        let restored = report.as_ref().map_or(0, |report| report.record.revision);
        Ok(AcceptedDatabase {
            revision: if revision > 0 { revision } else { restored },
            kept,
            report,
        })
    }
}

async fn note_accepted(authority: &Authority, standing: &DatabaseStanding, reason: &str) -> Result<u64, StartError> {
    let end = |end: Milestone| json!({"revision": end.revision, "hash": hex(&end.chain)});
    let why = standing.mismatch.as_ref().map(|mismatch| standing.describe(mismatch));
    let before = json!({"signed": standing.signed.map(end), "found": why}).to_string();
    let after = json!({"database": end(standing.head)}).to_string();
    Ok(authority.audit().note_restore(reason, before, after).await?)
}

/// Signs the end of the log, whatever was signed before, which is kept under another name.
pub(crate) async fn sign_again(authority: &Authority, data: &Path) -> Result<Vec<PathBuf>, StartError> {
    let head = milestone(Some(authority.audit().head().await?));
    let mut fresh = [0; 32];
    OsEntropy.fill(&mut fresh).map_err(Failure::from)?;
    checkpoints::accept(data, head, fresh).map_err(|error| StartError::Checkpoints {
        path: data.to_owned(),
        error,
    })
}

/// Whether the database of a directory waits for an operator's choice.
async fn is_open_in(data: &Path) -> Result<bool, StartError> {
    let store = SqliteStore::open_to_read(&data.join(DATABASE_FILE)).await?;
    let is_open = standing_of(&store).await?.pending().is_some();
    store.close().await;
    Ok(is_open)
}

impl std::fmt::Debug for Acceptance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptance")
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

/// Does the same for a database that nodes share: each node's directory has what that node has signed.
async fn standing_at(data: &Path, access: &DatabaseAccess) -> Result<(DatabaseStanding, bool), StartError> {
    let evidence = read_evidence(data)?;
    let store = PostgresStore::open(access, Arc::new(VerifierMemory::new(1))).await?;
    let head = milestone(Some(store.head().await?));
    let (signed, mismatch) = match evidence {
        Evidence::None => (None, None),
        Evidence::Unusable(why) => (None, Some(Mismatch::Evidence(why))),
        Evidence::Signed(end) => {
            let mismatch = match compare_log(&store, end).await? {
                Comparison::Contained => None,
                Comparison::Older => Some(Mismatch::Older),
                Comparison::Other => Some(Mismatch::Other),
            };
            (Some(end), mismatch)
        }
    };
    let is_open = standing_of(&store).await?.pending().is_some();
    store.close().await;
    Ok((DatabaseStanding { signed, head, mismatch }, is_open))
}
