//! Authenticates the caller of introspection: a root key with `keys:verify`, by HTTP basic or as a bearer token (RFC
//! 7662, section 2.1).

use crate::edge::Peer;
use crate::http::bearer::bearer;
use crate::http::call::{narrowed, root_key_invalid};
use crate::http::verify;
use crate::verdict_service::VerdictService;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use keyreeve_api::Problem;
use keyreeve_authority::verifier::RootPass;
use keyreeve_core::RootKeyId;
use keyreeve_core::access::Reach;

/// Returns the reach of a request: the tenant that it names, else the complete reach of its root key.
pub(super) async fn reach(verdicts: &VerdictService, peer: &Peer, headers: &HeaderMap) -> Result<Reach, Problem> {
    let pass = root_key(verdicts, peer, headers).await?;
    let narrowed = narrowed(verdicts, pass.as_ref(), headers).await?;
    Ok(narrowed.unwrap_or_else(|| verify::reach_of(pass.as_ref()).clone()))
}

/// Fails if the root key of a request is no longer good.
pub(super) async fn require_unrevoked(
    verdicts: &VerdictService,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    root_key(verdicts, peer, headers).await.map(drop)
}

/// Returns the root key of a request; `None` is the operator.
async fn root_key(verdicts: &VerdictService, peer: &Peer, headers: &HeaderMap) -> Result<Option<RootPass>, Problem> {
    let Some(basic) = basic(headers)? else {
        return verify::authenticate_caller(verdicts, peer, peer.address, bearer(headers)?).await;
    };
    let pass = verify::authenticate_caller(verdicts, peer, peer.address, Some(&basic.password)).await?;
    let pass = pass.ok_or_else(root_key_invalid)?;
    // The id of one root key with the secret of another is a configuration error of the client.
    match RootKeyId::parse(&basic.name) {
        Ok(id) if id != pass.id() => Err(root_key_invalid()),
        Ok(_) | Err(_) => Ok(Some(pass)),
    }
}

/// The credential of HTTP basic (RFC 7617).
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
struct Basic {
    name: String,
    password: String,
}

/// Parses the credential of HTTP basic; `None` if there is none. More than one credential is refused.
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, Problem> {
    // `bearer` refuses repeated headers.
    bearer(headers)?;
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, encoded)) = value.and_then(|value| value.split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim_matches(' ')).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let (name, password) = text
        .as_deref()
        .and_then(|text| text.split_once(':'))
        .ok_or_else(root_key_invalid)?;
    Ok(Some(Basic {
        name: name.to_owned(),
        password: password.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use keyreeve_api::Code;

    fn of(values: &[&str]) -> Result<Option<Basic>, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        basic(&headers).map_err(|problem| problem.code)
    }

    #[test]
    fn http_basic_is_a_name_and_a_password() {
        let expected = |name: &str, password: &str| {
            Ok(Some(Basic {
                name: name.to_owned(),
                password: password.to_owned(),
            }))
        };
        assert_eq!(of(&["Basic YTpiOmM="]), expected("a", "b:c"));
        assert_eq!(of(&["basic  Og=="]), expected("", ""));
        for values in [&[][..], &["Bearer abc"], &["Basic"], &["Digest YTpi"]] {
            assert_eq!(of(values), Ok(None), "{values:?}");
        }
        for value in ["Basic !", "Basic YWJj", "Basic YTpi YTpi", "Basic /////w=="] {
            assert_eq!(of(&[value]), Err(Code::RootKeyInvalid), "{value}");
        }
        assert_eq!(of(&["Basic YTpi", "Basic YTpi"]), Err(Code::BadRequest));
    }
}
