//! Verifies GitHub's signature of a message, and fetches the public keys for it.
//!
//! The keys come from one URL that the operator sets, without following redirects, and only when a message names an
//! unknown key or the list is stale: at most once a minute, whatever messages arrive (OWASP ASVS 13.2.4).

use crate::settings::GitHubKeySource;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{ETAG, IF_NONE_MATCH};
use keyreeve_api::{Code, Problem};
use keyreeve_core::coherence::Moment;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Mutex;

const IDENTIFIER: &str = "github-public-key-identifier";
const SIGNATURE: &str = "github-public-key-signature";
/// Longest identifier of a key, and longest signature.
const IDENTIFIER_BYTES_MAX: usize = 128;
const SIGNATURE_BYTES_MAX: usize = 256;
/// First byte of a signature in DER.
const DER_SEQUENCE: u8 = 0x30;
/// Shortest time between two fetches, and the age after which the list is fetched again, in ms.
const ASKED_MS: u64 = 60_000;
const FRESH_MS: u64 = 3_600_000;
/// Time limit and largest size of the list.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const LIST_BYTES_MAX: usize = 256 * 1024;
/// Most keys that are stored.
const KEYS_MAX: usize = 100;

/// GitHub's public keys.
#[derive(Debug)]
pub(crate) struct GitHubKeys {
    source: GitHubKeySource,
    known: Mutex<KnownKeys>,
}

/// The stored list: keys in DER by identifier.
#[derive(Debug, Default)]
struct KnownKeys {
    keys: HashMap<String, Vec<u8>>,
    tag: Option<String>,
    asked_at: Option<Moment>,
}

/// The list as GitHub publishes it.
#[derive(Deserialize)]
struct PublishedList {
    public_keys: Vec<ListedKey>,
}

#[derive(Deserialize)]
struct ListedKey {
    key_identifier: String,
    key: String,
}

/// Why the list could not be read.
#[derive(Debug, Error)]
enum NoKeys {
    #[error("{0}")]
    Transport(#[from] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("the list is larger than {LIST_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the list cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the file cannot be read: {0}")]
    File(#[from] std::io::Error),
}

impl GitHubKeys {
    pub(crate) fn new(source: GitHubKeySource) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    /// Refuses a message that GitHub did not sign exactly as it arrived.
    pub(super) async fn check(&self, headers: &HeaderMap, body: &[u8], now: Moment) -> Result<(), Problem> {
        if self.source == GitHubKeySource::Off {
            let detail = "This server accepts no reports from GitHub: the setting leaks.github_keys is off.";
            return Err(Problem::new(Code::NotFound, detail));
        }
        let identifier = one(headers, IDENTIFIER, IDENTIFIER_BYTES_MAX)?;
        let signature = one(headers, SIGNATURE, SIGNATURE_BYTES_MAX)?;
        // A malformed signature must not cause a fetch.
        let signature = STANDARD
            .decode(signature)
            .ok()
            .filter(|signature| signature.starts_with(&[DER_SEQUENCE]));
        let signature = signature.ok_or_else(not_signed)?;
        let key = self.key(identifier, now).await?.ok_or_else(not_signed)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
        key.verify(body, &signature).map_err(|_| not_signed())
    }

    /// Returns the key of an identifier. The lock is held during a fetch, so that concurrent messages cause one fetch.
    async fn key(&self, identifier: &str, now: Moment) -> Result<Option<Vec<u8>>, Problem> {
        let mut known = self.known.lock().await;
        let age = |known: &KnownKeys| known.asked_at.map(|at| now.ms_since(at));
        let patience = if known.keys.contains_key(identifier) {
            FRESH_MS
        } else {
            ASKED_MS
        };
        if age(&known).is_none_or(|age| age >= patience) {
            // Before the fetch, so that a failing source is asked at most once a minute too.
            known.asked_at = Some(now);
            if let Err(error) = self.refresh(&mut known).await {
                tracing::warn!(%error, source = %self.source, "cannot fetch GitHub's public keys");
                if !known.keys.contains_key(identifier) {
                    let detail = "GitHub's public keys cannot be fetched now. No report was recorded; try again.";
                    return Err(Problem::new(Code::ServiceUnavailable, detail));
                }
            }
        }
        Ok(known.keys.get(identifier).cloned())
    }

    async fn refresh(&self, known: &mut KnownKeys) -> Result<(), NoKeys> {
        let (bytes, tag) = match &self.source {
            GitHubKeySource::Off => return Ok(()),
            // A small file of the operator, read at most once a minute.
            GitHubKeySource::File(path) => (std::fs::read(path)?, None),
            GitHubKeySource::Url(url) => {
                let Some(response) = fetch(url, known.tag.as_deref()).await? else {
                    return Ok(());
                };
                let tag = response
                    .headers()
                    .get(ETAG)
                    .and_then(|tag| tag.to_str().ok())
                    .map(str::to_owned);
                (collect(response).await?, tag)
            }
        };
        known.keys = keys_of(&bytes)?;
        known.tag = tag;
        Ok(())
    }
}

/// Fetches the list; `None` if it still has this tag.
async fn fetch(url: &str, tag: Option<&str>) -> Result<Option<Response>, NoKeys> {
    let client = Client::builder()
        .redirect(Policy::none())
        .timeout(FETCH_TIMEOUT)
        .user_agent(concat!("keyreeve/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let mut request = client.get(url);
    if let Some(tag) = tag {
        request = request.header(IF_NONE_MATCH, tag);
    }
    let response = request.send().await?;
    match response.status() {
        StatusCode::NOT_MODIFIED if tag.is_some() => Ok(None),
        StatusCode::OK => Ok(Some(response)),
        status => Err(NoKeys::Status(status)),
    }
}

async fn collect(mut response: Response) -> Result<Vec<u8>, NoKeys> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LIST_BYTES_MAX {
            return Err(NoKeys::TooLarge);
        }
    }
    Ok(bytes)
}

/// Parses the keys of a list. Entries that are no PEM key are skipped, so what they signed is refused.
fn keys_of(list: &[u8]) -> Result<HashMap<String, Vec<u8>>, NoKeys> {
    let list: PublishedList = serde_json::from_slice(list)?;
    let keys = list.public_keys.into_iter().take(KEYS_MAX);
    Ok(keys
        .filter_map(|listed| Some((listed.key_identifier, der_of(&listed.key)?)))
        .collect())
}

/// Decodes a PEM `PUBLIC KEY` (RFC 7468) to DER.
fn der_of(pem: &str) -> Option<Vec<u8>> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(key.to_vec())
}

/// Returns a header that must be present exactly once.
fn one<'h>(headers: &'h HeaderMap, name: &str, max: usize) -> Result<&'h str, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values
        .next()
        .and_then(|value| value.to_str().ok())
        .filter(|value| (1..=max).contains(&value.len()));
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Problem::field(
            name,
            "is a header that must be sent once, as GitHub does",
        )),
    }
}

/// The problem of a message that GitHub did not sign.
pub(in crate::http) fn not_signed() -> Problem {
    Problem::new(
        Code::SignatureInvalid,
        "The message is not signed by GitHub, or was changed in transit. No report was recorded.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use hyper::header::HeaderValue;

    const BODY: &[u8] = br#"[{"source":"commit","token":"x","type":"t","url":""}]"#;
    /// The bytes before the point of a P-256 key in DER (RFC 5480).
    const P256: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];

    fn keys_with(pair: &EcdsaKeyPair) -> (tempfile::TempDir, GitHubKeys) {
        let der: Vec<u8> = P256.iter().chain(pair.public_key().as_ref()).copied().collect();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        let list = serde_json::json!({ "public_keys": [{ "key_identifier": "good", "key": pem, "is_current": true },
            { "key_identifier": "broken", "key": "no key" }] });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        std::fs::write(&path, list.to_string()).unwrap();
        (folder, GitHubKeys::new(GitHubKeySource::File(path)))
    }

    fn headers(identifier: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(IDENTIFIER, HeaderValue::from_str(identifier).unwrap());
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers
    }

    #[tokio::test]
    async fn only_what_was_signed_is_taken_byte_for_byte() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let (_folder, keys) = keys_with(&pair);
        let signature = pair.sign(&SystemRandom::new(), BODY).unwrap();
        let encoded = STANDARD.encode(signature.as_ref());
        let check = async |headers: HeaderMap, body: &[u8]| {
            let checked = keys.check(&headers, body, Moment::default()).await;
            checked.map_err(|problem| problem.code)
        };
        assert_eq!(check(headers("good", &encoded), BODY).await, Ok(()));
        let respaced = [BODY, b" "].concat();
        let mut tampered = signature.as_ref().to_vec();
        *tampered.last_mut().unwrap() ^= 1;
        for (headers, body) in [
            (headers("good", &encoded), respaced.as_slice()),
            (headers("good", &STANDARD.encode(tampered)), BODY),
            (headers("good", "nonsense!"), BODY),
            (headers("good", ""), BODY),
            (headers("broken", &encoded), BODY),
            (headers("other", &encoded), BODY),
        ] {
            let refused = check(headers, body).await;
            assert!(
                matches!(refused, Err(Code::SignatureInvalid | Code::BadRequest)),
                "{refused:?}"
            );
        }
        assert_eq!(check(HeaderMap::new(), BODY).await, Err(Code::BadRequest));
        let mut twice = headers("good", &encoded);
        twice.append(SIGNATURE, HeaderValue::from_str(&encoded).unwrap());
        assert_eq!(check(twice, BODY).await, Err(Code::BadRequest));
        let off = GitHubKeys::new(GitHubKeySource::Off);
        let refused = off.check(&headers("good", &encoded), BODY, Moment::default()).await;
        assert_eq!(refused.map_err(|problem| problem.code), Err(Code::NotFound));
    }

    #[test]
    fn a_list_may_have_keys_that_cannot_be_read() {
        let keys =
            keys_of(br#"{"public_keys":[{"key_identifier":"x","key":"","is_current":false}],"more":1}"#).unwrap();
        assert!(keys.is_empty());
        assert!(keys_of(b"{}").is_err() && keys_of(b"").is_err());
    }
}
