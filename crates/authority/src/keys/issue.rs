//! Issues keys: one, or a batch that is issued completely or not at all.

use super::KeyUseCases;
use super::minting::{KeyWithSecret, Mint};
use crate::memory::KeyOperation;
use crate::{Call, Effect, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::holding::{Awaited, Span};
use keyreeve_core::lifecycle::{IssueFacts, IssueOrder, NewSecret, Refusal};
use keyreeve_core::limits::{CountedLimits, Networks};
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, Name, Slug, Subject};
use keyreeve_core::{Key, KeyId, Limits, Policy, Timestamp};
use keyreeve_store::describe;
use keyreeve_store::model::{AuditDraft, IssueRequest, Issued, Replay};

/// A request to issue a key.
#[derive(Clone, Debug)]
pub struct IssueCommand {
    /// The owner.
    pub subject: Subject,
    /// The name.
    pub name: Name,
    /// A description.
    pub description: Option<Description>,
    /// Claims.
    pub claims: Option<Claims>,
    /// Scopes.
    pub scopes: Scopes,
    /// The networks that it may be used from.
    pub networks: Networks,
    /// Its limits; `None` is the policy's default.
    pub counted: Option<CountedLimits>,
    /// Who creates it, in the caller's words.
    pub created_by: Option<Subject>,
    /// The requested expiry.
    pub expiry: ExpiryWish,
}

/// Issued keys with their secrets, in the order of the request.
#[derive(Debug)]
pub struct IssuedKeys {
    /// The keys.
    pub keys: Vec<KeyWithSecret>,
    /// How far the change has got.
    pub effect: Effect,
}

impl KeyUseCases<'_> {
    /// Issues keys, all or none. A retry with the same idempotency key whose secrets were never presented gets new
    /// secrets in place of the lost ones. If one was presented, the error is [`Failure::AlreadyCompleted`].
    pub async fn issue(self, call: &Call, commands: Vec<IssueCommand>) -> Result<IssuedKeys, Failure> {
        self.0
            .counted(Some(KeyOperation::Issue), self.issue_keys(call, commands))
            .await
    }

    async fn issue_keys(self, call: &Call, commands: Vec<IssueCommand>) -> Result<IssuedKeys, Failure> {
        let began = self.0.clock.moment();
        call.require(Permission::KeysWrite)?;
        if !commands.iter().all(|command| call.caller.owns(&command.subject)) {
            return Err(Failure::OwnKeysOnly);
        }
        let limits = |command: &IssueCommand| {
            command
                .counted
                .as_ref()
                .is_some_and(|counted| !counted.as_slice().is_empty())
        };
        if commands.iter().any(limits) {
            call.require_to_limit()?;
        }
        if call.idempotency.is_some() {
            self.0.flush_first_uses().await;
        }
        let now = self.0.earliest();
        let mint = Mint::new(self.0.entropy_for(commands.len())?);
        let ids = self.0.new_key_ids(commands.len())?;
        let request = request(call, commands, ids, &mint, now);
        let issued = self.0.store.issue(call.context(now), request).await?;
        let effect = match issued.replay {
            // A replaced secret must be denied everywhere before its successor is returned.
            Replay::Replaced => {
                // There is one audit entry for each key.
                let written = u64::try_from(issued.keys.len()).unwrap_or(u64::MAX);
                let span = Span {
                    first: (issued.revision + 1).saturating_sub(written),
                    last: issued.revision,
                };
                self.0
                    .effect(Awaited::in_tenant(&call.tenant, vec![span]), began, true)
                    .await?
            }
            Replay::First | Replay::Completed => self.0.effect_at_once(issued.revision, began),
        };
        self.with_secrets(issued, &mint, effect)
    }

    fn with_secrets(self, issued: Issued, mint: &Mint, effect: Effect) -> Result<IssuedKeys, Failure> {
        let records = issued.keys.into_iter().map(|record| self.0.with_pending_use(record));
        if issued.replay == Replay::Completed {
            return Err(Failure::AlreadyCompleted(records.collect()));
        }
        let lost = || Failure::Internal("a secret was not minted".to_owned());
        let with_secret = |(place, record)| {
            Ok(KeyWithSecret {
                record,
                secret: mint.take(place).ok_or_else(lost)?,
            })
        };
        let keys: Result<Vec<_>, Failure> = records.enumerate().map(with_secret).collect();
        Ok(IssuedKeys { keys: keys?, effect })
    }
}

/// Combines commands, ids and secrets into one request to the store.
fn request(call: &Call, commands: Vec<IssueCommand>, ids: Vec<KeyId>, mint: &Mint, now: Timestamp) -> IssueRequest {
    let (tenant, caller) = (call.tenant.clone(), call.caller.clone());
    let items = commands
        .iter()
        .map(|command| (command.subject.clone(), command.name.clone()))
        .collect();
    let (issuing, replacing) = (mint.clone(), mint.clone());
    let orders: Vec<_> = commands.into_iter().zip(ids).collect();
    let slug = tenant.clone();
    IssueRequest {
        tenant,
        items,
        decide: Box::new(move |place, policy: &Policy, facts: IssueFacts| {
            let secret = issuing.mint(place, &policy.prefix);
            let (Some((command, id)), Some(secret)) = (orders.get(place), secret) else {
                return Err(Refusal::OutOfStep);
            };
            let counted = policy.limits_for(command.counted.clone(), caller.own.is_some());
            let order = order(command.clone(), counted, *id, slug.clone(), secret);
            let key = Key::issue(order, facts, policy, now)?;
            policy.check_grant(&caller.actor, None, &key)?;
            let audit = created(&key);
            Ok((key, audit))
        }),
        replace: Box::new(move |place, key| replaced(&replacing, place, key, now)),
    }
}

fn order(command: IssueCommand, counted: CountedLimits, id: KeyId, tenant: Slug, secret: NewSecret) -> IssueOrder {
    IssueOrder {
        id,
        tenant,
        subject: command.subject,
        name: command.name,
        description: command.description,
        claims: command.claims,
        scopes: command.scopes,
        limits: Limits {
            networks: command.networks,
            counted,
            resets: 0,
        },
        created_by: command.created_by,
        expiry: command.expiry,
        secret,
    }
}

fn created(key: &Key) -> AuditDraft {
    AuditDraft {
        action: Action::KeyCreated,
        reason: None,
        before: None,
        after: Some(describe::key(key)),
    }
}

/// Replaces a secret that was not delivered by a new one.
pub(super) fn replaced(mint: &Mint, place: usize, key: Key, now: Timestamp) -> Result<(Key, AuditDraft), Refusal> {
    let before = describe::key(&key);
    let secret = mint.mint(place, &key.secret.prefix).ok_or(Refusal::OutOfStep)?;
    let key = key.replace_undelivered(secret, now)?;
    let audit = AuditDraft {
        action: Action::KeyRotated,
        reason: Some("a retry replaced the secret that never arrived".into()),
        before: Some(before),
        after: Some(describe::key(&key)),
    };
    Ok((key, audit))
}
