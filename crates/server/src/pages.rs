//! Connects the dashboard to this process. The only file of the server that names it.

use crate::App;
use crate::http::answer::CALLS;
use crate::world::OsEntropy;
use axum::Router;
use keyreeve_authority::env::Entropy;
use keyreeve_authority::{Authority, Effect};
use keyreeve_core::audit::Milestone;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_dashboard::{Dashboard, Host};
use keyreeve_web::address_rate_limits::AddressRateLimits;
use keyreeve_web::effects::Effects;
use keyreeve_web::walks::Walks;
use std::sync::Arc;

/// Returns the router of the pages, which also answers every address that has no route.
pub(crate) fn router(app: &App) -> Router {
    keyreeve_dashboard::router(Dashboard::new(Arc::new(app.clone()), CALLS))
}

impl Host for App {
    fn authority(&self) -> &Authority {
        self.authority()
    }

    fn entropy(&self) -> &dyn Entropy {
        &OsEntropy
    }

    fn origin(&self) -> &str {
        self.issuer().base()
    }

    fn setup_link(&self, token: &str) -> String {
        self.issuer().setup_link(token)
    }

    fn address_rate_limits(&self) -> &AddressRateLimits {
        self.address_rate_limits()
    }

    fn walks(&self) -> &Walks {
        self.walks()
    }

    fn last_effects(&self) -> &Effects {
        self.management().last_effects()
    }

    fn note_effect(&self, effect: &Effect) {
        self.management().note_effect(effect);
    }

    fn note_audit_verified(&self) {
        self.management().note_audit_verified();
    }

    fn signed_log_end(&self) -> Option<Milestone> {
        self.log_signer().checkpoints().newest()
    }

    fn verifier_id(&self, child: ChildId) -> String {
        self.verifier_host().id(child)
    }
}
