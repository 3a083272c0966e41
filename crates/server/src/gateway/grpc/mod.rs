//! Serves `ext_authz` over gRPC, for Envoy and products built on it, and the gRPC health service. The check listener
//! recognises these calls by their content type.
//!
//! The protocol can remove headers from the client's request, so neither the removal of the key nor that of a forged
//! identity depends on the operator's configuration. Only that configuration names the policy: `keyreeve_policy` in a
//! route's `context_extensions`, else `keyreeve-policy` in the initial metadata.

mod messages;

use super::asked::{Allowed, GATEWAY_HEADER, GatewayDenial, GatewayQuestion, Named};
use super::credential::RequestHeaders;
use super::identity;
use crate::edge::Peer;
use crate::http::answer::sound_request_id;
use crate::http::budget;
use crate::http::call::TENANT_HEADER;
use crate::readiness::Readiness;
use crate::verdict_service::VerdictService;
use axum::body::Body;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use keyreeve_api::Family;
use keyreeve_authority::verify::Via;
use keyreeve_core::check::DEFAULT_CHECK_POLICY;
use messages::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpResponse,
    HttpStatus, OkHttpResponse, Status,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::codegen::Service as _;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

/// Largest message that is read: the headers of one request, and its body if Envoy is configured to send it.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Time limit of a call. A verdict takes two seconds at most; the rest is for the message to arrive.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";
const POLICY_EXTENSION: &str = "keyreeve_policy";
const POLICY_METADATA: &str = "keyreeve-policy";
/// Headers that belong to the gateway itself.
const OWN: [&str; 2] = [GATEWAY_HEADER, TENANT_HEADER];
/// Prefix of Keyreeve's own headers, as a client may spell it.
const OURS: &str = "x-keyreeve-";

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a gRPC call.
pub(crate) async fn serve(
    verdicts: &Arc<VerdictService>,
    readiness: &Arc<Readiness>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let request = request.map(|body| verdicts.address_rate_limits().messages.count(peer.address, body));
    let answer = async {
        let response = match request.uri().path() {
            CHECK => {
                let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
                let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
                grpc.unary(CheckMethod(Arc::clone(verdicts), peer.clone()), request)
                    .await
            }
            // Unknown methods are answered with "unimplemented".
            _ => match HealthServer::new(Live(Arc::clone(readiness))).call(request).await {
                Ok(response) => response,
                Err(infallible) => match infallible {},
            },
        };
        response.map(Body::new)
    };
    let late = |_| tonic::Status::deadline_exceeded("the message did not arrive in time").into_http();
    tokio::time::timeout(CALL_TIMEOUT, answer).await.unwrap_or_else(late)
}

/// Reports whether this process can give verdicts.
struct Live(Arc<Readiness>);

#[tonic::async_trait]
impl Health for Live {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        if !["", AUTHORIZATION].contains(&request.get_ref().service.as_str()) {
            return Err(tonic::Status::not_found("there is no such service here"));
        }
        let status = match self.0.not_ready().await {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        Ok(tonic::Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, tonic::Status>>;

    /// Not offered: an open watch would delay the shutdown of the process. Clients poll `Check` instead.
    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("ask with Check"))
    }
}

/// The `Check` call.
struct CheckMethod(Arc<VerdictService>, Peer);

impl UnaryService<CheckRequest> for CheckMethod {
    type Response = CheckResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<CheckResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let (verdicts, peer) = (Arc::clone(&self.0), self.1.clone());
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            Ok(tonic::Response::new(answer(&verdicts, &peer, &metadata, message).await))
        })
    }
}

async fn answer(
    verdicts: &VerdictService,
    peer: &Peer,
    metadata: &MetadataMap,
    message: CheckRequest,
) -> CheckResponse {
    let attributes = message.attributes.unwrap_or_default();
    let policy = Named::parse(policy(metadata, &attributes));
    let address = address(&attributes);
    let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
    let fields = EnvoyHeaders { metadata, http: &http };
    let asked = GatewayQuestion {
        policy: &policy,
        fields: &fields,
        address,
        peer,
        via: Via::Grpc,
    };
    match asked.decide(verdicts).await {
        Ok(allowed) => {
            peer.seat.note_known();
            let_through(allowed, &http)
        }
        Err(denied) => refused(&denied, &request_id(verdicts, &fields)),
    }
}

fn policy<'p>(metadata: &'p MetadataMap, attributes: &'p AttributeContext) -> &'p str {
    let by_route = attributes.context_extensions.get(POLICY_EXTENSION);
    let by_service = || metadata.get(POLICY_METADATA).and_then(|value| value.to_str().ok());
    by_route
        .map(String::as_str)
        .or_else(by_service)
        .unwrap_or(DEFAULT_CHECK_POLICY)
}

/// Returns the client's address as Envoy reports it.
fn address(attributes: &AttributeContext) -> Option<IpAddr> {
    let address = attributes.source.as_ref()?.address.as_ref()?;
    address.socket_address.as_ref()?.address.parse().ok()
}

fn request_id(verdicts: &VerdictService, fields: &EnvoyHeaders<'_>) -> String {
    let given = fields.values("x-request-id").next().and_then(sound_request_id);
    given.map_or_else(
        || verdicts.new_request_id(),
        |id| String::from_utf8_lossy(id).into_owned(),
    )
}

/// The headers of the client's request, with the metadata that Envoy itself sends.
struct EnvoyHeaders<'t> {
    metadata: &'t MetadataMap,
    http: &'t HttpRequest,
}

impl EnvoyHeaders<'_> {
    /// The gateway's own credential and its tenant are read from the call's metadata, never from the client's request.
    fn own<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        let values = OWN.contains(&name).then(|| self.metadata.get_all(name).iter());
        values.into_iter().flatten().map(|value| value.as_encoded_bytes())
    }
}

impl RequestHeaders for EnvoyHeaders<'_> {
    fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        let sent = headers(self.http);
        let named = sent.filter(move |(key, _)| !OWN.contains(&name) && key.eq_ignore_ascii_case(name));
        self.own(name).chain(named.map(|(_, value)| value))
    }
}

/// Iterates over names and values of the client's headers.
fn headers(http: &HttpRequest) -> impl Iterator<Item = (&str, &[u8])> {
    let joined = http
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = match header.raw_value.is_empty() {
            true => header.value.as_bytes(),
            false => &header.raw_value,
        };
        (header.key.as_str(), value)
    });
    joined.chain(raw)
}

fn let_through(allowed: Allowed, http: &HttpRequest) -> CheckResponse {
    let headers_to_remove = to_remove(&allowed, http);
    let values = identity::NAMES.iter().zip(allowed.identity);
    let budget = allowed.budget.iter().flat_map(budget::KeyLimitHeaders::named);
    let ok = OkHttpResponse {
        headers: values
            .map(|(name, value)| HeaderValueOption::set(name, value))
            .collect(),
        headers_to_remove,
        response_headers_to_add: budget.map(|(name, text)| HeaderValueOption::set(name, text)).collect(),
    };
    CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::Ok(ok)),
    }
}

/// Lists the headers to remove: those with a key, and every header with our prefix that is not set anyway, in the
/// spelling that the client sent.
fn to_remove(allowed: &Allowed, http: &HttpRequest) -> Vec<String> {
    let is_forged = |name: &&str| {
        let plain = name.to_ascii_lowercase().replace('_', "-");
        plain.starts_with(OURS) && !identity::NAMES.contains(name)
    };
    let keys = allowed.policy.key_headers.iter().map(|header| header.as_str());
    let forged = headers(http).map(|(name, _)| name).filter(is_forged);
    keys.chain(forged).map(str::to_owned).collect()
}

fn refused(denied: &GatewayDenial, request_id: &str) -> CheckResponse {
    let code = denied.problem.code;
    let body = serde_json::to_string(&denied.problem.body(Family::Problem, request_id)).unwrap_or_default();
    let own = ("x-request-id", request_id.to_owned());
    let headers = denied.fields().chain([own]);
    let headers = headers.map(|(name, text)| HeaderValueOption::set(name, text)).collect();
    CheckResponse {
        status: Some(Status {
            code: grpc_code(code.status()).into(),
            message: code.as_str().to_owned(),
        }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: code.status().into(),
            }),
            headers,
            body,
        })),
    }
}

/// Returns the gRPC code for a status. Never "ok".
fn grpc_code(status: u16) -> tonic::Code {
    match status {
        400 => tonic::Code::InvalidArgument,
        401 => tonic::Code::Unauthenticated,
        429 => tonic::Code::ResourceExhausted,
        503 => tonic::Code::Unavailable,
        _ => tonic::Code::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_api::{Code, Problem};
    use keyreeve_core::CheckPolicy;
    use keyreeve_core::text::CheckPolicyName;

    fn http(headers: &[(&str, &str)]) -> HttpRequest {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        HttpRequest {
            headers: headers.collect(),
            header_map: None,
        }
    }

    #[test]
    fn the_key_and_every_forged_name_are_taken_away_and_what_is_set_is_not() {
        let allowed = Allowed {
            identity: Default::default(),
            policy: Arc::new(CheckPolicy::any(CheckPolicyName::parse("default").unwrap())),
            max_age: 0,
            budget: None,
        };
        let sent = http(&[
            ("x-keyreeve-subject", "forged"),
            ("x_keyreeve_subject", "forged"),
            ("x-keyreeve-anything", "forged"),
            ("x-keyreeve_scopes", "forged"),
            ("x-other", "stays"),
        ]);
        let mut removed = to_remove(&allowed, &sent);
        removed.sort();
        let expected = [
            "authorization",
            "x-api-key",
            "x-keyreeve-anything",
            "x-keyreeve_scopes",
            "x_keyreeve_subject",
        ];
        assert_eq!(removed, expected);
        let Some(HttpResponse::Ok(ok)) = let_through(allowed, &sent).http_response else {
            panic!("not let through");
        };
        assert_eq!(
            ok.headers.len(),
            identity::NAMES.len(),
            "all of them, also the empty ones"
        );
    }

    #[test]
    fn the_gateways_credential_is_never_read_from_the_clients_headers() {
        let mut metadata = MetadataMap::new();
        let sent = http(&[(GATEWAY_HEADER, "the client's"), ("authorization", "Bearer a")]);
        let read = |metadata: &MetadataMap, name: &str| {
            let told = EnvoyHeaders { metadata, http: &sent };
            told.values(name).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert!(read(&metadata, GATEWAY_HEADER).is_empty());
        metadata.insert(GATEWAY_HEADER, "Envoy's".parse().unwrap());
        assert_eq!(read(&metadata, GATEWAY_HEADER), [b"Envoy's"]);
        assert_eq!(read(&metadata, "authorization"), [b"Bearer a"]);
    }

    #[test]
    fn the_route_names_the_policy_before_the_service_does_and_the_client_never() {
        let mut metadata = MetadataMap::new();
        let mut attributes = AttributeContext::default();
        assert_eq!(policy(&metadata, &attributes), "default");
        metadata.insert(POLICY_METADATA, "acme:orders".parse().unwrap());
        assert_eq!(policy(&metadata, &attributes), "acme:orders");
        let extension = (POLICY_EXTENSION.to_owned(), "invoices".to_owned());
        attributes.context_extensions.extend([extension]);
        assert_eq!(policy(&metadata, &attributes), "invoices");
    }

    #[test]
    fn no_denial_is_ok_in_either_language() {
        for &code in Code::ALL {
            let denied = GatewayDenial::from(Problem::new(code, "No."));
            let refused = refused(&denied, "req_1");
            assert_ne!(refused.status.map(|status| status.code), Some(0), "{}", code.as_str());
            let Some(HttpResponse::Denied(denied)) = refused.http_response else {
                panic!("{} is let through", code.as_str());
            };
            assert_eq!(denied.status.map(|status| status.code), Some(code.status().into()));
            let waits = denied
                .headers
                .iter()
                .any(|one| one.header.as_ref().unwrap().key == "retry-after");
            assert_eq!(waits, matches!(code, Code::RateLimited | Code::ServiceUnavailable));
        }
    }
}
