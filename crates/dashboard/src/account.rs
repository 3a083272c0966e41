//! The account page of the signed-in user: password, sessions and preferences.

use super::device;
use super::errors::Errors;
use super::fields::{FormFields, local};
use super::flash::Flash;
use super::form::{SignedInForm, is_same};
use super::page;
use super::page_error::PageError;
use super::password_check;
use super::preferences::{SHORTCUTS_COOKIE, SIZE_COOKIE, SIZES, THEME_COOKIE};
use super::shell::{MenuEntry, Shell};
use super::sign_in_limits::Attempt;
use super::visitor::{Visitor, begin};
use crate::Dashboard;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::users::Password;
use keyreeve_api::{Code, Problem};
use keyreeve_core::User;
use keyreeve_core::user::{Email, PasswordDigest};
use keyreeve_web::password;

/// Data of the account page.
#[derive(Template)]
#[template(path = "account.html")]
pub(super) struct AccountPage {
    pub(super) shell: Shell,
    pub(super) user_id: String,
    pub(super) errors: Errors,
}

/// Shows the account page.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    page::ok(&page_of(&visitor, Errors::default()))
}

fn page_of(visitor: &Visitor, errors: Errors) -> AccountPage {
    AccountPage {
        shell: Shell::new(visitor, MenuEntry::Account, "Account settings"),
        user_id: visitor.user.id.to_string(),
        errors,
    }
}

/// Changes the password. Every session except this one ends.
pub(super) async fn password(
    State(app): State<Dashboard>,
    headers: HeaderMap,
    form: SignedInForm,
) -> Result<Response, PageError> {
    match change(&app, &form).await {
        Ok(user) => {
            let text = "Your password was changed. You are signed out everywhere else.";
            form.visitor.tell(Flash::done(text.to_owned())).await?;
            let mut response = page::on_to("/account");
            // The new password ended the mark of this browser.
            if let Some(cookie) = device::known(&headers, &user, form.visitor.now) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            Ok(response)
        }
        Err(page_error) => match page_error.refusal() {
            // 401 would mean that the visitor is not signed in.
            Some((_, why)) => page::render(StatusCode::BAD_REQUEST, &page_of(&form.visitor, why)),
            None => Err(page_error),
        },
    }
}

async fn change(app: &Dashboard, form: &SignedInForm) -> Result<User, PageError> {
    let (visitor, fields) = (&form.visitor, &form.fields);
    let who = Attempt::Session(visitor.session_digest());
    app.sign_in_limits().begin(who)?;
    let mut errors = Errors::default();
    if password_check::fits(Some(&visitor.user), fields.raw("password")).await? {
        app.sign_in_limits().succeeded(who);
    } else {
        let text = "Your present password is not right. Nothing was changed.";
        errors.take::<()>(Err(Problem::new(Code::SignInFailed, text)));
    }
    let whose = Some(&visitor.user.email);
    let digest = new_password(app, fields, whose, &mut errors).await?;
    errors.none()?;
    let digest = digest.ok_or_else(|| PageError::internal("a password is neither good nor wrong"))?;
    let user = app
        .authority()
        .sign_in()
        .change_own_password(&visitor.call, digest)
        .await?;
    begin(app, visitor.session(), &user, visitor.now).await?;
    Ok(user)
}

/// Returns the digest of the new password, which the form holds twice; `None`, with the reasons in `errors`, if it is
/// refused.
pub(super) async fn new_password(
    app: &Dashboard,
    fields: &FormFields,
    whose: Option<&Email>,
    errors: &mut Errors,
) -> Result<Option<PasswordDigest>, PageError> {
    let (first, again) = (fields.raw("new_password"), fields.raw("again"));
    let digest = match password::digest(app.host().entropy(), Password(first.to_owned()), whose).await {
        Err(problem) if problem.code != Code::BadRequest => return Err(problem.into()),
        digest => errors.take(digest),
    };
    if !first.is_empty() && !is_same(again, first) {
        errors.take::<()>(Err(Problem::field("again", "must be the same password once more")));
    }
    Ok(digest)
}

/// Ends this session.
pub(super) async fn sign_out(form: SignedInForm) -> Result<Response, PageError> {
    form.visitor.session().flush().await?;
    Ok(page::on_to("/login?why=out"))
}

/// Ends every other session of the user.
pub(super) async fn sign_out_everywhere(
    State(app): State<Dashboard>,
    form: SignedInForm,
) -> Result<Response, PageError> {
    let own = form.visitor.session_digest();
    let ended = app
        .authority()
        .sign_in()
        .end_sessions(form.visitor.user.id, own)
        .await?;
    let text = match ended {
        0 => "You were signed in nowhere else.".to_owned(),
        count => format!("{} ended.", super::moment::plural(count, "other session")),
    };
    form.visitor.tell(Flash::done(text)).await?;
    Ok(page::on_to("/account"))
}

/// Stores the preferences of this browser in cookies.
pub(super) async fn prefer(form: SignedInForm) -> Result<Response, PageError> {
    let fields = &form.fields;
    let mut response = page::on_to(local(fields.get("back")));
    let size = fields
        .get("size")
        .and_then(|text| text.parse().ok())
        .filter(|size| SIZES.contains(size));
    let wishes = [
        (
            THEME_COOKIE,
            fields
                .get("theme")
                .filter(|theme| ["light", "dark", "system"].contains(theme))
                .map(str::to_owned),
        ),
        (
            SHORTCUTS_COOKIE,
            fields
                .get("shortcuts")
                .filter(|word| ["on", "off"].contains(word))
                .map(str::to_owned),
        ),
        (SIZE_COOKIE, size.map(|size| size.to_string())),
    ];
    for (name, value) in wishes {
        let Some(value) = value else { continue };
        let cookie = format!("{name}={value}; Path=/; Max-Age=31536000; SameSite=Lax; Secure; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    Ok(response)
}
