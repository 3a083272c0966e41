//! Examples of users and root keys.

use super::{CHANGED_AT, CREATED_AT, EMAIL, Examples, ROOT_KEY_ID, ROOT_SECRET, TENANT, USER_ID, effect};
use crate::root_keys::{CreateRootKey, RootKey, RootKeyList, RotateRootKey};
use crate::users::{CreateUser, Invitation, UpdateUser, User, UserList};

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    root_keys(examples);
    users(examples);
}

fn root_keys(examples: &mut Examples) {
    examples.request::<CreateRootKey>(
        r#"{"name": "Verification in the billing service", "permissions": ["keys:verify"], "tenant": "acme",
            "seconds_until_expiration": 31536000, "allowed_networks": ["192.0.2.0/24"]}"#,
    );
    examples.request::<RotateRootKey>(r#"{"overlap_seconds": 3600}"#);
    examples.schema(&RootKeyList { data: vec![root_key()] });
    examples.schema(&root_key());
    let created = RootKey {
        secret: Some(ROOT_SECRET.to_owned()),
        ..root_key()
    };
    examples.answer("createRootKey", "201", &created);
    let rotated = RootKey {
        rotated_at: Some(CHANGED_AT),
        retiring_until: Some(CHANGED_AT + 3_600_000),
        ..created
    };
    examples.answer("rotateRootKey", "200", &rotated);
    let finished = RootKey {
        rotated_at: Some(CHANGED_AT),
        ..root_key()
    };
    examples.answer("finishRootKeyRotation", "200", &finished);
    let revoked = RootKey {
        revoked_at: Some(CHANGED_AT),
        ..root_key()
    };
    examples.answer("revokeRootKey", "200", &revoked);
}

/// Returns a root key of a tenant.
pub(super) fn root_key() -> RootKey {
    RootKey {
        id: ROOT_KEY_ID.to_owned(),
        name: "Verification in the billing service".to_owned(),
        tenant: Some(TENANT.to_owned()),
        permissions: vec!["keys:verify".to_owned()],
        last_four: "fGFU".to_owned(),
        allowed_networks: vec!["192.0.2.0/24".to_owned()],
        created_at: CREATED_AT,
        expires_at: Some(CREATED_AT + 31_536_000_000),
        last_used_at: None,
        rotated_at: None,
        retiring_until: None,
        revoked_at: None,
        secret: None,
    }
}

fn users(examples: &mut Examples) {
    examples.request::<CreateUser>(r#"{"email": "ada@example.com", "name": "Ada", "role": "admin"}"#);
    examples.request::<UpdateUser>(r#"{"status": "suspended"}"#);
    examples.schema(&user());
    examples.schema(&UserList { data: vec![user()] });
    let invited = User {
        has_password: false,
        updated_at: CREATED_AT,
        ..user()
    };
    examples.answer("createUser", "201", &invited);
    let stopped = |status| User {
        status,
        updated_at: CHANGED_AT,
        keys_stopped: Some(4),
        effect: Some(effect()),
        ..user()
    };
    examples.answer("updateUser", "200", &stopped("suspended"));
    examples.answer("removeUser", "200", &stopped("removed"));
    examples.schema(&Invitation {
        user_id: USER_ID.to_owned(),
        link: "https://keys.example.com/setup?token=0000000000000000000000000000000000000000000".to_owned(),
        expires_at: CREATED_AT + 3 * 86_400_000,
    });
}

fn user() -> User {
    User {
        id: USER_ID.to_owned(),
        tenant: TENANT.to_owned(),
        email: EMAIL.to_owned(),
        name: Some("Ada".to_owned()),
        role: "admin",
        status: "active",
        has_password: true,
        created_at: CREATED_AT,
        updated_at: CHANGED_AT,
        keys_stopped: None,
        keys_restored: None,
        effect: None,
    }
}
