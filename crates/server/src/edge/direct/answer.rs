//! Answers plain requests into a buffer, without anything allocated for one of them.

use super::request::Plain;
use crate::App;
use crate::http::{answer, bearer, verify};
use hyper::StatusCode;
use keyreeve_authority::verifier::RootPass;
use keyreeve_core::Digest;
use keyreeve_core::key::Presented;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, UNIX_EPOCH};

const HEAD_OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const HEAD_UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n";
/// What every answer says; the request's id follows.
const FIELDS: &[u8] = b"content-type: application/json\r\ncache-control: no-store\r\nx-request-id: ";

/// What one connection keeps between its requests.
pub(super) struct Answerer<'a> {
    app: &'a App,
    root_key: LastRootKey,
    date: Date,
    body: Vec<u8>,
}

impl<'a> Answerer<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        Self {
            app,
            root_key: LastRootKey::default(),
            date: Date::default(),
            body: Vec::new(),
        }
    }

    /// Appends the answer to `out`; `None` if the request is to be refused, and so is not ours.
    pub(super) async fn answer(&mut self, request: &Plain<'_>, out: &mut Vec<u8>) -> Option<()> {
        let given = match request.request_id {
            Some(id) => Some(answer::sound_request_id(id)?),
            None => None,
        };
        let asker = self.asker(request.authorization).await?;
        self.body.clear();
        let decided = verify::decide(request.route, self.app, asker.reach(), request.body, &mut self.body);
        let head = match decided.await.ok()? {
            StatusCode::OK => HEAD_OK,
            StatusCode::SERVICE_UNAVAILABLE => HEAD_UNAVAILABLE,
            _ => return None,
        };
        out.extend_from_slice(head);
        out.extend_from_slice(FIELDS);
        match given {
            Some(id) => out.extend_from_slice(id),
            None => self.app.write_request_id(out),
        }
        out.extend_from_slice(b"\r\ncontent-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
        out.extend_from_slice(b"\r\ndate: ");
        out.extend_from_slice(self.date.at(self.app.authority().now().millis()));
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
        Some(())
    }

    /// Who asks, if they may.
    async fn asker(&mut self, authorization: &[u8]) -> Option<RootPass> {
        let digest = self.root_key.digest(authorization)?;
        let pass = self.app.authority().root_key_of(digest).await.ok()?;
        pass.filter(verify::may_ask)
    }
}

/// Recognises the root key that a connection presents again and again, so that its digest is computed once.
///
/// What is kept is no secret: two keyed hashes of 64 bits under keys that nobody knows, against which a guess succeeds
/// once in 2^128. Whether the root key is still good is asked each time.
#[derive(Default)]
struct LastRootKey {
    keys: (RandomState, RandomState),
    seen: Option<((u64, u64), Digest)>,
}

impl LastRootKey {
    /// The digest of the root key in a value of `Authorization`; `None` if there is none of its form.
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

/// The text of the present second (RFC 9110, section 6.6.1), made anew when a second begins.
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
