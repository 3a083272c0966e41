//! Which visitors may see and change what, beyond their own keys.

use crate::page_error::PageError;
use crate::visitor::Visitor;
use keyreeve_api::{Code, Problem};

/// Fails unless the visitor may see the pages of the tenant: administrators and auditors.
pub(crate) fn require_tenant(visitor: &Visitor) -> Result<(), PageError> {
    match visitor.sees_tenant() {
        true => Ok(()),
        false => Err(forbidden(
            "This page is for the administrators and auditors of the tenant, and you are a member. Ask an administrator.",
        )),
    }
}

/// Fails unless the visitor is an administrator of the tenant.
pub(crate) fn require_admin(visitor: &Visitor) -> Result<(), PageError> {
    require_change(visitor)?;
    match visitor.is_admin() {
        true => Ok(()),
        false => Err(forbidden(
            "This is for the administrators of the tenant, and you are a member. Ask one of them.",
        )),
    }
}

/// Fails for auditors, who change nothing.
pub(crate) fn require_change(visitor: &Visitor) -> Result<(), PageError> {
    match visitor.may_change() {
        true => Ok(()),
        false => Err(forbidden(
            "You are an auditor: auditors read everything and change nothing. Ask an administrator of the tenant.",
        )),
    }
}

fn forbidden(why: &str) -> PageError {
    Problem::new(Code::PermissionDenied, why).into()
}
