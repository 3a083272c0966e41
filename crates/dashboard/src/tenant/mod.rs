//! Pages of the tenant: its policy, its check policies and its users.

pub(super) mod checks;
pub(super) mod policy;
pub(super) mod users;
