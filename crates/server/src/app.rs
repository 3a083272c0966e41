//! What every handler can reach.

use crate::checkpoints::Checkpoints;
use crate::dashboard::Doors;
use crate::effects::Effects;
use crate::http::GitHubKeys;
use crate::http::intake::Intake;
use crate::http::oauth::Issuer;
use crate::numbers::Numbers;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::verifiers::Marker;
use keyreeve_authority::keys::{ChangedKey, RotatedKey};
use keyreeve_authority::verify::{Question, Verdict};
use keyreeve_authority::{Authority, Effect};
use keyreeve_core::audit::Milestone;
use keyreeve_core::hex_digits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::time::Instant;

/// Shared by all connections. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authority: Authority,
    checkpoints: Checkpoints,
    is_stopping: AtomicBool,
    request_prefix: String,
    requests: AtomicU64,
    numbers: Numbers,
    last_effects: Effects,
    doors: Doors,
    marker: Marker,
    issuer: Issuer,
    intake: Intake,
    github_keys: GitHubKeys,
    tls: Vec<Tls>,
    settings: Settings,
}

impl App {
    /// `start` tells this process's request ids from another's; any random number.
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
            is_stopping: AtomicBool::new(false),
            request_prefix: format!("req_{start:016x}"),
            requests: AtomicU64::new(1),
            numbers,
            last_effects: Effects::default(),
            doors: Doors::default(),
            marker,
            issuer: Issuer::default(),
            intake: Intake::default(),
            github_keys: GitHubKeys::new(settings.github_keys.clone()),
            tls,
            settings,
        }))
    }

    /// The use cases.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Whether verifiers hang on this process, for the one after it.
    pub(crate) fn marker(&self) -> &Marker {
        &self.0.marker
    }

    /// How the server was set up.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The listeners that speak TLS.
    pub(crate) fn tls(&self) -> &[Tls] {
        &self.0.tls
    }

    /// The signed ends of the audit log.
    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.0.checkpoints
    }

    /// Signs where the audit log ends now, if it has moved.
    pub(crate) async fn record_checkpoint(&self) {
        let Ok(head) = self.authority().audit_head().await else {
            return;
        };
        let end = Milestone {
            revision: head.revision,
            chain: head.chain,
        };
        if self
            .checkpoints()
            .newest()
            .is_some_and(|kept| kept.revision >= end.revision)
        {
            return;
        }
        if let Err(error) = self.checkpoints().record(end) {
            tracing::error!(%error, "a checkpoint of the audit log could not be kept");
        }
    }

    /// A new request id: unique, and cheap enough for the hottest path.
    pub(crate) fn new_request_id(&self) -> String {
        let mut id = Vec::new();
        self.write_request_id(&mut id);
        String::from_utf8_lossy(&id).into_owned()
    }

    /// Appends a new request id.
    pub(crate) fn write_request_id(&self, out: &mut Vec<u8>) {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(self.0.request_prefix.as_bytes());
        out.extend_from_slice(&number.to_be_bytes().map(hex_digits).concat());
    }

    /// Counts how long a change took to be effective everywhere.
    pub(crate) fn note_effect(&self, effect: &Effect) {
        self.0.numbers.note_effect(effect);
    }

    /// Remembers how long a change of a key took to be effective everywhere.
    pub(crate) fn note_change(&self, changed: &ChangedKey) {
        self.0.last_effects.changed(changed, self.authority().now());
    }

    /// The same for a rotation.
    pub(crate) fn note_rotation(&self, rotated: &RotatedKey) {
        self.0.last_effects.rotated(rotated, self.authority().now());
    }

    /// Counts and remembers a change that a page made: pages always wait.
    pub(crate) fn note_done(&self, changed: &ChangedKey) {
        self.note_effect(&changed.effect);
        self.note_change(changed);
    }

    /// The last changes that this node made.
    pub(crate) fn last_effects(&self) -> &Effects {
        &self.0.last_effects
    }

    /// How often somebody may try to sign in.
    pub(crate) fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// By which name this server is called from outside.
    pub(crate) fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// How far in the future the `exp` of an introspection may lie.
    pub(crate) fn introspection_max_exp_seconds(&self) -> u64 {
        self.0.settings.introspection_max_exp_seconds
    }

    /// What GitHub signs its reports with.
    pub(crate) fn github_keys(&self) -> &GitHubKeys {
        &self.0.github_keys
    }

    /// How often an address may bring secrets.
    pub(crate) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    /// Whether a secret is good for what is asked. Every face of the server asks here, so that none goes unmeasured.
    pub(crate) async fn verdict(&self, secret: &str, question: &Question<'_>) -> Verdict {
        let began = Instant::now();
        let verdict = self.authority().verify(secret, question).await;
        self.numbers().verifications.observe(began.elapsed());
        verdict
    }

    /// What this process counts and measures.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.0.numbers
    }

    /// From now on the process says that it is not ready.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }

    /// Whether the process is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Acquire)
    }
}
