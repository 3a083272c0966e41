//! Users at the dashboard: who may sign in, their sessions, and links that work once.
//!
//! The server verifies passwords: this crate knows no password scheme. A session is looked up in the store at each
//! request, so a session that is ended on one node is ended on all.

use crate::{Authority, Call, Caller, Failure};
use keyreeve_core::access::{Actor, Permission, Role};
use keyreeve_core::audit::Action;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::user::{Email, PasswordDigest, Status, UserEdit};
use keyreeve_core::{Digest, Timestamp, User, UserId, hex};
use keyreeve_store::model::{Event, Login, LoginKind, UserChange, WriteContext};
use std::fmt;

/// Most tenants in which one email address is looked up.
pub(crate) const TENANTS_OF_PERSON_MAX: u32 = 16;
/// How long a link works: three days.
const LINK_SECONDS: u64 = 3 * keyreeve_core::time::SECONDS_PER_DAY;
/// Random bytes in a link.
const LINK_BYTES: usize = 32;

/// The token of a link that works once. Shown once, and never logged.
pub struct LinkToken {
    text: String,
    expires_at: Timestamp,
}

impl LinkToken {
    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns when it expires.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken(..)")
    }
}

/// The holder of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkHolder {
    /// The first administrator of a tenant, who is created when the link is used.
    FirstAdmin(Slug),
    /// A user, who sets a password.
    User(Box<User>),
}

/// A request without a session.
#[derive(Clone, Debug)]
pub struct AnonymousCaller {
    /// The client's address.
    pub address: Option<Box<str>>,
    /// The id of the request.
    pub request_id: Box<str>,
}

impl AnonymousCaller {
    pub(crate) fn context(&self, actor: Actor, at: Timestamp) -> WriteContext {
        WriteContext {
            at,
            actor,
            acting: None,
            secret: None,
            address: self.address.clone(),
            request_id: self.request_id.clone(),
            idempotency: None,
            only_if: None,
        }
    }
}

/// The use cases of signing in at the dashboard: sessions, links and passwords.
#[derive(Clone, Copy, Debug)]
pub struct SignInUseCases<'a>(pub(crate) &'a Authority);

impl Authority {
    /// Returns the use cases of signing in at the dashboard.
    pub fn sign_in(&self) -> SignInUseCases<'_> {
        SignInUseCases(self)
    }
}

impl SignInUseCases<'_> {
    /// Returns the users with an email address who may sign in, of one tenant or of all.
    pub async fn people(self, email: &Email, tenant: Option<&Slug>) -> Result<Vec<User>, Failure> {
        let mut people = self.0.store.people(email, TENANTS_OF_PERSON_MAX).await?;
        people.retain(|user| user.status == Status::Active && tenant.is_none_or(|slug| user.tenant == *slug));
        let mut open = Vec::with_capacity(people.len());
        for user in people {
            if self.is_open(&user.tenant).await? {
                open.push(user);
            }
        }
        Ok(open)
    }

    async fn is_open(self, tenant: &Slug) -> Result<bool, Failure> {
        let tenant = self.0.store.tenant(tenant).await?;
        Ok(tenant.is_some_and(|tenant| !tenant.is_blocked()))
    }

    /// Returns the user of a session with the present role and state; `None` if suspended or removed.
    pub async fn signed_in(self, tenant: &Slug, id: UserId) -> Result<Option<User>, Failure> {
        let user = self.0.store.user(tenant, id).await?;
        match user.filter(|user| user.status == Status::Active) {
            Some(user) if self.is_open(tenant).await? => Ok(Some(user)),
            Some(_) | None => Ok(None),
        }
    }

    /// Logs that a user signed in, or that a sign-in with the user's address was refused.
    pub async fn note(self, from: &AnonymousCaller, user: &User, is_let_in: bool) -> Result<(), Failure> {
        let (actor, action) = match is_let_in {
            true => (Actor::User(user.id, user.role), Action::UserSignedIn),
            false => (Actor::System, Action::UserSignInRefused),
        };
        let event = Event {
            tenant: Some(user.tenant.clone()),
            target_type: "user",
            target_id: user.id.to_string(),
            subject: None,
            action,
            reason: None,
            before: None,
            after: None,
        };
        let context = from.context(actor, self.0.earliest());
        self.0.store.record_events(context, vec![event]).await?;
        Ok(())
    }

    /// Returns a session or a link that has not ended.
    pub async fn login(self, digest: &Digest) -> Result<Option<Login>, Failure> {
        Ok(self.0.store.login(digest, self.0.now()).await?)
    }

    /// Stores a session.
    pub async fn keep_session(self, login: Login) -> Result<(), Failure> {
        Ok(self.0.store.put_login(login, self.0.now()).await?)
    }

    /// Ends a session.
    pub async fn end_session(self, digest: Digest) -> Result<(), Failure> {
        self.0.store.take_login(digest, self.0.now()).await?;
        Ok(())
    }

    /// Ends every session and link of a user except one session.
    pub async fn end_sessions(self, user: UserId, except: Option<Digest>) -> Result<u64, Failure> {
        Ok(self.0.store.end_logins(user, except).await?)
    }

    /// Creates a link for the first administrator of a tenant; `None` if the tenant has a user.
    pub async fn first_admin_link(self, tenant: &Slug) -> Result<Option<LinkToken>, Failure> {
        if !self.0.store.users(tenant, None, 1).await?.is_empty() {
            return Ok(None);
        }
        self.new_link(tenant, None).await.map(Some)
    }

    /// Creates a link by which a user of the caller's tenant sets a password. Opening it signs the user in, so the
    /// caller needs the permissions of the user's role. The link is for that role, and ends with it.
    pub async fn invite(self, call: &Call, id: UserId) -> Result<(User, LinkToken), Failure> {
        call.require(Permission::UsersWrite)?;
        let user = self.0.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)?;
        call.require_to_give(user.role)?;
        let event = Event {
            tenant: Some(call.tenant.clone()),
            target_type: "user",
            target_id: id.to_string(),
            subject: None,
            action: Action::UserInvited,
            reason: None,
            before: None,
            after: None,
        };
        // The link is stored first, so that no link is returned after the revocation of the caller's credential: that is
        // checked again in the transaction of the event.
        let token = self.new_link(&call.tenant, Some(&user)).await?;
        let context = call.context(self.0.earliest());
        if let Err(error) = self.0.store.record_events(context, vec![event]).await {
            let digest = Digest::of(token.text.as_bytes());
            // A link that stays is known to no client, and expires.
            let _removed = self.0.store.take_login(digest, self.0.now()).await;
            return Err(error.into());
        }
        Ok((user, token))
    }

    async fn new_link(self, tenant: &Slug, user: Option<&User>) -> Result<LinkToken, Failure> {
        let mut bytes = [0; LINK_BYTES];
        self.0.entropy.fill(&mut bytes)?;
        let now = self.0.earliest();
        let token = LinkToken {
            text: hex(&bytes),
            expires_at: now.plus_seconds(LINK_SECONDS),
        };
        let login = Login {
            digest: Digest::of(token.text.as_bytes()),
            kind: LoginKind::Link,
            tenant: tenant.clone(),
            user: user.map(|user| user.id),
            data: user.map_or(Role::Admin, |user| user.role).as_str().to_owned(),
            expires_at: token.expires_at,
        };
        self.0.store.put_login(login, now).await?;
        Ok(token)
    }

    /// Returns the holder of a link; `None` if it was used, is too old or never existed.
    pub async fn link_holder(self, token: &str) -> Result<Option<LinkHolder>, Failure> {
        let login = self.login(&Digest::of(token.as_bytes())).await?;
        match login.filter(|login| login.kind == LoginKind::Link) {
            Some(login) => self.holder_of(&login).await,
            None => Ok(None),
        }
    }

    async fn holder_of(self, login: &Login) -> Result<Option<LinkHolder>, Failure> {
        let Some(id) = login.user else {
            // A link for the first administrator is void once the tenant has a user.
            let is_first = self.0.store.users(&login.tenant, None, 1).await?.is_empty();
            return Ok(is_first.then(|| LinkHolder::FirstAdmin(login.tenant.clone())));
        };
        let user = self.signed_in(&login.tenant, id).await?;
        // The creator of the link may not have had the permissions of the user's present role.
        let user = user.filter(|user| user.role.as_str() == login.data);
        Ok(user.map(|user| LinkHolder::User(Box::new(user))))
    }

    /// Uses up a link and sets the password of its holder, who is created with `email` if necessary.
    pub async fn use_link(
        self,
        from: &AnonymousCaller,
        token: &str,
        email: Option<Email>,
        password: PasswordDigest,
    ) -> Result<User, Failure> {
        let digest = Digest::of(token.as_bytes());
        let taken = self.0.store.take_login(digest, self.0.now()).await?;
        let login = taken.filter(|login| login.kind == LoginKind::Link);
        let login = login.ok_or(Failure::NotFound)?;
        match self.use_login(from, &login, email, password).await {
            Err(failure @ (Failure::Unavailable(_) | Failure::ReadOnly(_))) => self.put_back(login, failure).await,
            used => used,
        }
    }

    async fn use_login(
        self,
        from: &AnonymousCaller,
        link: &Login,
        email: Option<Email>,
        password: PasswordDigest,
    ) -> Result<User, Failure> {
        match (self.holder_of(link).await?, email) {
            (Some(LinkHolder::FirstAdmin(tenant)), Some(email)) => {
                self.make_first_admin(from, tenant, email, password).await
            }
            (Some(LinkHolder::User(user)), _) => {
                let actor = Actor::User(user.id, user.role);
                self.set_password(from.context(actor, self.0.earliest()), &user, password)
                    .await
            }
            (Some(LinkHolder::FirstAdmin(_)) | None, _) => Err(Failure::NotFound),
        }
    }

    /// Keeps a link whose use failed without a change. If that fails too, the link is used up, and the failure must not
    /// read that nothing was changed.
    async fn put_back(self, link: Login, failure: Failure) -> Result<User, Failure> {
        match self.0.store.put_login(link, self.0.now()).await {
            Ok(()) => Err(failure),
            Err(_) => Err(failure.after(1, "the link was used up, and the password may not be set")),
        }
    }

    async fn make_first_admin(
        self,
        from: &AnonymousCaller,
        tenant: Slug,
        email: Email,
        password: PasswordDigest,
    ) -> Result<User, Failure> {
        let now = self.0.earliest();
        let user = User {
            id: self.0.new_user_id()?,
            tenant,
            email,
            name: None::<Name>,
            role: Role::Admin,
            status: Status::Active,
            password: Some(password),
            created_at: now,
            updated_at: now,
        };
        let context = from.context(Actor::System, now);
        self.0.store.create_user(context, user.clone()).await?;
        Ok(user)
    }

    /// Sets another password for the signed-in user. All their sessions end; the server begins a new one.
    pub async fn change_own_password(self, call: &Call, password: PasswordDigest) -> Result<User, Failure> {
        let Actor::User(id, _) = call.caller.actor else {
            return Err(Failure::NotFound);
        };
        let user = self.0.store.user(&call.tenant, id).await?.ok_or(Failure::NotFound)?;
        self.set_password(call.context(self.0.earliest()), &user, password)
            .await
    }

    async fn set_password(self, context: WriteContext, user: &User, password: PasswordDigest) -> Result<User, Failure> {
        let change = UserChange {
            tenant: user.tenant.clone(),
            id: user.id,
            edit: UserEdit {
                password: Some(password),
                ..UserEdit::default()
            },
            giver: user.role.permissions(),
            is_forced: false,
        };
        let user = self.0.store.change_user(context, change).await?.user;
        Ok(user)
    }

    /// Returns the call of a signed-in user.
    pub fn call_of(self, user: &User, from: &AnonymousCaller) -> Call {
        Call {
            caller: Caller::user(user),
            tenant: user.tenant.clone(),
            address: from.address.clone(),
            request_id: from.request_id.clone(),
            idempotency: None,
            only_if: None,
            is_awaited: true,
        }
    }
}
