//! Signs the end of the audit log, and halts verification where the log is not the one that was signed.

use crate::checkpoints::Checkpoints;
use keyreeve_authority::{Authority, Failure};
use keyreeve_core::audit::{Comparison, Milestone};
use std::sync::Arc;
use thiserror::Error;

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

/// Signs the end of the audit log.
#[derive(Debug)]
pub(crate) struct LogSigner {
    authority: Arc<Authority>,
    checkpoints: Checkpoints,
}

impl LogSigner {
    pub(crate) const fn new(authority: Arc<Authority>, checkpoints: Checkpoints) -> Self {
        Self { authority, checkpoints }
    }

    /// Returns the signed ends of the audit log.
    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Signs the present end of the audit log, if it has moved.
    pub(crate) async fn record(&self) {
        if self.authority.verifier().halted().is_some() || self.authority.obstacle().is_some() {
            return;
        }
        match self.sign().await {
            Ok(_) => self.note_signed(None),
            // A store that does not answer proves nothing about its log.
            Err(SignError::Log(_)) => {}
            Err(error @ SignError::Directory(_)) => self.note_signed(Some(error.to_string())),
            Err(error @ SignError::Refused(_)) => {
                self.note_signed(Some(error.to_string()));
                // With several nodes, the node itself decides what may be answered.
                if self.authority.node().is_none() {
                    self.authority.halt(&error.to_string());
                }
            }
        }
    }

    fn note_signed(&self, refusal: Option<String>) {
        if self.checkpoints.set_refusal(refusal.clone())
            && let Some(why) = refusal
        {
            tracing::error!("the end of the audit log is not signed: {why}");
        }
    }

    /// Signs the present end of the audit log and stores the checkpoint. Refused unless the log contains the newest
    /// checkpoint: overwriting that would destroy the evidence of a loss.
    pub(crate) async fn sign(&self) -> Result<(Milestone, String), SignError> {
        if let Some(why) = self.checkpoints.unusable() {
            return Err(SignError::Refused(format!(
                "what was signed before cannot be used: {why}"
            )));
        }
        let head = self.authority.audit().head().await?;
        let end = Milestone {
            revision: head.revision,
            chain: head.chain,
        };
        if let Some(kept) = self.checkpoints.newest()
            && kept != end
        {
            let revision = kept.revision;
            match self.authority.audit().compare(kept).await? {
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
        let note = self.checkpoints.record(end)?;
        Ok((end, note))
    }
}
