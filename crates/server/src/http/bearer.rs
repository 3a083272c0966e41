//! Reads the credential in the `Authorization` header.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use keyreeve_api::{Code, Problem};

/// Returns the bearer credential, or `None` if there is none.
///
/// `Bearer` in any case (RFC 9110, section 11.1). More than one credential is refused, because readers could choose
/// differently among them.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ambiguous());
    }
    of_value(first.as_bytes())
}

/// Returns the bearer credential in the value of the one `Authorization` header.
pub(crate) fn of_value(value: &[u8]) -> Result<Option<&str>, Problem> {
    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let Some(value) = Some(value).filter(|value| value.iter().all(is_visible)) else {
        return Ok(None);
    };
    let Some((scheme, credential)) = std::str::from_utf8(value).ok().and_then(|value| value.split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let credential = credential.trim_matches(' ');
    if credential.contains(',') {
        return Err(ambiguous());
    }
    Ok(Some(credential).filter(|credential| !credential.is_empty()))
}

fn ambiguous() -> Problem {
    let detail = "The request has more than one credential. Send exactly one Authorization header with one credential.";
    Problem::new(Code::BadRequest, detail).with("param_name", "Authorization")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of(values: &[&str]) -> Result<Option<String>, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer(&headers)
            .map(|found| found.map(str::to_owned))
            .map_err(|problem| problem.code)
    }

    #[test]
    fn exactly_one_bearer_credential_counts() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(of(&[value]), Ok(Some("abc".to_owned())), "{value}");
        }
        for values in [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearer "]] {
            assert_eq!(of(values), Ok(None), "{values:?}");
        }
        for values in [&["Bearer a", "Bearer b"][..], &["Bearer a,b"], &["Bearer a, Bearer b"]] {
            assert_eq!(of(values), Err(Code::BadRequest), "{values:?}");
        }
    }
}
