//! Sign-in, and links that work once by which a password is set.

use super::account::new_password;
use super::device;
use super::errors::Errors;
use super::fields::{CSRF, FormFields, local};
use super::form::{is_same, not_ours, read_anonymous};
use super::page;
use super::page_error::PageError;
use super::password_check;
use super::preferences::cookie;
use super::shell::SignedOutLayout;
use super::sign_in_limits::Attempt;
use super::visitor::{anonymous_caller, begin, current, load, random_hex};
use crate::Dashboard;
use askama::Template;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, SET_COOKIE};
use hyper::http::request::Parts;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_authority::sign_in::LinkHolder;
use keyreeve_core::User;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Email;
use keyreeve_web::RequestInfo;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;
use tower_sessions::Session;

/// Before a session exists, a form is checked against this cookie (double submit): only our page could read its value.
const DOOR_COOKIE: &str = "__Host-keyreeve-door";

/// A refused sign-in is answered at the earliest this long after it began, so that the time does not reveal whether the
/// address is unknown, suspended, or has logins in several tenants.
const REFUSED_AFTER: Duration = Duration::from_millis(600);

/// Data of the sign-in page.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) shell: SignedOutLayout,
    pub(super) csrf: String,
    pub(super) email: String,
    /// The choice of tenants, if the address has a login in several.
    pub(super) tenants: Vec<String>,
    pub(super) next: String,
    pub(super) notice: Option<&'static str>,
    pub(super) errors: Errors,
}

/// Data of the page that sets a password.
#[derive(Template)]
#[template(path = "setup.html")]
pub(super) struct SetupPage {
    pub(super) shell: SignedOutLayout,
    pub(super) csrf: String,
    pub(super) token: String,
    /// The user of the link; `None` for the first administrator, who types an address.
    pub(super) known: Option<String>,
    pub(super) email: String,
    pub(super) errors: Errors,
}

/// A request to a page that needs no session.
struct SignInRequest {
    parts: Parts,
    session: Session,
    fields: FormFields,
    /// The CSRF token of the cookie; a new one if there was none.
    mark: String,
    has_mark: bool,
}

impl SignInRequest {
    async fn take(request: Request, app: &Dashboard) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, app)
            .await
            .map_err(|(_, why)| PageError::internal(why))?;
        load(&session, &parts, app).await?;
        let fields = match parts.method.is_safe() {
            true => FormFields::of_query(&parts),
            // Bounded by the address: the concurrent bodies of one address are counted before any of them is read.
            false => read_anonymous(app, &parts, body).await?,
        };
        let mark = cookie(&parts.headers, DOOR_COOKIE).map(str::to_owned);
        let has_mark = mark.is_some();
        Ok(Self {
            parts,
            session,
            fields,
            mark: match mark {
                Some(mark) => mark,
                None => random_hex(app)?,
            },
            has_mark,
        })
    }

    /// Fails unless the form was sent from our page.
    fn check(&self) -> Result<(), PageError> {
        if self.has_mark && is_same(self.fields.raw(CSRF), &self.mark) {
            return Ok(());
        }
        let mut problem = not_ours();
        if !self.has_mark {
            "The browser did not send back the cookie of this page. Cookies must be allowed, and the address must \
             begin with https:// unless Keyreeve runs on this very machine."
                .clone_into(&mut problem.detail);
        }
        let back = self.fields.with("token", "").address("/login");
        Err(PageError::from(problem).keeping(back))
    }

    /// Returns the client's address.
    fn address(&self) -> Option<IpAddr> {
        let info = self.parts.extensions.get::<RequestInfo>();
        info.and_then(|info| info.client)
    }

    /// Adds the device cookie to the answer to a successful sign-in.
    fn remembered(&self, mut response: Response, user: &User, app: &Dashboard) -> Response {
        if let Some(cookie) = device::known(&self.parts.headers, user, app.authority().now()) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    fn with_cookie(&self, mut response: Response) -> Response {
        let cookie = format!("{DOOR_COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", self.mark);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    fn page(
        &self,
        status: StatusCode,
        email: &str,
        tenants: Vec<String>,
        errors: Errors,
    ) -> Result<Response, PageError> {
        let notice = match self.fields.raw("why") {
            "ended" => Some("Your session has ended. Sign in and go on where you were; what you typed is kept."),
            "out" => Some("You are signed out."),
            _ => None,
        };
        let page = LoginPage {
            shell: SignedOutLayout::of(&self.parts.headers),
            csrf: self.mark.clone(),
            email: email.to_owned(),
            tenants,
            next: local(self.fields.get("next")).to_owned(),
            notice,
            errors,
        };
        page::render(status, &page).map(|response| self.with_cookie(response))
    }
}

/// Shows the sign-in form. A visitor with a session is redirected.
pub(super) async fn ask(State(app): State<Dashboard>, request: Request) -> Result<Response, PageError> {
    let asked = SignInRequest::take(request, &app).await?;
    if current(&asked.session, &app, app.authority().now()).await?.is_some() {
        return Ok(page::on_to(local(asked.fields.get("next"))));
    }
    let email = asked.fields.raw("email").to_owned();
    asked.page(StatusCode::OK, &email, Vec::new(), Errors::default())
}

/// Signs in.
pub(super) async fn enter(State(app): State<Dashboard>, request: Request) -> Result<Response, PageError> {
    let began = Instant::now();
    let asked = SignInRequest::take(request, &app).await?;
    asked.check()?;
    let email = asked.fields.get("email").unwrap_or("").to_owned();
    let matching = match matching(&app, &asked, &email).await {
        Ok(matching) => matching,
        Err(page_error) if page_error.problem().code == Code::RateLimited => {
            return too_often(&asked, &email, &page_error);
        }
        Err(other) => return Err(other),
    };
    match matching.as_slice() {
        [] => {
            let why = "The address or the password is not right. Nobody was signed in.";
            tokio::time::sleep_until(began + REFUSED_AFTER).await;
            asked.page(StatusCode::UNAUTHORIZED, &email, Vec::new(), wrong(why).into())
        }
        [user] => {
            let from = anonymous_caller(&asked.parts);
            begin(&app, &asked.session, user, app.authority().earliest()).await?;
            app.authority().sign_in().note(&from, user, true).await?;
            let response = page::on_to(local(asked.fields.get("next")));
            Ok(asked.remembered(response, user, &app))
        }
        several => {
            let tenants = several.iter().map(|user| user.tenant.to_string()).collect();
            let why = "You have a login in several tenants. Choose one, and type the password once more.";
            asked.page(StatusCode::OK, &email, tenants, wrong(why).into())
        }
    }
}

/// The problem of a failed sign-in, shown at the password field.
fn wrong(why: &str) -> Problem {
    Problem::new(Code::SignInFailed, why)
}

fn too_often(asked: &SignInRequest, email: &str, page_error: &PageError) -> Result<Response, PageError> {
    let why = page_error.errors().clone();
    let mut response = asked.page(StatusCode::TOO_MANY_REQUESTS, email, Vec::new(), why)?;
    let wait = HeaderValue::from_static("60");
    response.headers_mut().insert(RETRY_AFTER, wait);
    Ok(response)
}

/// Returns the users with this address and password. One digest is computed for each user, and one if there is none;
/// [`REFUSED_AFTER`] hides the difference.
async fn matching(app: &Dashboard, asked: &SignInRequest, email: &str) -> Result<Vec<User>, PageError> {
    let tenant = asked.fields.get("tenant").and_then(|text| Slug::parse(text).ok());
    let wanted = Email::parse(email).ok();
    let mut people = None;
    // The account is read before the attempt is counted only for a browser with a device cookie. The cookie may be
    // forged, so these reads are bounded by address.
    let _turn = match device::is_said(&asked.parts.headers) {
        true => app.host().address_rate_limits().turn(asked.address()).await?,
        false => None,
    };
    if let (true, Some(email)) = (device::is_said(&asked.parts.headers), &wanted) {
        people = Some(app.authority().sign_in().people(email, tenant.as_ref()).await?);
    }
    let now = app.authority().now();
    let known = people
        .as_ref()
        .and_then(|people| device::mark(&asked.parts.headers, people, now));
    let who = match known {
        Some(mark) => Attempt::Known { email, mark },
        None => Attempt::Other {
            email,
            address: asked.address(),
        },
    };
    app.sign_in_limits().begin(who)?;
    let people = match (people, &wanted) {
        (Some(people), _) => people,
        (None, Some(email)) => app.authority().sign_in().people(email, tenant.as_ref()).await?,
        (None, None) => Vec::new(),
    };
    let matching = fitting(&people, asked.fields.raw("password")).await?;
    match matching.is_empty() {
        true => note_refused(app, asked, &people).await,
        false => app.sign_in_limits().succeeded(who),
    }
    Ok(matching)
}

async fn fitting(people: &[User], password: &str) -> Result<Vec<User>, PageError> {
    if people.is_empty() {
        password_check::fits(None, password).await?;
    }
    let mut fitting = Vec::new();
    for user in people {
        if password_check::fits(Some(user), password).await? {
            fitting.push(user.clone());
        }
    }
    Ok(fitting)
}

/// Records a refused sign-in. A write error does not change the answer: otherwise a full disk would reveal which
/// addresses have a login.
async fn note_refused(app: &Dashboard, asked: &SignInRequest, people: &[User]) {
    let from = anonymous_caller(&asked.parts);
    for user in people {
        if let Err(error) = app.authority().sign_in().note(&from, user, false).await {
            tracing::warn!(%error, request_id = &*from.request_id, "a refused sign-in could not be written down");
        }
    }
}

/// Shows the form of a link that works once.
pub(super) async fn ask_setup(State(app): State<Dashboard>, request: Request) -> Result<Response, PageError> {
    let asked = SignInRequest::take(request, &app).await?;
    let token = asked.fields.raw("token").to_owned();
    setup_page(&app, &asked, &token, StatusCode::OK, Errors::default()).await
}

async fn setup_page(
    app: &Dashboard,
    asked: &SignInRequest,
    token: &str,
    status: StatusCode,
    errors: Errors,
) -> Result<Response, PageError> {
    let address = asked.address();
    let look_up = app.authority().sign_in().link_holder(token);
    let found = app
        .host()
        .address_rate_limits()
        .bounded(address, look_up, |found| matches!(found, Ok(None)))
        .await?;
    let holder = found?.ok_or_else(used_up)?;
    let page = SetupPage {
        shell: SignedOutLayout::of(&asked.parts.headers),
        csrf: asked.mark.clone(),
        token: token.to_owned(),
        known: match holder {
            LinkHolder::FirstAdmin(_) => None,
            LinkHolder::User(user) => Some(user.email.to_string()),
        },
        email: asked.fields.raw("email").to_owned(),
        errors,
    };
    page::render(status, &page).map(|response| asked.with_cookie(response))
}

fn used_up() -> Problem {
    Problem::new(
        Code::LinkUsedUp,
        "This link was used already, or is older than three days. An administrator can make another one on the page \
         of users; on the machine itself, starting Keyreeve again prints one while nobody can sign in.",
    )
}

/// Sets the password, which uses up the link, and signs in.
pub(super) async fn set_up(State(app): State<Dashboard>, request: Request) -> Result<Response, PageError> {
    let asked = SignInRequest::take(request, &app).await?;
    asked.check()?;
    app.sign_in_limits().allow_link(asked.address())?;
    let token = asked.fields.raw("token").to_owned();
    let user = match use_link(&app, &asked, &token).await {
        Ok(user) => user,
        Err(page_error) => match page_error.refusal() {
            Some((status, why)) => return setup_page(&app, &asked, &token, status, why).await,
            None => return Err(page_error),
        },
    };
    begin(&app, &asked.session, &user, app.authority().earliest()).await?;
    app.authority()
        .sign_in()
        .note(&anonymous_caller(&asked.parts), &user, true)
        .await?;
    Ok(asked.remembered(page::on_to("/"), &user, &app))
}

async fn use_link(app: &Dashboard, asked: &SignInRequest, token: &str) -> Result<User, PageError> {
    // The form is checked completely before the link is used up.
    let holder = app
        .authority()
        .sign_in()
        .link_holder(token)
        .await?
        .ok_or_else(used_up)?;
    let mut errors = Errors::default();
    let (email, whose) = match holder {
        LinkHolder::FirstAdmin(_) => {
            let email = Email::parse(asked.fields.get("email").unwrap_or(""));
            let email = errors.take(email.map_err(|error| Problem::field("email", &error.to_string())));
            (email.clone(), email)
        }
        LinkHolder::User(user) => (None, Some(user.email)),
    };
    let digest = new_password(app, &asked.fields, whose.as_ref(), &mut errors).await?;
    errors.none()?;
    let digest = digest.ok_or_else(|| PageError::internal("a password is neither good nor wrong"))?;
    let used = app
        .authority()
        .sign_in()
        .use_link(&anonymous_caller(&asked.parts), token, email, digest)
        .await;
    used.map_err(|failure| match failure {
        Failure::NotFound => used_up().into(),
        other => other.into(),
    })
}
