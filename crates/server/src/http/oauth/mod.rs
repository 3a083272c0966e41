//! OAuth 2.0: introspection, revocation by possession, and the documents by which clients find them.
//!
//! A thin face on the same verification and the same end of a key as everything else. There is no authorization endpoint
//! and no token endpoint: keys are issued by the API and the dashboard.

mod caller;
mod form;
pub(crate) mod introspect;
mod issuer;
pub(crate) mod metadata;
pub(crate) mod revoke;

pub(crate) use issuer::Issuer;
