//! Examples of keys.

use super::{
    CHANGED_AT, CREATED_AT, EXPIRES_AT, Examples, KEY_ID, KEY_NAME, LAST_FOUR, ROOT_KEY_ID, SCOPE, SECRET, SUBJECT,
    effect,
};
use crate::keys::{
    ApiKey, CreateBatch, CreateKey, CreatedBatch, DeletedKey, HoldKey, KeyList, PurgeKeys, PurgedKeys, RevokeKey,
    RevokeMany, RevokedMany, RotateKey, UpdateKey,
};
use crate::limits::{KeyLimit, KeyLimitUse, KeyLimits};
use crate::seconds::Whole;
use serde_json::value::RawValue;

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    requests(examples);
    examples.schema(&key());
    examples.schema(&CreatedBatch { data: vec![issued()] });
    examples.schema(&page());
    examples.schema(&DeletedKey {
        object: "api_key",
        id: KEY_ID.to_owned(),
        deleted: true,
        effect: effect(),
    });
    examples.schema(&RevokedMany {
        matched: 12,
        revoked: 11,
        skipped: 1,
        not_found: None,
        effect: Some(effect()),
    });
    examples.schema(&PurgedKeys {
        purged: 1_000,
        has_more: true,
    });
    examples.schema(&limits());
    answers(examples);
}

fn requests(examples: &mut Examples) {
    examples.request::<CreateKey>(
        r#"{
            "name": "CI of the billing service",
            "subject": "user_2f4KmXyZ",
            "description": "Reads invoices for the nightly export",
            "claims": {"plan": "team"},
            "scopes": ["invoices:read"],
            "limits": [
                {"name": "per-minute", "limit": 120, "seconds": 60, "burst": 20},
                {"name": "monthly", "limit": 10000, "period": "month"}
            ],
            "allowed_networks": ["192.0.2.0/24"],
            "seconds_until_expiration": 31536000
        }"#,
    );
    examples.request::<CreateBatch>(
        r#"{
            "items": [
                {"name": "CI of the billing service", "subject": "user_2f4KmXyZ", "scopes": ["invoices:read"]},
                {"name": "Nightly export", "subject": "user_2f4KmXyZ", "seconds_until_expiration": null}
            ]
        }"#,
    );
    examples.request::<UpdateKey>(
        r#"{"description": null, "scopes": ["invoices:read", "invoices:write"], "allowed_networks": []}"#,
    );
    examples.request::<RevokeKey>(
        r#"{"revocation_reason": "Found in a public repository", "reason_code": "key_compromise"}"#,
    );
    examples.request::<HoldKey>(r#"{"reason": "Unusual traffic, ticket 4211"}"#);
    examples.request::<RotateKey>(r#"{"overlap_seconds": 3600}"#);
    examples.request::<PurgeKeys>(r#"{"revoked_before": 1767603600000}"#);
    examples.request::<RevokeMany>(
        r#"{
            "filter": {"subject": "user_2f4KmXyZ", "created_before": 1767603600000},
            "revocation_reason": "The laptop was lost",
            "reason_code": "key_compromise"
        }"#,
    );
}

/// Answers that show what their operation has changed.
fn answers(examples: &mut Examples) {
    let changed = || ApiKey {
        updated_at: CHANGED_AT,
        effect: Some(effect()),
        ..key()
    };
    examples.answer(
        "createAPIKey",
        "201",
        &ApiKey {
            effect: Some(effect()),
            ..issued()
        },
    );
    for operation in ["updateApiKey", "reactivateApiKey", "resetApiKeyLimits"] {
        examples.answer(operation, "200", &changed());
    }
    let disabled = ApiKey {
        state: "disabled",
        disabled_at: Some(CHANGED_AT),
        ..changed()
    };
    examples.answer("disableApiKey", "200", &disabled);
    let revoked = ApiKey {
        state: "revoked",
        revoked: true,
        revoked_at: Some(CHANGED_AT),
        revoked_by: Some(ROOT_KEY_ID.to_owned()),
        revocation_reason: Some("Found in a public repository".to_owned()),
        reason_code: Some("key_compromise"),
        ..changed()
    };
    for operation in ["revokeApiKey", "finalizeApiKey"] {
        examples.answer(operation, "200", &revoked);
    }
    let by_possession = ApiKey {
        revoked_by: Some(KEY_ID.to_owned()),
        ..revoked
    };
    examples.answer("revokeMe", "200", &by_possession);
    let rotated = ApiKey {
        rotated_at: Some(CHANGED_AT),
        ..changed()
    };
    examples.answer("finishRotation", "200", &rotated);
    let with_secret = ApiKey {
        secret: Some(SECRET.to_owned()),
        retiring_until: Some(CHANGED_AT + 3_600_000),
        ..rotated
    };
    examples.answer("rotateApiKey", "200", &with_secret);
}

/// Returns an active key.
fn key() -> ApiKey {
    ApiKey {
        object: "api_key",
        id: KEY_ID.to_owned(),
        kind: "api_key",
        subject: SUBJECT.to_owned(),
        name: KEY_NAME.to_owned(),
        description: Some("Reads invoices for the nightly export".to_owned()),
        claims: RawValue::from_string(r#"{"plan":"team"}"#.to_owned()).ok(),
        scopes: vec![SCOPE.to_owned()],
        limits: vec![rate(), quota()],
        allowed_networks: vec!["192.0.2.0/24".to_owned()],
        secret: None,
        revoked: false,
        revocation_reason: None,
        expired: false,
        expiration: Some(EXPIRES_AT),
        created_by: None,
        last_used_at: Some(CHANGED_AT),
        last_refused_at: None,
        created_at: CREATED_AT,
        updated_at: CREATED_AT,
        state: "active",
        owner_blocked: false,
        prefix: "ak".to_owned(),
        last_four: LAST_FOUR.to_owned(),
        disabled_at: None,
        revoked_at: None,
        revoked_by: None,
        reason_code: None,
        rotated_at: None,
        retiring_until: None,
        effect: None,
    }
}

/// Returns a key in the answer that issues it.
fn issued() -> ApiKey {
    ApiKey {
        secret: Some(SECRET.to_owned()),
        last_used_at: None,
        ..key()
    }
}

fn page() -> KeyList {
    KeyList {
        data: vec![key()],
        total_count: 27,
        total_is_partial: false,
        next_cursor: Some(KEY_ID.to_owned()),
    }
}

/// Returns a rate that each node counts separately.
pub(super) fn rate() -> KeyLimit {
    KeyLimit {
        name: "per-minute".to_owned(),
        limit: Whole(120),
        seconds: Some(Whole(60)),
        burst: Some(Whole(20)),
        hard: Some(false),
        period: None,
    }
}

fn quota() -> KeyLimit {
    KeyLimit {
        name: "monthly".to_owned(),
        limit: Whole(10_000),
        seconds: None,
        burst: None,
        hard: Some(true),
        period: Some("month".to_owned()),
    }
}

fn limits() -> KeyLimits {
    let rate = KeyLimitUse {
        name: "per-minute".to_owned(),
        limit: 120,
        used: None,
        remaining: 19,
        reset_seconds: Some(1),
        is_of_this_node: true,
    };
    let quota = KeyLimitUse {
        name: "monthly".to_owned(),
        limit: 10_000,
        used: Some(1_250),
        remaining: 8_750,
        reset_seconds: Some(2_203_200),
        is_of_this_node: false,
    };
    KeyLimits {
        data: vec![rate, quota],
    }
}
