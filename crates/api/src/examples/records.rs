//! Examples of the audit log, usage, nodes, verifiers and leaks.

use super::{
    ADDRESS, CHANGED_AT, CREATED_AT, Examples, HASH, KEY_ID, REQUEST_ID, REVISION, ROOT_KEY_ID, SUBJECT, TENANT,
};
use crate::audit::{AuditCheck, AuditEvent, AuditList, Checkpoint, Party, Usage, UsageHour, VerifyAudit};
use crate::leaks::{GitHubLabel, GitHubMatch, LeaksAccepted, ReportLeaks};
use crate::nodes::{Node, Nodes, Operation};
use crate::verifiers::{AnsweringNode, ConnectedVerifier, ConnectedVerifiers};
use serde_json::value::RawValue;

/// The signed text of a checkpoint: its origin, its revision and [`HASH`] in base64.
const LOG_END: &str = "keyreeve/audit\n1042\nfA0fXjuaRtKOb0sMnYpx4vMFa0wdLo+QemtcTT4vGgs=\n";
/// SHA-256 of the secret of the examples.
const SECRET_DIGEST: &str = "32193aa82b5bf1e4bd2d36c49290ea0fcc83c7137419c44e13a39b804f9c1683";
/// The name of the node that answers.
const NODE_NAME: &str = "keys-1";
const NODE_ID: &str = "node_019b8d627a80700080000000000000d4";

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    audit(examples);
    usage(examples);
    nodes(examples);
    verifiers(examples);
    leaks(examples);
}

fn audit(examples: &mut Examples) {
    // A signature of zeros: the note has the form of a checkpoint, and no server accepts it.
    examples.request::<VerifyAudit>(
        r#"{"checkpoint": "keyreeve/audit\n1042\nfA0fXjuaRtKOb0sMnYpx4vMFa0wdLo+QemtcTT4vGgs=\n\n— keyreeve/audit AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"}"#,
    );
    examples.schema(&AuditList {
        data: vec![event()],
        next_cursor: None,
    });
    examples.schema(&AuditCheck {
        ok: true,
        entries: REVISION,
        since: 0,
        first_broken: None,
        why: None,
        checkpoint_revision: Some(1_000),
    });
    examples.schema(&Checkpoint {
        revision: REVISION,
        hash: HASH.to_owned(),
        note: format!("{LOG_END}\n\u{2014} keyreeve/audit {}=\n", "A".repeat(91)),
        verifier_key: format!("keyreeve/audit+00000000+AQ{}", "A".repeat(42)),
    });
}

fn event() -> AuditEvent {
    let json = |text: &str| RawValue::from_string(text.to_owned()).ok();
    AuditEvent {
        id: format!("evt_{REVISION}"),
        revision: REVISION,
        at: CHANGED_AT,
        tenant: TENANT.to_owned(),
        actor: Party {
            kind: "root_key".to_owned(),
            id: ROOT_KEY_ID.to_owned(),
        },
        action: "key.revoked".to_owned(),
        target: Party {
            kind: "key".to_owned(),
            id: KEY_ID.to_owned(),
        },
        subject: Some(SUBJECT.to_owned()),
        reason: Some("Found in a public repository".to_owned()),
        address: Some(ADDRESS.to_owned()),
        request_id: REQUEST_ID.to_owned(),
        before: json(r#"{"state":"active"}"#),
        after: json(r#"{"state":"revoked"}"#),
        hash: HASH.to_owned(),
    }
}

fn usage(examples: &mut Examples) {
    let hour = |outcome: &str, count, cost| UsageHour {
        hour: CREATED_AT,
        outcome: outcome.to_owned(),
        count,
        cost,
    };
    examples.schema(&Usage {
        data: vec![hour("valid", 1_250, 1_300), hour("scope", 3, 0)],
    });
}

fn nodes(examples: &mut Examples) {
    examples.schema(&Nodes {
        data: vec![Node {
            id: NODE_ID.to_owned(),
            name: NODE_NAME.to_owned(),
            is_self: true,
            started_at: Some(CREATED_AT),
            applied_revision: REVISION,
            lag: 0,
            lease_age_ms: 120,
            state: "serving",
        }],
        revision: REVISION,
        lease_ms: Some(3_000),
        wait_ms: Some(4_000),
        durability: "replicated",
    });
    examples.schema(&Operation {
        id: format!("op_{REVISION}"),
        status: "effective",
        revision: REVISION,
        verifiers: 3,
    });
}

fn verifiers(examples: &mut Examples) {
    examples.schema(&verifier());
    examples.schema(&ConnectedVerifiers {
        data: vec![verifier()],
        node: AnsweringNode {
            id: NODE_ID.to_owned(),
            name: NODE_NAME.to_owned(),
        },
    });
}

fn verifier() -> ConnectedVerifier {
    ConnectedVerifier {
        id: "vf_00000000000000a1_7".to_owned(),
        tenant: Some(TENANT.to_owned()),
        root_key_id: Some(ROOT_KEY_ID.to_owned()),
        peer: ADDRESS.to_owned(),
        connected_at: CREATED_AT,
        state: "connected",
        lease_ends_at: Some(CHANGED_AT),
        keys_held: 1_250,
        oldest_unacknowledged_ms: None,
    }
}

fn leaks(examples: &mut Examples) {
    examples.request::<ReportLeaks>(
        r#"{
            "secret": "ak_kr100000000000000000000000000000000000000000001wav2j",
            "source": "gitleaks",
            "url": "https://git.example.com/acme/billing/src/.env"
        }"#,
    );
    examples.request::<GitHubMatch>(
        r#"{
            "token": "ak_kr100000000000000000000000000000000000000000001wav2j",
            "type": "keyreeve_api_key",
            "url": "https://git.example.com/acme/billing/src/.env",
            "source": "commit"
        }"#,
    );
    examples.schema(&LeaksAccepted { accepted: true });
    examples.schema(&GitHubLabel {
        token_hash: SECRET_DIGEST.to_owned(),
        token_type: "keyreeve_api_key".to_owned(),
        label: "true_positive",
    });
}
