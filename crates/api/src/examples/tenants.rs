//! Examples of tenants, their policies and their check policies.

use super::{CHANGED_AT, CREATED_AT, Examples, KEY_ID, ROOT_SECRET, TENANT, access, effect, keys};
use crate::check_policies::{CheckPolicy, CheckPolicyList, CreateCheckPolicy, UpdateCheckPolicy};
use crate::policy::{
    AdminGrant, Expiry, Grant, KeyCountLimit, Leaks, ListPolicy, MemberGrant, NewKeys, NotAllowed, NotAllowedKey,
    Policy, PutPolicy, Reactivate, Revoke, Rotate, Undo, VerifyPolicy,
};
use crate::root_keys::RootKey;
use crate::tenants::{CreateTenant, Tenant, TenantList, UpdateTenant};

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    tenants(examples);
    policies(examples);
    check_policies(examples);
}

fn tenants(examples: &mut Examples) {
    examples.request::<CreateTenant>(r#"{"slug": "acme", "name": "Acme", "preset": "standard"}"#);
    examples.request::<UpdateTenant>(r#"{"name": "Acme Europe", "status": "active"}"#);
    examples.schema(&tenant());
    examples.schema(&TenantList { data: vec![tenant()] });
    let created = Tenant {
        root_key: Some(RootKey {
            name: "first".to_owned(),
            permissions: Vec::from(["keys:read", "keys:write", "keys:verify"].map(str::to_owned)),
            secret: Some(ROOT_SECRET.to_owned()),
            ..access::root_key()
        }),
        ..tenant()
    };
    examples.answer("createTenant", "201", &created);
    let changed = |name: &str, status| Tenant {
        name: name.to_owned(),
        status,
        effect: Some(effect()),
        ..tenant()
    };
    examples.answer("updateTenant", "200", &changed("Acme Europe", "active"));
    examples.answer("removeTenant", "200", &changed("Acme", "removed"));
}

fn tenant() -> Tenant {
    Tenant {
        slug: TENANT.to_owned(),
        name: "Acme".to_owned(),
        preset: "standard",
        status: "active",
        created_at: CREATED_AT,
        root_key: None,
        effect: None,
    }
}

fn policies(examples: &mut Examples) {
    examples.request::<PutPolicy>(
        r#"{
            "preset": "standard",
            "prefix": "acme_live",
            "limit": {"keys_per_subject": 20},
            "expiry": {"default_days": 90, "max_days": 365, "allow_never": false},
            "rotate": {"overlap_default_seconds": 3600},
            "grant": {"member": {"scopes": ["invoices:*"], "claims": false}},
            "new_keys": {"limits": [{"name": "per-minute", "limit": 120, "seconds": 60, "burst": 20}]}
        }"#,
    );
    examples.schema(&policy());
    let set = Policy {
        not_allowed_today: Some(NotAllowed {
            count: 1,
            keys: vec![NotAllowedKey {
                id: KEY_ID.to_owned(),
                why: "a key must expire".to_owned(),
            }],
        }),
        ..policy()
    };
    examples.answer("putPolicy", "200", &set);
}

/// Returns the policy that the example of [`PutPolicy`] sets.
fn policy() -> Policy {
    Policy {
        preset: "standard",
        prefix: "acme_live".to_owned(),
        names: "unique",
        limit: KeyCountLimit {
            keys_per_subject: Some(20),
            count_expired: false,
        },
        expiry: Expiry {
            choices_days: Vec::new(),
            custom: true,
            default_days: Some(90),
            max_days: Some(365),
            allow_never: false,
            editable: true,
            renew_expired: false,
        },
        rotate: Rotate {
            overlap_default_seconds: 3_600,
            overlap_max_seconds: 30 * 86_400,
        },
        revoke: Revoke {
            undo: Undo::Never,
            after: "hide",
            confirm: "none",
            reason: "optional",
        },
        reactivate: Reactivate { sticky: true },
        list: ListPolicy { default: "usable" },
        verify: VerifyPolicy { reveal: "owner_safe" },
        leaks: Leaks { action: "revoke" },
        grant: Grant {
            member: MemberGrant {
                scopes: vec!["invoices:*".to_owned()],
                claims: false,
            },
            admin: AdminGrant {
                scopes: vec!["*".to_owned()],
            },
        },
        new_keys: NewKeys {
            limits: vec![keys::rate()],
        },
        not_allowed_today: None,
    }
}

fn check_policies(examples: &mut Examples) {
    examples.request::<CreateCheckPolicy>(
        r#"{"name": "orders", "scopes": ["orders:read"], "key_headers": ["Authorization", "X-API-Key"], "realm": "orders"}"#,
    );
    examples.request::<UpdateCheckPolicy>(r#"{"cache_max_age_seconds": 5, "gateway_credential": "required"}"#);
    examples.schema(&check_policy());
    examples.schema(&CheckPolicyList {
        data: vec![built_in(), check_policy()],
    });
    let created = CheckPolicy {
        effect: Some(effect()),
        ..check_policy()
    };
    for (operation, status) in [("createCheckPolicy", "201"), ("removeCheckPolicy", "200")] {
        examples.answer(operation, status, &created);
    }
    let updated = CheckPolicy {
        cache_max_age_seconds: 5,
        gateway_credential: "required",
        updated_at: Some(CHANGED_AT),
        ..created
    };
    examples.answer("updateCheckPolicy", "200", &updated);
}

fn check_policy() -> CheckPolicy {
    CheckPolicy {
        name: "orders".to_owned(),
        is_built_in: false,
        scopes: vec!["orders:read".to_owned()],
        realm: "orders".to_owned(),
        created_at: Some(CREATED_AT),
        updated_at: Some(CREATED_AT),
        ..built_in()
    }
}

fn built_in() -> CheckPolicy {
    CheckPolicy {
        name: "default".to_owned(),
        is_built_in: true,
        scopes: Vec::new(),
        key_headers: vec!["authorization".to_owned(), "x-api-key".to_owned()],
        meta: false,
        cache_max_age_seconds: 0,
        realm: "keyreeve".to_owned(),
        gateway_credential: "none",
        created_at: None,
        updated_at: None,
        effect: None,
    }
}
