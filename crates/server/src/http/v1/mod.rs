//! Version 1 of the API.

pub(crate) mod api_keys;
pub(crate) mod errors;
pub(crate) mod me;
pub(crate) mod root_keys;
pub(crate) mod tenants;
