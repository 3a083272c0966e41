//! Version 1 of the API.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod check_policies;
pub(crate) mod errors;
pub(crate) mod leaks;
pub(crate) mod me;
pub(crate) mod nodes;
pub(crate) mod policy;
pub(crate) mod root_keys;
pub(crate) mod tenants;
pub(crate) mod users;
pub(crate) mod verifiers;
