//! Signed statements of where the audit log ends, stored outside the database: truncating or rewriting the log then
//! also requires forging a signature.
//!
//! The format is C2SP's signed note with Ed25519 (c2sp.org/signed-note): origin, number of entries, hash chain. The
//! newest is in `audit-checkpoint` in the data directory; copies elsewhere protect against an attacker who can write
//! there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use keyreeve_core::audit::Milestone;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The newest checkpoint.
pub const CHECKPOINT_FILE: &str = "audit-checkpoint";
/// The private key that signs checkpoints: 32 random bytes in base64, readable by this process only.
const SIGNING_KEY_FILE: &str = "audit-signing-key";
/// The key until the first checkpoint is signed with it.
const SIGNING_KEY_BEGUN: &str = "audit-signing-key.new";
/// The public key that verifies checkpoints, to be kept with copies.
pub const VERIFIER_KEY_FILE: &str = "audit-verifier-key";
/// Name of the signer.
const ORIGIN: &str = "keyreeve/audit";
/// Most copies of a file that are kept for one revision.
const KEPT_MAX: u32 = 100;
/// Ed25519 in C2SP's registry of signature types.
const ED25519: u8 = 1;

/// The end before the first entry. A new directory signs it, so that a missing checkpoint is detected from then on.
const BEGINNING: Milestone = Milestone {
    revision: 0,
    chain: [0; 32],
};

/// The checkpoints of one data directory.
pub struct Checkpoints {
    directory: PathBuf,
    signing_key: SigningKey,
    newest: Mutex<Option<Milestone>>,
    /// Why the earlier checkpoint is unusable.
    unusable: Option<String>,
    /// Why the end of the log is not signed at present.
    refusal: Mutex<Option<String>>,
}

/// What a data directory proves about its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Nothing was ever signed here.
    None,
    /// The log must contain this end.
    Signed(Milestone),
    /// Something was signed here, and what is left of it is unusable.
    Unusable(String),
}

impl Evidence {
    /// Reads the directory. Nothing is changed.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let text = |name: &str| optional(std::fs::read_to_string(directory.join(name)));
        let (key, note) = (text(SIGNING_KEY_FILE)?, text(CHECKPOINT_FILE)?);
        // An interrupted first start: the key does not have its final name yet.
        let key = match (key, &note) {
            (None, Some(_)) => text(SIGNING_KEY_BEGUN)?,
            (key, _) => key,
        };
        let unusable = |why: &str| Ok(Self::Unusable(why.to_owned()));
        match (key, note) {
            (None, None) if text(VERIFIER_KEY_FILE)?.is_none() => Ok(Self::None),
            (None, _) => unusable("the key that signs checkpoints, audit-signing-key, is missing"),
            (Some(_), None) => unusable("the signed checkpoint, audit-checkpoint, is missing"),
            (Some(key), Some(note)) => match decoded(&key) {
                None => unusable("audit-signing-key is not a signing key"),
                Some(key) => Ok(match open_note(&note, &key.verifying_key()) {
                    Ok(end) => Self::Signed(end),
                    Err(why) => Self::Unusable(format!("audit-checkpoint {why}")),
                }),
            },
        }
    }
}

impl Checkpoints {
    /// Opens the directory's checkpoints; creates a key the first time. A read-only directory is no error if it has a
    /// key.
    pub fn open_directory(directory: &Path, entropy: [u8; 32]) -> io::Result<Self> {
        let evidence = Evidence::read(directory)?;
        let signing_key = match &evidence {
            Evidence::None => begin(directory, entropy)?,
            Evidence::Signed(_) | Evidence::Unusable(_) => signing_key(directory)?,
        };
        let (newest, unusable) = match evidence {
            Evidence::None => (Some(BEGINNING), None),
            Evidence::Signed(end) => (Some(end), None),
            Evidence::Unusable(why) => (None, Some(why)),
        };
        let checkpoints = Self {
            directory: directory.to_owned(),
            signing_key,
            newest: Mutex::new(newest),
            unusable,
            refusal: Mutex::new(None),
        };
        checkpoints.keep_verifier_key();
        Ok(checkpoints)
    }

    /// Writes the public key, unless the file is up to date. It can be recreated at any time.
    fn keep_verifier_key(&self) {
        let (path, wanted) = (
            self.directory.join(VERIFIER_KEY_FILE),
            format!("{}\n", self.verifier_key()),
        );
        if std::fs::read_to_string(&path).is_ok_and(|kept| kept == wanted) {
            return;
        }
        if let Err(error) = replace(&path, &wanted) {
            tracing::warn!(%error, "cannot write the key that verifies checkpoints to the data directory");
        }
    }

    /// Signs an end of the log and stores it, unless a newer one is stored. Returns the note.
    ///
    /// Only for an end of a log that contains the newest checkpoint: see `LogSigner::sign`.
    pub(crate) fn record(&self, end: Milestone) -> io::Result<String> {
        let note = self.sign(end);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|kept| kept.revision < end.revision) {
            replace(&self.directory.join(CHECKPOINT_FILE), &note)?;
            *newest = Some(end);
        }
        Ok(note)
    }

    /// Returns why the earlier checkpoint is unusable, if so.
    pub(crate) fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Returns why the end of the log is not signed at present, if so.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records whether the end of the log could be signed. Returns whether that has changed.
    pub(crate) fn set_refusal(&self, why: Option<String>) -> bool {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *refusal != why;
        *refusal = why;
        is_news
    }

    /// Returns the newest stored checkpoint.
    pub fn newest(&self) -> Option<Milestone> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a note that was signed by this directory's key.
    pub fn open(&self, note: &str) -> Result<Milestone, String> {
        open_note(note, &self.signing_key.verifying_key())
    }

    /// Returns C2SP's verifier key: name, key hash, type and public key.
    pub fn verifier_key(&self) -> String {
        let public = typed(&self.signing_key.verifying_key());
        let hash = key_hash(&public);
        let [a, b, c, d] = hash;
        format!("{ORIGIN}+{a:02x}{b:02x}{c:02x}{d:02x}+{}", STANDARD.encode(public))
    }

    fn sign(&self, end: Milestone) -> String {
        sign(&self.signing_key, end)
    }
}

fn sign(key: &SigningKey, end: Milestone) -> String {
    let text = body(end);
    let signature = key.sign(text.as_bytes());
    let mut bytes = key_hash(&typed(&key.verifying_key())).to_vec();
    bytes.extend_from_slice(&signature.to_bytes());
    format!("{text}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(bytes))
}

/// Reads a note with the verifier key that was stored with it, without a data directory.
pub fn open_with(note: &str, verifier_key: &str) -> Result<Milestone, String> {
    let unreadable = || "the verifier key cannot be read".to_owned();
    let encoded = verifier_key.trim().splitn(3, '+').nth(2).ok_or_else(unreadable)?;
    let typed = STANDARD.decode(encoded).map_err(|_| unreadable())?;
    let public = typed.strip_prefix(&[ED25519]).ok_or_else(unreadable)?;
    let public: [u8; 32] = public.try_into().map_err(|_| unreadable())?;
    let key = VerifyingKey::from_bytes(&public).map_err(|_| unreadable())?;
    open_note(note, &key)
}

fn body(end: Milestone) -> String {
    format!("{ORIGIN}\n{}\n{}\n", end.revision, STANDARD.encode(end.chain))
}

fn open_note(note: &str, key: &VerifyingKey) -> Result<Milestone, String> {
    let no_note = || "is not a signed checkpoint".to_owned();
    let (text, signatures) = note.split_once("\n\n").ok_or_else(no_note)?;
    let text = format!("{text}\n");
    let is_good = signatures.lines().filter_map(signature_of).any(|(hash, signature)| {
        hash == key_hash(&typed(key)) && key.verify_strict(text.as_bytes(), &signature).is_ok()
    });
    if !is_good {
        return Err("is not signed by this server's key".to_owned());
    }
    let mut lines = text.lines();
    let (Some(ORIGIN), Some(revision), Some(chain), None) = (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err(no_note());
    };
    let chain = STANDARD.decode(chain).ok().and_then(|chain| chain.try_into().ok());
    Ok(Milestone {
        revision: revision.parse().map_err(|_| no_note())?,
        chain: chain.ok_or_else(no_note)?,
    })
}

fn signature_of(line: &str) -> Option<([u8; 4], Signature)> {
    let encoded = line
        .strip_prefix("\u{2014} ")?
        .strip_prefix(ORIGIN)?
        .strip_prefix(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (hash, signature) = bytes.split_first_chunk::<4>()?;
    Some((*hash, Signature::from_slice(signature).ok()?))
}

fn typed(key: &VerifyingKey) -> [u8; 33] {
    let mut bytes = [ED25519; 33];
    for (to, from) in bytes.iter_mut().skip(1).zip(key.as_bytes()) {
        *to = *from;
    }
    bytes
}

fn key_hash(typed: &[u8; 33]) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(ORIGIN)
        .chain_update([b'\n'])
        .chain_update(typed)
        .finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
    [a, b, c, d]
}

/// Starts to sign in a directory where nothing was ever signed. The key gets its final name last: an interrupted start
/// is continued by the next one, and is never mistaken for a directory that lost its checkpoint.
fn begin(directory: &Path, entropy: [u8; 32]) -> io::Result<SigningKey> {
    let key = SigningKey::from_bytes(&entropy);
    let begun = directory.join(SIGNING_KEY_BEGUN);
    write_synced(&begun, &format!("{}\n", STANDARD.encode(entropy)))?;
    replace(&directory.join(CHECKPOINT_FILE), &sign(&key, BEGINNING))?;
    std::fs::rename(&begun, directory.join(SIGNING_KEY_FILE))?;
    sync_directory(directory)?;
    Ok(key)
}

/// Accepts a log that differs from the signed one: keeps the present files under other names, for `revision` of the
/// accepted log, and signs its end. All entries up to `end` must be durable. If this is interrupted, the log is not
/// accepted.
///
/// Returns the kept files.
pub(crate) fn accept(directory: &Path, end: Milestone, entropy: [u8; 32]) -> io::Result<Vec<PathBuf>> {
    let usable = optional(std::fs::read_to_string(directory.join(SIGNING_KEY_FILE)))?;
    let usable = usable.and_then(|text| decoded(&text));
    let mut kept = keep_beside(directory, CHECKPOINT_FILE, end.revision)?;
    let key = match usable {
        Some(key) => key,
        None => {
            for name in [SIGNING_KEY_FILE, SIGNING_KEY_BEGUN, VERIFIER_KEY_FILE] {
                kept.extend(keep_beside(directory, name, end.revision)?);
            }
            let encoded = format!("{}\n", STANDARD.encode(entropy));
            replace(&directory.join(SIGNING_KEY_FILE), &encoded)?;
            SigningKey::from_bytes(&entropy)
        }
    };
    replace(&directory.join(CHECKPOINT_FILE), &sign(&key, end))?;
    Ok(kept)
}

/// Gives a file a second name with the revision up to which it was valid. Nothing is ever overwritten.
fn keep_beside(directory: &Path, name: &str, revision: u64) -> io::Result<Vec<PathBuf>> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(Vec::new());
    }
    for number in 0..KEPT_MAX {
        let more = if number == 0 {
            String::new()
        } else {
            format!("-{number}")
        };
        let kept = directory.join(format!("{name}.before-{revision}{more}"));
        match std::fs::hard_link(&path, &kept) {
            Ok(()) => return Ok(vec![kept]),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Not every file system has hard links.
            Err(_) if !kept.exists() => {
                std::fs::copy(&path, &kept)?;
                std::fs::File::open(&kept)?.sync_all()?;
                return Ok(vec![kept]);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "{} was kept too often already",
        path.display()
    )))
}

fn optional(read: io::Result<String>) -> io::Result<Option<String>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Bytes that are not text are an unusable file, not an unreadable one.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(error),
    }
}

fn decoded(text: &str) -> Option<SigningKey> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    Some(SigningKey::from_bytes(&<[u8; 32]>::try_from(bytes).ok()?))
}

/// Reads the private key. One that waits for its final name gets it.
fn signing_key(directory: &Path) -> io::Result<SigningKey> {
    let path = directory.join(SIGNING_KEY_FILE);
    let begun = directory.join(SIGNING_KEY_BEGUN);
    if !path.exists() && begun.exists() {
        std::fs::rename(begun, &path)?;
    }
    let broken = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a signing key", path.display()),
        )
    };
    decoded(&std::fs::read_to_string(&path)?).ok_or_else(broken)
}

/// Writes a file completely or not at all, readable by its owner only.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("next");
    write_synced(&new, text)?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
