//! The orders to forget that a change causes.

use super::{Children, Connected, State};
use keyreeve_core::KeyId;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::Cached as _;
use keyreeve_core::coherence::downstream::Touch;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;
use keyreeve_store::{Commit, Part};
use std::collections::{BTreeSet, HashSet};

impl Children {
    /// Sends orders for what a change touched. Call when the memory here has forgotten it, and before more counts as
    /// `applied`.
    ///
    /// A commit of this node may arrive before earlier commits of other nodes that touch the same keys. Orders for
    /// those are sent when they arrive, and this commit waits for them too: the verifier may know a secret that only
    /// the earlier one touched.
    pub(crate) fn touched(&self, commit: &Commit, applied: u64) {
        let mut state = self.state();
        if state.downstream.is_empty() {
            return;
        }
        for part in commit.parts() {
            let ended = part.keys.iter().filter(|news| news.outcome.takes()).map(|news| news.id);
            state.touched(&part, &ended.collect(), applied);
        }
    }

    /// Notes commits of this node that arrive before earlier ones in the log. Call before [`Children::touched`], also
    /// without verifiers: one may connect later, and receive a secret that only an earlier change touches.
    pub(crate) fn committed(&self, commit: &Commit, applied: u64) {
        let mut state = self.state();
        let mut covered = applied;
        for part in commit.parts() {
            if part.span.first > covered.saturating_add(1) {
                state.downstream.came_early(part.span, &keys_of(&part), applied);
            } else {
                covered = covered.max(part.span.last);
            }
        }
    }

    /// As [`Children::touched`], for a change of unknown outcome: no verifier is sent that a key has ended.
    pub(crate) fn perhaps_touched(&self, commit: &Commit, applied: u64) {
        let mut state = self.state();
        for part in commit.parts() {
            state.touched(&part, &HashSet::new(), applied);
        }
    }
}

fn keys_of(part: &Part<'_>) -> HashSet<KeyId> {
    part.keys.iter().map(|news| news.id).collect()
}

impl State {
    fn touched(&mut self, part: &Part<'_>, ended: &HashSet<KeyId>, applied: u64) {
        let touch = Touch {
            scope: &part.scope,
            span: part.span,
            keys: &keys_of(part),
            sent_as: part.span.last.min(applied.saturating_add(1)),
        };
        let mut invalidations = self.downstream.touched(&touch, part.secrets, ended);
        let tenants = part.tenants.iter().map(|tenant| &tenant.slug);
        let slugs: BTreeSet<&Slug> = tenants.chain(part.owners.iter().map(|owner| &owner.tenant)).collect();
        for slug in slugs {
            invalidations.extend(self.downstream.tenant_touched(slug, &touch));
        }
        for one in invalidations {
            self.send(one, false);
        }
        if keeps(Rule::JudgedAtEveryMessage) {
            self.send_away_ended(part);
        }
    }

    /// Sends away verifiers whose root key or tenant has ended. Their earlier orders remain: the acknowledgement of the
    /// last order covers them.
    fn send_away_ended(&mut self, part: &Part<'_>) {
        let is_closed = |reach: &Reach| match reach {
            Reach::Instance => false,
            Reach::Tenant(slug) => {
                let mut closed = part.tenants.iter().filter(|tenant| tenant.status != Status::Active);
                closed.any(|tenant| tenant.slug == *slug)
            }
        };
        let is_ended = |child: &Connected| {
            let pass = child.newcomer.pass.as_ref();
            pass.is_some_and(|pass| part.ended_root_keys.contains(pass.digest())) || is_closed(&child.newcomer.reach)
        };
        if part.ended_root_keys.is_empty() && part.tenants.is_empty() {
            return;
        }
        let ended = self.lines.iter().filter(|(_, child)| is_ended(child));
        for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.send_away(id, Some((&part.scope, part.span)));
        }
    }
}
