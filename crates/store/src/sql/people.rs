//! Tenants, root keys and users, in a write transaction.

use super::rows::{digest, login, root_key, tenant, user};
use super::tx::SqlTx;
use super::writer::WriteEngine;
use super::{Statement, query};
use crate::codec;
use crate::model::{Login, RootKey, Tenant};
use crate::tx::{PeopleTx, Result};
use async_trait::async_trait;
use keyreeve_core::access::Reach;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::user::{Email, PasswordDigest, Status};
use keyreeve_core::{Digest, RootKeyId, Timestamp, User, UserId};

const HAS_TENANTS: &str = "SELECT EXISTS (SELECT 1 FROM tenants) AS found";
const TENANT: &str = "SELECT slug, name AS tenant_name, is_suspended, is_removed, policy, created_at AS tenant_created_at \
     FROM tenants WHERE slug = ?1";
const INSERT_TENANT: &str =
    "INSERT INTO tenants (slug, name, is_suspended, policy, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const ROOT_KEY: &str = "SELECT id, name, tenant, permissions, networks, digest, last_four, retiring_digest, retiring_until, \
     is_presented, created_at, rotated_at, expires_at, last_used_at, revoked_at FROM root_keys WHERE id = ?1";
const INSERT_ROOT_KEY: &str = "INSERT INTO root_keys \
     (id, name, tenant, permissions, digest, last_four, created_at, expires_at, networks) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const REVOKE_ROOT_KEY: &str = "UPDATE root_keys SET revoked_at = ?2 WHERE id = ?1";
const SET_ROOT_KEY_SECRETS: &str = "UPDATE root_keys SET digest = ?2, last_four = ?3, retiring_digest = ?4, \
     retiring_until = ?5, is_presented = ?6, rotated_at = ?7, expires_at = ?8 WHERE id = ?1";
const REPLACED_ROOT_SECRETS: &str = "SELECT digest FROM replaced_root_secrets WHERE root_key = ?1";
const ADD_REPLACED_ROOT_SECRET: &str =
    "INSERT INTO replaced_root_secrets (digest, root_key, replaced_at) VALUES (?1, ?2, ?3)";
const FORGET_REPLACED_ROOT_SECRETS: &str = "DELETE FROM replaced_root_secrets WHERE root_key = ?1 AND replaced_at < ?2";
/// A use of the present secret shows that it has arrived at its holder.
pub(crate) const USE_ROOT_KEY: &str = "UPDATE root_keys \
     SET last_used_at = CASE WHEN last_used_at > ?2 THEN last_used_at ELSE ?2 END, \
     is_presented = is_presented OR digest = ?1 WHERE digest = ?1 OR retiring_digest = ?1";
const UPDATE_TENANT: &str =
    "UPDATE tenants SET name = ?2, is_suspended = ?3, is_removed = ?4, policy = ?5 WHERE slug = ?1";
const LIVE_ROOT_KEYS: &str = "SELECT id, name, tenant, permissions, networks, digest, last_four, retiring_digest, retiring_until, \
     is_presented, created_at, rotated_at, expires_at, last_used_at, revoked_at FROM root_keys \
     WHERE tenant IS NOT DISTINCT FROM ?1 AND revoked_at IS NULL";
const USER: &str = "SELECT id, tenant, email, name, role, status, password, created_at, updated_at FROM users \
     WHERE tenant = ?1 AND id = ?2";
const IS_EMAIL_TAKEN: &str =
    "SELECT EXISTS (SELECT 1 FROM users WHERE tenant = ?1 AND email = ?2 AND status <> 'removed') AS found";
const COUNT_OTHER_ADMINS: &str =
    "SELECT count(*) AS total FROM users WHERE tenant = ?1 AND id <> ?2 AND role = 'admin' AND status = 'active'";
const INSERT_USER: &str = "INSERT INTO users (id, tenant, email, name, role, status, password, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const UPDATE_USER: &str =
    "UPDATE users SET name = ?2, role = ?3, status = ?4, password = ?5, updated_at = ?6 WHERE id = ?1";
const PUT_LOGIN: &str = "INSERT INTO logins (digest, kind, tenant, user_id, data, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (digest) DO UPDATE SET kind = excluded.kind, \
     tenant = excluded.tenant, user_id = excluded.user_id, data = excluded.data, expires_at = excluded.expires_at";
/// At most 100 at a time, so that no caller waits for the sessions of a week.
const FORGET_LOGINS: &str = "DELETE FROM logins WHERE digest IN \
     (SELECT digest FROM logins WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 100)";
const TAKE_LOGIN: &str =
    "DELETE FROM logins WHERE digest = ?1 RETURNING digest, kind, tenant, user_id, data, expires_at";
const END_LOGINS: &str = "DELETE FROM logins WHERE user_id = ?1 AND (?2 IS NULL OR digest <> ?2)";

pub(super) fn one_tenant(slug: &Slug) -> Statement<'_> {
    query(TENANT).bind(slug.as_str())
}

pub(super) fn one_root_key<'q>(id: RootKeyId) -> Statement<'q> {
    query(ROOT_KEY).bind(id.bytes())
}

pub(super) fn one_user(tenant: &Slug, id: UserId) -> Statement<'_> {
    query(USER).bind(tenant.as_str()).bind(id.bytes())
}

#[async_trait]
impl<E: WriteEngine> PeopleTx for SqlTx<'_, E> {
    async fn has_tenants(&mut self) -> Result<bool> {
        self.found(query(HAS_TENANTS)).await
    }

    async fn tenant(&mut self, slug: &Slug) -> Result<Option<Tenant>> {
        self.row(one_tenant(slug)).await?.as_ref().map(tenant).transpose()
    }

    async fn insert_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        let statement = query(INSERT_TENANT)
            .bind(tenant.slug.as_str())
            .bind(tenant.name.as_str())
            .bind(tenant.status == Status::Suspended)
            .bind(codec::policy::to_json(&tenant.policy).to_string())
            .bind(tenant.created_at.millis());
        self.run(statement).await.map(drop)
    }

    async fn root_key(&mut self, id: RootKeyId) -> Result<Option<RootKey>> {
        self.row(one_root_key(id)).await?.as_ref().map(root_key).transpose()
    }

    async fn insert_root_key(&mut self, root_key: &RootKey) -> Result<()> {
        let tenant = match &root_key.reach {
            Reach::Instance => None,
            Reach::Tenant(slug) => Some(slug.as_str()),
        };
        let statement = query(INSERT_ROOT_KEY)
            .bind(root_key.id.bytes())
            .bind(root_key.name.as_str())
            .bind(tenant)
            .bind(root_key.permissions.joined())
            .bind(root_key.digest.bytes().as_slice())
            .bind(root_key.last_four.as_str())
            .bind(root_key.created_at.millis())
            .bind(root_key.expires_at.map(Timestamp::millis))
            .bind(root_key.networks.joined());
        self.run(statement).await.map(drop)
    }

    async fn set_root_key_revoked(&mut self, id: RootKeyId, at: Timestamp) -> Result<()> {
        self.run(query(REVOKE_ROOT_KEY).bind(id.bytes()).bind(at.millis()))
            .await
            .map(drop)
    }

    async fn set_root_key_secrets(&mut self, root_key: &RootKey) -> Result<()> {
        let retiring = root_key.retiring.as_ref();
        let statement = query(SET_ROOT_KEY_SECRETS)
            .bind(root_key.id.bytes())
            .bind(root_key.digest.bytes().as_slice())
            .bind(root_key.last_four.as_str())
            .bind(retiring.map(|old| old.digest.bytes().as_slice()))
            .bind(retiring.map(|old| old.until.millis()))
            .bind(root_key.is_presented)
            .bind(root_key.rotated_at.map(Timestamp::millis))
            .bind(root_key.expires_at.map(Timestamp::millis));
        self.run(statement).await.map(drop)
    }

    async fn replaced_root_secrets(&mut self, id: RootKeyId) -> Result<Vec<Digest>> {
        let rows = self.engine.rows(query(REPLACED_ROOT_SECRETS).bind(id.bytes())).await?;
        rows.iter().map(|row| digest(row, "digest")).collect()
    }

    async fn add_replaced_root_secrets(
        &mut self,
        id: RootKeyId,
        secrets: &[Digest],
        at: Timestamp,
        stale: Timestamp,
    ) -> Result<()> {
        let mut statements = vec![
            query(FORGET_REPLACED_ROOT_SECRETS)
                .bind(id.bytes())
                .bind(stale.millis()),
        ];
        for secret in secrets {
            let add = query(ADD_REPLACED_ROOT_SECRET).bind(secret.bytes().as_slice());
            statements.push(add.bind(id.bytes()).bind(at.millis()));
        }
        self.engine.change(statements).await
    }

    async fn record_root_key_uses(&mut self, uses: &[(Digest, Timestamp)]) -> Result<()> {
        // One by one: a secret that was replaced for good since is no row any more, and root keys are few.
        for (digest, at) in uses {
            let statement = query(USE_ROOT_KEY).bind(digest.bytes().as_slice());
            self.run(statement.bind(at.millis())).await?;
        }
        Ok(())
    }

    async fn update_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        let statement = query(UPDATE_TENANT)
            .bind(tenant.slug.as_str())
            .bind(tenant.name.as_str())
            .bind(tenant.status == Status::Suspended)
            .bind(tenant.status == Status::Removed)
            .bind(codec::policy::to_json(&tenant.policy).to_string());
        self.run(statement).await.map(drop)
    }

    async fn live_root_keys(&mut self, tenant: Option<&Slug>) -> Result<Vec<RootKey>> {
        let statement = query(LIVE_ROOT_KEYS).bind(tenant.map(Slug::as_str));
        let rows = self.engine.rows(statement).await?;
        rows.iter().map(root_key).collect()
    }

    async fn user(&mut self, tenant: &Slug, id: UserId) -> Result<Option<User>> {
        self.row(one_user(tenant, id)).await?.as_ref().map(user).transpose()
    }

    async fn is_email_taken(&mut self, tenant: &Slug, email: &Email) -> Result<bool> {
        let statement = query(IS_EMAIL_TAKEN).bind(tenant.as_str()).bind(email.as_str());
        self.found(statement).await
    }

    async fn count_other_admins(&mut self, tenant: &Slug, except: UserId) -> Result<u32> {
        let statement = query(COUNT_OTHER_ADMINS).bind(tenant.as_str()).bind(except.bytes());
        self.total(statement).await
    }

    async fn insert_user(&mut self, user: &User) -> Result<()> {
        let statement = query(INSERT_USER)
            .bind(user.id.bytes())
            .bind(user.tenant.as_str())
            .bind(user.email.as_str())
            .bind(user.name.as_ref().map(Name::as_str))
            .bind(user.role.as_str())
            .bind(user.status.as_str())
            .bind(user.password.as_ref().map(PasswordDigest::as_phc))
            .bind(user.created_at.millis())
            .bind(user.updated_at.millis());
        self.run(statement).await.map(drop)
    }

    async fn update_user(&mut self, user: &User) -> Result<()> {
        let statement = query(UPDATE_USER)
            .bind(user.id.bytes())
            .bind(user.name.as_ref().map(Name::as_str))
            .bind(user.role.as_str())
            .bind(user.status.as_str())
            .bind(user.password.as_ref().map(PasswordDigest::as_phc))
            .bind(user.updated_at.millis());
        self.run(statement).await.map(drop)
    }

    async fn put_login(&mut self, login: &Login, now: Timestamp) -> Result<()> {
        let user = login.user.map(|id| id.bytes());
        let statement = query(PUT_LOGIN)
            .bind(login.digest.bytes().as_slice())
            .bind(login.kind.as_str())
            .bind(login.tenant.as_str())
            .bind(user.as_ref().map(|id| id.as_slice()))
            .bind(&login.data)
            .bind(login.expires_at.millis());
        self.run(statement).await?;
        self.run(query(FORGET_LOGINS).bind(now.millis())).await.map(drop)
    }

    async fn take_login(&mut self, digest: &Digest) -> Result<Option<Login>> {
        let statement = query(TAKE_LOGIN).bind(digest.bytes().as_slice());
        self.row(statement).await?.as_ref().map(login).transpose()
    }

    async fn end_logins(&mut self, user: UserId, except: Option<&Digest>) -> Result<u64> {
        let statement = query(END_LOGINS)
            .bind(user.bytes())
            .bind(except.map(|digest| digest.bytes().as_slice()));
        self.run(statement).await
    }
}
