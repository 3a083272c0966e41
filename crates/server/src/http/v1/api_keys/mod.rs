//! `/v1/api_keys`: one file per endpoint. Clerk's wire format, and Keyreeve's additions.

pub(crate) mod batch;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod disable;
pub(crate) mod events;
pub(crate) mod finalize;
pub(crate) mod get;
pub(crate) mod limits;
pub(crate) mod list;
mod object;
pub(crate) mod purge;
pub(crate) mod reactivate;
pub(crate) mod revoke;
pub(crate) mod revoke_many;
pub(crate) mod rotate;
pub(crate) mod rotate_finish;
pub(crate) mod secret;
pub(crate) mod update;
pub(crate) mod usage;

pub(crate) use object::{REVOKING, answered, changed, effect, object, with_secret};
