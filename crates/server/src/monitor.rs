//! What the operations listener and `keyreeve doctor` report of this process.

use crate::backup::serve::BackupService;
use crate::denials::DenialsKeeper;
use crate::edge::AllSeats;
use crate::log_signer::LogSigner;
use crate::numbers::Numbers;
use crate::readiness::Readiness;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::verifiers::VerifierHost;
use keyreeve_authority::Authority;
use std::sync::Arc;

/// The parts whose state is reported. They are only read.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) authority: Arc<Authority>,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) log_signer: Arc<LogSigner>,
    pub(crate) verifier_host: Arc<VerifierHost>,
    pub(crate) seats: Arc<AllSeats>,
    pub(crate) backups: Arc<BackupService>,
    pub(crate) denials: Arc<DenialsKeeper>,
    /// The listeners with TLS.
    pub(crate) tls: Vec<Tls>,
    pub(crate) settings: Arc<Settings>,
}
