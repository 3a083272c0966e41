//! Writes answers to plain requests into a buffer, without an allocation per request.

use super::request::PlainRequest;
use crate::edge::Peer;
use crate::http::client_address::is_trusted;
use crate::http::{answer, bearer, verify};
use crate::verdict_service::VerdictService;
use hyper::StatusCode;
use keyreeve_api::Family;
use keyreeve_authority::Failure;
use keyreeve_authority::verifier::RootPass;
use keyreeve_core::Digest;
use keyreeve_core::access::Reach;
use keyreeve_core::key::Presented;
use keyreeve_core::text::Slug;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

const HEAD_OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const HEAD_UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n";
/// Headers of every verdict; the request's id follows.
const FIELDS: &[u8] = b"content-type: application/json\r\ncache-control: no-store\r\nx-request-id: ";
/// The same with HSTS, where browsers must use TLS only (RFC 6797).
const FIELDS_BY_TLS: &[u8] = b"strict-transport-security: max-age=31536000\r\ncontent-type: application/json\r\n\
    cache-control: no-store\r\nx-request-id: ";
const STRICT_TRANSPORT: &[u8] = b"strict-transport-security: max-age=31536000\r\n";
/// Headers between the content type of another answer and the request's id.
const REST: &[u8] = b"\r\ncache-control: no-store\r\nx-request-id: ";

/// State that a connection keeps between its requests.
pub(super) struct Answerer<'a> {
    verdicts: &'a VerdictService,
    address: Option<IpAddr>,
    is_operator: bool,
    fields: &'static [u8],
    root_key: LastRootKey,
    tenant: LastTenant,
    date: Date,
    body: Vec<u8>,
    has_known: bool,
}

impl<'a> Answerer<'a> {
    /// `by_tls_only`: whether answers carry HSTS.
    pub(super) fn new(verdicts: &'a VerdictService, peer: &Peer, by_tls_only: bool) -> Self {
        Self {
            verdicts,
            address: peer.address,
            is_operator: peer.is_operator,
            fields: if by_tls_only { FIELDS_BY_TLS } else { FIELDS },
            root_key: LastRootKey::default(),
            tenant: LastTenant::default(),
            date: Date::default(),
            body: Vec::new(),
            has_known: false,
        }
    }

    /// Returns whether a request had a valid credential.
    pub(super) const fn has_known(&self) -> bool {
        self.has_known
    }

    /// Appends the answer to `out`; `None` if the request would be refused, which is left to the HTTP library.
    pub(super) async fn answer(&mut self, request: &PlainRequest<'_>, out: &mut Vec<u8>) -> Option<()> {
        let given = match request.request_id {
            Some(id) => Some(answer::sound_request_id(id)?),
            None => None,
        };
        let digest = self.root_key.digest(request.authorization)?;
        let known = match self.verdicts.authority().root_key_remembered(&digest) {
            Some(known) => Ok(known),
            None => self.look_up(digest).await?,
        };
        let pass = match known {
            Ok(pass) => pass,
            Err(failure) => {
                self.answer_nothing_known(&failure, given, out);
                return Some(());
            }
        };
        let caller = pass.filter(|pass| verify::may_ask(pass) && self.admits(pass))?;
        self.verdicts.authority().note_root_key_use(&caller);
        self.has_known = true;
        let reach = match request.tenant {
            None => caller.reach(),
            Some(name) => self.tenant.within(self.verdicts, caller.reach(), name).await?,
        };
        self.body.clear();
        let decided = verify::decide(request.route, self.verdicts, reach, request.body, &mut self.body);
        let head = match decided.await.ok()? {
            StatusCode::OK => HEAD_OK,
            StatusCode::SERVICE_UNAVAILABLE => HEAD_UNAVAILABLE,
            _ => return None,
        };
        out.extend_from_slice(head);
        out.extend_from_slice(self.fields);
        self.finish(given, out);
        Some(())
    }

    /// Whether a root key may be used from here. Behind a trusted proxy the client's address is in a header, which the HTTP
    /// library parses.
    fn admits(&self, pass: &RootPass) -> bool {
        pass.is_for_any_address()
            || self.is_operator
            || (pass.admits(self.address) && !is_trusted(self.verdicts.trusted_proxies(), self.address))
    }

    /// Looks the root key up in the store; `None` if the address has reached its limit, or is a trusted proxy's: then the
    /// client's address is in a header, which the HTTP library parses. The path that refuses the request counts the
    /// unknown secret.
    #[cold]
    async fn look_up(&self, digest: Digest) -> Option<Result<Option<RootPass>, Failure>> {
        if is_trusted(self.verdicts.trusted_proxies(), self.address) {
            return None;
        }
        let _look_up = self.verdicts.address_rate_limits().junk.begin(self.address).ok()?;
        Some(self.verdicts.authority().root_key_of(digest).await)
    }

    /// The root key cannot be verified now. The request was read completely, so the connection stays open.
    #[cold]
    fn answer_nothing_known(&mut self, failure: &Failure, given: Option<&[u8]>, out: &mut Vec<u8>) {
        let id = match given {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => self.verdicts.new_request_id(),
        };
        let body = verify::unavailable(failure).body(Family::Problem, &id);
        self.body.clear();
        self.body.extend(serde_json::to_vec(&body).unwrap_or_default());
        out.extend_from_slice(HEAD_UNAVAILABLE);
        if self.fields == FIELDS_BY_TLS {
            out.extend_from_slice(STRICT_TRANSPORT);
        }
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(Family::Problem.content_type().as_bytes());
        out.extend_from_slice(REST);
        self.finish(Some(id.as_bytes()), out);
    }

    /// Appends the request's id, the remaining headers and the body.
    fn finish(&mut self, given: Option<&[u8]>, out: &mut Vec<u8>) {
        match given {
            Some(id) => out.extend_from_slice(id),
            None => self.verdicts.write_request_id(out),
        }
        out.extend_from_slice(b"\r\ncontent-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
        out.extend_from_slice(b"\r\ndate: ");
        out.extend_from_slice(self.date.at(self.verdicts.authority().now().millis()));
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
    }
}

/// Recognises the root key that a connection presents with every request, so that its digest is computed once.
///
/// No secret is kept: two keyed 64-bit hashes under random keys, against which a guess succeeds once in 2^128. The
/// validity of the root key is checked for every request.
#[derive(Default)]
struct LastRootKey {
    keys: (RandomState, RandomState),
    seen: Option<((u64, u64), Digest)>,
}

impl LastRootKey {
    /// Returns the digest of the root key in a value of `Authorization`; `None` if it has another form.
    fn digest(&mut self, authorization: &[u8]) -> Option<Digest> {
        let mark = (self.keys.0.hash_one(authorization), self.keys.1.hash_one(authorization));
        if let Some((seen, digest)) = &self.seen
            && *seen == mark
        {
            return Some(*digest);
        }
        let secret = bearer::of_value(authorization).ok()??;
        let digest = Presented::parse(secret).ok()?.digest();
        self.seen = Some((mark, digest));
        Some(digest)
    }
}

/// The tenant that a connection names with every request. Its existence is checked for every request.
#[derive(Default)]
struct LastTenant(Option<Reach>);

impl LastTenant {
    /// Returns the reach of a request that names a tenant; `None` if the request would be refused.
    async fn within<'t>(&'t mut self, verdicts: &VerdictService, own: &'t Reach, name: &[u8]) -> Option<&'t Reach> {
        let is_named = |reach: &Reach| matches!(reach, Reach::Tenant(slug) if slug.as_str().as_bytes() == name);
        if let Reach::Tenant(_) = own {
            return is_named(own).then_some(own);
        }
        if !self.0.as_ref().is_some_and(is_named) {
            let slug = Slug::parse(str::from_utf8(name).ok()?).ok()?;
            self.0 = Some(Reach::Tenant(slug));
        }
        let reach = self.0.as_ref()?;
        match reach {
            Reach::Tenant(slug) if verdicts.authority().tenants().exists(slug).await.ok()? => Some(reach),
            Reach::Tenant(_) | Reach::Instance => None,
        }
    }
}

/// The text of the present second (RFC 9110, section 6.6.1), formatted once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn at(&mut self, unix_ms: i64) -> &[u8] {
        let second = u64::try_from(unix_ms / 1_000).unwrap_or(0);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::{Prefix, Secret};

    #[test]
    fn a_root_key_is_recognised_only_if_it_is_the_same() {
        let secret = |number: u8| Secret::mint(&Prefix::standard(), &[number; 32]);
        let header = |secret: &Secret| format!("Bearer {}", secret.expose()).into_bytes();
        let mut last = LastRootKey::default();
        for number in [1, 1, 2, 1, 2, 2] {
            let secret = secret(number);
            assert_eq!(last.digest(&header(&secret)), Some(secret.digest()));
        }
        assert_eq!(last.digest(b"Bearer ak_kr1nonsense"), None);
        assert_eq!(last.digest(b"Basic eDp5"), None);
        assert_eq!(last.digest(&header(&secret(2))), Some(secret(2).digest()));
    }

    #[test]
    fn the_date_is_that_of_the_second() {
        let mut date = Date::default();
        assert_eq!(date.at(784_111_777_000), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_777_999), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_778_000), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
