//! Pages about the tenant: its policy and its users.

pub(super) mod checks;
pub(super) mod policy;
pub(super) mod users;
