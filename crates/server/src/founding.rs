//! The first start: creates an instance together with the display of its first root key, or not at all.
//!
//! The root key is shown inside the transaction that creates it, before the commit. So no failure and no power loss
//! leaves an instance whose root key was never shown. At worst a root key was shown that the database did not store,
//! and the next start shows another one. With several nodes that start at once, the others wait for that transaction.

use crate::instance::{Addresses, StartError};
use crate::settings::Settings;
use keyreeve_authority::Authority;
use keyreeve_authority::Failure;
use keyreeve_core::Secret;
use keyreeve_store::model::Bootstrap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Show = Box<dyn FnOnce(&Addresses, &str) -> io::Result<()> + Send>;

/// What a start does with an empty store.
pub struct EmptyStore(Option<Show>);

impl EmptyStore {
    /// Creates an instance and shows the plaintext of its first root key, unless the settings name a file for it. If
    /// `show` fails, nothing is created.
    pub fn found(show: impl FnOnce(&Addresses, &str) -> io::Result<()> + Send + 'static) -> Self {
        Self(Some(Box::new(show)))
    }

    /// Refuses to start.
    pub const fn refuse() -> Self {
        Self(None)
    }
}

impl fmt::Debug for EmptyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmptyStore").field(&self.0.is_some()).finish()
    }
}

/// Creates an instance in an empty store. Returns whether this start showed the first root key by the function.
pub(crate) async fn found(
    authority: &Authority,
    settings: &Settings,
    empty: EmptyStore,
    addresses: &Addresses,
) -> Result<bool, StartError> {
    if authority.is_founded().await? {
        return Ok(false);
    }
    if let Some(obstacle) = authority.obstacle() {
        let why = format!("{obstacle}, and there is no instance in it yet");
        return Err(StartError::Unsafe(why));
    }
    let Some(show) = empty.0 else {
        return Err(StartError::Empty(settings.data.clone()));
    };
    let is_shown = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&is_shown);
    let (file, addresses) = (settings.root_key_file.clone(), addresses.clone());
    let file_of_show = file.clone();
    let show = move |secret: &Secret| {
        let done = match &file_of_show {
            Some(path) => write_file(path, secret),
            None => show(&addresses, secret.expose()),
        };
        shown.store(done.is_ok(), Ordering::Release);
        done.map_err(|error| error.to_string())
    };
    let outcome = authority.found(show).await;
    let is_shown = is_shown.load(Ordering::Acquire);
    match (outcome, file) {
        (Ok(Bootstrap::StoodAlready), _) => Ok(false),
        (Ok(Bootstrap::Founded), file) => Ok(file.is_none()),
        (Ok(Bootstrap::NotShown(why)), Some(path)) => Err(StartError::RootKeyFile { path, why }),
        (Ok(Bootstrap::NotShown(why)), None) => Err(StartError::RootKeyNotShown(why)),
        (Err(failure), _) if !is_shown => Err(failure.into()),
        (Err(failure), file) => Err(shown_in_vain(failure, file)),
    }
}

/// The database failed after the root key was shown. If the root key certainly does not exist, its file is removed, so
/// that the next start can write it.
fn shown_in_vain(failure: Failure, file: Option<PathBuf>) -> StartError {
    if let Some(path) = &file
        && !matches!(failure, Failure::OutcomeUnknown(_))
    {
        drop(std::fs::remove_file(path));
    }
    StartError::ShownInVain { failure, file }
}

/// Writes the root key to a new file, durably. An incomplete file is removed.
fn write_file(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = writeln!(file, "{}", secret.expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        drop(std::fs::remove_file(path));
    }
    written
}

/// A new file survives a power loss only after its directory is synced too.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
