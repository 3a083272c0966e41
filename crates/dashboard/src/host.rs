//! What the pages need of the process around them. The dashboard knows no listener and no other face: the server
//! implements [`Host`] and hands it in.

use crate::assets::ASSETS_PATH;
use crate::sign_in_limits::SignInLimits;
use keyreeve_authority::env::Entropy;
use keyreeve_authority::keys::{ChangedKey, RotatedKey};
use keyreeve_authority::{Authority, Effect};
use keyreeve_core::audit::Milestone;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::effects::Effects;
use keyreeve_web::walks::Walks;
use std::fmt;
use std::sync::Arc;

/// The process that serves the pages.
pub trait Host: fmt::Debug + Send + Sync {
    /// Returns the use cases.
    fn authority(&self) -> &Authority;

    /// Returns the source of random numbers.
    fn entropy(&self) -> &dyn Entropy;

    /// Returns the base of links, without a trailing slash: the public URL, else the URL at which this machine reaches
    /// the pages. It is empty with only Unix sockets and no public URL.
    fn origin(&self) -> &str;

    /// Returns the URL of the page where the holder of a one-time token sets a password.
    fn setup_link(&self, token: &str) -> String;

    /// Returns the rate limits by address, which all faces share.
    fn address_rate_limits(&self) -> &AddressRateLimits;

    /// Returns the queue of audit log verifications, which all faces share.
    fn walks(&self) -> &Walks;

    /// Returns the last changes that this node made, by any face.
    fn last_effects(&self) -> &Effects;

    /// Counts how long a change took to be effective everywhere.
    fn note_effect(&self, effect: &Effect);

    /// Records that a verification of the complete audit log has found no error.
    fn note_audit_verified(&self);

    /// Returns the newest end of the audit log that was signed.
    fn signed_log_end(&self) -> Option<Milestone>;

    /// Returns the public id of a connected verifier.
    fn verifier_id(&self, child: ChildId) -> String;
}

/// State of the pages. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Dashboard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Arc<dyn Host>,
    sign_in_limits: SignInLimits,
    calls: &'static [&'static str],
}

impl Dashboard {
    /// Returns the state of the pages of a process. `calls` are the starts of paths that are calls of another face: a
    /// missing one gets no page.
    pub fn new(host: Arc<dyn Host>, calls: &'static [&'static str]) -> Self {
        Self(Arc::new(Inner {
            host,
            sign_in_limits: SignInLimits::default(),
            calls,
        }))
    }

    /// Returns the use cases.
    pub(super) fn authority(&self) -> &Authority {
        self.0.host.authority()
    }

    /// Returns the process that serves the pages.
    pub(super) fn host(&self) -> &dyn Host {
        &*self.0.host
    }

    /// Returns the login rate limits.
    pub(super) fn sign_in_limits(&self) -> &SignInLimits {
        &self.0.sign_in_limits
    }

    /// Returns whether a missing path gets a page: it is no call of another face and no file of a page.
    pub(super) fn is_page(&self, path: &str) -> bool {
        !path.starts_with(ASSETS_PATH) && !self.0.calls.iter().any(|start| path.starts_with(start))
    }

    /// Counts and keeps a change made by a page. Pages always wait for the effect.
    pub(super) fn note_done(&self, changed: &ChangedKey) {
        self.host().note_effect(&changed.effect);
        self.host().last_effects().changed(changed, self.authority().now());
    }

    /// The same for a rotation.
    pub(super) fn note_rotation(&self, rotated: &RotatedKey) {
        self.host().note_effect(&rotated.effect);
        self.host().last_effects().rotated(rotated, self.authority().now());
    }
}
