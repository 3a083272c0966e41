//! The present TLS configuration of a listener, and its replacement while the listener runs.

use super::certificate::Certificate;
use super::files::{Fingerprint, Loaded, TlsError, TlsFiles, load};
use crate::world::WallClock;
use keyreeve_authority::env::Clock as _;
use keyreeve_core::Timestamp;
use rustls::ServerConfig;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Interval at which the files are read.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A certificate that expires within 14 days should have been renewed: automatic renewal happens with 30 days left.
const RENEWAL_DUE_MS: u64 = 14 * 24 * 3_600_000;

/// The TLS of a listener. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Inner>);

struct Inner {
    /// Name of the listener, as in the settings.
    name: &'static str,
    files: TlsFiles,
    /// The files as they were first read.
    opened: Fingerprint,
    current: RwLock<CurrentCertificate>,
    tallies: HandshakeTallies,
}

struct CurrentCertificate {
    loaded: Loaded,
    /// Why newer files are not used.
    complaint: Option<String>,
}

/// Results of handshakes.
#[derive(Default)]
struct HandshakeTallies {
    done: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    plain: AtomicU64,
}

/// The result of a handshake.
#[derive(Clone, Copy)]
pub(crate) enum Handshake {
    /// The connection is served.
    Done,
    /// No agreement was reached, or the client has no accepted certificate.
    Failed,
    /// The client exceeded the time limit.
    TimedOut,
    /// The client does not use TLS.
    Plain,
}

/// The TLS state of a listener, for reports.
#[derive(Clone, Debug)]
pub struct TlsReport {
    /// Name of the listener, as in the settings.
    pub name: &'static str,
    /// The certificate in use.
    pub certificate: Certificate,
    /// Why newer files are not used.
    pub complaint: Option<String>,
    /// Handshakes by their result.
    pub handshakes: [(&'static str, u64); 4],
}

impl Tls {
    /// Reads the files of the listener `name`. An expired certificate is logged as an error and does not prevent the
    /// start: without the server, clients would be no better off.
    pub(crate) fn open(name: &'static str, files: &TlsFiles) -> Result<Self, TlsError> {
        // Before they are loaded: a file that changes in between is found by the next look.
        let opened = files.fingerprint();
        let loaded = load(files)?;
        match loaded.certificate.is_out_of_time(WallClock.now()) {
            true => {
                tracing::error!(listener = name, certificate = %loaded.certificate, "the certificate is not valid now");
            }
            false => tracing::info!(listener = name, certificate = %loaded.certificate, "TLS"),
        }
        Ok(Self(Arc::new(Inner {
            name,
            files: files.clone(),
            opened,
            current: RwLock::new(CurrentCertificate {
                loaded,
                complaint: None,
            }),
            tallies: HandshakeTallies::default(),
        })))
    }

    /// Returns the configuration for the next connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        // Held for a copy of the pointer: no handshake waits for files.
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.loaded.config)
    }

    /// Counts the result of a handshake.
    pub(crate) fn note(&self, end: Handshake) {
        let tallies = &self.0.tallies;
        let counter = match end {
            Handshake::Done => &tallies.done,
            Handshake::Failed => &tallies.failed,
            Handshake::TimedOut => &tallies.timed_out,
            Handshake::Plain => &tallies.plain,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the certificate in use.
    pub(crate) fn certificate(&self) -> Certificate {
        self.report().certificate
    }

    /// Returns the present state.
    pub(crate) fn report(&self) -> TlsReport {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        let tallies = &self.0.tallies;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TlsReport {
            name: self.0.name,
            certificate: current.loaded.certificate.clone(),
            complaint: current.complaint.clone(),
            handshakes: [
                ("done", count(&tallies.done)),
                ("failed", count(&tallies.failed)),
                ("timed_out", count(&tallies.timed_out)),
                ("plain", count(&tallies.plain)),
            ],
        }
    }

    /// Reads the files once a second until `stop`, and uses new ones.
    pub(crate) async fn follow(self, mut stop: watch::Receiver<bool>) {
        let mut follower = Follower::new(self);
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        // After a disk that did not answer for a while, one look is enough.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|&stopping| stopping) => return,
            }
            // A blocking task: the files may be on a slow or unreachable disk.
            let Ok(looked) = tokio::task::spawn_blocking(move || follower.look()).await else {
                return;
            };
            follower = looked;
        }
    }
}

/// What was read of the files.
struct Follower {
    tls: Tls,
    /// The files in use.
    used: Fingerprint,
    /// The files that were last refused, and how often.
    refused: Option<(Fingerprint, u8)>,
}

impl Follower {
    fn new(tls: Tls) -> Self {
        Self {
            used: tls.0.opened,
            tls,
            refused: None,
        }
    }

    /// Reads the files once. Two files are not written atomically, so an error is reported only if the second look
    /// finds the same files.
    fn look(mut self) -> Self {
        // Before a reload, as in `open`.
        let seen = self.tls.0.files.fingerprint();
        let looks = match &self.refused {
            Some((refused, looks)) if *refused == seen => *looks,
            Some(_) | None => 0,
        };
        if seen == self.used {
            if self.refused.take().is_some() {
                self.tls.complain(None);
            }
            return self;
        }
        match self.tls.reload() {
            Ok(()) => (self.used, self.refused) = (seen, None),
            Err(error) => {
                self.refused = Some((seen, looks.saturating_add(1)));
                if looks == 1 {
                    let (listener, why) = (self.tls.0.name, error.to_string());
                    tracing::error!(
                        listener,
                        why,
                        "cannot use the new TLS files; the previous pair stays in use"
                    );
                    self.tls.complain(Some(why));
                }
            }
        }
        self
    }
}

impl Tls {
    fn reload(&self) -> Result<(), TlsError> {
        let now = WallClock.now();
        let mut loaded = load(&self.0.files)?;
        // One that is out of time may replace another such one: clients are no worse off.
        if !self.certificate().is_out_of_time(now) {
            loaded = self.0.files.in_time(loaded, now)?;
        }
        tracing::info!(listener = self.0.name, certificate = %loaded.certificate, "new TLS files are in use");
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = CurrentCertificate {
            loaded,
            complaint: None,
        };
        Ok(())
    }

    fn complain(&self, complaint: Option<String>) {
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        current.complaint = complaint;
    }
}

/// Returns whether a certificate expires so soon that it should have been renewed.
pub fn renewal_is_due(certificate: &Certificate, now: Timestamp) -> bool {
    certificate.not_after.millis_since(now) < RENEWAL_DUE_MS
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::{in_directory, made};
    use super::*;

    struct World {
        directory: tempfile::TempDir,
        follower: Option<Follower>,
    }

    impl World {
        fn new(until: i32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut world = Self {
                directory,
                follower: None,
            };
            let (cert, key) = made(until);
            world.put("cert.pem", &cert);
            world.put("key.pem", &key);
            let tls = Tls::open("listen", &in_directory(world.directory.path())).unwrap();
            world.follower = Some(Follower::new(tls));
            world
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.directory.path().join(name), text).unwrap();
        }

        /// Returns the reported error after a look, and the end of validity of the certificate in use.
        fn look(&mut self) -> (Option<String>, String) {
            let follower = self.follower.take().unwrap().look();
            let report = follower.tls.report();
            self.follower = Some(follower);
            let year = report.certificate.to_string();
            let (_, year) = year.split_once("until ").unwrap();
            (report.complaint, year.get(..4).unwrap().to_owned())
        }
    }

    #[test]
    fn a_new_pair_is_used_at_the_next_look() {
        let mut world = World::new(2120);
        assert_eq!(world.look(), (None, "2120".to_owned()));
        let (cert, key) = made(2121);
        world.put("cert.pem", &cert);
        world.put("key.pem", &key);
        assert_eq!(world.look(), (None, "2121".to_owned()));
    }

    #[test]
    fn half_a_pair_leaves_the_old_one_and_is_complained_of_if_it_stays() {
        let mut world = World::new(2120);
        let (cert, key) = made(2121);
        world.put("cert.pem", &cert);
        assert_eq!(
            world.look(),
            (None, "2120".to_owned()),
            "the other half may be on its way"
        );
        for _ in 0..3 {
            let (complaint, year) = world.look();
            assert!(complaint.is_some_and(|complaint| complaint.contains("does not belong")));
            assert_eq!(year, "2120");
        }
        world.put("key.pem", &key);
        assert_eq!(world.look(), (None, "2121".to_owned()));
    }

    #[test]
    fn a_complaint_ends_when_the_old_files_are_back() {
        let mut world = World::new(2120);
        let kept = std::fs::read_to_string(world.directory.path().join("cert.pem")).unwrap();
        std::fs::remove_file(world.directory.path().join("cert.pem")).unwrap();
        world.look();
        assert!(
            world
                .look()
                .0
                .is_some_and(|complaint| complaint.contains("cannot read"))
        );
        world.put("cert.pem", &kept);
        assert_eq!(world.look(), (None, "2120".to_owned()));
    }

    #[test]
    fn a_certificate_that_has_ended_replaces_none_that_has_not() {
        let mut world = World::new(2120);
        let (cert, key) = made(2021);
        world.put("cert.pem", &cert);
        world.put("key.pem", &key);
        world.look();
        let (complaint, year) = world.look();
        assert!(complaint.is_some_and(|complaint| complaint.contains("past its time")));
        assert_eq!(year, "2120");

        let mut ended = World::new(2021);
        ended.put("cert.pem", &cert);
        ended.put("key.pem", &key);
        assert_eq!(ended.look().0, None, "one is no worse than the other");
    }
}
