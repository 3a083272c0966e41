//! Tenants, root keys and users.

use super::tx::MemoryTx;
use crate::model::{Login, RootKey, Tenant};
use crate::tx::{PeopleTx, Result};
use async_trait::async_trait;
use keyreeve_core::access::Reach;
use keyreeve_core::text::Slug;
use keyreeve_core::user::{Email, Status};
use keyreeve_core::{Digest, RootKeyId, Timestamp, User, UserId};

#[async_trait]
impl PeopleTx for MemoryTx<'_> {
    async fn has_tenants(&mut self) -> Result<bool> {
        Ok(!self.tables.tenants.rows().is_empty())
    }

    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>> {
        Ok(self.tables.tenants.get(slug).cloned())
    }

    async fn insert_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        self.tables.tenants.put(tenant.slug.clone(), tenant.clone());
        Ok(())
    }

    async fn root_key(&mut self, id: RootKeyId) -> Result<Option<RootKey>> {
        Ok(self.tables.root_keys.get(&id).cloned())
    }

    async fn insert_root_key(&mut self, root_key: &RootKey) -> Result<()> {
        self.tables.root_keys.put(root_key.id, root_key.clone());
        Ok(())
    }

    async fn set_root_key_revoked(&mut self, id: RootKeyId, at: Timestamp) -> Result<()> {
        self.tables.root_keys.change(&id, |row| row.revoked_at = Some(at));
        Ok(())
    }

    async fn set_root_key_secrets(&mut self, root_key: &RootKey) -> Result<()> {
        let secrets = root_key.clone();
        self.tables.root_keys.change(&root_key.id, move |row| {
            row.digest = secrets.digest;
            row.last_four = secrets.last_four;
            row.retiring = secrets.retiring;
            row.is_presented = secrets.is_presented;
            row.rotated_at = secrets.rotated_at;
            row.expires_at = secrets.expires_at;
        });
        Ok(())
    }

    async fn replaced_root_secrets(&mut self, id: RootKeyId) -> Result<Vec<Digest>> {
        let rows = self.tables.replaced_root_secrets.rows().iter();
        let own = rows.filter(|(_, (of, _))| *of == id);
        Ok(own.map(|(digest, _)| Digest::from_bytes(*digest)).collect())
    }

    async fn add_replaced_root_secrets(
        &mut self,
        id: RootKeyId,
        secrets: &[Digest],
        at: Timestamp,
        stale: Timestamp,
    ) -> Result<()> {
        let rows = self.tables.replaced_root_secrets.rows().iter();
        let old = rows.filter(|(_, (of, replaced_at))| *of == id && *replaced_at < stale);
        for digest in &old.map(|(digest, _)| *digest).collect::<Vec<_>>() {
            self.tables.replaced_root_secrets.remove(digest);
        }
        for digest in secrets {
            self.tables.replaced_root_secrets.put(*digest.bytes(), (id, at));
        }
        Ok(())
    }

    async fn record_root_key_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        for (digest, at) in uses {
            let Some(id) = self.tables.root_key_by(digest).map(|root_key| root_key.id) else {
                continue;
            };
            self.tables.root_keys.change(&id, |row| {
                row.last_used_at = row.last_used_at.max(Some(*at));
                row.is_presented |= row.digest == *digest;
            });
        }
        Ok(())
    }

    async fn update_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        self.tables.tenants.put(tenant.slug.clone(), tenant.clone());
        Ok(())
    }

    async fn live_root_keys(&mut self, tenant: Option<&Slug>) -> Result<Vec<RootKey>> {
        let reach = tenant.map_or(Reach::Instance, |slug| Reach::Tenant(slug.clone()));
        let root_keys = self.tables.root_keys.rows().values();
        let live = root_keys.filter(|root_key| root_key.reach == reach && root_key.revoked_at.is_none());
        Ok(live.cloned().collect())
    }

    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>> {
        Ok(self
            .tables
            .users
            .get(&id)
            .filter(|user| user.tenant == *tenant)
            .cloned())
    }

    async fn is_email_taken(&mut self, tenant: &Slug, email: &Email) -> Result<bool> {
        let is_it = |user: &User| user.tenant == *tenant && user.email == *email && user.status != Status::Removed;
        Ok(self.tables.users.rows().values().any(is_it))
    }

    async fn count_other_admins(&mut self, tenant: &Slug, except: UserId) -> Result<u32> {
        let users = self.tables.users.rows().values();
        let others = users.filter(|user| user.tenant == *tenant && user.id != except && user.is_active_admin());
        Ok(u32::try_from(others.count()).unwrap_or(u32::MAX))
    }

    async fn insert_user(&mut self, user: &User) -> Result<()> {
        self.tables.users.put(user.id, user.clone());
        Ok(())
    }

    async fn update_user(&mut self, user: &User) -> Result<()> {
        self.tables.users.put(user.id, user.clone());
        Ok(())
    }

    async fn put_login(&mut self, login: &Login, now: Timestamp) -> Result<()> {
        self.tables.logins.put(*login.digest.bytes(), login.clone());
        let rows = self.tables.logins.rows().iter();
        let old: Vec<_> = rows
            .filter(|(_, login)| login.expires_at <= now)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &old {
            self.tables.logins.remove(digest);
        }
        Ok(())
    }

    async fn take_login(&mut self, digest: &Digest) -> Result<Option<Login>> {
        let login = self.tables.logins.get(digest.bytes()).cloned();
        self.tables.logins.remove(digest.bytes());
        Ok(login)
    }

    async fn end_logins(&mut self, user: UserId, except: Option<&Digest>) -> Result<u64> {
        let is_kept = |login: &Login| except.is_some_and(|digest| *digest == login.digest);
        let rows = self.tables.logins.rows().values();
        let ended = rows.filter(|login| login.user == Some(user) && !is_kept(login));
        let ended: Vec<_> = ended.map(|login| *login.digest.bytes()).collect();
        for digest in &ended {
            self.tables.logins.remove(digest);
        }
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }
}
