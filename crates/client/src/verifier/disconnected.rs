//! Why a verifier has no connection.

use crate::ClientError;

/// Why a verifier has no connection to its node now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disconnected {
    /// The node's error code if it refuses the verifier, such as `ROOT_KEY_INVALID`, `PERMISSION_DENIED`,
    /// `VERIFIER_STREAM_SUSPENDED` or `VERIFIER_LIMIT_REACHED`; `None` if it cannot be reached.
    pub code: Option<String>,
    /// What happened and what to do, for people.
    pub detail: String,
}

impl Disconnected {
    pub(super) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Refused(body) => Self {
                code: Some(body.code.clone()),
                detail: body.detail.clone(),
            },
            _ => Self {
                code: None,
                detail: error.to_string(),
            },
        }
    }

    /// A connection has ended.
    pub(super) fn lost() -> Self {
        Self {
            code: None,
            detail: "the node has ended the connection; another one is being made".to_owned(),
        }
    }
}
