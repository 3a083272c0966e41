//! Answers the checks of gateways in front of an API: is the key of this request accepted under this check policy?
//!
//! Only the path selects the check: `/gateway/{profile}/{policy}`, where a policy is `name` or `tenant:name`. The rest
//! of the path comes from the client and is ignored, the query is never read, and any method is accepted (G-07, G-09):
//! everything but the beginning of the path may be controlled by the client that is checked. Only the check listener
//! serves these addresses (G-10).

mod answer;
mod asked;
mod credential;
mod grpc;
mod identity;
mod profile;

pub(crate) use grpc::{is_grpc, serve as serve_grpc};

use crate::edge::Peer;
use crate::http::answer::request_id;
use crate::verdict_service::VerdictService;
use asked::{GatewayQuestion, Named};
use axum::body::Body;
use hyper::{Request, Response};
use keyreeve_api::{Code, Family, Problem};
use keyreeve_authority::verify::Via;
use keyreeve_web::respond;
use profile::Profile;

const START: &str = "/gateway/";

/// Returns whether a path is a gateway's check.
pub(crate) fn is_asked(path: &str) -> bool {
    path.starts_with(START)
}

/// Answers a gateway's check.
pub(crate) async fn serve<B>(verdicts: &VerdictService, peer: &Peer, request: &Request<B>) -> Response<Body> {
    let id = request_id(verdicts, request.headers());
    let Some((profile, policy)) = place(request.uri().path()) else {
        let detail = "The address of a check is /gateway/{profile}/{policy}; the profiles are nginx, caddy, traefik, \
                      envoy, haproxy and generic.";
        return respond::problem(&Problem::new(Code::NotFound, detail), Family::Problem, &id);
    };
    let asked = GatewayQuestion {
        policy: &policy,
        fields: request.headers(),
        address: profile.address(request.headers()),
        peer,
        via: Via::Gateway,
    };
    match asked.decide(verdicts).await {
        Ok(allowed) => {
            peer.seat.note_known();
            answer::allowed(&allowed, &id)
        }
        Err(denied) => answer::denied(&denied, profile, &id),
    }
}

/// Parses the profile and the policy out of a path. The rest of the path is ignored.
fn place(path: &str) -> Option<(Profile, Named)> {
    let mut parts = path.strip_prefix(START)?.splitn(3, '/');
    let profile = Profile::parse(parts.next()?)?;
    Some((profile, Named::parse(parts.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tenant and the policy; the inner `None` if no policy can have that name.
    fn of(path: &str) -> Option<Option<(String, String)>> {
        let (_, named) = place(path)?;
        Some(
            named
                .parts()
                .map(|(tenant, name)| (tenant.to_string(), name.to_string())),
        )
    }

    #[test]
    fn a_path_names_a_profile_and_a_policy_and_nothing_else_in_it_counts() {
        let default = |name: &str| Some(Some(("default".to_owned(), name.to_owned())));
        assert_eq!(of("/gateway/nginx/default"), default("default"));
        assert_eq!(of("/gateway/envoy/orders/"), default("orders"));
        assert_eq!(of("/gateway/envoy/orders/../../v1/keys"), default("orders"));
        assert_eq!(of("/gateway/envoy/orders//gateway/envoy/default"), default("orders"));
        assert_eq!(
            of("/gateway/caddy/acme:orders"),
            Some(Some(("acme".to_owned(), "orders".to_owned())))
        );
        for nobodys in ["Orders", "", "a:b:c", ":orders", "acme:", "%64efault", "..", "a b"] {
            assert_eq!(of(&format!("/gateway/nginx/{nobodys}")), Some(None), "{nobodys}");
        }
        for other in [
            "/gateway/",
            "/gateway/nginx",
            "/gateway/apache/default",
            "/gateway/NGINX/default",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
