//! The address of the node, and how a connection is opened.

use crate::{Authorities, ClientError, authorities, failed, root_cause};
use keyreeve_api::verifiers::PROTOCOL;
use reqwest::header::{CONNECTION, RETRY_AFTER, UPGRADE};
use reqwest::{Response, StatusCode, Upgraded, Url};
use std::time::Duration;

/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no connection.
pub(super) struct Failed {
    pub(super) error: ClientError,
    /// The node's `Retry-After`, if it sent one.
    pub(super) retry_after: Option<Duration>,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// The address and the credential of a connection.
pub(super) struct NodeAddress {
    http: reqwest::Client,
    url: Url,
    root_key: String,
}

impl NodeAddress {
    pub(super) fn parse(text: &str, root_key: String, trusted: Option<&Authorities>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(text.to_owned());
        // HTTP/2 has no `Upgrade`.
        let mut http = authorities::trust(reqwest::Client::builder().http1_only(), trusted);
        let base = match text.strip_prefix("unix:") {
            Some(path) => {
                http = http.unix_socket(path);
                "http://socket/"
            }
            None => text,
        };
        let base = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = base.and_then(|base| base.join("v1/verifiers").ok()).ok_or_else(wrong)?;
        // The application trusts the node that it has named, and none to which a redirect leads.
        let built = http.redirect(reqwest::redirect::Policy::none()).build();
        let http = built.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        Ok(Self { http, url, root_key })
    }

    /// Opens a connection and upgrades it to the protocol.
    pub(super) async fn connect(&self) -> Result<Upgraded, Failed> {
        let asked = self.http.get(self.url.clone()).bearer_auth(&self.root_key);
        let asked = asked.header(CONNECTION, "Upgrade").header(UPGRADE, PROTOCOL);
        let answered = async {
            let answer = asked.send().await.map_err(unreachable)?;
            match answer.status() {
                StatusCode::SWITCHING_PROTOCOLS => Ok(answer.upgrade().await.map_err(unreachable)?),
                _ => Err(refused(answer).await),
            }
        };
        let silent = |_| ClientError::Unreachable(format!("it did not answer for {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, answered).await.map_err(silent)?
    }
}

fn unreachable(error: reqwest::Error) -> ClientError {
    ClientError::Unreachable(root_cause(&error.without_url()))
}

/// Returns the error in an answer that is not an upgrade.
async fn refused(answer: Response) -> Failed {
    let status = answer.status();
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let error = match answer.bytes().await {
        Ok(body) => failed(status, &body),
        Err(error) => unreachable(error),
    };
    Failed {
        error,
        retry_after: seconds.map(Duration::from_secs),
    }
}
