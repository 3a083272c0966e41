//! The verifier against a real server in this process: its verdicts, what it forgets, and the layer in front of
//! handlers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use axum_core::extract::FromRequestParts as _;
use http::{Request, Response, StatusCode};
use keyreeve_client::verifier::Needs;
use keyreeve_client::verifier::http::{Verified, VerifyLayer};
use keyreeve_client::{Client, ClientError, Verifier};
use keyreeve_server::founding::EmptyStore;
use keyreeve_server::instance::{Instance, operator_socket};
use keyreeve_server::settings::Settings;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::{Layer as _, ServiceExt as _, service_fn};

struct World {
    instance: Instance,
    client: Client,
    url: String,
    root_key: String,
    names: AtomicU32,
    _data: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (shows, shown) = std::sync::mpsc::channel();
        let settings = Settings {
            cache_entries: 1_000,
            node_name: "test".to_owned(),
            ..Settings::on_loopback(data.path().to_owned())
        };
        let empty = EmptyStore::found(move |_, root_key| shows.send(root_key.to_owned()).map_err(io::Error::other));
        let instance = Instance::start(&settings, empty).await.unwrap();
        Self {
            client: Client::over_socket(&operator_socket(data.path())).unwrap(),
            url: format!("http://{}", instance.addresses.api().unwrap()),
            root_key: shown.recv().unwrap(),
            names: AtomicU32::new(0),
            instance,
            _data: data,
        }
    }

    async fn verifier(&self) -> Verifier {
        Verifier::connect(&self.url, &self.root_key).await.unwrap()
    }

    async fn key(&self, scopes: &[&str]) -> (String, String) {
        self.made(json!({ "scopes": scopes, "claims": {"plan": "pro"} })).await
    }

    async fn made(&self, mut wish: Value) -> (String, String) {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        wish["name"] = json!(format!("key {number}"));
        wish["subject"] = json!("user_1");
        let made = self.client.post("v1/api_keys", &wish).await.unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    async fn revoke(&self, id: &str) {
        let path = format!("v1/api_keys/{id}/revoke");
        self.client.post(&path, &json!({})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_once_and_then_known_until_it_is_revoked() {
    let world = World::new().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let builder = Verifier::builder(&world.url, &world.root_key);
    let builder = builder.on_revoked(move |id| heard.lock().unwrap().push(id.to_owned()));
    let verifier = builder.connect().await.unwrap();
    let (id, secret) = world.key(&["read", "write"]).await;
    assert!(verifier.remembered(&secret, &[]).is_none());
    let verdict = verifier.verify(&secret).await;
    assert_eq!(
        (verdict.code(), verdict.status(), verdict.reason()),
        ("VALID", 200, "valid")
    );
    assert_eq!(verdict.key_id().as_deref(), Some(id.as_str()));
    assert_eq!((verdict.subject(), verdict.name()), (Some("user_1"), Some("key 0")));
    assert_eq!(
        (verdict.tenant(), verdict.claims()),
        (Some("default"), Some(r#"{"plan":"pro"}"#))
    );
    assert_eq!(verdict.scopes().collect::<Vec<_>>(), ["read", "write"]);
    assert!(verifier.remembered(&secret, &["read"]).unwrap().is_valid());
    assert_eq!(verifier.remembered(&secret, &["admin"]).unwrap().reason(), "scope");
    world.revoke(&id).await;
    assert!(
        verifier.remembered(&secret, &[]).is_none(),
        "it was forgotten before revoke returned"
    );
    let denied = verifier.verify(&secret).await;
    assert_eq!((denied.reason(), denied.subject()), ("revoked", None));
    assert_eq!(*told.lock().unwrap(), [id]);
    verifier.close().await;
    world.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_is_costs_no_question_and_what_nobody_knows_is_not_remembered() {
    let world = World::new().await;
    let verifier = world.verifier().await;
    for (text, reason) in [("", "missing"), ("nonsense", "malformed")] {
        assert_eq!(verifier.remembered(text, &[]).unwrap().reason(), reason);
    }
    let other = World::new().await;
    let (_, foreign) = other.key(&[]).await;
    assert_eq!(verifier.verify(&foreign).await.reason(), "unknown");
    assert!(verifier.is_empty());
    other.instance.stop().await;
    world.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_what_falls_out_is_asked_for_again() {
    let world = World::new().await;
    let builder = Verifier::builder(&world.url, &world.root_key).capacity(64);
    let verifier = builder.connect().await.unwrap();
    let mut keys = Vec::new();
    for round in 0..6 {
        let items: Vec<_> = (0..100)
            .map(|place| json!({"name": format!("{round} {place}"), "subject": "u"}))
            .collect();
        let made = world
            .client
            .post("v1/api_keys/batch", &json!({ "items": items }))
            .await
            .unwrap();
        let made = made["data"].as_array().unwrap().clone();
        keys.extend(made.iter().map(|key| key["secret"].as_str().unwrap().to_owned()));
    }
    for key in &keys {
        assert!(verifier.verify(key).await.is_valid());
        assert!(verifier.len() <= 64, "{}", verifier.len());
    }
    assert!(verifier.verify(&keys[0]).await.is_valid());
    world.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_verify_is_told_so_at_once() {
    let world = World::new().await;
    let wish = json!({"name": "reads", "permissions": ["keys:read"]});
    let made = world.client.post("v1/root_keys", &wish).await.unwrap();
    let refused = Verifier::connect(&world.url, made["secret"].as_str().unwrap()).await;
    assert!(matches!(refused, Err(ClientError::Refused(why)) if why.code == "PERMISSION_DENIED"));
    let refused = Verifier::connect(&world.url, "nobody").await;
    assert!(matches!(refused, Err(ClientError::Refused(why)) if why.code == "ROOT_KEY_INVALID"));
    let refused = Verifier::connect("ftp://x", "nobody").await;
    assert!(matches!(refused, Err(ClientError::Address(_))));
    let refused = Verifier::connect("http://127.0.0.1:1", "nobody").await;
    assert!(matches!(refused, Err(ClientError::Unreachable(_))));
    world.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_server_nothing_is_valid_and_what_was_seen_is_counted() {
    let world = World::new().await;
    let verifier = world.verifier().await;
    let (id, secret) = world.key(&[]).await;
    for cost in [1, 1, 1, 1, 1, 1, 30] {
        let needs = Needs {
            cost,
            ..Needs::default()
        };
        assert!(verifier.verify_with(&secret, &needs).await.is_valid());
    }
    let path = format!("v1/api_keys/{id}/usage");
    let counted = async || {
        let usage: Value = world.client.get(&path, &[]).await.unwrap();
        let hours = usage["data"].as_array().unwrap();
        let sum = |field: &str| hours.iter().filter_map(|hour| hour[field].as_u64()).sum::<u64>();
        (sum("count"), sum("cost")) == (7, 36)
    };
    while !counted().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key = world.client.get(&format!("v1/api_keys/{id}"), &[]).await.unwrap();
    assert!(key["last_used_at"].is_number());
    world.instance.stop().await;
    assert_eq!(verifier.verify(&secret).await.code(), "SERVICE_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_uses_are_counted_is_counted_by_the_node() {
    let world = World::new().await;
    let (one, other) = (world.verifier().await, world.verifier().await);
    let limits = json!([{"name": "few", "limit": 3, "seconds": 3600}]);
    let (id, secret) = world.made(json!({ "limits": limits, "scopes": ["read"] })).await;
    for (verifier, left) in [(&one, 2), (&other, 1), (&one, 0)] {
        let denied = verifier.verify_for(&secret, &["write"]).await;
        assert_eq!(denied.reason(), "scope", "and it takes nothing");
        let verdict = verifier.verify_for(&secret, &["read"]).await;
        assert!(verdict.is_valid());
        let headers: Vec<_> = verdict.headers().collect();
        assert!(headers[0].1.starts_with(&format!("\"few\";r={left};t=")), "{headers:?}");
        assert_eq!(headers[1], ("ratelimit-policy", "\"few\";q=3;w=3600".to_owned()));
        assert!(verifier.remembered(&secret, &[]).is_none(), "memory alone cannot count");
    }
    let denied = other.verify(&secret).await;
    assert_eq!(
        (denied.code(), denied.status(), denied.subject()),
        ("RATE_LIMITED", 429, None)
    );
    let looked = one
        .verify_with(
            &secret,
            &Needs {
                cost: 0,
                ..Needs::default()
            },
        )
        .await;
    assert!(looked.is_valid(), "a look takes nothing");
    let answer = served(&VerifyLayer::new(one.clone()), &[("x-api-key", &secret)]).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    for (name, start) in [
        ("retry-after", "1"),
        ("ratelimit", "\"few\";r=0"),
        ("ratelimit-policy", "\"few\""),
    ] {
        let value = answer.headers()[name].to_str().unwrap();
        assert!(value.starts_with(start), "{name}: {value}");
    }
    world.revoke(&id).await;
    assert_eq!(one.verify(&secret).await.reason(), "revoked");
    world.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_networks_is_good_from_there_alone() {
    let world = World::new().await;
    let verifier = world.verifier().await;
    let (_, secret) = world.made(json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    let from = |address: &str| Needs {
        address: address.parse().ok(),
        ..Needs::default()
    };
    for (address, reason) in [
        ("192.0.2.7", "valid"),
        ("198.51.100.1", "address"),
        ("not known", "address"),
    ] {
        let verdict = verifier.verify_with(&secret, &from(address)).await;
        assert_eq!(verdict.reason(), reason, "{address}");
    }
    let layer = VerifyLayer::new(verifier);
    assert_eq!(
        served(&layer, &[("x-api-key", &secret)]).await.status(),
        StatusCode::FORBIDDEN
    );
    let layer = layer.address(|_, headers| headers.get("x-real-ip")?.to_str().ok()?.parse().ok());
    for (address, status) in [("192.0.2.7", 200), ("198.51.100.1", 403)] {
        let answer = served(&layer, &[("x-api-key", &secret), ("x-real-ip", address)]).await;
        assert_eq!(answer.status().as_u16(), status, "{address}");
    }
    world.instance.stop().await;
}

async fn served(layer: &VerifyLayer, headers: &[(&str, &str)]) -> Response<String> {
    let handler = service_fn(|request: Request<()>| async move {
        let Verified(verdict) = request.extensions().get::<Verified>().unwrap();
        Ok::<_, Infallible>(Response::new(verdict.subject().unwrap_or("").to_owned()))
    });
    let mut request = Request::builder().uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    layer.layer(handler).oneshot(request.body(()).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_answers_as_rfc_6750_says() {
    let world = World::new().await;
    let layer = VerifyLayer::new(world.verifier().await)
        .scopes(["read"])
        .realm("the \"shop\"");
    let (_, good) = world.key(&["read"]).await;
    let (id, poor) = world.key(&["write"]).await;
    let bearer = |key: &str| format!("Bearer {key}");
    for headers in [
        [("authorization", bearer(&good).as_str())],
        [("x-api-key", good.as_str())],
    ] {
        let answer = served(&layer, &headers).await;
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "user_1"));
    }
    let realm = "Bearer realm=\"the \\\"shop\\\"\"";
    let cases = [
        (vec![], 401, "API_KEY_REQUIRED", realm.to_owned()),
        (
            vec![("x-api-key", "nonsense")],
            401,
            "API_KEY_INVALID",
            format!("{realm}, error=\"invalid_token\""),
        ),
        (
            vec![("x-api-key", poor.as_str())],
            403,
            "INSUFFICIENT_SCOPE",
            format!("{realm}, error=\"insufficient_scope\", scope=\"read\""),
        ),
        (
            vec![("x-api-key", good.as_str()), ("x-api-key", poor.as_str())],
            400,
            "BAD_REQUEST",
            format!("{realm}, error=\"invalid_request\""),
        ),
    ];
    for (headers, status, code, challenge) in cases {
        let answer = served(&layer, &headers).await;
        let body: Value = serde_json::from_str(answer.body()).unwrap();
        assert_eq!((answer.status().as_u16(), body["code"].as_str()), (status, Some(code)));
        assert_eq!(answer.headers()["www-authenticate"].to_str().unwrap(), challenge);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert!(!answer.body().contains(&poor) && !answer.body().contains(&good));
    }
    world.revoke(&id).await;
    assert_eq!(served(&layer, &[("x-api-key", &poor)]).await.status(), 401);
    world.instance.stop().await;
    let away = served(&layer, &[("x-api-key", &good)]).await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(away.headers()["retry-after"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extractor_takes_what_the_layer_found_or_verifies_by_itself() {
    let world = World::new().await;
    let verifier = world.verifier().await;
    let (_, good) = world.key(&[]).await;
    let parts = |value: &str| {
        let request = Request::builder().header("authorization", value).body(()).unwrap();
        request.into_parts().0
    };
    let mut request = parts(&format!("Bearer {good}"));
    let found = Verified::from_request_parts(&mut request, &verifier).await.unwrap();
    assert_eq!(found.0.subject(), Some("user_1"));
    let mut stranger = parts("Bearer nonsense");
    let refused = Verified::from_request_parts(&mut stranger, &verifier)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status(), refused.code()),
        (StatusCode::UNAUTHORIZED, "API_KEY_INVALID")
    );
    stranger.extensions.insert(found);
    assert!(Verified::from_request_parts(&mut stranger, &verifier).await.is_ok());
    world.instance.stop().await;
}

/// Forwards connections to a server. The first one stops forwarding on a signal, without closing.
async fn relay(server: String, stands_still: Arc<Notify>, accepted: Arc<AtomicU32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let is_first = accepted.fetch_add(1, Ordering::Relaxed) == 0;
            let (server, stands_still) = (server.clone(), Arc::clone(&stands_still));
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.unwrap();
                let passed = tokio::io::copy_bidirectional(&mut near, &mut far);
                tokio::select! {
                    _ = passed => {}
                    () = stands_still.notified(), if is_first => std::future::pending().await,
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_silent_is_given_up_and_another_connection_made() {
    let world = World::new().await;
    let (stands_still, accepted) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let server = world.url.trim_start_matches("http://").to_owned();
    let url = relay(server, Arc::clone(&stands_still), Arc::clone(&accepted)).await;
    let verifier = Verifier::connect(&url, &world.root_key).await.unwrap();
    let (_, secret) = world.key(&[]).await;
    assert!(verifier.verify(&secret).await.is_valid());
    stands_still.notify_one();
    let again = async {
        while accepted.load(Ordering::Relaxed) < 2 || verifier.remembered(&secret, &[]).is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            verifier.verify(&secret).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    assert!(verifier.remembered(&secret, &[]).unwrap().is_valid());
    verifier.close().await;
    world.instance.stop().await;
}
