//! The lifecycle of a key, as pure transitions.
//!
//! Stored states are active, disabled and revoked; erased means that there is no record. Expiry is computed on read,
//! and so is the end of an undo window, so that neither depends on a background task. The model is RFC 5280's: a hold
//! can be lifted, every other revocation is final.

mod key;
mod leak;
mod refusal;
mod state;
mod update;
mod verbs;

#[cfg(test)]
mod histories;
#[cfg(test)]
pub(crate) mod samples;

pub use key::{IssueFacts, IssueOrder, Key, NewSecret, Outcome, Retiring};
pub use leak::LeakOrder;
pub use refusal::{Refusal, Verb};
pub use state::{Hold, HoldCause, Lock, ReasonCode, Revocation, Standing, State};
pub use update::Edit;
pub use verbs::{HoldOrder, RevokeOrder, RotateOrder};
