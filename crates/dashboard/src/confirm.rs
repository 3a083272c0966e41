//! Re-entry of the password before a secret is made or many keys are changed, and forms that take effect once.

use super::errors::Errors;
use super::fields::FormFields;
use super::flash::Flash;
use super::form::{SignedInForm, is_same};
use super::page;
use super::page_error::PageError;
use super::password_check;
use super::sign_in_limits::Attempt;
use super::visitor::Visitor;
use crate::Dashboard;
use axum::response::Response;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Call;
use keyreeve_authority::model::{Idempotency, Repeat};
use keyreeve_core::Digest;

/// Succeeds if the password was given recently or is in the form (OWASP ASVS 7.5.3). Not required before a single key
/// is revoked: that must be quick.
pub(super) async fn require(app: &Dashboard, visitor: &mut Visitor, fields: &FormFields) -> Result<(), PageError> {
    if visitor.is_confirmed() {
        return Ok(());
    }
    let Some(password) = Some(fields.raw("password")).filter(|text| !text.is_empty()) else {
        return Err(refused("Your password is needed for this: it was given too long ago.").into());
    };
    let who = Attempt::Session(visitor.session_digest());
    app.sign_in_limits().begin(who)?;
    if !password_check::fits(Some(&visitor.user), password).await? {
        return Err(refused("That is not your password. Nothing was changed.").into());
    }
    app.sign_in_limits().succeeded(who);
    visitor.confirm().await
}

/// Returns what was read from the form once the password is confirmed; otherwise all errors of the form, with that of
/// the password.
pub(super) async fn with<T>(app: &Dashboard, form: &mut SignedInForm, read: Result<T, Errors>) -> Result<T, PageError> {
    match (read, require(app, &mut form.visitor, &form.fields).await) {
        (Ok(read), Ok(())) => Ok(read),
        (Err(errors), Ok(())) => Err(errors.into()),
        (Ok(_), Err(page_error)) => Err(page_error),
        (Err(mut errors), Err(page_error)) => match page_error.refusal() {
            Some((_, more)) => {
                errors.add(more);
                Err(errors.into())
            }
            None => Err(page_error),
        },
    }
}

fn refused(text: &str) -> Problem {
    Problem::new(Code::SignInFailed, text)
}

/// Returns a call for a form that takes effect once. If it is sent twice, one secret is made and the second answer
/// shows none. The first secret stays valid: it may have been copied already.
pub(super) fn once(visitor: &Visitor, fields: &FormFields, path: &str) -> Call {
    let mark = fields.raw("once");
    let mut call = visitor.call.clone();
    if !mark.is_empty() && mark.len() <= 64 && !is_same(mark, "") {
        let text = format!("{path}\n{mark}");
        call.idempotency = Some(Idempotency {
            key: format!("form:{mark}").into(),
            fingerprint: *Digest::of(text.as_bytes()).bytes(),
            repeat: Repeat::Reports,
        });
    }
    call
}

/// The answer to a form that was sent twice: a redirect to the key's page, with the reason why no secret is shown.
pub(super) async fn repeated(visitor: &Visitor, page_error: &PageError) -> Result<Option<Response>, PageError> {
    let problem = page_error.problem();
    let ids = problem.meta.get("keys").and_then(|keys| keys.as_array());
    let id = ids.and_then(|ids| ids.first()).and_then(|id| id.as_str());
    let (Code::AlreadyCompleted, Some(id)) = (problem.code, id) else {
        return Ok(None);
    };
    let text = "This form was sent twice, and was carried out once. The secret was in the first answer and cannot be \
                shown again. If you did not keep it, rotate the key or create another one.";
    visitor.tell(Flash::refused(text.to_owned())).await?;
    Ok(Some(page::on_to(&format!("/keys/{id}"))))
}
