//! Recognises what a connection's buffer begins with: a complete plain verification request, the beginning of one, or
//! anything else.
//!
//! The head is parsed by httparse, the parser inside the HTTP library, so that both always see the same request. What
//! could be framed or understood in two ways is `Other` and left to the library.

use crate::http::call::{ACT_AS_HEADER, TENANT_HEADER};
use crate::http::verify::Route;
use hyper::Method;

/// Most headers of a plain request; proxies add a handful.
const HEADERS_MAX: usize = 32;

/// The classification of the bytes.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Classified<'b> {
    /// A complete plain request.
    Whole(PlainRequest<'b>),
    /// Possibly the beginning of one: more bytes are needed.
    Partial,
    /// Anything else.
    Other,
}

/// A verification request without anything unusual.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct PlainRequest<'b> {
    pub(super) route: Route,
    /// The complete value of `Authorization`.
    pub(super) authorization: &'b [u8],
    /// The tenant that the caller names.
    pub(super) tenant: Option<&'b [u8]>,
    /// The caller's own request id.
    pub(super) request_id: Option<&'b [u8]>,
    pub(super) body: &'b [u8],
    /// Length of head and body together.
    pub(super) bytes: usize,
}

/// Classifies the start of a buffer.
pub(super) fn recognise(buffer: &[u8]) -> Classified<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head_bytes = match request.parse(buffer) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if begins_like_ours(buffer) => return Classified::Partial,
        Ok(httparse::Status::Partial) | Err(_) => return Classified::Other,
    };
    let is_ours = request.method == Some("POST") && request.version == Some(1);
    let route = request.path.and_then(|path| Route::of(&Method::POST, path));
    let (true, Some(route @ (Route::One | Route::Batch))) = (is_ours, route) else {
        return Classified::Other;
    };
    let Some(fields) = DirectHeaders::of(request.headers) else {
        return Classified::Other;
    };
    let Some(rest) = buffer.get(head_bytes..) else {
        return Classified::Other;
    };
    match rest.get(..fields.length) {
        Some(body) => Classified::Whole(PlainRequest {
            route,
            authorization: fields.authorization,
            tenant: fields.tenant,
            request_id: fields.request_id,
            body,
            bytes: head_bytes + fields.length,
        }),
        None => Classified::Partial,
    }
}

/// Returns whether an incomplete head can still become such a request. The library gets everything else at once.
fn begins_like_ours(buffer: &[u8]) -> bool {
    const START: &[u8] = b"POST /v1/verify";
    buffer.iter().zip(START).all(|(one, other)| one == other)
}

/// The headers that are used.
#[derive(Default)]
struct DirectHeaders<'b> {
    length: usize,
    authorization: &'b [u8],
    tenant: Option<&'b [u8]>,
    request_id: Option<&'b [u8]>,
}

impl<'b> DirectHeaders<'b> {
    /// `None` if a required one is missing, or one of them is repeated or has an unusual value.
    fn of(headers: &[httparse::Header<'b>]) -> Option<Self> {
        let (mut length, mut authorization, mut request_id) = (None, None, None);
        let (mut host, mut content_type, mut tenant) = (None, None, None);
        for header in headers {
            let (name, value) = (header.name, header.value);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let place = match name.len() {
                4 if is("host") => &mut host,
                12 if is("content-type") => &mut content_type,
                12 if is("x-request-id") => &mut request_id,
                13 if is("authorization") => &mut authorization,
                14 if is("content-length") => &mut length,
                15 if is(TENANT_HEADER) => &mut tenant,
                // The general path refuses it.
                15 if is(ACT_AS_HEADER) => return None,
                10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
                // Each changes what a message is or how it ends (RFC 9112, section 6; RFC 9110, sections 7.8 and 10.1.1).
                17 if is("transfer-encoding") => return None,
                7 if is("upgrade") || is("trailer") => return None,
                6 if is("expect") => return None,
                _ => continue,
            };
            // Sent twice: which one counts is ambiguous, and the general path decides.
            if place.replace(value).is_some() {
                return None;
            }
        }
        let is_json = content_type.is_none_or(|kind: &[u8]| kind.eq_ignore_ascii_case(b"application/json"));
        host.filter(|_| is_json)?;
        Some(Self {
            length: number(length?)?,
            authorization: authorization?,
            tenant,
            request_id,
        })
    }
}

/// Parses a length of one to seven digits.
fn number(digits: &[u8]) -> Option<usize> {
    if !(1..=7).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(number * 10 + usize::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "Host: x\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";

    fn asked(line: &str, headers: &str, body: &str) -> Vec<u8> {
        format!("{line}\r\n{headers}\r\n{body}").into_bytes()
    }

    fn usual() -> Vec<u8> {
        asked("POST /v1/verify HTTP/1.1", USUAL, "{}")
    }

    #[test]
    fn a_plain_request_is_taken_with_what_follows_left_alone() {
        let mut bytes = usual();
        let length = bytes.len();
        bytes.extend_from_slice(b"POST /next");
        let Classified::Whole(plain) = recognise(&bytes) else {
            panic!("not recognised")
        };
        assert_eq!((plain.route, plain.bytes), (Route::One, length));
        assert_eq!((plain.authorization, plain.body), (&b"Bearer k"[..], &b"{}"[..]));
        assert_eq!((plain.request_id, plain.tenant), (None, None));
    }

    #[test]
    fn the_tenant_that_a_request_names_is_seen_and_two_are_not_ours() {
        let named = |lines: &str| asked("POST /v1/verify HTTP/1.1", &format!("{USUAL}{lines}"), "{}");
        let bytes = named("keyreeve-tenant: acme\r\n");
        let Classified::Whole(plain) = recognise(&bytes) else {
            panic!("not recognised")
        };
        assert_eq!(plain.tenant, Some(&b"acme"[..]));
        let twice = named("Keyreeve-Tenant: acme\r\nKEYREEVE-TENANT: acme\r\n");
        assert_eq!(recognise(&twice), Classified::Other);
    }

    #[test]
    fn whatever_is_missing_yet_is_waited_for() {
        let bytes = usual();
        for end in 0..bytes.len() {
            assert_eq!(recognise(bytes.get(..end).unwrap()), Classified::Partial, "{end}");
        }
    }

    #[test]
    fn every_header_that_could_change_what_a_request_means_leaves_it_to_the_library() {
        for unusual in [
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "Content-Length: 2\r\n",
            "Content-Length: 3\r\n",
            "Host: y\r\n",
            "Authorization: Bearer other\r\n",
            "X-Request-Id: a\r\nX-Request-Id: b\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\n",
            "Trailer: x\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, upgrade\r\n",
            "Content-Type: application/json\r\n",
            "Bad Name: x\r\n",
            " folded: x\r\n",
            "Content-Length : 2\r\n",
        ] {
            let bytes = asked("POST /v1/verify HTTP/1.1", &format!("{USUAL}{unusual}"), "{}");
            assert_eq!(recognise(&bytes), Classified::Other, "{unusual:?}");
        }
    }

    #[test]
    fn what_is_needed_must_be_there_and_plain() {
        for (from, to) in [
            ("Host: x\r\n", ""),
            ("Authorization: Bearer k\r\n", ""),
            ("Content-Length: 2\r\n", ""),
            ("Content-Length: 2", "Content-Length: +2"),
            ("Content-Length: 2", "Content-Length: 2,2"),
            ("Content-Length: 2", "Content-Length: "),
            ("Content-Length: 2", "Content-Length: 00000002"),
            ("application/json", "text/plain"),
            ("application/json", "application/json; charset=utf-8"),
        ] {
            let bytes = asked("POST /v1/verify HTTP/1.1", &USUAL.replace(from, to), "{}");
            assert_eq!(recognise(&bytes), Classified::Other, "{from:?} became {to:?}");
        }
    }

    #[test]
    fn other_addresses_methods_and_versions_are_the_librarys() {
        for line in [
            "GET /v1/verify HTTP/1.1",
            "POST /v1/verify HTTP/1.0",
            "POST /v1/verify?x=1 HTTP/1.1",
            "POST //v1/verify HTTP/1.1",
            "POST http://x/v1/verify HTTP/1.1",
            "POST /v1/api_keys/verify HTTP/1.1",
            "POST /v1/verifyx HTTP/1.1",
            "PRI * HTTP/2.0",
            "\x16\x03\x01",
        ] {
            assert_eq!(recognise(&asked(line, USUAL, "{}")), Classified::Other, "{line}");
        }
    }

    #[test]
    fn a_head_that_cannot_become_ours_does_not_wait_here() {
        assert_eq!(recognise(b"GET / HT"), Classified::Other);
        assert_eq!(recognise(b"P"), Classified::Partial);
        assert_eq!(recognise(b"POST /v1/ver"), Classified::Partial);
        assert_eq!(recognise(b"POST /v1/api_k"), Classified::Other);
    }
}
