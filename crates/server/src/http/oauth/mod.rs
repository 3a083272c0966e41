//! OAuth 2.0: introspection, revocation by possession, and the metadata documents that name them.
//!
//! A thin layer over the same verification and revocation as everywhere else. There is no authorization endpoint and no
//! token endpoint: keys are issued by the API and the dashboard.

mod caller;
mod form;
pub(crate) mod introspect;
mod issuer;
pub(crate) mod metadata;
pub(crate) mod revoke;

pub(crate) use issuer::Issuer;
