//! Creates what keys need: tenants, users and root keys.

use super::SimulatedClient;
use crate::child::RootKeyHeld;
use crate::node::Process;
use keyreeve_authority::Effect;
use keyreeve_authority::root_keys::RootKeyCommand;
use keyreeve_authority::tenants::TenantCommand;
use keyreeve_authority::users::UserCommand;
use keyreeve_core::access::{Permission, Reach, Role};
use keyreeve_core::policy::Preset;
use keyreeve_core::text::Name;
use keyreeve_core::user::Email;
use std::sync::Arc;

impl SimulatedClient {
    /// Creates the second tenant.
    pub(crate) async fn make_tenant(&self, process: &Process) {
        let [_, slug] = self.tenants.clone();
        let Ok(name) = Name::parse("Other") else { return };
        let command = TenantCommand {
            slug,
            name,
            preset: Preset::Standard,
        };
        let (authority, call) = (Arc::clone(&process.authority), self.call(0));
        let work = async move { authority.tenants().create(&call, command).await.map(drop) };
        drop(self.ask(process.owner, work).await);
    }

    /// Creates a root key for a child.
    pub(crate) async fn make_root_key(&self, process: &Process, reach: Reach) -> Option<RootKeyHeld> {
        let permissions = [Permission::KeysVerify].into_iter().collect();
        let command = RootKeyCommand::new(Name::parse("child").ok()?, permissions, reach);
        let ground = self.known().ground();
        let (authority, call) = (Arc::clone(&process.authority), self.call(0));
        let work = async move { authority.root_keys().create(&call, command).await };
        let made = self.ask(process.owner, work).await?.ok()?;
        Some(RootKeyHeld {
            id: made.root_key.id,
            secret: made.secret.expose().into(),
            ground,
        })
    }

    /// Revokes a child's root key.
    pub(crate) async fn revoke_root_key(&self, process: &Process, tenant: usize, root_key: &RootKeyHeld) {
        let (authority, call, id) = (Arc::clone(&process.authority), self.call(0), root_key.id);
        let work = async move {
            authority.root_keys().revoke(&call, None, id).await?;
            // The answer has no revision. Any will do, because a revoked root key is never activated again.
            let effect = Effect {
                revision: 1,
                ..Effect::default()
            };
            Ok(((), effect))
        };
        self.change(process, tenant, &[(root_key.ground, true)], work).await;
    }

    pub(crate) async fn make_user(&self, process: &Process, tenant: usize) {
        let number = {
            let mut known = self.known();
            known.names += 1;
            known.names
        };
        let Ok(email) = Email::parse(&format!("u{number}@example.org")) else {
            return;
        };
        let authority = Arc::clone(&process.authority);
        let call = self.call(tenant);
        let command = UserCommand {
            email,
            name: None,
            role: Role::Member,
            password: None,
        };
        let made = self
            .ask(
                process.owner,
                async move { authority.users().create(&call, command).await },
            )
            .await;
        if let Some(Ok(user)) = made
            && let Some(subject) = user.subject()
        {
            let mut known = self.known();
            let ground = known.ground();
            known.users.push((user.id, subject, ground, tenant));
        }
    }
}
