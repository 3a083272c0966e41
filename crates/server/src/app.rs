//! State that every handler can reach.

use crate::checkpoints::Checkpoints;
use crate::denials::DenialsKeeper;
use crate::edge::AllSeats;
use crate::http::GitHubKeys;
use crate::http::oauth::Issuer;
use crate::numbers::Numbers;
use crate::readiness::Readiness;
use crate::restored::RestoreJobs;
use crate::settings::Settings;
use crate::store_deadline::StoreDeadline;
use crate::tls::Tls;
use crate::verifiers::{Marker, Shares};
use keyreeve_authority::keys::{ChangedKey, RotatedKey};
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_authority::{Authority, Effect, Failure};
use keyreeve_core::audit::{Comparison, Milestone};
use keyreeve_core::hex_digits;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::effects::Effects;
use keyreeve_web::walks::Walks;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use thiserror::Error;
use tokio::time::Instant;

/// Prefix of request ids.
const REQUEST_PREFIX: &str = "req_";

/// Why the end of the audit log was not signed.
#[derive(Debug, Error)]
pub(crate) enum SignError {
    /// The log does not contain what was signed before, or the earlier checkpoint is unusable.
    #[error("{0}; see `keyreeve audit accept-restore`")]
    Refused(String),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] Failure),
    /// The checkpoint could not be stored.
    #[error("the checkpoint cannot be written to the data directory: {0}")]
    Directory(#[from] std::io::Error),
}

/// Shared by all connections. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authority: Authority,
    checkpoints: Checkpoints,
    denials: DenialsKeeper,
    restore_jobs: RestoreJobs,
    is_stopping: AtomicBool,
    request_prefix: String,
    requests: AtomicU64,
    numbers: Numbers,
    readiness: Readiness,
    last_effects: Effects,
    walks: Walks,
    marker: Marker,
    verifier_shares: Shares,
    issuer: Issuer,
    address_rate_limits: AddressRateLimits,
    seats: AllSeats,
    github_keys: GitHubKeys,
    tls: Vec<Tls>,
    settings: Settings,
}

impl App {
    /// `start` distinguishes request ids of this process from those of others; any random number.
    pub(crate) fn new(
        authority: Authority,
        checkpoints: Checkpoints,
        marker: Marker,
        tls: Vec<Tls>,
        settings: Settings,
        start: u64,
    ) -> Self {
        let numbers = Numbers::new(authority.now());
        Self(Arc::new(Inner {
            authority,
            checkpoints,
            denials: DenialsKeeper::in_directory(&settings.data),
            restore_jobs: RestoreJobs::default(),
            is_stopping: AtomicBool::new(false),
            request_prefix: format!("{REQUEST_PREFIX}{start:016x}"),
            requests: AtomicU64::new(1),
            numbers,
            readiness: Readiness::default(),
            last_effects: Effects::default(),
            walks: Walks::default(),
            marker,
            verifier_shares: Shares::default(),
            issuer: Issuer::default(),
            address_rate_limits: AddressRateLimits::default(),
            seats: AllSeats::share_out(),
            github_keys: GitHubKeys::new(settings.github_keys.clone()),
            tls,
            settings,
        }))
    }

    /// The use cases.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Returns the file that records for the next process whether verifiers are connected to this one.
    pub(crate) fn marker(&self) -> &Marker {
        &self.0.marker
    }

    /// Returns the bounds on what verifiers may use of this process.
    pub(crate) fn verifier_shares(&self) -> &Shares {
        &self.0.verifier_shares
    }

    /// Returns the settings of the server.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns whether the public URL uses https, by a proxy in front that terminates TLS.
    pub(crate) fn is_public_by_tls(&self) -> bool {
        let url = self.0.settings.public_url.as_deref();
        url.is_some_and(|url| url.starts_with("https://"))
    }

    /// Returns the listeners with TLS.
    pub(crate) fn tls(&self) -> &[Tls] {
        &self.0.tls
    }

    /// Returns the signed ends of the audit log.
    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.0.checkpoints
    }

    /// Returns the file with denials in the data directory.
    pub(crate) fn denials(&self) -> &DenialsKeeper {
        &self.0.denials
    }

    /// Returns the work that an operator has started after a restore.
    pub(crate) fn restore_jobs(&self) -> &RestoreJobs {
        &self.0.restore_jobs
    }

    /// Signs the present end of the audit log, if it has moved.
    pub(crate) async fn record_checkpoint(&self) {
        if self.authority().verifier().halted().is_some() || self.authority().obstacle().is_some() {
            return;
        }
        match self.sign_log_end().await {
            Ok(_) => self.note_signed(None),
            // A store that does not answer proves nothing about its log.
            Err(SignError::Log(_)) => {}
            Err(error @ SignError::Directory(_)) => self.note_signed(Some(error.to_string())),
            Err(error @ SignError::Refused(_)) => {
                self.note_signed(Some(error.to_string()));
                // With several nodes, the node itself decides what may be answered.
                if self.authority().node().is_none() {
                    self.authority().halt(&error.to_string());
                }
            }
        }
    }

    fn note_signed(&self, refusal: Option<String>) {
        if self.checkpoints().set_refusal(refusal.clone())
            && let Some(why) = refusal
        {
            tracing::error!("the end of the audit log is not signed: {why}");
        }
    }

    /// Signs the present end of the audit log and stores the checkpoint. Refused unless the log contains the newest
    /// checkpoint: overwriting that would destroy the evidence of a loss.
    pub(crate) async fn sign_log_end(&self) -> Result<(Milestone, String), SignError> {
        if let Some(why) = self.checkpoints().unusable() {
            return Err(SignError::Refused(format!(
                "what was signed before cannot be used: {why}"
            )));
        }
        let head = self.authority().audit().head().await?;
        let end = Milestone {
            revision: head.revision,
            chain: head.chain,
        };
        if let Some(kept) = self.checkpoints().newest()
            && kept != end
        {
            let revision = kept.revision;
            match self.authority().audit().compare(kept).await? {
                Comparison::Contained => {}
                Comparison::Older => {
                    let why = format!("the log ends before revision {revision}, which was signed");
                    return Err(SignError::Refused(why));
                }
                Comparison::Other => {
                    let why = format!("the log is not the one that was signed up to revision {revision}");
                    return Err(SignError::Refused(why));
                }
            }
        }
        let note = self.checkpoints().record(end)?;
        Ok((end, note))
    }

    /// Returns a new request id: unique, and cheap enough for the hottest path.
    pub(crate) fn new_request_id(&self) -> String {
        let mut id = Vec::new();
        self.write_request_id(&mut id);
        String::from_utf8_lossy(&id).into_owned()
    }

    /// Returns the id of this process, random at each start.
    pub(crate) fn process(&self) -> &str {
        self.0.request_prefix.trim_start_matches(REQUEST_PREFIX)
    }

    /// Appends a new request id.
    pub(crate) fn write_request_id(&self, out: &mut Vec<u8>) {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(self.0.request_prefix.as_bytes());
        out.extend_from_slice(&number.to_be_bytes().map(hex_digits).concat());
    }

    /// Records how long a change took to be effective everywhere.
    pub(crate) fn note_effect(&self, effect: &Effect) {
        self.0.numbers.note_effect(effect);
    }

    /// Keeps how long a change of a key took to be effective everywhere.
    pub(crate) fn note_change(&self, changed: &ChangedKey) {
        self.0.last_effects.changed(changed, self.authority().now());
    }

    /// The same for a rotation.
    pub(crate) fn note_rotation(&self, rotated: &RotatedKey) {
        self.0.last_effects.rotated(rotated, self.authority().now());
    }

    /// Records and keeps a change whose effect was awaited.
    pub(crate) fn note_done(&self, changed: &ChangedKey) {
        self.note_effect(&changed.effect);
        self.note_change(changed);
    }

    /// Returns the last changes that this node made.
    pub(crate) fn last_effects(&self) -> &Effects {
        &self.0.last_effects
    }

    /// Returns the queue of audit log verifications.
    pub(crate) fn walks(&self) -> &Walks {
        &self.0.walks
    }

    /// Returns the public name of this server.
    pub(crate) fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// Returns the largest distance of an introspection's `exp` from now, in seconds.
    pub(crate) fn introspection_max_exp_seconds(&self) -> u64 {
        self.0.settings.introspection_max_exp_seconds
    }

    /// Returns the public keys of GitHub's reports.
    pub(crate) fn github_keys(&self) -> &GitHubKeys {
        &self.0.github_keys
    }

    /// Returns the rate limits by address.
    pub(crate) fn address_rate_limits(&self) -> &AddressRateLimits {
        &self.0.address_rate_limits
    }

    /// Returns the seats for connections.
    pub(crate) fn seats(&self) -> &AllSeats {
        &self.0.seats
    }

    /// Returns the verdict on a secret. Every transport calls this, so that each verdict is measured.
    pub(crate) async fn verdict(&self, secret: &str, question: &Question<'_>) -> Verdict {
        self.verdict_within(secret, question, &mut StoreDeadline::default())
            .await
    }

    /// As `verdict`, for one of several verdicts of a request, which share a deadline.
    pub(crate) async fn verdict_within(
        &self,
        secret: &str,
        question: &Question<'_>,
        deadline: &mut StoreDeadline,
    ) -> Verdict {
        let began = Instant::now();
        let verdict = match self.authority().verify_hit(secret, question) {
            Ok(verdict) => verdict,
            Err(miss) => Box::pin(self.verdict_on_miss(miss, question, deadline)).await,
        };
        self.numbers().verifications.observe(began.elapsed());
        verdict
    }

    /// Returns the counters and histograms of this process.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.0.numbers
    }

    /// Returns the cached answer of the store for readiness.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// Marks the process as not ready.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }

    /// Returns whether the process is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Acquire)
    }
}
