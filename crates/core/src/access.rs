//! Actors, and their permissions.

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

            /// Returns the word that is used on the wire, in the store and in the audit log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Parses the word.
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
    /// A permission of a root key.
    Permission {
        /// Read keys.
        KeysRead => "keys:read",
        /// Issue, change, revoke and delete keys.
        KeysWrite => "keys:write",
        /// Verify keys.
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
        /// Create and change tenants.
        TenantsWrite => "tenants:write",
        /// Create and revoke root keys.
        RootKeysWrite => "root_keys:write",
    }
);

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// No permission.
    pub const NONE: Self = Self(0);

    /// Returns every permission.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether the set has a permission.
    pub const fn allows(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Whether this set has every permission of `other`.
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Returns the permissions that are in both sets.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Iterates over the permissions in the set, in their fixed order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(move |&permission| self.allows(permission))
    }

    /// Returns the words, separated by spaces, for storing.
    pub fn joined(self) -> String {
        let words: Vec<_> = self.iter().map(Permission::as_str).collect();
        words.join(" ")
    }

    /// Parses what [`Permissions::joined`] wrote; `None` if a word is unknown.
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
    /// The role of a user in a tenant.
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
    /// Returns the permissions of this role in the tenant.
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

    /// Whether the role reaches only the user's own keys.
    pub const fn is_bound_to_own_keys(self) -> bool {
        matches!(self, Self::Member)
    }
}

/// What a root key reaches: one tenant, or the complete instance.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// Every tenant. Each call names the tenant that it is about.
    Instance,
    /// One tenant only.
    Tenant(Slug),
}

impl Reach {
    /// Whether a tenant is within reach.
    pub fn has(&self, tenant: &Slug) -> bool {
        match self {
            Self::Instance => true,
            Self::Tenant(own) => own == tenant,
        }
    }
}

/// The actor of a change, for the audit log and for `revoked_by`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A root key.
    RootKey(RootKeyId),
    /// A user, with the role that was checked.
    User(UserId, Role),
    /// An API key that acts on itself.
    Key(KeyId),
    /// The operator on the machine itself, by the command line.
    Operator,
    /// Keyreeve itself, by time or by a policy.
    System,
}

impl Actor {
    /// Returns the kind of actor, as a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RootKey(_) => "root_key",
            Self::User(..) => "user",
            Self::Key(_) => "key",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    /// Returns the actor's id. The operator and the system have none and are named by their kind.
    pub fn id(&self) -> String {
        match self {
            Self::RootKey(id) => id.to_string(),
            Self::User(id, _) => id.to_string(),
            Self::Key(id) => id.to_string(),
            Self::Operator | Self::System => self.kind().to_owned(),
        }
    }

    /// Returns the rank that is compared where holds are sticky.
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
    /// The rank of an actor. A hold by a higher rank cannot be lifted by a lower one.
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
