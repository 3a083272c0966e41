//! What a node keeps across restarts: which history it has seen, what was denied in it, and how its sessions ended.
//!
//! A database can be replaced by an older copy while no node runs. Then no memory knows of it, but each node's data
//! directory does (rule R16). It is written a little behind the changes, as lines of text. A later line overrides an
//! earlier one about the same thing.

use crate::failure::Failure;
use crate::memory::{Denied, How, Tombstones, VerifierMemory};
use keyreeve_core::audit::{ChainHash, Milestone};
use keyreeve_core::coherence::probation::WINDOW_MS;
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::user::Status;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp, hex};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file with the lines.
pub trait Notebook: Send + Sync + 'static {
    /// Returns all lines, in the order in which they were written.
    fn lines(&self) -> Result<Vec<String>, Failure>;
    /// Appends lines. They are durable when this returns.
    fn append(&self, lines: &[String]) -> Result<(), Failure>;
    /// Replaces all lines atomically.
    fn replace(&self, lines: &[String]) -> Result<(), Failure>;
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoNotebook;

impl Notebook for NoNotebook {
    fn lines(&self) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    fn append(&self, _: &[String]) -> Result<(), Failure> {
        Ok(())
    }

    fn replace(&self, _: &[String]) -> Result<(), Failure> {
        Ok(())
    }
}

/// How many superseded lines are allowed, beyond one for each remembered denial, before the file is compacted.
const STALE_LINES_MAX: usize = 10_000;

/// Most ends of sessions that are remembered, the newest.
const ENDS_MAX: usize = 32;

/// What a node knows of the database's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct KnownHistory {
    /// The chain hash of the first entry. Another one belongs to another instance.
    pub(super) origin: Option<ChainHash>,
    /// The newest entry that was applied.
    pub(super) end: Option<Milestone>,
}

/// The history as it is known, and as it was written to disk.
pub(super) struct Notes {
    notebook: Arc<dyn Notebook>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_read: bool,
    known: KnownHistory,
    written: KnownHistory,
    lines: usize,
    /// Whether a session began and was not left: one of this process, or before [`Notes::former_ends`] of an earlier one.
    has_session: bool,
    /// When earlier processes ended without leaving, oldest first: the times of the starts after that.
    ends: VecDeque<Timestamp>,
    are_ends_judged: bool,
}

impl Notes {
    pub(super) fn new(notebook: Arc<dyn Notebook>) -> Self {
        Self {
            notebook,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was written before this start. Later calls do nothing.
    pub(super) fn read(&self, tombstones: &Tombstones) -> Result<(), Failure> {
        let mut state = self.state();
        if state.is_read {
            return Ok(());
        }
        let lines = self.notebook.lines()?;
        for line in &lines {
            match NoteLine::parse(line) {
                Some(NoteLine::Origin(chain)) => state.known.origin = Some(chain),
                Some(NoteLine::End(end)) => state.known.end = Some(end),
                Some(NoteLine::Denial(what, how)) => tombstones.remember(&what, how),
                Some(NoteLine::Began) => state.has_session = true,
                Some(NoteLine::Left) => state.has_session = false,
                Some(NoteLine::Ended(at)) => {
                    state.has_session = false;
                    state.ends.push_back(at);
                }
                // A crash may have cut off the last line, and a newer version may have lines that this one does not
                // know.
                None => {}
            }
        }
        state.written = state.known;
        state.lines = lines.len();
        state.is_read = true;
        Ok(())
    }

    /// Returns how many earlier processes ended within [`WINDOW_MS`] before now without leaving their session; `None`
    /// after [`Notes::judge_former_ends`]. Call after [`Notes::read`] and before the first session.
    pub(super) fn former_ends(&self, now: Timestamp) -> Option<usize> {
        let mut state = self.state();
        if state.are_ends_judged {
            return None;
        }
        if std::mem::take(&mut state.has_session) {
            state.ends.push_back(now);
            self.append(&mut state, &NoteLine::Ended(now));
        }
        // A wall clock may have been wrong in between.
        let is_recent = |at: &Timestamp| at.millis().abs_diff(now.millis()) < WINDOW_MS;
        state.ends.retain(is_recent);
        let surplus = state.ends.len().saturating_sub(ENDS_MAX);
        state.ends.drain(..surplus);
        Some(state.ends.len())
    }

    /// Notes that the ends of earlier processes have been taken into account.
    pub(super) fn judge_former_ends(&self) {
        self.state().are_ends_judged = true;
    }

    /// Notes that this process has a session.
    pub(super) fn began_session(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.has_session, true) {
            self.append(&mut state, &NoteLine::Began);
        }
    }

    /// Notes that this process leaves its session.
    pub(super) fn left_session(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.has_session) {
            self.append(&mut state, &NoteLine::Left);
        }
    }

    /// Without room on the disk a node works as before: it may count one end too few or too many.
    fn append(&self, state: &mut State, line: &NoteLine) {
        if self.notebook.append(&[line.write()]).is_ok() {
            state.lines += 1;
        }
    }

    pub(super) fn known(&self) -> KnownHistory {
        self.state().known
    }

    pub(super) fn know(&self, change: impl FnOnce(&mut KnownHistory)) {
        change(&mut self.state().known);
    }

    /// Writes what is new. Blocks on the disk.
    pub(super) fn write(&self, verifier: &VerifierMemory) -> Result<(), Failure> {
        let mut state = self.state();
        if !state.is_read {
            return Ok(());
        }
        let known = state.known;
        let news = verifier.tombstones().take_unwritten();
        let is_long = state.lines > 2 * verifier.tombstones().len() + STALE_LINES_MAX;
        let done = match is_long {
            true => {
                let all = verifier.tombstones().all().into_iter();
                let mut lines = written(KnownHistory::default(), known);
                lines.extend(state.ends.iter().map(|at| NoteLine::Ended(*at).write()));
                lines.extend(state.has_session.then(|| NoteLine::Began.write()));
                lines.extend(all.map(|(what, how)| NoteLine::Denial(what, Some(how)).write()));
                state.lines = lines.len();
                self.notebook.replace(&lines)
            }
            false => {
                let mut lines = written(state.written, known);
                lines.extend(
                    news.iter()
                        .map(|(what, how)| NoteLine::Denial(what.clone(), how.clone()).write()),
                );
                state.lines += lines.len();
                if lines.is_empty() {
                    Ok(())
                } else {
                    self.notebook.append(&lines)
                }
            }
        };
        match done {
            Ok(()) => state.written = known,
            Err(_) => verifier.tombstones().give_back(news),
        }
        done
    }
}

/// Returns the lines for what has changed.
fn written(before: KnownHistory, now: KnownHistory) -> Vec<String> {
    let origin = now.origin.filter(|_| now.origin != before.origin).map(NoteLine::Origin);
    let end = now.end.filter(|_| now.end != before.end).map(NoteLine::End);
    origin.into_iter().chain(end).map(|line| line.write()).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum NoteLine {
    Origin(ChainHash),
    End(Milestone),
    /// `None` is: no longer denied.
    Denial(Denied, Option<How>),
    /// A session began.
    Began,
    /// It was left.
    Left,
    /// A process with a session had ended without leaving before this time.
    Ended(Timestamp),
}

impl NoteLine {
    fn write(&self) -> String {
        match self {
            Self::Origin(chain) => format!("origin {}", hex(chain)),
            Self::Began => "session began".to_owned(),
            Self::Left => "session left".to_owned(),
            Self::Ended(at) => format!("session ended {}", at.millis()),
            Self::End(end) => format!("end {} {}", end.revision, hex(&end.chain)),
            Self::Denial(what, how) => {
                let how = match how {
                    None => "none".to_owned(),
                    Some(How::Final) => "final".to_owned(),
                    Some(How::Ended) => "ended".to_owned(),
                    Some(How::Held) => "held".to_owned(),
                    Some(How::Blocked(Status::Removed)) => "removed".to_owned(),
                    Some(How::Blocked(_)) => "blocked".to_owned(),
                    Some(How::Replaced { known, is_finished }) => {
                        let word = if *is_finished { "finished" } else { "replaced" };
                        let known: Vec<_> = known.iter().map(|digest| digest.to_hex()).collect();
                        format!("{word}:{}", known.join(","))
                    }
                };
                // Fields that may contain spaces come last.
                match what {
                    Denied::Key(tenant, id) => format!("key {how} {id} {tenant}"),
                    Denied::Secrets(tenant, id) => format!("secrets {how} {id} {tenant}"),
                    Denied::Owner(tenant, subject) => format!("owner {how} {tenant} {subject}"),
                    Denied::Tenant(tenant) => format!("tenant {how} {tenant}"),
                    Denied::RootKey(id) => format!("root_key {how} {id}"),
                    Denied::RootSecrets(id) => format!("root_secrets {how} {id}"),
                    // An older version ignores it.
                    Denied::RootRotated(id) => format!("root_rotated {how} {id}"),
                }
            }
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        if word == "origin" {
            return Some(Self::Origin(chain(rest)?));
        }
        if word == "session" {
            return match rest.split_once(' ') {
                None if rest == "began" => Some(Self::Began),
                None if rest == "left" => Some(Self::Left),
                Some(("ended", at)) => Some(Self::Ended(Timestamp::from_millis(at.parse().ok()?))),
                Some(_) | None => None,
            };
        }
        let (first, rest) = rest.split_once(' ')?;
        if word == "end" {
            let revision = first.parse().ok()?;
            let chain = chain(rest)?;
            return Some(Self::End(Milestone { revision, chain }));
        }
        let how = parse_how(first)?;
        let what = match word {
            "key" | "secrets" => {
                let (id, tenant) = rest.split_once(' ')?;
                let (id, tenant) = (KeyId::parse(id).ok()?, Slug::parse(tenant).ok()?);
                match word {
                    "key" => Denied::Key(tenant, id),
                    _ => Denied::Secrets(tenant, id),
                }
            }
            "owner" => {
                let (tenant, subject) = rest.split_once(' ')?;
                Denied::Owner(Slug::parse(tenant).ok()?, Subject::parse(subject).ok()?)
            }
            "tenant" => Denied::Tenant(Slug::parse(rest).ok()?),
            "root_key" => Denied::RootKey(RootKeyId::parse(rest).ok()?),
            "root_secrets" => Denied::RootSecrets(RootKeyId::parse(rest).ok()?),
            "root_rotated" => Denied::RootRotated(RootKeyId::parse(rest).ok()?),
            _ => return None,
        };
        Some(Self::Denial(what, how))
    }
}

#[expect(
    clippy::option_option,
    reason = "the outer one is that it cannot be read, the inner that nothing is denied"
)]
fn parse_how(word: &str) -> Option<Option<How>> {
    Some(match word {
        "none" => None,
        "final" => Some(How::Final),
        "ended" => Some(How::Ended),
        "held" => Some(How::Held),
        "removed" => Some(How::Blocked(Status::Removed)),
        "blocked" => Some(How::Blocked(Status::Suspended)),
        _ => {
            let (word, known) = word.split_once(':')?;
            let digests = known.split(',').filter(|one| !one.is_empty());
            Some(How::Replaced {
                known: digests.map(Digest::from_hex).collect::<Option<_>>()?,
                is_finished: match word {
                    "replaced" => false,
                    "finished" => true,
                    _ => return None,
                },
            })
        }
    })
}

fn chain(text: &str) -> Option<ChainHash> {
    // A chain hash is written as a digest is.
    Digest::from_hex(text).map(|digest| *digest.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_store::{Commit, CommitObserver as _, KeyNews, KeyOutcome};

    #[derive(Default)]
    struct Page(Mutex<Vec<String>>);

    impl Notebook for Page {
        fn lines(&self) -> Result<Vec<String>, Failure> {
            Ok(self.0.lock().unwrap().clone())
        }

        fn append(&self, lines: &[String]) -> Result<(), Failure> {
            self.0.lock().unwrap().extend_from_slice(lines);
            Ok(())
        }

        fn replace(&self, lines: &[String]) -> Result<(), Failure> {
            *self.0.lock().unwrap() = lines.to_vec();
            Ok(())
        }
    }

    fn acme() -> Slug {
        Slug::parse("acme").unwrap()
    }

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let (key, root_key) = (KeyId::from_bytes([1; 16]), RootKeyId::from_bytes([2; 16]));
        let subject = Subject::parse("user 1").unwrap_or_else(|_| Subject::parse("user_1").unwrap());
        let replaced = |is_finished| How::Replaced {
            known: vec![Digest::of(b"a"), Digest::of(b"b")],
            is_finished,
        };
        let lines = [
            NoteLine::Origin([7; 32]),
            NoteLine::End(Milestone {
                revision: 9,
                chain: [8; 32],
            }),
            NoteLine::Denial(Denied::Key(acme(), key), Some(How::Ended)),
            NoteLine::Denial(Denied::Key(acme(), key), Some(How::Final)),
            NoteLine::Denial(Denied::Key(acme(), key), Some(How::Held)),
            NoteLine::Denial(Denied::Key(acme(), key), None),
            NoteLine::Denial(Denied::Secrets(acme(), key), Some(replaced(false))),
            NoteLine::Denial(Denied::Secrets(acme(), key), Some(replaced(true))),
            NoteLine::Denial(Denied::Owner(acme(), subject), Some(How::Blocked(Status::Suspended))),
            NoteLine::Denial(Denied::Tenant(acme()), Some(How::Blocked(Status::Removed))),
            NoteLine::Denial(Denied::RootKey(root_key), Some(How::Ended)),
            NoteLine::Denial(Denied::RootSecrets(root_key), Some(replaced(true))),
            NoteLine::Denial(Denied::RootRotated(root_key), Some(replaced(true))),
            NoteLine::Began,
            NoteLine::Left,
            NoteLine::Ended(Timestamp::from_millis(9)),
        ];
        for line in lines {
            assert_eq!(NoteLine::parse(&line.write()), Some(line));
        }
        for wrong in [
            "",
            "end",
            "end 5",
            "end 5 77",
            "key ended ak_1",
            "session x",
            "session ended x",
            "of a newer version 7",
        ] {
            assert_eq!(NoteLine::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_written_down_is_known_after_a_start_and_stays_short() {
        let page = Arc::new(Page::default());
        let verifier = VerifierMemory::leased(10);
        let notes = Notes::new(Arc::clone(&page) as _);
        notes.read(verifier.tombstones()).unwrap();
        let revoked = |outcome| Commit {
            keys: vec![KeyNews {
                tenant: acme(),
                id: KeyId::from_bytes([1; 16]),
                outcome,
            }],
            ..Commit::default()
        };
        for round in 0..6_000 {
            verifier.committed(&revoked(KeyOutcome::Held));
            notes.know(|history| {
                history.end = Some(Milestone {
                    revision: round,
                    chain: [1; 32],
                });
            });
            notes.write(&verifier).unwrap();
            verifier.committed(&revoked(KeyOutcome::Live));
            notes.write(&verifier).unwrap();
        }
        verifier.committed(&revoked(KeyOutcome::Ended));
        notes.write(&verifier).unwrap();
        assert!(page.0.lock().unwrap().len() <= STALE_LINES_MAX + 10);
        let (again, next) = (VerifierMemory::leased(10), Notes::new(page as _));
        next.read(again.tombstones()).unwrap();
        assert_eq!(again.tombstones().all(), verifier.tombstones().all());
        assert_eq!(next.known(), notes.known());
        assert_eq!(again.tombstones().take_unwritten(), []);
    }
}
