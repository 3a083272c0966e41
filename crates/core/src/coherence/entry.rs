//! One secret as a verifier remembers it: a single small allocation, because there may be millions.

use super::{Cached, Gate};
use crate::id::KeyId;
use crate::key::Digest;
use crate::time::Timestamp;
use crate::verdict::{Facts, KeyStanding, SecretStanding};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use triomphe::ThinArc;

/// What a fill found out about a secret.
#[derive(Debug)]
pub struct NewEntry<'a> {
    /// The secret's digest.
    pub digest: Digest,
    /// Its key.
    pub key_id: KeyId,
    /// The key's tenant.
    pub gate: Arc<Gate>,
    /// How the secret stands to its key.
    pub secret: SecretStanding,
    /// How the key stands.
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
}

/// Fixed part of an entry. Its texts follow in the same allocation: subject, name, scopes, claims.
struct Head {
    digest: Digest,
    key_id: KeyId,
    gate: Arc<Gate>,
    expires_at: i64,
    retires_at: i64,
    finalize_at: i64,
    /// Unix ms of the last use that was passed on for writing; 0 is none since the fill.
    noted_use: AtomicI64,
    /// Good verdicts since they were last taken for counting.
    uses: AtomicU32,
    subject_bytes: u16,
    name_bytes: u16,
    scopes_bytes: u16,
    has_claims: bool,
    secret: SecretTag,
    key: KeyTag,
    is_recent: AtomicBool,
}

/// Stands for "never" where a time is expected.
const NEVER: i64 = i64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretTag {
    Live,
    Retiring,
    Retired,
    Tombstone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyTag {
    Active,
    Disabled,
    Revoked,
}

/// One remembered secret. Cloning is cheap: it shares the allocation.
#[derive(Clone)]
pub struct Entry(ThinArc<Head, u8>);

impl Entry {
    /// Packs what a fill found.
    ///
    /// `None` if a text is longer than any checked one can be (64 KiB); such a record is not remembered.
    pub fn new(found: &NewEntry<'_>) -> Option<Self> {
        let claims = found.claims.unwrap_or("");
        let text = [found.subject, found.name, found.scopes, claims].concat();
        let bytes = |text: &str| u16::try_from(text.len()).ok();
        let (secret, retires_at) = match found.secret {
            SecretStanding::Live => (SecretTag::Live, NEVER),
            SecretStanding::Retiring(until) => (SecretTag::Retiring, until.millis()),
            SecretStanding::Retired => (SecretTag::Retired, NEVER),
            SecretStanding::Tombstone => (SecretTag::Tombstone, NEVER),
        };
        let (key, finalize_at) = match found.key {
            KeyStanding::Active => (KeyTag::Active, NEVER),
            KeyStanding::Disabled { finalize_at } => (KeyTag::Disabled, packed(finalize_at)),
            KeyStanding::Revoked => (KeyTag::Revoked, NEVER),
        };
        let head = Head {
            digest: found.digest,
            key_id: found.key_id,
            gate: Arc::clone(&found.gate),
            expires_at: packed(found.expires_at),
            retires_at,
            finalize_at,
            noted_use: AtomicI64::new(0),
            uses: AtomicU32::new(0),
            subject_bytes: bytes(found.subject)?,
            name_bytes: bytes(found.name)?,
            scopes_bytes: bytes(found.scopes)?,
            has_claims: found.claims.is_some(),
            secret,
            key,
            is_recent: AtomicBool::new(false),
        };
        Some(Self(ThinArc::from_header_and_slice(head, text.as_bytes())))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn text(&self, skip: u16, take: u16) -> &str {
        let start = usize::from(skip);
        let bytes = self.0.slice.get(start..start + usize::from(take));
        std::str::from_utf8(bytes.unwrap_or(&[])).unwrap_or("")
    }

    /// The key's id.
    pub fn key_id(&self) -> KeyId {
        self.head().key_id
    }

    /// The key's tenant.
    pub fn gate(&self) -> &Gate {
        &self.head().gate
    }

    /// The key's owner.
    pub fn subject(&self) -> &str {
        self.text(0, self.head().subject_bytes)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        let head = self.head();
        self.text(head.subject_bytes, head.name_bytes)
    }

    /// The key's scopes, joined by spaces.
    pub fn scopes(&self) -> &str {
        let head = self.head();
        self.text(head.subject_bytes.saturating_add(head.name_bytes), head.scopes_bytes)
    }

    /// The key's claims as JSON.
    pub fn claims(&self) -> Option<&str> {
        let head = self.head();
        let start = [head.subject_bytes, head.name_bytes, head.scopes_bytes].map(usize::from);
        let bytes = self.0.slice.get(start.iter().sum()..)?;
        head.has_claims.then(|| std::str::from_utf8(bytes).unwrap_or("null"))
    }

    /// When the key expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        unpacked(self.head().expires_at)
    }

    /// What a verdict is judged on.
    pub fn facts(&self) -> Facts<'_> {
        let head = self.head();
        Facts {
            secret: match head.secret {
                SecretTag::Live => SecretStanding::Live,
                SecretTag::Retiring => SecretStanding::Retiring(Timestamp::from_millis(head.retires_at)),
                SecretTag::Retired => SecretStanding::Retired,
                SecretTag::Tombstone => SecretStanding::Tombstone,
            },
            key: match head.key {
                KeyTag::Active => KeyStanding::Active,
                KeyTag::Disabled => KeyStanding::Disabled {
                    finalize_at: unpacked(head.finalize_at),
                },
                KeyTag::Revoked => KeyStanding::Revoked,
            },
            owner_blocked: head.gate.blocks(self.subject()),
            not_before: None,
            expires_at: self.expires_at(),
            scopes: self.scopes(),
        }
    }

    /// Notes a use at `now`. True if it should be passed on for writing: the first since the fill, and then once per
    /// `grain_ms`, so that a hot key costs no write per verification.
    pub fn note_use(&self, now: Timestamp, grain_ms: i64) -> bool {
        let noted = &self.head().noted_use;
        let last = noted.load(Ordering::Relaxed);
        if now.millis().saturating_sub(last) < grain_ms {
            return false;
        }
        let exchanged = noted.compare_exchange(last, now.millis(), Ordering::Relaxed, Ordering::Relaxed);
        exchanged.is_ok()
    }
}

impl Entry {
    /// Counts a good verdict. True for the first since the last [`Entry::take_uses`]: whoever counted it passes the
    /// entry on, so that an idle key costs nothing.
    pub fn count_use(&self) -> bool {
        self.head().uses.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Takes the good verdicts counted so far.
    pub fn take_uses(&self) -> u32 {
        self.head().uses.swap(0, Ordering::Relaxed)
    }

    /// Whether the secret is one that a rotation has replaced and that is still good.
    pub fn is_retiring(&self) -> bool {
        self.head().secret == SecretTag::Retiring
    }
}

impl Cached for Entry {
    fn digest(&self) -> &Digest {
        &self.head().digest
    }

    fn touch(&self) {
        // Written only when it changes: a shared cache line that is only read stays cheap.
        if !self.head().is_recent.load(Ordering::Relaxed) {
            self.head().is_recent.store(true, Ordering::Relaxed);
        }
    }

    fn forget_touch(&self) -> bool {
        self.head().is_recent.swap(false, Ordering::Relaxed)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

fn packed(time: Option<Timestamp>) -> i64 {
    time.map_or(NEVER, Timestamp::millis)
}

fn unpacked(time: i64) -> Option<Timestamp> {
    (time != NEVER).then(|| Timestamp::from_millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Reveal;
    use crate::text::Slug;

    fn found(claims: Option<&str>) -> NewEntry<'_> {
        NewEntry {
            digest: Digest::of(b"x"),
            key_id: KeyId::from_bytes([1; 16]),
            gate: Arc::new(Gate::new(
                Slug::parse("default").unwrap(),
                crate::user::Status::Active,
                Reveal::OwnerSafe,
            )),
            secret: SecretStanding::Live,
            key: KeyStanding::Disabled {
                finalize_at: Some(Timestamp::from_millis(7)),
            },
            expires_at: Some(Timestamp::from_millis(9)),
            subject: "user_1",
            name: "naïve",
            scopes: "read write",
            claims,
        }
    }

    #[test]
    fn an_entry_gives_back_what_was_packed() {
        let entry = Entry::new(&found(Some(r#"{"a":1}"#))).unwrap();
        assert_eq!(
            (entry.subject(), entry.name(), entry.scopes()),
            ("user_1", "naïve", "read write")
        );
        assert_eq!(entry.claims(), Some(r#"{"a":1}"#));
        assert_eq!(Entry::new(&found(None)).unwrap().claims(), None);
        assert_eq!(entry.expires_at(), Some(Timestamp::from_millis(9)));
        assert_eq!(
            entry.facts().key,
            KeyStanding::Disabled {
                finalize_at: Some(Timestamp::from_millis(7))
            }
        );
    }

    #[test]
    fn a_change_of_the_tenant_reaches_entries_already_remembered() {
        let found = found(None);
        let entry = Entry::new(&found).unwrap();
        assert!(!entry.facts().owner_blocked);
        found.gate.set(crate::user::Status::Suspended, Reveal::None);
        assert!(entry.facts().owner_blocked);
        assert_eq!(entry.gate().reveal(), Reveal::None);
    }

    #[test]
    fn a_hot_key_passes_its_use_on_once_per_grain() {
        let entry = Entry::new(&found(None)).unwrap();
        let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
        assert!(entry.note_use(at(0), 60_000));
        assert!(!entry.note_use(at(59_999), 60_000));
        assert!(entry.note_use(at(60_000), 60_000));
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Head>() <= 112, "{} bytes", size_of::<Head>());
    }
}
