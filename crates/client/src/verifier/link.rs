//! The connection to the node, on a thread of its own: no load on the application delays the renewal of the lease or
//! the orders to forget.

use super::address::{Failed, NodeAddress};
use super::connection::{NodeConnection, read};
use super::pause::Pause;
use super::{Disconnected, Inner};
use crate::ClientError;
use keyreeve_api::verifiers::{ChargedUse, RememberedSecret};
use keyreeve_core::Digest;
use reqwest::Upgraded;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Most messages of the node that wait to be carried out.
const INBOX: usize = 1_024;

/// A request to the node.
pub(super) enum NodeQuestion {
    /// Looks up a secret.
    Fetch {
        digest: Digest,
        answer: oneshot::Sender<FoundSecret>,
    },
    /// Charges uses of a key with counted limits.
    Charge {
        digest: Digest,
        cost: u32,
        answer: oneshot::Sender<ChargedUse>,
    },
}

/// The node's answer to a look-up.
pub(super) struct FoundSecret {
    pub(super) revision: u64,
    pub(super) secret: Option<Box<RememberedSecret>>,
}

/// The parts of a connection.
pub(super) struct Setup {
    pub(super) address: NodeAddress,
    pub(super) inner: Arc<Inner>,
    pub(super) capacity: usize,
    pub(super) lease_ms: Option<u64>,
    pub(super) questions: mpsc::Receiver<NodeQuestion>,
    pub(super) closing: watch::Receiver<bool>,
}

/// Starts the thread. Returns when the first lease is granted, or cannot be.
pub(super) async fn start(setup: Setup) -> Result<(), ClientError> {
    let (begun, first) = oneshot::channel();
    let link = NodeLink {
        setup,
        begun: Some(begun),
    };
    let spawned = std::thread::Builder::new().name("keyreeve".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(link.run()),
            Err(error) => link.fail(ClientError::Unreachable(error.to_string())),
        }
    });
    spawned.map_err(|error| ClientError::Unreachable(error.to_string()))?;
    let lost = |_| ClientError::Unreachable("the connection's thread ended".to_owned());
    first.await.map_err(lost)?
}

pub(super) struct NodeLink {
    pub(super) setup: Setup,
    /// Where the first lease, or an error, is reported.
    begun: Option<oneshot::Sender<Result<(), ClientError>>>,
}

/// How a connection ended.
#[derive(PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// The application has closed the verifier.
    Closed,
    /// The connection broke, and another one is needed.
    Lost,
}

impl NodeLink {
    fn fail(mut self, error: ClientError) {
        if let Some(begun) = self.begun.take() {
            // The application may have stopped waiting.
            drop(begun.send(Err(error)));
        }
    }

    /// A lease was granted.
    pub(super) fn leased(&mut self) {
        self.setup.inner.set_disconnected(None);
        if let Some(begun) = self.begun.take() {
            // The application may have stopped waiting, and then drops the verifier soon.
            drop(begun.send(Ok(())));
        }
    }

    async fn run(mut self) {
        let mut pause = Pause::default();
        let mut closing = self.setup.closing.clone();
        loop {
            let connected = tokio::select! {
                connected = self.setup.address.connect() => connected,
                _ = closing.wait_for(|&closing| closing) => break,
            };
            let pause = match connected {
                Ok(stream) => {
                    let began = Instant::now();
                    if self.serve(stream).await == ConnectionEnd::Closed {
                        break;
                    }
                    self.setup.inner.set_disconnected(Some(Disconnected::lost()));
                    pause.after_connection(began.elapsed())
                }
                // The first attempt is reported to the application, which decides whether to try again.
                Err(Failed { error, .. }) if self.begun.is_some() => return self.fail(error),
                // The memory is used until its lease is over.
                Err(failed) => {
                    self.setup.inner.set_disconnected(Some(Disconnected::of(&failed.error)));
                    pause.after_failure(&failed)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = closing.wait_for(|&closing| closing) => break,
            }
        }
        self.setup.inner.child.begin_anew();
    }

    async fn serve(&mut self, stream: Upgraded) -> ConnectionEnd {
        // No order would reach what an earlier connection brought.
        self.setup.inner.child.begin_anew();
        let (reading, writing) = tokio::io::split(stream);
        let (inbox, messages) = mpsc::channel(INBOX);
        let reader = tokio::spawn(read(reading, inbox));
        let mut connection = NodeConnection::new(&self.setup.inner, writing);
        let end = connection.hold(self, messages).await.unwrap_or(ConnectionEnd::Lost);
        // It may be waiting for a message that never comes.
        reader.abort();
        end
    }
}
