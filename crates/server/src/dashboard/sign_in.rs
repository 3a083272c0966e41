//! The door: signing in, and links that work once by which a password is set.

use super::account::new_password;
use super::form::{CSRF, Fields, is_same, not_ours, read};
use super::page;
use super::password_check;
use super::shell::{Door, cookie};
use super::trouble::{Trouble, for_people};
use super::visitor::{begin, current, doorstep, random_hex};
use crate::App;
use crate::http::answer::RequestInfo;
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
use tower_sessions::Session;

/// Before there is a session, a form proves where it comes from by a cookie that only our page could have read along.
const DOOR_COOKIE: &str = "__Host-keyreeve-door";

/// The page to sign in.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) shell: Door,
    pub(super) csrf: String,
    pub(super) email: String,
    /// Asked for where one address has a login in several tenants.
    pub(super) tenants: Vec<String>,
    pub(super) next: String,
    pub(super) notice: Option<&'static str>,
    pub(super) error: Option<String>,
}

/// The page to set a password.
#[derive(Template)]
#[template(path = "setup.html")]
pub(super) struct SetupPage {
    pub(super) shell: Door,
    pub(super) csrf: String,
    pub(super) token: String,
    /// Whose; `None` is the first administrator, who says it.
    pub(super) known: Option<String>,
    pub(super) email: String,
    pub(super) error: Option<String>,
}

/// What a request at the door brings along.
struct Knock {
    parts: Parts,
    session: Session,
    fields: Fields,
    /// The mark of the door's cookie; a new one if there was none.
    mark: String,
    has_mark: bool,
}

impl Knock {
    async fn take(request: Request, app: &App) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, app)
            .await
            .map_err(|(_, why)| Trouble::internal(why))?;
        let fields = match parts.method.is_safe() {
            true => Fields::of_query(&parts),
            false => read(&parts, body).await?,
        };
        let mark = cookie(&parts.headers, DOOR_COOKIE).map(str::to_owned);
        let has_mark = mark.is_some();
        Ok(Self {
            parts,
            session,
            fields,
            mark: match mark {
                Some(mark) => mark,
                None => random_hex()?,
            },
            has_mark,
        })
    }

    /// Whether the form comes from our page.
    fn check(&self) -> Result<(), Trouble> {
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
        Err(Trouble::from(problem).keeping(back))
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
        error: Option<String>,
    ) -> Result<Response, Trouble> {
        let notice = match self.fields.raw("why") {
            "ended" => Some("Your session has ended. Sign in and go on where you were; what you typed is kept."),
            "out" => Some("You are signed out."),
            _ => None,
        };
        let page = LoginPage {
            shell: Door::of(&self.parts.headers),
            csrf: self.mark.clone(),
            email: email.to_owned(),
            tenants,
            next: page::local(self.fields.get("next")).to_owned(),
            notice,
            error,
        };
        page::render(status, &page).map(|response| self.with_cookie(response))
    }
}

/// The form; whoever is in already goes on.
pub(super) async fn ask(State(app): State<App>, request: Request) -> Result<Response, Trouble> {
    let knock = Knock::take(request, &app).await?;
    if current(&knock.session, &app, app.authority().now()).await?.is_some() {
        return Ok(page::on_to(page::local(knock.fields.get("next"))));
    }
    let email = knock.fields.raw("email").to_owned();
    knock.page(StatusCode::OK, &email, Vec::new(), None)
}

/// Signs in.
pub(super) async fn enter(State(app): State<App>, request: Request) -> Result<Response, Trouble> {
    let knock = Knock::take(request, &app).await?;
    knock.check()?;
    let email = knock.fields.get("email").unwrap_or("").to_owned();
    let matching = match matching(&app, &knock, &email).await {
        Ok(matching) => matching,
        Err(trouble) if trouble.problem().code == Code::RateLimited => {
            let why = Some(for_people(trouble.problem()));
            let mut response = knock.page(StatusCode::TOO_MANY_REQUESTS, &email, Vec::new(), why)?;
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("60"));
            return Ok(response);
        }
        Err(other) => return Err(other),
    };
    match matching.as_slice() {
        [] => {
            let why = "The address or the password is not right. Nobody was signed in.";
            knock.page(StatusCode::UNAUTHORIZED, &email, Vec::new(), Some(why.to_owned()))
        }
        [user] => {
            let from = doorstep(&knock.parts);
            begin(&knock.session, user, app.authority().now()).await?;
            app.authority().note_sign_in(&from, user, true).await?;
            Ok(page::on_to(page::local(knock.fields.get("next"))))
        }
        several => {
            let tenants = several.iter().map(|user| user.tenant.to_string()).collect();
            let why = "You have a login in several tenants. Choose one, and type the password once more.";
            knock.page(StatusCode::OK, &email, tenants, Some(why.to_owned()))
        }
    }
}

/// Users with this address whose password it is. Every outcome costs the same.
async fn matching(app: &App, knock: &Knock, email: &str) -> Result<Vec<User>, Trouble> {
    let address = knock
        .parts
        .extensions
        .get::<RequestInfo>()
        .and_then(|info| info.peer.address);
    app.doors().allow_address(address)?;
    app.doors().allow_account(email)?;
    let password = knock.fields.raw("password");
    let tenant = knock.fields.get("tenant").and_then(|text| Slug::parse(text).ok());
    let people = match Email::parse(email) {
        Ok(email) => app.authority().people(&email, tenant.as_ref()).await?,
        Err(_) => Vec::new(),
    };
    if people.is_empty() {
        password_check::fits(None, password).await?;
    }
    let mut matching = Vec::new();
    for user in &people {
        if password_check::fits(Some(user), password).await? {
            matching.push(user.clone());
        }
    }
    if matching.is_empty() {
        for user in &people {
            app.authority()
                .note_sign_in(&doorstep(&knock.parts), user, false)
                .await?;
        }
    }
    Ok(matching)
}

/// The form behind a link that works once.
pub(super) async fn ask_setup(State(app): State<App>, request: Request) -> Result<Response, Trouble> {
    let knock = Knock::take(request, &app).await?;
    let token = knock.fields.raw("token").to_owned();
    setup_page(&app, &knock, &token, StatusCode::OK, None).await
}

async fn setup_page(
    app: &App,
    knock: &Knock,
    token: &str,
    status: StatusCode,
    error: Option<String>,
) -> Result<Response, Trouble> {
    let holder = app.authority().link_holder(token).await?.ok_or_else(used_up)?;
    let page = SetupPage {
        shell: Door::of(&knock.parts.headers),
        csrf: knock.mark.clone(),
        token: token.to_owned(),
        known: match holder {
            LinkHolder::FirstAdmin(_) => None,
            LinkHolder::User(user) => Some(user.email.to_string()),
        },
        email: knock.fields.raw("email").to_owned(),
        error,
    };
    page::render(status, &page).map(|response| knock.with_cookie(response))
}

fn used_up() -> Problem {
    Problem::new(
        Code::LinkUsedUp,
        "This link was used already, or is older than three days. An administrator can make another one on the page \
         of users; on the machine itself, starting Keyreeve again prints one while nobody can sign in.",
    )
}

/// Uses the link up: sets the password and signs in.
pub(super) async fn set_up(State(app): State<App>, request: Request) -> Result<Response, Trouble> {
    let knock = Knock::take(request, &app).await?;
    knock.check()?;
    let address = knock
        .parts
        .extensions
        .get::<RequestInfo>()
        .and_then(|info| info.peer.address);
    app.doors().allow_address(address)?;
    let token = knock.fields.raw("token").to_owned();
    let user = match use_link(&app, &knock, &token).await {
        Ok(user) => user,
        Err(trouble) => match trouble.refusal() {
            Some((status, why)) => return setup_page(&app, &knock, &token, status, Some(why)).await,
            None => return Err(trouble),
        },
    };
    begin(&knock.session, &user, app.authority().now()).await?;
    app.authority()
        .note_sign_in(&doorstep(&knock.parts), &user, true)
        .await?;
    Ok(page::on_to("/"))
}

async fn use_link(app: &App, knock: &Knock, token: &str) -> Result<User, Trouble> {
    // Everything is read before the link is used up.
    let holder = app.authority().link_holder(token).await?.ok_or_else(used_up)?;
    let email = match holder {
        LinkHolder::FirstAdmin(_) => {
            let email = Email::parse(knock.fields.get("email").unwrap_or(""));
            Some(email.map_err(|error| Problem::field("email", &error.to_string()))?)
        }
        LinkHolder::User(_) => None,
    };
    let digest = new_password(knock.fields.raw("new_password"), knock.fields.raw("again")).await?;
    let used = app
        .authority()
        .use_link(&doorstep(&knock.parts), token, email, digest)
        .await;
    used.map_err(|failure| match failure {
        Failure::NotFound => used_up().into(),
        other => other.into(),
    })
}
