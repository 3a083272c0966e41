//! What the connections of verifiers inside applications share.

use super::{Marker, Shares};
use keyreeve_authority::Authority;
use keyreeve_core::coherence::downstream::ChildId;
use std::sync::Arc;

/// Serves the verifiers that are connected to this process.
#[derive(Debug)]
pub(crate) struct VerifierHost {
    authority: Arc<Authority>,
    marker: Marker,
    shares: Shares,
    process: String,
    node_name: String,
}

impl VerifierHost {
    /// `process` is the id of this process, random at each start.
    pub(crate) fn new(authority: Arc<Authority>, marker: Marker, process: String, node_name: String) -> Self {
        Self {
            authority,
            marker,
            shares: Shares::default(),
            process,
            node_name,
        }
    }

    /// Returns the use cases.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the file that records for the next process whether verifiers are connected to this one.
    pub(crate) fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Returns the bounds on what verifiers may use of this process.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Returns the name of this node among several.
    pub(crate) fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Returns the id of a connection. It contains the process, so that ids of two nodes differ.
    pub(crate) fn id(&self, child: ChildId) -> String {
        format!("vf_{}_{child}", self.process)
    }

    /// Returns the connection of an id, if it is one of this process.
    pub(crate) fn parsed(&self, text: &str) -> Option<ChildId> {
        let (process, number) = text.strip_prefix("vf_")?.split_once('_')?;
        let child = number.parse().ok().filter(|_| process == self.process)?;
        // Only in its canonical form: without a sign or leading zeros.
        (self.id(child) == text).then_some(child)
    }
}
