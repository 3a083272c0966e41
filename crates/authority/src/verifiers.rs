//! Verifiers that are connected to this process, for callers who may list or disconnect them.

use crate::children::{ChildCounts, ConnectedChild, Presence};
use crate::{Authority, Call, Failure};
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::downstream::ChildId;
use keyreeve_core::text::Slug;
use keyreeve_store::model::Event;

/// The use cases of downstream verifiers: their requests, and those of callers who may list or disconnect them.
#[derive(Clone, Copy, Debug)]
pub struct VerifierUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of downstream verifiers.
    pub fn verifiers(&self) -> VerifierUseCases<'_> {
        VerifierUseCases(self)
    }
}

impl VerifierUseCases<'_> {
    /// Returns the verifiers that the caller may see: those of its own tenant; for an instance caller all, or those of
    /// the tenant that it names. Disconnected ones are among them until their lease is over, because changes wait.
    ///
    /// Those with the oldest unacknowledged order come first.
    pub fn list(self, call: &Call, named: Option<&Slug>) -> Result<Vec<ConnectedChild>, Failure> {
        call.require(Permission::AuditRead)?;
        let mut seen = self.visible_verifiers(call, named);
        let age = |child: &ConnectedChild| child.oldest_order.map_or(0, |order| order.age_ms);
        seen.sort_by(|one, other| age(other).cmp(&age(one)).then(one.id.cmp(&other.id)));
        Ok(seen)
    }

    /// Sends a verifier away, and logs the caller. Changes still wait for the lease that it has.
    ///
    /// [`Failure::NotFound`] if no verifier with that id is connected to this process, or it is another tenant's.
    pub async fn disconnect(
        self,
        call: &Call,
        named: Option<&Slug>,
        id: ChildId,
        target_id: String,
    ) -> Result<ConnectedChild, Failure> {
        call.require(Permission::RootKeysWrite)?;
        let mut seen = self.visible_verifiers(call, named).into_iter();
        let is_it = |child: &ConnectedChild| child.id == id && child.presence != Presence::Disconnected;
        let child = seen.find(is_it).ok_or(Failure::NotFound)?;
        let event = Event {
            tenant: own_tenant(&child.reach).cloned(),
            target_type: "verifier",
            target_id,
            subject: None,
            action: Action::VerifierDisconnected,
            reason: child.root_key.map(|root_key| root_key.to_string().into()),
            before: None,
            after: None,
        };
        self.0
            .store
            .record_events(call.context(self.0.earliest()), vec![event])
            .await?;
        self.0.children().disconnect(id);
        Ok(child)
    }

    /// Whether the tenant of a reach exists and is not suspended, so that verifiers may connect.
    pub async fn is_reach_open(self, reach: &Reach) -> Result<bool, Failure> {
        let Some(slug) = own_tenant(reach) else {
            return Ok(true);
        };
        match self.0.gate_of(slug).await {
            Ok(gate) => Ok(gate.is_open()),
            Err(Failure::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns counts of verifiers for the metrics.
    pub fn counts(self) -> ChildCounts {
        self.0.children().counts(self.0.clock.moment())
    }

    /// Returns how long the oldest order has been unacknowledged, in milliseconds.
    pub fn oldest_order_ms(self) -> u64 {
        let connected = self.0.children().connected_list(self.0.clock.moment());
        let ages = connected.iter().filter_map(|child| child.oldest_order);
        ages.map(|order| order.age_ms).max().unwrap_or(0)
    }

    fn visible_verifiers(self, call: &Call, named: Option<&Slug>) -> Vec<ConnectedChild> {
        let tenant = own_tenant(&call.caller.reach).or(named);
        let mut seen = self.0.children().connected_list(self.0.clock.moment());
        seen.retain(|child| tenant.is_none_or(|tenant| own_tenant(&child.reach) == Some(tenant)));
        seen
    }
}

/// Returns the tenant that a reach is bound to.
fn own_tenant(reach: &Reach) -> Option<&Slug> {
    match reach {
        Reach::Instance => None,
        Reach::Tenant(slug) => Some(slug),
    }
}
