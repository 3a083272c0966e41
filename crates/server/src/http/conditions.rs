//! Conditional requests (RFC 9110, section 13): a change only of a version that the caller has read, and a reading only
//! of one that it has not.

use axum::body::Body;
use axum::extract::MatchedPath;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use keyreeve_api::{Code, Problem};
use keyreeve_store::version::{Condition, Version};

/// Most versions in a condition.
const TAGS_MAX: usize = 100;
/// Routes of records, each of which has a version.
const RECORDS: [&str; 7] = [
    "/v1/api_keys/{id}",
    "/v1/check_policies/{name}",
    "/v1/me",
    "/v1/policy",
    "/v1/root_keys/{id}",
    "/v1/tenants/{slug}",
    "/v1/users/{id}",
];
/// Verbs that change a record, below its route.
const VERBS: [&str; 7] = [
    "/disable",
    "/finalize",
    "/limits/reset",
    "/reactivate",
    "/revoke",
    "/rotate",
    "/rotate/finish",
];

/// Returns whether a route is that of a record with a version.
pub(super) fn is_record(route: &str) -> bool {
    RECORDS.contains(&route)
}

/// Returns whether a path shows a key, whose representation also changes by use and by time.
pub(super) fn is_of_key(path: &str) -> bool {
    path.starts_with("/v1/api_keys/") || path == "/v1/me"
}

/// Returns whether an unsafe call to a route changes a record with a version.
pub(super) fn changes_record(route: &str) -> bool {
    let of_verb = |verb: &str| route.strip_suffix(verb).is_some_and(is_record);
    is_record(route) || VERBS.iter().any(|verb| of_verb(verb))
}

/// The members of a header.
enum Listed {
    Any,
    Tags(Vec<Tag>),
}

struct Tag {
    is_weak: bool,
    text: Box<[u8]>,
}

/// Returns the versions that the caller allows to be changed. Objects without a version match none.
pub(crate) fn only_if(parts: &Parts) -> Result<Option<Condition>, Problem> {
    if parts.method.is_safe() || !parts.headers.contains_key(IF_MATCH) {
        return Ok(None);
    }
    let condition = match listed(&parts.headers, &IF_MATCH) {
        None => {
            let form = "must be `*`, or entity tags in quotation marks, with commas between them";
            return Err(Problem::field("If-Match", form));
        }
        Some(Listed::Any) => Condition::Any,
        // A weak tag never matches here (RFC 9110, section 8.8.3.2), and an unparsable one names no version.
        Some(Listed::Tags(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.is_weak);
            let versions = strong.filter_map(|tag| Version::parse(std::str::from_utf8(&tag.text).ok()?));
            Condition::OneOf(versions.collect())
        }
    };
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match condition {
        Condition::OneOf(_) if !changes_record(route) => {
            let detail = "This call is about no single record, so no ETag can be of it. Nothing was changed; leave \
                          If-Match out.";
            Err(Problem::new(Code::PreconditionFailed, detail))
        }
        condition => Ok(Some(condition)),
    }
}

/// Parses the entity tags in all lines of a header; `None` if they are malformed. Empty list members are skipped (RFC
/// 9110, section 5.6.1.2).
fn listed(headers: &HeaderMap, name: &HeaderName) -> Option<Listed> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let text = lines.join(&b',');
    if text.trim_ascii() == b"*" {
        return Some(Listed::Any);
    }
    let (mut tags, mut rest) = (Vec::new(), text.trim_ascii_start());
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let (tag, after) = tag(rest)?;
        tags.push(tag);
        rest = after.trim_ascii_start();
        if !(rest.is_empty() || rest.starts_with(b",")) || tags.len() > TAGS_MAX {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Listed::Tags(tags))
}

/// Parses one entity tag at the start of a text, and returns the rest.
fn tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let weak = text.strip_prefix(b"W/");
    let quoted = weak.unwrap_or(text).strip_prefix(b"\"")?;
    let end = quoted.iter().position(|byte| *byte == b'"')?;
    let (text, after) = quoted.split_at_checked(end)?;
    let is_allowed = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    let is_weak = weak.is_some();
    text.iter().all(is_allowed).then(|| {
        let text = text.into();
        (Tag { is_weak, text }, after.strip_prefix(b"\"").unwrap_or_default())
    })
}

/// Adds the version of the record to an answer.
pub(crate) fn versioned(mut response: Response<Body>, version: &Version) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", version.to_tag())) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// The conditions of a reading.
pub(super) struct ReadConditions {
    headers: HeaderMap,
    /// Whether the version covers the complete representation: a key's also changes by use and time, without a new
    /// version.
    is_whole: bool,
}

impl ReadConditions {
    /// `None` if the request has no conditions.
    pub(super) fn of(method: &Method, path: &str, headers: &HeaderMap) -> Option<Self> {
        let mut wanted = HeaderMap::new();
        for name in [IF_NONE_MATCH, IF_MATCH] {
            for value in headers.get_all(&name) {
                wanted.append(name.clone(), value.clone());
            }
        }
        let is_reading = matches!(*method, Method::GET | Method::HEAD);
        (is_reading && !wanted.is_empty()).then(|| Self {
            headers: wanted,
            is_whole: !is_of_key(path),
        })
    }

    /// Applies the conditions to an answer. A malformed header is ignored: it can only cost a full response.
    pub(super) fn answered(&self, response: Response<Body>) -> Result<Response<Body>, Problem> {
        let shown = response.headers().get(ETAG).map(HeaderValue::as_bytes);
        let Some(shown) = shown.filter(|_| response.status() == StatusCode::OK) else {
            return Ok(response);
        };
        let is_listed = |name: &HeaderName, weakly: bool| match listed(&self.headers, name) {
            None => None,
            Some(Listed::Any) => Some(true),
            Some(Listed::Tags(tags)) => Some(tags.iter().any(|tag| {
                let is_same = shown.strip_prefix(b"\"").and_then(|shown| shown.strip_suffix(b"\"")) == Some(&*tag.text);
                is_same && (weakly || !tag.is_weak)
            })),
        };
        if is_listed(&IF_MATCH, false) == Some(false) {
            let detail = "The record has another version than If-Match names.";
            return Err(Problem::new(Code::PreconditionFailed, detail));
        }
        match is_listed(&IF_NONE_MATCH, true) {
            Some(true) if self.is_whole => Ok(unchanged(response)),
            Some(_) | None => Ok(response),
        }
    }
}

/// Turns an answer into 304: the headers without the body (RFC 9110, section 15.4.5).
fn unchanged(response: Response<Body>) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(lines: &[&str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        let shown = |tag: &Tag| {
            let text = String::from_utf8_lossy(&tag.text);
            format!("{}{text}", if tag.is_weak { "W/" } else { "" })
        };
        match listed(&headers, &IF_MATCH)? {
            Listed::Any => Some(vec!["*".to_owned()]),
            Listed::Tags(tags) => Some(tags.iter().map(shown).collect()),
        }
    }

    #[test]
    fn entity_tags_are_read_as_http_lists_them() {
        for (lines, expected) in [
            (&["*"][..], &["*"][..]),
            (&["\"a\""], &["a"]),
            (&[" \"a\" ,\"b\""], &["a", "b"]),
            (&["\"a,b\",W/\"c\"", "\"\""], &["a,b", "W/c", ""]),
            (&[", ,\"a\",,"], &["a"]),
        ] {
            assert_eq!(tags(lines).unwrap(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for wrong in [
            "",
            ",",
            "a",
            "\"a",
            "a\"",
            "W/",
            "w/\"a\"",
            "W/ \"a\"",
            "\"a\" \"b\"",
            "\"a\";",
            "*, \"a\"",
            "\"a\", *",
            "**",
            "\"a b\"",
        ] {
            assert_eq!(tags(&[wrong]), None, "{wrong}");
        }
        assert_eq!(tags(&["*", "*"]), None);
        let many = vec!["\"a\""; TAGS_MAX + 1].join(",");
        assert_eq!(tags(&[&many]), None);
    }

    #[test]
    fn records_and_the_verbs_on_them_have_versions() {
        for route in ["/v1/policy", "/v1/api_keys/{id}/rotate/finish", "/v1/me/revoke"] {
            assert!(changes_record(route), "{route}");
        }
        for route in ["/v1/api_keys", "/v1/api_keys/revoke_many", "/v1/users/{id}/invite", ""] {
            assert!(!changes_record(route), "{route}");
        }
    }
}
