//! What users may write into keys, by their role: scopes and claims. A root key that acts for itself is the tenant's
//! own system and may write all of it.

use super::Policy;
use crate::access::{Actor, Role};
use crate::lifecycle::{Key, Refusal};
use crate::limits::CountedLimits;
use crate::scope::{self, Scopes};
use crate::text::Claims;

/// What users may write into keys. The scopes are patterns, as in a key: `repo:*` allows `repo:read` and `repo:*`, and
/// `*` allows every scope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// What members may give.
    pub member: MemberGrant,
    /// Scopes that administrators may give.
    pub admin_scopes: Scopes,
}

/// What members may write into their own keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberGrant {
    /// Scopes that they may give.
    pub scopes: Scopes,
    /// Whether they may set claims.
    pub claims: bool,
}

impl Default for Grant {
    /// The default, also of policies that were stored before this field existed: every scope, and claims only by
    /// administrators.
    fn default() -> Self {
        Self {
            member: MemberGrant {
                scopes: Scopes::every(),
                claims: false,
            },
            admin_scopes: Scopes::every(),
        }
    }
}

/// The parts of a key that its creator must be allowed to write.
#[derive(Clone, Copy, Debug)]
struct WrittenParts<'k> {
    scopes: &'k Scopes,
    claims: Option<&'k Claims>,
}

impl<'k> WrittenParts<'k> {
    const fn of(key: &'k Key) -> Self {
        Self {
            scopes: &key.scopes,
            claims: key.claims.as_ref(),
        }
    }
}

impl Grant {
    fn scopes_of(&self, role: Role) -> &Scopes {
        match role {
            Role::Member | Role::Auditor => &self.member.scopes,
            Role::Admin => &self.admin_scopes,
        }
    }

    /// Returns a scope that members may give and administrators may not.
    pub(super) fn beyond_admin(&self) -> Option<&str> {
        let admin = self.admin_scopes.joined();
        self.member.scopes.iter().find(|pattern| !scope::holds(&admin, pattern))
    }
}

impl Policy {
    /// Fails for a key with scopes or claims that the actor may not give. What the key had before (`before`) may stay,
    /// and scopes may always be removed.
    pub fn check_grant(&self, actor: &Actor, before: Option<&Key>, after: &Key) -> Result<(), Refusal> {
        let Actor::User(_, role) = actor else {
            return Ok(());
        };
        let (before, after) = (before.map(WrittenParts::of), WrittenParts::of(after));
        if *role != Role::Admin && !self.grant.member.claims && after.claims != before.and_then(|before| before.claims)
        {
            return Err(Refusal::ClaimsNotGiven);
        }
        let allowed = self.grant.scopes_of(*role).joined();
        let had = |scope: &str| before.is_some_and(|before| before.scopes.iter().any(|known| known == scope));
        let beyond = after
            .scopes
            .iter()
            .find(|scope| !scope::holds(&allowed, scope) && !had(scope));
        beyond.map_or(Ok(()), |scope| {
            Err(Refusal::ScopeNotGiven {
                scope: scope.into(),
                allowed: allowed.clone().into(),
            })
        })
    }

    /// Returns the limits of a new key: the requested ones, or the default ones. A member's request for none is
    /// ignored, because members may not lift the default.
    pub fn limits_for(&self, wish: Option<CountedLimits>, is_own: bool) -> CountedLimits {
        wish.filter(|wish| !(is_own && wish.as_slice().is_empty()))
            .unwrap_or_else(|| self.default_limits.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;
    use crate::id::{RootKeyId, UserId};
    use crate::lifecycle::{IssueFacts, IssueOrder, samples};
    use crate::limits::Limits;
    use crate::time::Timestamp;

    fn key(scopes: &[&str], claims: Option<&str>) -> Key {
        let order = IssueOrder {
            claims: claims.map(|json| Claims::from_checked_json(json).unwrap()),
            scopes: Scopes::parse(scopes.iter().copied()).unwrap(),
            ..samples::order()
        };
        let (policy, now) = (Preset::Standard.policy(), Timestamp::from_millis(0));
        Key::issue(order, IssueFacts::default(), &policy, now).unwrap()
    }

    fn member() -> Actor {
        Actor::User(UserId::from_bytes([2; 16]), Role::Member)
    }

    fn admin() -> Actor {
        Actor::User(UserId::from_bytes([3; 16]), Role::Admin)
    }

    fn policy(member: &[&str], admin: &[&str]) -> Policy {
        let mut policy = Preset::Standard.policy();
        policy.grant.member.scopes = Scopes::parse(member.iter().copied()).unwrap();
        policy.grant.admin_scopes = Scopes::parse(admin.iter().copied()).unwrap();
        policy
    }

    #[test]
    fn a_role_gives_the_scopes_of_its_patterns_and_no_others() {
        let policy = policy(&["repo:*", "read"], &["repo:*", "read", "admin"]);
        for scopes in [&["repo:read", "repo:a:b", "repo:*", "read"][..], &[]] {
            assert_eq!(
                policy.check_grant(&member(), None, &key(scopes, None)),
                Ok(()),
                "{scopes:?}"
            );
        }
        for scope in [
            "*",
            "admin",
            "repo",
            "repository:read",
            "*:read",
            "Repo:read",
            "read:*",
            "**",
        ] {
            let refused = policy.check_grant(&member(), None, &key(&["read", scope], None));
            assert!(
                matches!(&refused, Err(Refusal::ScopeNotGiven { scope: named, .. }) if **named == *scope),
                "{scope}: {refused:?}"
            );
        }
        assert_eq!(policy.check_grant(&admin(), None, &key(&["admin"], None)), Ok(()));
        assert!(policy.check_grant(&admin(), None, &key(&["*"], None)).is_err());
        let root_key = Actor::RootKey(RootKeyId::from_bytes([4; 16]));
        assert_eq!(policy.check_grant(&root_key, None, &key(&["*"], Some("{}"))), Ok(()));
    }

    #[test]
    fn what_a_key_has_may_stay_or_go_and_nothing_is_added() {
        let policy = policy(&["read"], &["*"]);
        let before = key(&["admin", "read"], Some(r#"{"plan":"pro"}"#));
        let changed = |scopes: &[&str], claims| policy.check_grant(&member(), Some(&before), &key(scopes, claims));
        let same = Some(r#"{"plan":"pro"}"#);
        assert_eq!(changed(&["admin", "read"], same), Ok(()));
        assert_eq!(changed(&["admin"], same), Ok(()));
        assert_eq!(changed(&[], same), Ok(()));
        assert!(changed(&["admin", "write"], same).is_err());
        assert_eq!(changed(&["read"], None), Err(Refusal::ClaimsNotGiven), "taken away");
        assert_eq!(
            changed(&["read"], Some(r#"{"plan":"all"}"#)),
            Err(Refusal::ClaimsNotGiven)
        );
    }

    #[test]
    fn claims_are_the_administrators_unless_the_policy_says_otherwise() {
        let mut policy = Preset::Standard.policy();
        let with_claims = key(&[], Some("{}"));
        assert_eq!(
            policy.check_grant(&member(), None, &with_claims),
            Err(Refusal::ClaimsNotGiven)
        );
        assert_eq!(policy.check_grant(&admin(), None, &with_claims), Ok(()));
        policy.grant.member.claims = true;
        assert_eq!(policy.check_grant(&member(), None, &with_claims), Ok(()));
    }

    #[test]
    fn default_limits_hold_where_nothing_is_said_and_a_member_does_not_lift_them() {
        let mut policy = Preset::Standard.policy();
        let default = Limits::from_joined("quota:monthly,1000,month").unwrap().counted;
        policy.default_limits = default.clone();
        assert_eq!(policy.limits_for(None, true), default);
        assert_eq!(policy.limits_for(None, false), default);
        assert_eq!(policy.limits_for(Some(CountedLimits::default()), true), default);
        assert_eq!(
            policy.limits_for(Some(CountedLimits::default()), false),
            CountedLimits::default()
        );
    }
}
