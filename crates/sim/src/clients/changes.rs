//! Changes that clients request: of keys, of users and of tenants.

use super::{HeldSecret, SimulatedClient, tenant_ground};
use crate::history::{Ground, GroundChange};
use crate::node::Process;
use keyreeve_authority::keys::{IssueCommand, RevokeCommand, RotateCommand};
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::{ExpiryWish, OverlapWish};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::Name;
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_store::model::TenantEdit;
use std::sync::Arc;

impl SimulatedClient {
    pub(crate) async fn issue(&self, process: &Process) {
        let (name, owner) = {
            let mut known = self.known();
            known.names += 1;
            let owner = self.sim.random(|random| random.place(known.users.len()));
            (
                format!("key {}", known.names),
                known.users.get(owner).cloned().map(|user| (owner, user)),
            )
        };
        let (Some((place, (_, subject, owner_ground, tenant))), Ok(name)) = (owner, Name::parse(&name)) else {
            return;
        };
        let (key_ground, secret_ground) = {
            let mut known = self.known();
            (known.ground(), known.ground())
        };
        let command = IssueCommand {
            subject,
            name,
            description: None,
            claims: None,
            scopes: Scopes::default(),
            networks: keyreeve_core::limits::Networks::default(),
            counted: None,
            created_by: None,
            expiry: ExpiryWish::Unsaid,
        };
        let authority = Arc::clone(&process.authority);
        let call = self.call(tenant);
        let work = async move {
            let issued = authority.keys().issue(&call, vec![command]).await?;
            Ok((issued.keys, issued.effect))
        };
        let grounds = [(key_ground, false), (secret_ground, false)];
        for key in self.change(process, tenant, &grounds, work).await.unwrap_or_default() {
            self.known().keys.push(HeldSecret {
                id: key.record.key.id,
                secret: key.secret.expose().into(),
                grounds: [key_ground, secret_ground, owner_ground, tenant_ground(tenant)],
                owner: place,
                tenant,
            });
        }
    }

    pub(crate) async fn revoke(&self, process: &Process, key: &HeldSecret) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(key.tenant), key.id);
        let command = RevokeCommand {
            code: ReasonCode::Unspecified,
            note: None,
        };
        let work = async move {
            let changed = authority.keys().revoke(&call, id, command).await?;
            Ok(((), changed.effect))
        };
        self.change(process, key.tenant, &[(key.grounds[0], true)], work).await;
    }

    pub(crate) async fn disable(&self, process: &Process, key: &HeldSecret) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(key.tenant), key.id);
        let work = async move {
            let changed = authority.keys().disable(&call, id, None).await?;
            Ok(((), changed.effect))
        };
        self.change(process, key.tenant, &[(key.grounds[0], true)], work).await;
    }

    pub(crate) async fn reactivate(&self, process: &Process, key: &HeldSecret) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(key.tenant), key.id);
        let work = async move {
            let changed = authority.keys().reactivate(&call, id, None).await?;
            Ok(((), changed.effect))
        };
        self.change(process, key.tenant, &[(key.grounds[0], false)], work).await;
    }

    pub(crate) async fn rotate(&self, process: &Process, key: &HeldSecret) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(key.tenant), key.id);
        let fresh = self.known().ground();
        let command = RotateCommand {
            name: None,
            expiry: ExpiryWish::Unsaid,
            overlap: OverlapWish::Unsaid,
        };
        let work = async move {
            let rotated = authority.keys().rotate(&call, id, command).await?;
            Ok((rotated.key, rotated.effect))
        };
        // The rotation replaces the secret that is live by then: any that is known of the key.
        let mut grounds: Vec<_> = {
            let known = self.known();
            let same = known.keys.iter().filter(|held| held.id == key.id);
            same.map(|held| (held.grounds[1], true)).collect()
        };
        grounds.push((fresh, false));
        if let Some(rotated) = self.change(process, key.tenant, &grounds, work).await {
            self.rotated_meanwhile(key, fresh);
            self.known().keys.push(HeldSecret {
                secret: rotated.secret.expose().into(),
                grounds: [key.grounds[0], fresh, key.grounds[2], key.grounds[3]],
                ..key.clone()
            });
        }
    }

    /// A concurrent rotation of the key may have replaced this one's secret at once.
    fn rotated_meanwhile(&self, key: &HeldSecret, fresh: Ground) {
        let mut known = self.known();
        let began = known
            .history
            .changes
            .iter()
            .find(|change| change.ground == fresh)
            .map(|change| change.sent);
        let secrets: Vec<_> = known
            .keys
            .iter()
            .filter(|held| held.id == key.id)
            .map(|held| held.grounds[1])
            .collect();
        let others: Vec<_> = known
            .history
            .changes
            .iter()
            .filter(|change| change.is_denial && secrets.contains(&change.ground))
            .filter(|change| Some(change.sent) != began && Some(change.answered) > began)
            .cloned()
            .collect();
        let unknown = |change: GroundChange| GroundChange {
            ground: fresh,
            answered: u64::MAX,
            effective: None,
            ..change
        };
        known.history.changes.extend(others.into_iter().map(unknown));
    }

    pub(crate) async fn set_user(&self, process: &Process, key: &HeldSecret, is_open: bool) {
        let user = self.known().users.get(key.owner).cloned();
        let Some((id, _, ground, tenant)) = user else { return };
        let (authority, call) = (Arc::clone(&process.authority), self.call(tenant));
        let edit = UserEdit {
            status: Some(if is_open { Status::Active } else { Status::Suspended }),
            ..UserEdit::default()
        };
        let work = async move {
            let changed = authority.users().change(&call, id, edit).await?;
            Ok((changed.user, changed.effect))
        };
        self.change(process, tenant, &[(ground, !is_open)], work).await;
    }

    pub(crate) async fn set_tenant(&self, process: &Process, tenant: usize, is_open: bool) {
        let (authority, call) = (Arc::clone(&process.authority), self.call(tenant));
        let slug = call.tenant.clone();
        let edit = TenantEdit {
            status: Some(if is_open { Status::Active } else { Status::Suspended }),
            ..TenantEdit::default()
        };
        let work = async move { authority.tenants().change(&call, slug, edit).await };
        self.change(process, tenant, &[(tenant_ground(tenant), !is_open)], work)
            .await;
    }
}
