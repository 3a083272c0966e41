//! Converts between the policy document and the policy.

use super::call;
use keyreeve_api::json::Object;
use keyreeve_api::seconds::Whole;
use keyreeve_api::{Problem, policy as wire};
use keyreeve_core::Policy;
use keyreeve_core::key::Prefix;
use keyreeve_core::policy::{After, Confirm, LeakAction, ListDefault, Names, Preset, ReasonRule, Reveal, Undo};
use keyreeve_core::scope::Scopes;
use keyreeve_web::key_limit;

/// Returns the policy that a request describes: a preset, and the fields that override it. The prefix is the tenant's
/// own, and not part of a preset.
pub(crate) fn policy(wish: &wire::PutPolicy, own: &Policy) -> Result<Policy, Problem> {
    let mut preset = own.preset;
    word(
        &mut preset,
        "preset",
        wish.preset.as_deref(),
        Preset::parse,
        Preset::ALL,
    )?;
    let mut policy = Policy {
        prefix: own.prefix.clone(),
        ..preset.policy()
    };
    if let Some(text) = &wish.prefix {
        policy.prefix = Prefix::parse(text).map_err(|error| Problem::field("prefix", &error.to_string()))?;
    }
    word(
        &mut policy.names,
        "names",
        wish.names.as_deref(),
        Names::parse,
        Names::ALL,
    )?;
    if let Some(Object(limit)) = &wish.limit {
        set(
            &mut policy.limit.keys_per_subject,
            limit.keys_per_subject.map(|max| max.map(small)),
        );
        set(&mut policy.limit.count_expired, limit.count_expired);
    }
    if let Some(Object(expiry)) = &wish.expiry {
        override_expiry(&mut policy, expiry);
    }
    if let Some(Object(rotate)) = &wish.rotate {
        override_rotate(&mut policy, rotate);
    }
    if let Some(Object(revoke)) = &wish.revoke {
        override_revoke(&mut policy, revoke)?;
    }
    if let Some(Object(reactivate)) = &wish.reactivate {
        set(&mut policy.reactivate.sticky, reactivate.sticky);
    }
    if let Some(Object(list)) = &wish.list {
        let given = list.default.as_deref();
        word(
            &mut policy.list,
            "list.default",
            given,
            ListDefault::parse,
            ListDefault::ALL,
        )?;
    }
    if let Some(Object(verify)) = &wish.verify {
        let given = verify.reveal.as_deref();
        word(&mut policy.reveal, "verify.reveal", given, Reveal::parse, Reveal::ALL)?;
    }
    if let Some(Object(leaks)) = &wish.leaks {
        word(
            &mut policy.leaks.action,
            "leaks.action",
            leaks.action.as_deref(),
            LeakAction::parse,
            LeakAction::ALL,
        )?;
    }
    override_new_keys(&mut policy, wish)?;
    Ok(policy)
}

/// Applies the rules for the contents of keys, and the defaults of new ones.
fn override_new_keys(policy: &mut Policy, wish: &wire::PutPolicy) -> Result<(), Problem> {
    if let Some(Object(grant)) = &wish.grant {
        override_grant(policy, grant)?;
    }
    if let Some(Object(new_keys)) = &wish.new_keys
        && let Some(limits) = &new_keys.limits
    {
        let limits = limits.iter().map(|Object(limit)| limit);
        policy.default_limits = call::limits("new_keys.limits", limits)?;
    }
    Ok(())
}

fn override_grant(policy: &mut Policy, wish: &wire::PutGrant) -> Result<(), Problem> {
    let grant = &mut policy.grant;
    let scopes = |field: &str, wish: &Option<Vec<String>>| {
        let patterns = wish.as_ref();
        patterns.map(|patterns| call::scopes(field, patterns)).transpose()
    };
    if let Some(Object(member)) = &wish.member {
        set(&mut grant.member.scopes, scopes("grant.member.scopes", &member.scopes)?);
        set(&mut grant.member.claims, member.claims);
    }
    if let Some(Object(admin)) = &wish.admin {
        set(&mut grant.admin_scopes, scopes("grant.admin.scopes", &admin.scopes)?);
    }
    Ok(())
}

fn override_expiry(policy: &mut Policy, wish: &wire::PutExpiry) {
    let expiry = &mut policy.expiry;
    set(
        &mut expiry.choices_days,
        wish.choices_days
            .as_ref()
            .map(|days| days.iter().copied().map(small).collect()),
    );
    set(&mut expiry.custom, wish.custom);
    set(&mut expiry.default_days, wish.default_days.map(|days| days.map(small)));
    set(&mut expiry.max_days, wish.max_days.map(|days| days.map(small)));
    set(&mut expiry.allow_never, wish.allow_never);
    set(&mut expiry.editable, wish.editable);
    set(&mut expiry.renew_expired, wish.renew_expired);
}

fn override_rotate(policy: &mut Policy, wish: &wire::PutRotate) {
    let rotate = &mut policy.rotate;
    let seconds = |wish: Option<Whole>| wish.map(|seconds| seconds.0);
    set(
        &mut rotate.overlap_default_seconds,
        seconds(wish.overlap_default_seconds),
    );
    set(&mut rotate.overlap_max_seconds, seconds(wish.overlap_max_seconds));
}

fn override_revoke(policy: &mut Policy, wish: &wire::PutRevoke) -> Result<(), Problem> {
    let revoke = &mut policy.revoke;
    set(
        &mut revoke.undo,
        wish.undo.map(|undo| match undo {
            wire::Undo::Never => Undo::Never,
            wire::Undo::Always => Undo::Always,
            wire::Undo::Seconds(seconds) => Undo::Seconds(seconds),
        }),
    );
    word(
        &mut revoke.after,
        "revoke.after",
        wish.after.as_deref(),
        After::parse,
        After::ALL,
    )?;
    word(
        &mut revoke.confirm,
        "revoke.confirm",
        wish.confirm.as_deref(),
        Confirm::parse,
        Confirm::ALL,
    )?;
    word(
        &mut revoke.reason,
        "revoke.reason",
        wish.reason.as_deref(),
        ReasonRule::parse,
        ReasonRule::ALL,
    )
}

/// Numbers beyond 32 bits become the largest within, which the policy's own check refuses too.
fn small(number: Whole) -> u32 {
    u32::try_from(number.0).unwrap_or(u32::MAX)
}

fn set<T>(field: &mut T, wish: Option<T>) {
    if let Some(value) = wish {
        *field = value;
    }
}

fn word<T: Copy + std::fmt::Display>(
    field: &mut T,
    name: &str,
    wish: Option<&str>,
    parse: fn(&str) -> Option<T>,
    all: &[T],
) -> Result<(), Problem> {
    let Some(text) = wish else { return Ok(()) };
    let Some(value) = parse(text) else {
        let known: Vec<_> = all.iter().map(ToString::to_string).collect();
        return Err(Problem::field(name, &format!("must be one of {}", known.join(", "))));
    };
    *field = value;
    Ok(())
}

fn owned(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(str::to_owned).collect()
}

/// Returns the complete document of a policy.
pub(crate) fn document(policy: &Policy) -> wire::Policy {
    wire::Policy {
        preset: policy.preset.as_str(),
        prefix: policy.prefix.to_string(),
        names: policy.names.as_str(),
        limit: wire::KeyCountLimit {
            keys_per_subject: policy.limit.keys_per_subject,
            count_expired: policy.limit.count_expired,
        },
        expiry: wire::Expiry {
            choices_days: policy.expiry.choices_days.clone(),
            custom: policy.expiry.custom,
            default_days: policy.expiry.default_days,
            max_days: policy.expiry.max_days,
            allow_never: policy.expiry.allow_never,
            editable: policy.expiry.editable,
            renew_expired: policy.expiry.renew_expired,
        },
        rotate: wire::Rotate {
            overlap_default_seconds: policy.rotate.overlap_default_seconds,
            overlap_max_seconds: policy.rotate.overlap_max_seconds,
        },
        revoke: wire::Revoke {
            undo: match policy.revoke.undo {
                Undo::Never => wire::Undo::Never,
                Undo::Always => wire::Undo::Always,
                Undo::Seconds(seconds) => wire::Undo::Seconds(seconds),
            },
            after: policy.revoke.after.as_str(),
            confirm: policy.revoke.confirm.as_str(),
            reason: policy.revoke.reason.as_str(),
        },
        reactivate: wire::Reactivate {
            sticky: policy.reactivate.sticky,
        },
        list: wire::ListPolicy {
            default: policy.list.as_str(),
        },
        verify: wire::VerifyPolicy {
            reveal: policy.reveal.as_str(),
        },
        leaks: wire::Leaks {
            action: policy.leaks.action.as_str(),
        },
        grant: wire::Grant {
            member: wire::MemberGrant {
                scopes: owned(&policy.grant.member.scopes),
                claims: policy.grant.member.claims,
            },
            admin: wire::AdminGrant {
                scopes: owned(&policy.grant.admin_scopes),
            },
        },
        new_keys: wire::NewKeys {
            limits: policy.default_limits.as_slice().iter().map(key_limit::limit).collect(),
        },
        not_allowed_today: None,
    }
}
