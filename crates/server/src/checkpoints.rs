//! Signed statements of where the audit log ends, kept outside the database: whoever cuts the log off, or writes it
//! anew, would have to forge a signature too.
//!
//! The form is C2SP's signed note with Ed25519 (c2sp.org/signed-note): origin, number of entries, hash chain. The newest
//! lies in `audit-checkpoint` in the data directory; copies kept elsewhere protect against whoever can write there.

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
/// What signs checkpoints: 32 random bytes in base64, for this process alone.
const SIGNING_KEY_FILE: &str = "audit-signing-key";
/// What verifies them: to be kept with copies.
pub const VERIFIER_KEY_FILE: &str = "audit-verifier-key";
/// Who signs.
const ORIGIN: &str = "keyreeve/audit";
/// Ed25519 in C2SP's registry of signature types.
const ED25519: u8 = 1;

/// The checkpoints of one data directory.
pub struct Checkpoints {
    directory: PathBuf,
    signing_key: SigningKey,
    newest: Mutex<Option<Milestone>>,
}

impl Checkpoints {
    /// Opens the directory's checkpoints; makes a key the first time.
    pub fn open_directory(directory: &Path, entropy: [u8; 32]) -> io::Result<Self> {
        let signing_key = signing_key(&directory.join(SIGNING_KEY_FILE), entropy)?;
        let checkpoints = Self {
            directory: directory.to_owned(),
            signing_key,
            newest: Mutex::new(None),
        };
        let verifier_key = format!("{}\n", checkpoints.verifier_key());
        replace(&directory.join(VERIFIER_KEY_FILE), &verifier_key)?;
        let kept = std::fs::read_to_string(directory.join(CHECKPOINT_FILE)).ok();
        // One that cannot be read is not replaced by silence: it stays on disk, and verify says that there is none.
        let newest = kept.and_then(|note| checkpoints.open(&note).ok());
        *checkpoints.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
        Ok(checkpoints)
    }

    /// Signs where the log ends, and keeps it unless it is kept already. Gives the note.
    pub fn record(&self, end: Milestone) -> io::Result<String> {
        let note = self.sign(end);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|kept| kept.revision < end.revision) {
            replace(&self.directory.join(CHECKPOINT_FILE), &note)?;
            *newest = Some(end);
        }
        Ok(note)
    }

    /// The newest checkpoint that is kept.
    pub fn newest(&self) -> Option<Milestone> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a note that this directory's key has signed.
    pub fn open(&self, note: &str) -> Result<Milestone, String> {
        open_note(note, &self.signing_key.verifying_key())
    }

    /// C2SP's verifier key: name, key hash, type and public key.
    pub fn verifier_key(&self) -> String {
        let public = typed(&self.signing_key.verifying_key());
        let hash = key_hash(&public);
        let [a, b, c, d] = hash;
        format!("{ORIGIN}+{a:02x}{b:02x}{c:02x}{d:02x}+{}", STANDARD.encode(public))
    }

    fn sign(&self, end: Milestone) -> String {
        let text = body(end);
        let signature = self.signing_key.sign(text.as_bytes());
        let mut bytes = key_hash(&typed(&self.signing_key.verifying_key())).to_vec();
        bytes.extend_from_slice(&signature.to_bytes());
        format!("{text}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(bytes))
    }
}

/// Reads a note with the verifier key that was kept with it, without a data directory.
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

fn signing_key(path: &Path, entropy: [u8; 32]) -> io::Result<SigningKey> {
    let kept = match std::fs::read_to_string(path) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let encoded = format!("{}\n", STANDARD.encode(entropy));
            replace(path, &encoded)?;
            encoded
        }
        Err(error) => return Err(error),
    };
    let bytes = STANDARD
        .decode(kept.trim())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let broken = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a signing key", path.display()),
        )
    };
    bytes.map(|bytes| SigningKey::from_bytes(&bytes)).ok_or_else(broken)
}

/// Writes a file whole or not at all, readable for its owner only.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Milestone = Milestone {
        revision: 7,
        chain: [9; 32],
    };

    #[test]
    fn a_checkpoint_is_kept_and_opened_with_the_same_key_only() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let checkpoints = Checkpoints::open_directory(one.path(), [1; 32]).unwrap();
        assert_eq!(checkpoints.newest(), None);
        let note = checkpoints.record(END).unwrap();
        assert_eq!(checkpoints.open(&note), Ok(END));
        assert_eq!(open_with(&note, &checkpoints.verifier_key()), Ok(END));
        let again = Checkpoints::open_directory(one.path(), [2; 32]).unwrap();
        assert_eq!(again.newest(), Some(END), "the key is made once");
        let stranger = Checkpoints::open_directory(other.path(), [3; 32]).unwrap();
        assert!(stranger.open(&note).is_err());
    }

    #[test]
    fn a_changed_note_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open_directory(directory.path(), [1; 32]).unwrap();
        let note = checkpoints.record(END).unwrap();
        for changed in [
            note.replace("\n7\n", "\n6\n"),
            note.replace("CQkJ", "CAkJ"),
            String::new(),
            "x\n\ny".to_owned(),
        ] {
            assert!(checkpoints.open(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn an_older_end_does_not_replace_a_newer_one() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open_directory(directory.path(), [1; 32]).unwrap();
        checkpoints.record(END).unwrap();
        checkpoints.record(Milestone { revision: 3, ..END }).unwrap();
        assert_eq!(checkpoints.newest(), Some(END));
    }
}
