//! One secret in a verifier's memory: a single small allocation, because there may be millions.

use super::{Cached, Gate};
use crate::id::KeyId;
use crate::key::Digest;
use crate::time::Timestamp;
use crate::verdict::{Facts, KeyStanding, SecretStanding};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use triomphe::ThinArc;

/// What a fill found about a secret.
#[derive(Debug)]
pub struct NewEntry<'a> {
    /// The secret's digest.
    pub digest: Digest,
    /// Its key.
    pub key_id: KeyId,
    /// The key's tenant.
    pub gate: Arc<Gate>,
    /// The state of the secret within its key.
    pub secret: SecretStanding,
    /// The state of the key.
    pub key: KeyStanding,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// The key's owner; empty for a tombstone.
    pub subject: &'a str,
    /// The key's name; empty for a tombstone.
    pub name: &'a str,
    /// The key's scopes, joined by spaces.
    pub scopes: &'a str,
    /// The key's claims as JSON.
    pub claims: Option<&'a str>,
    /// The key's limits, joined by spaces.
    pub limits: &'a str,
    /// Whether it is known that the secret was presented before.
    pub is_presented: bool,
}

/// The fixed part of an entry. In the same allocation follow the lengths of its subject and its name, two bytes each
/// (here they would take eight, because of alignment), the times that it has, eight bytes each, and its texts: subject,
/// name, scopes, claims; and for a key with limits, these and their length.
struct EntryHead {
    digest: Digest,
    key_id: KeyId,
    gate: Arc<Gate>,
    /// Unix ms of the last use, exact to the grain it was noted with; 0 is none since the fill.
    used_at: AtomicI64,
    /// Good verdicts since they were last taken for counting.
    uses: AtomicU32,
    scopes_bytes: u16,
    tags: Tags,
    marks: AtomicU8,
}

/// The fixed properties of an entry in a byte: two bits for the secret, two for the key, and which parts it has.
#[derive(Clone, Copy)]
struct Tags(u8);

impl Tags {
    const SECRET: u8 = 0b11;
    const RETIRING: u8 = 1;
    const RETIRED: u8 = 2;
    const TOMBSTONE: u8 = 3;
    const KEY: u8 = 0b1100;
    const DISABLED: u8 = 1 << 2;
    const REVOKED: u8 = 2 << 2;
    const EXPIRES: u8 = 1 << 4;
    const RETIRES: u8 = 1 << 5;
    const FINALIZES: u8 = 1 << 6;
    const CLAIMS: u8 = 1 << 7;
    /// In the order of the allocation.
    const TIMES: [u8; 3] = [Self::EXPIRES, Self::RETIRES, Self::FINALIZES];

    fn has(self, tag: u8) -> bool {
        self.0 & tag != 0
    }

    /// Returns how many times come before the texts, or before one of them.
    fn times_before(self, tag: u8) -> usize {
        let before = Self::TIMES.iter().take_while(|known| **known != tag);
        before.filter(|known| self.has(**known)).count()
    }
}

/// The properties of an entry that change while it is remembered.
struct Marks;

impl Marks {
    /// Used since the clock hand last passed.
    const RECENT: u8 = 1;
    /// Waits for its uses to be written.
    const QUEUED: u8 = 2;
    /// Its last use is not taken yet.
    const USED: u8 = 4;
    /// The secret is known to have been presented.
    const PRESENTED: u8 = 8;
    /// The key has limits. Never changes: the tags have no room for it.
    const LIMITED: u8 = 16;
}

/// What to do with an entry after a use was noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// Nothing.
    Nothing,
    /// Queue it.
    Queue,
    /// Queue it ahead of others: the secret was not presented before, which decides about retries.
    QueueFirst,
}

/// Bytes of the lengths of subject and name in the allocation, and of one time.
const LENGTHS_BYTES: usize = 2 * size_of::<u16>();
const TIME_BYTES: usize = size_of::<i64>();
/// Bytes of the length of the limits, which end the allocation where there are any.
const LIMITS_LENGTH_BYTES: usize = size_of::<u16>();

/// A remembered secret. Cloning is cheap: it shares the allocation.
#[derive(Clone)]
pub struct Entry(ThinArc<EntryHead, u8>);

impl Entry {
    /// Packs what a fill found.
    ///
    /// `None` if a text is longer than any checked one can be (64 KiB); such a record is not remembered.
    pub fn new(found: &NewEntry<'_>) -> Option<Self> {
        let bytes = |text: &str| u16::try_from(text.len()).ok();
        let (secret, retires_at) = match found.secret {
            SecretStanding::Live => (0, None),
            SecretStanding::Retiring(until) => (Tags::RETIRING, Some(until)),
            SecretStanding::Retired => (Tags::RETIRED, None),
            SecretStanding::Tombstone => (Tags::TOMBSTONE, None),
        };
        let (key, finalize_at) = match found.key {
            KeyStanding::Active => (0, None),
            KeyStanding::Disabled { finalize_at } => (Tags::DISABLED, finalize_at),
            KeyStanding::Revoked => (Tags::REVOKED, None),
        };
        let mut tags = secret | key;
        let mut rest = Vec::new();
        for text in [found.subject, found.name] {
            rest.extend_from_slice(&bytes(text)?.to_le_bytes());
        }
        for (tag, time) in Tags::TIMES.into_iter().zip([found.expires_at, retires_at, finalize_at]) {
            if let Some(time) = time {
                tags |= tag;
                rest.extend_from_slice(&time.millis().to_le_bytes());
            }
        }
        if found.claims.is_some() {
            tags |= Tags::CLAIMS;
        }
        for text in [found.subject, found.name, found.scopes, found.claims.unwrap_or("")] {
            rest.extend_from_slice(text.as_bytes());
        }
        let mut marks = if found.is_presented { Marks::PRESENTED } else { 0 };
        if !found.limits.is_empty() {
            marks |= Marks::LIMITED;
            rest.extend_from_slice(found.limits.as_bytes());
            rest.extend_from_slice(&bytes(found.limits)?.to_le_bytes());
        }
        let head = EntryHead {
            digest: found.digest,
            key_id: found.key_id,
            gate: Arc::clone(&found.gate),
            used_at: AtomicI64::new(0),
            uses: AtomicU32::new(0),
            scopes_bytes: bytes(found.scopes)?,
            tags: Tags(tags),
            marks: AtomicU8::new(marks),
        };
        // Bounded as the others. Its length is not stored: claims take what the other parts leave.
        bytes(found.claims.unwrap_or(""))?;
        Some(Self(ThinArc::from_header_and_slice(head, &rest)))
    }

    fn head(&self) -> &EntryHead {
        &self.0.header.header
    }

    /// Returns one of the times, if the entry has it.
    fn time(&self, tag: u8) -> Option<Timestamp> {
        let tags = self.head().tags;
        if !tags.has(tag) {
            return None;
        }
        let bytes = self
            .0
            .slice
            .get(LENGTHS_BYTES + tags.times_before(tag) * TIME_BYTES..)?;
        Some(Timestamp::from_millis(i64::from_le_bytes(*bytes.first_chunk()?)))
    }

    /// Returns a part of the texts.
    fn text(&self, skip: usize, take: usize) -> &str {
        std::str::from_utf8(self.bytes(skip, take)).unwrap_or("")
    }

    fn bytes(&self, skip: usize, take: usize) -> &[u8] {
        let start = self.texts_at() + skip;
        self.0.slice.get(start..start + take).unwrap_or_default()
    }

    /// Returns the offset of the texts.
    fn texts_at(&self) -> usize {
        LENGTHS_BYTES + self.head().tags.times_before(0) * TIME_BYTES
    }

    /// Returns the lengths of subject and name.
    fn lengths(&self) -> [usize; 2] {
        let (lengths, _) = self.0.slice.as_chunks::<2>();
        let length = |place| {
            lengths
                .get(place)
                .map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)))
        };
        [length(0), length(1)]
    }

    /// Returns the key's id.
    pub fn key_id(&self) -> KeyId {
        self.head().key_id
    }

    /// Returns the gate of the key's tenant.
    pub fn gate(&self) -> &Gate {
        &self.head().gate
    }

    /// Returns the key's owner.
    pub fn subject(&self) -> &str {
        let [subject, _] = self.lengths();
        self.text(0, subject)
    }

    /// Returns the key's name.
    pub fn name(&self) -> &str {
        let [subject, name] = self.lengths();
        self.text(subject, name)
    }

    /// Returns the key's scopes, joined by spaces.
    pub fn scopes(&self) -> &str {
        std::str::from_utf8(self.scopes_bytes()).unwrap_or("")
    }

    fn scopes_bytes(&self) -> &[u8] {
        let [subject, name] = self.lengths();
        self.bytes(subject + name, usize::from(self.head().scopes_bytes))
    }

    /// Returns the key's claims as JSON.
    pub fn claims(&self) -> Option<&str> {
        let head = self.head();
        let [subject, name] = self.lengths();
        let before = subject + name + usize::from(head.scopes_bytes);
        let limits = self.limits_bytes().map_or(0, |bytes| bytes + LIMITS_LENGTH_BYTES);
        let take = self.0.slice.len() - self.texts_at() - before - limits;
        head.tags.has(Tags::CLAIMS).then(|| self.text(before, take))
    }

    /// Returns the key's limits, joined by spaces. Most keys have none, and then the texts are not read.
    pub fn limits(&self) -> &str {
        let Some(take) = self.limits_bytes() else {
            return "";
        };
        let end = self.0.slice.len() - LIMITS_LENGTH_BYTES;
        let bytes = end.checked_sub(take).and_then(|start| self.0.slice.get(start..end));
        bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Returns the length of the limits, if there are any.
    fn limits_bytes(&self) -> Option<usize> {
        if self.head().marks.load(Ordering::Relaxed) & Marks::LIMITED == 0 {
            return None;
        }
        let bytes = self.0.slice.last_chunk::<LIMITS_LENGTH_BYTES>()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    }

    /// Returns when the key expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.time(Tags::EXPIRES)
    }

    /// Returns what a verdict is decided by.
    pub fn facts(&self) -> Facts<'_> {
        let head = self.head();
        Facts {
            secret: match (head.tags.0 & Tags::SECRET, self.time(Tags::RETIRES)) {
                (Tags::RETIRING, Some(until)) => SecretStanding::Retiring(until),
                (Tags::TOMBSTONE, _) => SecretStanding::Tombstone,
                (0, _) => SecretStanding::Live,
                _ => SecretStanding::Retired,
            },
            key: match head.tags.0 & Tags::KEY {
                0 => KeyStanding::Active,
                Tags::DISABLED => KeyStanding::Disabled {
                    finalize_at: self.time(Tags::FINALIZES),
                },
                _ => KeyStanding::Revoked,
            },
            owner_blocked: head.gate.blocks(|| self.subject()),
            not_before: None,
            expires_at: self.expires_at(),
            scopes: self.scopes_bytes(),
            limits: self.limits(),
        }
    }

    /// Whether the secret was replaced by a rotation and is still accepted.
    pub fn is_retiring(&self) -> bool {
        self.head().tags.0 & Tags::SECRET == Tags::RETIRING
    }
}

/// The uses of an entry. It is queued once until [`Entry::take_uses`].
impl Entry {
    /// Notes a use at `now`. The time is kept once per `grain_ms`, so that a hot key costs nothing.
    #[must_use = "the entry may have to be queued"]
    pub fn note_use(&self, now: Timestamp, grain_ms: i64) -> Noted {
        let used_at = &self.head().used_at;
        let last = used_at.load(Ordering::Relaxed);
        // With a clock that was set back, the later time stays.
        if now.millis().saturating_sub(last) < grain_ms {
            return Noted::Nothing;
        }
        // Two threads may both get here. The marks below let one of them queue the entry.
        used_at.store(now.millis(), Ordering::Relaxed);
        let marks = Marks::USED | Marks::PRESENTED | Marks::QUEUED;
        match self.head().marks.fetch_or(marks, Ordering::AcqRel) {
            before if before & Marks::PRESENTED == 0 => Noted::QueueFirst,
            before if before & Marks::QUEUED == 0 => Noted::Queue,
            _ => Noted::Nothing,
        }
    }

    /// Notes that the secret was presented in a refused call; true if that was not known yet.
    pub fn note_presented(&self) -> bool {
        self.mark(Marks::PRESENTED)
    }

    /// Counts a good verdict.
    #[must_use = "the entry may have to be queued"]
    pub fn count_use(&self) -> Noted {
        // Count, then mark: `take_uses` works in the opposite order, so a use that it misses queues the entry again.
        self.head().uses.fetch_add(1, Ordering::Relaxed);
        match self.mark(Marks::QUEUED) {
            true => Noted::Queue,
            false => Noted::Nothing,
        }
    }

    /// The queue was full: the next use tries again.
    pub fn not_queued(&self) {
        self.head().marks.fetch_and(!Marks::QUEUED, Ordering::AcqRel);
    }

    /// Takes the counted uses, and the last use if it was not taken before.
    pub fn take_uses(&self) -> (u32, Option<Timestamp>) {
        // The marks first: a use that is noted from here on queues the entry again.
        let before = self
            .head()
            .marks
            .fetch_and(Marks::RECENT | Marks::PRESENTED | Marks::LIMITED, Ordering::AcqRel);
        let used_at = self.last_use().filter(|_| before & Marks::USED != 0);
        (self.head().uses.swap(0, Ordering::AcqRel), used_at)
    }

    /// Returns when it was last used, if that is known here.
    pub fn last_use(&self) -> Option<Timestamp> {
        let at = self.head().used_at.load(Ordering::Relaxed);
        (at != 0).then(|| Timestamp::from_millis(at))
    }

    /// Sets a mark; true if it was not set. Writes only on a change, so that readers share the cache line.
    fn mark(&self, mark: u8) -> bool {
        let marks = &self.head().marks;
        marks.load(Ordering::Relaxed) & mark == 0 && marks.fetch_or(mark, Ordering::AcqRel) & mark == 0
    }
}

impl Cached for Entry {
    fn digest(&self) -> &Digest {
        &self.head().digest
    }

    fn place(&self) -> usize {
        self.0.as_ptr().addr()
    }

    fn touch(&self) {
        self.mark(Marks::RECENT);
    }

    fn forget_touch(&self) -> bool {
        self.head().marks.fetch_and(!Marks::RECENT, Ordering::Relaxed) & Marks::RECENT != 0
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
