//! Who acts, and what they may do.

use crate::id::{KeyId, RootKeyId, UserId};
use crate::text::Slug;
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word used on the wire, in the store and in the audit log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads the word back.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words!(
    /// What a root key may be allowed to do.
    Permission {
        /// Read keys.
        KeysRead => "keys:read",
        /// Issue, change, revoke and delete keys.
        KeysWrite => "keys:write",
        /// Ask for verdicts.
        KeysVerify => "keys:verify",
        /// Read the policy.
        PolicyRead => "policy:read",
        /// Change the policy.
        PolicyWrite => "policy:write",
        /// Manage users.
        UsersWrite => "users:write",
        /// Act as a user, with that user's role.
        UsersAct => "users:act",
        /// Read the audit log.
        AuditRead => "audit:read",
        /// Make and change tenants.
        TenantsWrite => "tenants:write",
        /// Make and revoke root keys.
        RootKeysWrite => "root_keys:write",
    }
);

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// No permission at all.
    pub const NONE: Self = Self(0);

    /// Every permission there is.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether the set holds a permission.
    pub const fn allows(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Whether every permission of `other` is in this set too.
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The permissions that are in both sets.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The permissions in the set, in their fixed order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(move |&permission| self.allows(permission))
    }

    /// The words with a space between, for storing.
    pub fn joined(self) -> String {
        let words: Vec<_> = self.iter().map(Permission::as_str).collect();
        words.join(" ")
    }

    /// Reads back what [`Permissions::joined`] wrote; `None` if a word is unknown.
    pub fn from_joined(text: &str) -> Option<Self> {
        text.split_ascii_whitespace().map(Permission::parse).collect()
    }
}

const fn bit(permission: Permission) -> u16 {
    match permission {
        Permission::KeysRead => 1,
        Permission::KeysWrite => 1 << 1,
        Permission::KeysVerify => 1 << 2,
        Permission::PolicyRead => 1 << 3,
        Permission::PolicyWrite => 1 << 4,
        Permission::UsersWrite => 1 << 5,
        Permission::UsersAct => 1 << 6,
        Permission::AuditRead => 1 << 7,
        Permission::TenantsWrite => 1 << 8,
        Permission::RootKeysWrite => 1 << 9,
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | bit(permission)))
    }
}

words!(
    /// What a person is in a tenant.
    Role {
        /// Has keys, and manages those.
        Member => "member",
        /// Manages every key of the tenant, its users and its policy.
        Admin => "admin",
        /// Reads everything and changes nothing.
        Auditor => "auditor",
    }
);

impl Role {
    /// What a person in this role may do in the tenant.
    pub fn permissions(self) -> Permissions {
        let permissions: &[Permission] = match self {
            Self::Member => &[Permission::KeysRead, Permission::KeysWrite, Permission::PolicyRead],
            Self::Admin => &[
                Permission::KeysRead,
                Permission::KeysWrite,
                Permission::PolicyRead,
                Permission::PolicyWrite,
                Permission::UsersWrite,
                Permission::AuditRead,
            ],
            Self::Auditor => &[Permission::KeysRead, Permission::PolicyRead, Permission::AuditRead],
        };
        permissions.iter().copied().collect()
    }

    /// Whether only the person's own keys are within reach.
    pub const fn is_bound_to_own_keys(self) -> bool {
        matches!(self, Self::Member)
    }
}

/// Where a root key reaches: one tenant, or the whole instance.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// Every tenant; which one is meant is said with each call.
    Instance,
    /// One tenant only.
    Tenant(Slug),
}

impl Reach {
    /// Whether a tenant is within it.
    pub fn has(&self, tenant: &Slug) -> bool {
        match self {
            Self::Instance => true,
            Self::Tenant(own) => own == tenant,
        }
    }
}

/// Who did something, for the audit log and for `revoked_by`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A root key.
    RootKey(RootKeyId),
    /// A person, with the role that was checked.
    User(UserId, Role),
    /// An API key acting on itself.
    Key(KeyId),
    /// Someone on the machine itself, by the command line.
    Operator,
    /// Keyreeve itself: a clock or a policy.
    System,
}

impl Actor {
    /// The kind of actor, as a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RootKey(_) => "root_key",
            Self::User(..) => "user",
            Self::Key(_) => "key",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    /// The actor's id; operator and system have none of their own and are named by their kind.
    pub fn id(&self) -> String {
        match self {
            Self::RootKey(id) => id.to_string(),
            Self::User(id, _) => id.to_string(),
            Self::Key(id) => id.to_string(),
            Self::Operator | Self::System => self.kind().to_owned(),
        }
    }

    /// How much the actor's word weighs where a hold is sticky.
    pub const fn rank(&self) -> Rank {
        match self {
            Self::Key(_) | Self::User(_, Role::Member | Role::Auditor) => Rank::Owner,
            Self::RootKey(_) | Self::Operator | Self::User(_, Role::Admin) => Rank::Admin,
            Self::System => Rank::System,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

words!(
    /// How much an actor's word weighs. A hold put on by a higher rank is not lifted by a lower one.
    Rank {
        /// The key's owner, or the key itself.
        Owner => "owner",
        /// An administrator of the tenant, or a root key.
        Admin => "admin",
        /// Keyreeve itself.
        System => "system",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let set: Permissions = [Permission::KeysRead, Permission::RootKeysWrite].into_iter().collect();
        assert_eq!(set.joined(), "keys:read root_keys:write");
        assert_eq!(Permissions::from_joined(&set.joined()), Some(set));
        assert!(Permissions::all().covers(set) && !set.covers(Permissions::all()));
        assert!(
            Permission::ALL
                .iter()
                .all(|&p| Permissions::all().allows(p) && !Permissions::NONE.allows(p))
        );
        assert_eq!(Permissions::from_joined("keys:read keys:fly"), None);
    }

    #[test]
    fn the_intersection_has_what_is_in_both_and_nothing_else() {
        let admin = Role::Admin.permissions();
        let some: Permissions = [Permission::UsersAct, Permission::KeysRead].into_iter().collect();
        assert_eq!(admin.both(some).joined(), "keys:read");
        assert_eq!(admin.both(Permissions::all()), admin);
        assert_eq!(admin.both(Permissions::NONE), Permissions::NONE);
    }

    #[test]
    fn no_two_permissions_share_a_bit() {
        assert_eq!(Permissions::all().iter().count(), Permission::ALL.len());
    }
}
