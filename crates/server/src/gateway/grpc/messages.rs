//! Messages of Envoy's `ext_authz` over gRPC: the part of `envoy.service.auth.v3` that is used here. Unknown fields of
//! received messages are skipped (Protocol Buffers, "Unknown Fields").

use prost::Message;
use std::collections::HashMap;

/// `CheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<AttributeContext>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<EnvoyPeer>,
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<AttributeRequest>,
    /// Set by the route in Envoy's configuration.
    #[prost(map = "string, string", tag = "10")]
    pub(super) context_extensions: HashMap<String, String>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvoyPeer {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<EnvoyAddress>,
}

/// `envoy.config.core.v3.Address`: only the kind that has a network address.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvoyAddress {
    #[prost(message, optional, tag = "1")]
    pub(super) socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(super) address: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeRequest {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpRequest {
    /// Names in lower case; a repeated header is one value with commas.
    #[prost(map = "string, string", tag = "3")]
    pub(super) headers: HashMap<String, String>,
    /// Used instead of `headers` if Envoy is configured to send headers unmerged.
    #[prost(message, optional, tag = "13")]
    pub(super) header_map: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(super) headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`. One of the two values is empty.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) raw_value: Vec<u8>,
}

/// `CheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub(super) http_response: Option<HttpResponse>,
}

/// The HTTP part of the answer.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(super) body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    pub(super) headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(super) response_headers_to_add: Vec<HeaderValueOption>,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<HeaderValue>,
    /// `google.protobuf.BoolValue`. Present and false replaces the header in every version of Envoy.
    #[prost(message, optional, tag = "2")]
    pub(super) append: Option<bool>,
}

impl HeaderValueOption {
    /// Returns a header that replaces all others of its name.
    pub(super) fn set(name: &str, value: impl Into<String>) -> Self {
        Self {
            header: Some(HeaderValue {
                key: name.to_owned(),
                value: value.into(),
                raw_value: Vec::new(),
            }),
            append: Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_replaces_is_written_as_the_protocol_says() {
        // header { key: "a" value: "b" }, append {} (a BoolValue that is false)
        let expected = [0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 0x12, 0];
        assert_eq!(HeaderValueOption::set("a", "b").encode_to_vec(), expected);
    }

    #[test]
    fn what_is_not_known_is_skipped() {
        // attributes { request { http { id: "x" headers { key: "a" value: "b" } path: "/" } } }
        let http = [0x0a, 1, b'x', 0x1a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 0x22, 1, b'/'];
        let request = [&[0x12, 14][..], &http].concat();
        let attributes = [&[0x22, 16][..], &request].concat();
        let bytes = [&[0x0a, 18][..], &attributes].concat();
        let read = CheckRequest::decode(bytes.as_slice()).unwrap();
        let headers = read.attributes.unwrap().request.unwrap().http.unwrap().headers;
        assert_eq!(headers.get("a").map(String::as_str), Some("b"));
    }
}
