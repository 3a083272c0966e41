//! Revoke every key that a filter lets through.

use super::RevokeCommand;
use crate::{Authority, Call, Effect, Failure};
use futures_util::future::join_all;
use keyreeve_core::access::Permission;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Subject;
use keyreeve_core::{Key, KeyId, Timestamp};
use keyreeve_store::model::{KeyQuery, PageStart};

/// Keys revoked side by side: they share commits.
const AT_ONCE: usize = 200;
/// Keys read at a time.
const PAGE: u32 = 1_000;

/// Which keys. What is not given lets every key through.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this owner.
    pub subject: Option<Subject>,
    /// These.
    pub ids: Option<Vec<KeyId>>,
    /// Made before this time.
    pub created_before: Option<Timestamp>,
    /// Holding this scope.
    pub scope: Option<Box<str>>,
}

impl Selection {
    fn takes(&self, key: &Key) -> bool {
        !matches!(key.state, State::Revoked(_))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&key.id))
            && self.created_before.is_none_or(|time| key.created_at < time)
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| key.scopes.iter().any(|one| *one == **scope))
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManyRevoked {
    /// Keys that were found and not revoked yet.
    pub matched: u64,
    /// Keys that were revoked.
    pub revoked: u64,
    /// Keys that were not: the policy did not allow it, or somebody was faster.
    pub skipped: u64,
    /// How far it has got; `None` in a dry run.
    pub effect: Option<Effect>,
    /// The newest revision among them.
    newest: u64,
}

impl Authority {
    /// Revokes every key that a selection takes. Answers when all of them are dead everywhere.
    pub async fn revoke_many(
        &self,
        call: &Call,
        selection: Selection,
        command: RevokeCommand,
        is_dry: bool,
    ) -> Result<ManyRevoked, Failure> {
        call.require(Permission::KeysWrite)?;
        let began = self.now();
        let mut done = ManyRevoked::default();
        let mut start = PageStart::Offset(0);
        loop {
            let page = self.store.list(query(call, &selection, start, began)).await?;
            let taken = page.keys.iter().filter(|record| selection.takes(&record.key));
            let ids: Vec<_> = taken.map(|record| record.key.id).collect();
            done.matched += u64::try_from(ids.len()).unwrap_or(0);
            if !is_dry {
                self.revoke_all(call, &ids, &command, &mut done).await?;
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => break,
            }
        }
        if !is_dry {
            done.effect = Some(self.effect(done.newest, began, call.is_awaited).await?);
        }
        Ok(done)
    }

    async fn revoke_all(
        &self,
        call: &Call,
        ids: &[KeyId],
        command: &RevokeCommand,
        done: &mut ManyRevoked,
    ) -> Result<(), Failure> {
        // One by one they do not wait: the whole call does, at its end.
        let call = Call {
            is_awaited: false,
            idempotency: None,
            ..call.clone()
        };
        for some in ids.chunks(AT_ONCE) {
            let revoking = some.iter().map(|&id| self.revoke(&call, id, command.clone()));
            for outcome in join_all(revoking).await {
                match outcome {
                    Ok(changed) => {
                        done.revoked += 1;
                        done.newest = done.newest.max(changed.effect.revision);
                    }
                    Err(Failure::NotFound | Failure::Refused { .. }) => done.skipped += 1,
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }
}

fn query(call: &Call, selection: &Selection, start: PageStart, now: Timestamp) -> KeyQuery {
    KeyQuery {
        tenant: call.tenant.clone(),
        subject: selection.subject.clone().or_else(|| call.caller.own.clone()),
        standing: None,
        hide_revoked: false,
        hide_expired: false,
        expires_before: None,
        search: None,
        start,
        limit: PAGE,
        now,
    }
}
