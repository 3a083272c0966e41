//! Examples of users and root keys.

use super::{CHANGED_AT, CREATED_AT, EMAIL, Examples, ROOT_KEY_ID, ROOT_SECRET, TENANT, USER_ID, effect};
use crate::root_keys::{CreateRootKey, RootKey, RootKeyList};
use crate::users::{CreateUser, Invitation, UpdateUser, User, UserList};

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    root_keys(examples);
    users(examples);
}

fn root_keys(examples: &mut Examples) {
    examples.request::<CreateRootKey>(
        r#"{"name": "Verification in the billing service", "permissions": ["keys:verify"], "tenant": "acme"}"#,
    );
    examples.schema(&RootKeyList { data: vec![root_key()] });
    examples.schema(&root_key());
    let created = RootKey {
        secret: Some(ROOT_SECRET.to_owned()),
        ..root_key()
    };
    examples.answer("createRootKey", "201", &created);
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
        created_at: CREATED_AT,
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
