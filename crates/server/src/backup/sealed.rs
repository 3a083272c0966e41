//! Encryption of archives to age recipients (age-encryption.org/v1).

use super::error::BackupError;
use super::file::BackupFile;
use age::x25519;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// How an encrypted file begins.
const MAGIC: &[u8] = b"age-encryption.org/";
/// Bytes that are written to the file at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Most recipients of an archive.
const RECIPIENTS_MAX: usize = 64;

/// The public keys that an archive is encrypted to. None leaves it unencrypted.
#[derive(Clone, Default)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// Reads public keys (`age1…`).
    ///
    /// # Errors
    /// If one is no age recipient, or there are too many.
    pub fn parse(texts: &[String]) -> Result<Self, BackupError> {
        if texts.len() > RECIPIENTS_MAX {
            return Err(BackupError::Age(format!(
                "there are more than {RECIPIENTS_MAX} recipients"
            )));
        }
        let parse = |(place, text): (usize, &String)| {
            let why = |why| {
                BackupError::Age(format!(
                    "recipient {} is not an age recipient (age1…): {why}",
                    place + 1
                ))
            };
            text.trim().parse().map_err(why)
        };
        texts.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The private keys that open an archive.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads files of identities (`AGE-SECRET-KEY-1…`), as `age-keygen` writes them.
    ///
    /// # Errors
    /// If a file cannot be read or has no identity. Nothing of its content is in the error.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self, BackupError> {
        let mut all = Vec::new();
        for file in files {
            let file = file.as_ref();
            let unreadable = |why: String| BackupError::Age(format!("the identity {}: {why}", file.display()));
            let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
            let read = age::IdentityFile::from_buffer(BufReader::new(opened));
            let read = read.map_err(|error| unreadable(error.to_string()))?;
            let identities = read.into_identities().map_err(|error| unreadable(error.to_string()))?;
            if identities.is_empty() {
                return Err(unreadable("there is none in it".to_owned()));
            }
            all.extend(identities);
        }
        Ok(Self(all))
    }
}

/// A file that is written, encrypted or not.
pub(super) enum Sealed {
    Plain(BufWriter<BackupFile>),
    Age(Box<age::stream::StreamWriter<BufWriter<BackupFile>>>),
}

impl Sealed {
    pub(super) fn begin(file: BackupFile, recipients: &Recipients) -> Result<Self, BackupError> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        if recipients.0.is_empty() {
            return Ok(Self::Plain(out));
        }
        let all = recipients.0.iter().map(|one| one as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(all);
        let encryptor = encryptor.map_err(|error| BackupError::Age(format!("it cannot be encrypted: {error}")))?;
        let writer = encryptor.wrap_output(out).map_err(super::archive::unwritten)?;
        Ok(Self::Age(Box::new(writer)))
    }

    /// Ends the encryption, and returns the file.
    pub(super) fn finish(self) -> io::Result<BackupFile> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Age(writer) => writer.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Age(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Age(out) => out.flush(),
        }
    }
}

/// Opens an archive for reading, decrypted. Returns whether it is encrypted.
pub(super) fn open(path: &Path, identities: &Identities) -> Result<(Box<dyn Read + Send>, bool), BackupError> {
    let unreadable = |error| BackupError::File {
        what: format!("{} cannot be read", path.display()),
        error,
    };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(unreadable)?);
    let begins = file.fill_buf().map_err(unreadable)?;
    if !begins.starts_with(MAGIC) {
        return Ok((Box::new(file), false));
    }
    if identities.0.is_empty() {
        return Err(BackupError::Encrypted);
    }
    let decryptor = age::Decryptor::new_buffered(file).map_err(of_decryption)?;
    let all = identities.0.iter().map(|one| &**one as &dyn age::Identity);
    let reader = decryptor.decrypt(all).map_err(of_decryption)?;
    Ok((Box::new(reader), true))
}

fn of_decryption(error: age::DecryptError) -> BackupError {
    match error {
        age::DecryptError::NoMatchingKeys => BackupError::WrongIdentity,
        age::DecryptError::Io(error) => BackupError::of_reading(error),
        _ => BackupError::changed("its encryption cannot be read"),
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}
