//! Users: the people with a login in a tenant, their roles, and what ends with them.
//!
//! A user's keys are those whose subject is the user's id. Suspending or removing a user blocks all of them at once.
//! The keys themselves are not changed, so re-activating the user restores each to the state that it had.

use crate::access::{Permissions, Role, words};
use crate::id::UserId;
use crate::text::{Name, Slug, Subject, TextError};
use crate::time::Timestamp;
use std::fmt;
use thiserror::Error;

words!(
    /// The status of a user or a tenant.
    Status {
        /// May log in; keys are evaluated.
        Active => "active",
        /// May not log in until re-activated; all keys are blocked.
        Suspended => "suspended",
        /// Removed. The row remains, so that the keys remain blocked.
        Removed => "removed",
    }
);

/// The email address that a user logs in with; stored in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Email(Box<str>);

impl Email {
    /// Most bytes (RFC 5321, section 4.5.3.1.3).
    pub const BYTES_MAX: usize = 254;

    /// Parses what has the form of an address. Whether it can be reached is not checked.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let form = TextError::Form {
            form: "an address such as ada@example.com",
        };
        if text.len() > Self::BYTES_MAX {
            return Err(TextError::TooLong { max: Self::BYTES_MAX });
        }
        match text.split_once('@') {
            Some((local, domain)) if is_local(local) && is_domain(domain) => Ok(Self(text.to_ascii_lowercase().into())),
            Some(_) | None => Err(form),
        }
    }

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is a local part (before the `@`), as HTML's input for email addresses accepts it.
fn is_local(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

fn is_domain(text: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    text.split('.').all(is_label)
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The stored form of a password: an argon2id string (RFC 9106). Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordDigest(Box<str>);

impl PasswordDigest {
    /// Takes a PHC string.
    pub fn new(phc: &str) -> Self {
        Self(phc.into())
    }

    /// Returns the PHC string, for storing and for verifying a password.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest")
    }
}

/// A user of a tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The id, which is also the subject of the user's keys.
    pub id: UserId,
    /// The tenant.
    pub tenant: Slug,
    /// The login name. Unique among the tenant's users who are not removed.
    pub email: Email,
    /// The display name.
    pub name: Option<Name>,
    /// The role.
    pub role: Role,
    /// The status.
    pub status: Status,
    /// The password, if one was set.
    pub password: Option<PasswordDigest>,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When any field of the user last changed.
    pub updated_at: Timestamp,
}

/// The fields of a user to change. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct UserEdit {
    /// A new name, or none.
    pub name: Option<Option<Name>>,
    /// A new role.
    pub role: Option<Role>,
    /// A new status.
    pub status: Option<Status>,
    /// A new password.
    pub password: Option<PasswordDigest>,
}

/// Why a change of a user was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum UserRefusal {
    /// The tenant would be left without an administrator.
    #[error("this is the tenant's last active admin; make another one first")]
    LastAdmin,
    /// The caller would give a role whose permissions it does not have itself.
    #[error("the caller's own permissions do not cover the role {0}")]
    RoleBeyond(Role),
}

impl Subject {
    /// Returns the id of the user that this subject is, if it has the form of one.
    pub fn user(&self) -> Option<UserId> {
        UserId::parse(self.as_str()).ok()
    }
}

impl User {
    /// Returns the subject of the user's keys.
    pub fn subject(&self) -> Option<Subject> {
        Subject::parse(&self.id.to_string()).ok()
    }

    /// Whether the user can log in as an administrator.
    pub fn is_active_admin(&self) -> bool {
        self.status == Status::Active && self.role == Role::Admin
    }

    /// Whether the user's keys are blocked.
    pub fn is_blocked(&self) -> bool {
        self.status != Status::Active
    }

    /// Changes a user, for a caller with the permissions `giver`. The last active admin stays one, unless `is_forced`:
    /// the operator, on the machine itself. `Ok(None)` if nothing changes.
    ///
    /// A change that gives a role, also by re-activating a suspended user, requires the permissions of that role.
    /// Taking a role away requires none of them.
    pub fn changed(
        &self,
        edit: UserEdit,
        other_admins: u32,
        giver: Permissions,
        is_forced: bool,
        now: Timestamp,
    ) -> Result<Option<Self>, UserRefusal> {
        let mut user = self.clone();
        user.name = edit.name.unwrap_or(user.name);
        user.role = edit.role.unwrap_or(user.role);
        user.status = edit.status.unwrap_or(user.status);
        if edit.password.is_some() {
            user.password = edit.password;
        }
        if user.status == Status::Removed {
            user.password = None;
        }
        let is_given = user.role != self.role || (self.is_blocked() && !user.is_blocked());
        if is_given && !giver.covers(user.role.permissions()) {
            return Err(UserRefusal::RoleBeyond(user.role));
        }
        if self.is_active_admin() && !user.is_active_admin() && other_admins == 0 && !is_forced {
            return Err(UserRefusal::LastAdmin);
        }
        if user == *self {
            return Ok(None);
        }
        user.updated_at = now;
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Permission;

    fn admin() -> User {
        User {
            id: UserId::from_bytes([1; 16]),
            tenant: Slug::parse("acme").unwrap(),
            email: Email::parse("Ada@Example.com").unwrap(),
            name: None,
            role: Role::Admin,
            status: Status::Active,
            password: Some(PasswordDigest::new("$argon2id$")),
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn an_address_is_kept_in_lower_case_and_must_look_like_one() {
        assert_eq!(admin().email.as_str(), "ada@example.com");
        for text in [
            "", "ada", "@b", "a@", "a@b@c", "a b@c", "a@b..c", "ä@b.c", "a@b\n", "<a@b>",
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        assert!(Email::parse(&format!("{}@b.c", "a".repeat(251))).is_err());
    }

    #[test]
    fn the_last_admin_stays_unless_it_is_forced() {
        let now = Timestamp::from_millis(5);
        let ways_out: [UserEdit; 3] = [
            UserEdit {
                role: Some(Role::Member),
                ..UserEdit::default()
            },
            UserEdit {
                status: Some(Status::Suspended),
                ..UserEdit::default()
            },
            UserEdit {
                status: Some(Status::Removed),
                ..UserEdit::default()
            },
        ];
        for edit in ways_out {
            assert_eq!(
                admin().changed(edit.clone(), 0, Permissions::all(), false, now),
                Err(UserRefusal::LastAdmin)
            );
            assert!(admin().changed(edit.clone(), 1, Permissions::all(), false, now).is_ok());
            assert!(admin().changed(edit, 0, Permissions::all(), true, now).is_ok());
        }
    }

    #[test]
    fn a_role_is_given_only_by_whose_permissions_cover_it() {
        let now = Timestamp::from_millis(5);
        let edit = |role, status| UserEdit {
            role,
            status,
            ..UserEdit::default()
        };
        let users_write: Permissions = [Permission::UsersWrite].into_iter().collect();
        let suspended = User {
            status: Status::Suspended,
            ..admin()
        };
        let member = User {
            role: Role::Member,
            ..admin()
        };
        let refused = Err(UserRefusal::RoleBeyond(Role::Admin));
        let opened = edit(None, Some(Status::Active));
        assert_eq!(suspended.changed(opened.clone(), 1, users_write, false, now), refused);
        let promoted = edit(Some(Role::Admin), None);
        let few = Role::Member.permissions();
        assert_eq!(member.changed(promoted.clone(), 1, few, false, now), refused);
        let all = Role::Admin.permissions();
        assert!(suspended.changed(opened, 1, all, false, now).is_ok());
        assert!(member.changed(promoted, 1, all, false, now).is_ok());
        for taken in [Status::Suspended, Status::Removed] {
            assert!(
                admin()
                    .changed(edit(None, Some(taken)), 1, users_write, false, now)
                    .is_ok()
            );
        }
    }

    #[test]
    fn a_change_to_what_already_is_changes_nothing() {
        let now = Timestamp::from_millis(5);
        let edit = UserEdit {
            role: Some(Role::Admin),
            ..UserEdit::default()
        };
        assert_eq!(admin().changed(edit, 0, Permissions::NONE, false, now), Ok(None));
    }

    #[test]
    fn a_removed_user_has_no_password_and_stays_blocked() {
        let edit = UserEdit {
            status: Some(Status::Removed),
            ..UserEdit::default()
        };
        let removed = admin()
            .changed(edit, 1, Permissions::NONE, false, Timestamp::from_millis(5))
            .unwrap()
            .unwrap();
        assert!(removed.password.is_none() && removed.is_blocked());
    }

    #[test]
    fn a_password_digest_is_not_printed() {
        assert_eq!(format!("{:?}", admin().password), "Some(PasswordDigest)");
    }
}
