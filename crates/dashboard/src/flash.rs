//! The message about what a form did, which the session keeps for the next page.

use super::page_error::PageError;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

/// The session's value with the message.
const FLASH: &str = "flash";

/// A message that the next page shows once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flash {
    /// `done` or `refused`.
    pub(super) kind: String,
    pub(super) text: String,
    /// A link to details: address and label.
    pub(super) link: Option<(String, String)>,
}

impl Flash {
    pub(super) fn done(text: String) -> Self {
        Self {
            kind: "done".to_owned(),
            text,
            link: None,
        }
    }

    pub(super) fn refused(text: String) -> Self {
        Self {
            kind: "refused".to_owned(),
            ..Self::done(text)
        }
    }

    /// Stores the message for the next page of a session.
    pub(super) async fn keep(self, session: &Session) -> Result<(), PageError> {
        Ok(session.insert(FLASH, self).await?)
    }

    /// Takes the message for this page. It reads first: removing from a session without a message would be a write.
    pub(super) async fn take(session: &Session) -> Result<Option<Self>, PageError> {
        let flash = session.get(FLASH).await?;
        if flash.is_some() {
            session.remove_value(FLASH).await?;
        }
        Ok(flash)
    }
}
