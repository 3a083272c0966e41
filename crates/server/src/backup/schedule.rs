//! Backups on a schedule: written into a directory, verified, and the oldest ones removed.

use super::archive::unwritten;
use super::error::BackupError;
use super::file::{self, BackupFile, StoredBackup};
use super::sealed::{Identities, Recipients, Sealed};
use super::serve::{BackupService, write};
use super::verify::verify;
use super::{Manifest, RowProgress};
use crate::world::WallClock;
use jiff::Timestamp;
use keyreeve_authority::env::Clock as _;
use keyreeve_store::copy::{CopyPriority, on_thread};
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// The settings of the schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupSchedule {
    /// Where backups are written.
    pub directory: PathBuf,
    /// The interval between two backups, in milliseconds.
    pub every_ms: u64,
    /// How many backups are kept.
    pub keep: u32,
}

/// Default of the interval: an hour.
pub const EVERY_MS_DEFAULT: u64 = 3_600_000;
/// The shortest interval: a minute.
pub const EVERY_MS_MIN: u64 = 60_000;
/// The longest interval: a week.
pub const EVERY_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Default of how many are kept.
pub const KEEP_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(47);

/// The file in the data directory that has the time of the last backup, in Unix milliseconds.
const LAST_FILE: &str = "backup-last";
/// Pause after a failure, unless the interval is shorter.
const RETRY_MS: u64 = 300_000;
/// How the names of scheduled backups begin and end. Between them are the instance and the time.
const PREFIX: &str = "keyreeve-";
const SUFFIX: &str = ".backup";
/// Digits of the instance in a name.
const INSTANCE_DIGITS: usize = 8;
/// The time in a name, in UTC: names sort by it.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// What this process knows of backups.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    /// Held while a backup is written.
    pub(super) turn: Mutex<()>,
    last_success_ms: AtomicI64,
    failures: AtomicU64,
    duration_ms: AtomicU64,
    bytes: AtomicU64,
}

impl Backups {
    /// Reads when the last backup was made before this process.
    pub(crate) fn of_directory(data: &Path) -> Self {
        let backups = Self::default();
        backups
            .last_success_ms
            .store(last_success(data).unwrap_or(0), Ordering::Relaxed);
        backups
    }

    /// Returns when a backup last succeeded, in Unix milliseconds; 0 if none has.
    pub(crate) fn last_success_ms(&self) -> i64 {
        self.last_success_ms.load(Ordering::Relaxed)
    }

    /// Returns how many scheduled backups have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns how long the last scheduled backup took, with its verification, in milliseconds.
    pub(crate) fn duration_ms(&self) -> u64 {
        self.duration_ms.load(Ordering::Relaxed)
    }

    /// Returns the length of the last scheduled backup.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records a backup that is complete and on the disk, for the metrics and for the next process.
    pub(crate) fn note_success(&self, data: &Path, at_ms: i64) {
        self.last_success_ms.fetch_max(at_ms, Ordering::Relaxed);
        if let Err(error) = note(data, at_ms) {
            tracing::warn!(%error, "cannot record the time of the last backup in the data directory");
        }
    }
}

fn note(data: &Path, at_ms: i64) -> std::io::Result<()> {
    let fresh = data.join(format!("{LAST_FILE}.next"));
    fs::write(&fresh, format!("{at_ms}\n"))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(fresh, data.join(LAST_FILE))
}

/// Returns when the last backup of a data directory was made, in Unix milliseconds; `None` if none is known.
pub(crate) fn last_success(data: &Path) -> Option<i64> {
    fs::read_to_string(data.join(LAST_FILE)).ok()?.trim().parse().ok()
}

/// Makes backups until the server stops. One that is due is made at once; after a failure the next attempt is five minutes
/// later.
pub(crate) async fn run(service: Arc<BackupService>, schedule: BackupSchedule, mut stopping: watch::Receiver<bool>) {
    loop {
        let due = Duration::from_millis(until_due(&service, &schedule));
        let work = async {
            tokio::time::sleep(due).await;
            if make(&service, &schedule).await.is_err() {
                tokio::time::sleep(Duration::from_millis(schedule.every_ms.min(RETRY_MS))).await;
            }
        };
        tokio::select! {
            () = work => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

/// Returns the milliseconds until the next backup is due, by the newest one in the directory.
fn until_due(service: &Arc<BackupService>, schedule: &BackupSchedule) -> u64 {
    let own = own_files(&schedule.directory, None).unwrap_or_default();
    let newest = own.iter().filter_map(|path| time_of(path)).max();
    let scheduled = newest.map_or(0, |newest| newest.as_millisecond());
    let age = WallClock.now().millis().saturating_sub(scheduled);
    // A backup of the future: the clock was set back. A new one is made at the usual pace.
    let age = u64::try_from(age).unwrap_or(0);
    let pause = schedule.every_ms.saturating_sub(age);
    tracing::debug!(pause_ms = pause, node = service.settings.node_name, "next backup");
    pause
}

async fn make(service: &Arc<BackupService>, schedule: &BackupSchedule) -> Result<(), BackupError> {
    let began = Instant::now();
    match attempt(service, &schedule.directory).await {
        Ok((manifest, written)) => {
            let backups = &service.known;
            let took = began.elapsed();
            backups.note_success(&service.settings.data, manifest.taken_at);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            backups.duration_ms.store(took_ms, Ordering::Relaxed);
            backups.bytes.store(written.bytes, Ordering::Relaxed);
            let (file, bytes, revision) = (written.path.display(), written.bytes, manifest.revision);
            tracing::info!(%file, bytes, revision, took_ms, "backup made and verified");
            prune(schedule, &manifest, &written.path);
            Ok(())
        }
        Err(error) => {
            service.known.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "backup failed; those that exist are kept");
            Err(error)
        }
    }
}

/// Writes a backup, reads it back, and gives it its name.
async fn attempt(service: &Arc<BackupService>, directory: &Path) -> Result<(Manifest, StoredBackup), BackupError> {
    let unusable = |error| BackupError::File {
        what: format!("cannot use the backup directory {}", directory.display()),
        error,
    };
    let mut made = fs::DirBuilder::new();
    made.recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    file::sweep(directory).map_err(unusable)?;
    // The name is decided by the manifest; this one is only where the file is begun.
    let begun = BackupFile::begin(&directory.join(format!("{PREFIX}new{SUFFIX}")), true)?;
    let out = Sealed::begin(begun, &Recipients::default())?;
    let (manifest, out) = write(service, out).await?;
    let file = on_thread(CopyPriority::Low, move || out.finish().map_err(unwritten)).await??;
    let own_key = service.log_signer.checkpoints().verifier_key();
    let progress = Arc::new(RowProgress::default());
    let verified = verify(
        file.partial_path(),
        Some(own_key),
        Identities::default(),
        progress,
        CopyPriority::Low,
    )
    .await?;
    let path = directory.join(name_of(&verified.manifest));
    let written = on_thread(CopyPriority::Low, move || file.finish_as(path)).await??;
    Ok((manifest, written))
}

/// Returns the name of a scheduled backup.
fn name_of(manifest: &Manifest) -> String {
    let time = Timestamp::from_millisecond(manifest.taken_at).unwrap_or_default();
    format!("{}{}{SUFFIX}", prefix_of(manifest), time.strftime(TIME))
}

/// Returns how the names of all backups of an instance begin.
fn prefix_of(manifest: &Manifest) -> String {
    let instance: String = manifest
        .instance
        .iter()
        .flat_map(|chain| chain.chars())
        .take(INSTANCE_DIGITS)
        .collect();
    format!("{PREFIX}{instance}-")
}

/// Returns the time in the name of a scheduled backup; `None` for any other file.
fn time_of(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (instance, time) = name.split_once('-')?;
    let is_instance = instance.len() == INSTANCE_DIGITS && instance.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_instance || time.len() != "00000000T000000Z".len() {
        return None;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// Returns the files in a directory that this feature has made, oldest first; only of one instance, if its prefix is given.
fn own_files(directory: &Path, prefix: Option<&str>) -> std::io::Result<Vec<PathBuf>> {
    let mut own = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_of_instance = prefix.is_none_or(|prefix| name.starts_with(prefix));
        if is_of_instance && time_of(&path).is_some() && path.is_file() {
            own.push(path);
        }
    }
    own.sort();
    Ok(own)
}

/// Removes the oldest backups of this instance beyond the number to keep, and never the one that was just made. Those
/// with a later time than that were made before the clock was set back, and count as the oldest.
fn prune(schedule: &BackupSchedule, manifest: &Manifest, made: &Path) {
    let keep = usize::try_from(schedule.keep).unwrap_or(usize::MAX).max(1);
    let pruned = own_files(&schedule.directory, Some(&prefix_of(manifest))).and_then(|own| {
        let mut surplus = surplus_of(own, made, keep).into_iter();
        surplus.try_for_each(fs::remove_file)
    });
    if let Err(error) = pruned {
        tracing::warn!(%error, "cannot remove the oldest backups");
    }
}

fn surplus_of(mut own: Vec<PathBuf>, made: &Path, keep: usize) -> Vec<PathBuf> {
    let surplus = own.len().saturating_sub(keep);
    own.retain(|path| path.file_name() != made.file_name());
    let made_at = time_of(made);
    // Stable: within each of the two parts the oldest are first.
    own.sort_by_key(|path| time_of(path) <= made_at);
    own.truncate(surplus);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backup_just_made_is_kept_after_the_clock_was_set_back() {
        let path = |hour: u32| PathBuf::from(format!("/b/keyreeve-0123abcd-20261130T{hour:02}0000Z.backup"));
        let own = || (10..16).map(path).collect::<Vec<_>>();
        assert_eq!(surplus_of(own(), &path(15), 4), [path(10), path(11)]);
        assert_eq!(surplus_of(own(), &path(12), 4), [path(13), path(14)]);
        assert_eq!(surplus_of(own(), &path(10), 1), [11, 12, 13, 14, 15].map(path));
    }

    #[test]
    fn only_files_with_the_name_of_a_scheduled_backup_are_own() {
        let directory = tempfile::tempdir().unwrap();
        let own = [
            "keyreeve-0123abcd-20261130T125533Z.backup",
            "keyreeve-0123abcd-20261129T235959Z.backup",
        ];
        let others = [
            "keyreeve.backup",
            "keyreeve-0123abcd-20261130T125533Z.backup.1",
            "keyreeve-0123abcd-latest.backup",
            "keyreeve-0123abcg-20261130T125533Z.backup",
            "my-keyreeve-0123abcd-20261130T125533Z.backup",
            "keyreeve-0123abcd-20261330T125533Z.backup",
        ];
        for name in own.iter().chain(&others) {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        let found = own_files(directory.path(), None).unwrap();
        assert_eq!(
            found,
            [directory.path().join(own[1]), directory.path().join(own[0])],
            "oldest first"
        );
        assert!(
            own_files(directory.path(), Some("keyreeve-ffffffff-"))
                .unwrap()
                .is_empty()
        );
    }
}
