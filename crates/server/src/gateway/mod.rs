//! What gateways in front of an API ask: is the key of this request good, under this check policy?
//!
//! Only the path says what is asked: `/gateway/{profile}/{policy}`, where a policy is `name` or `tenant:name`. What
//! follows it in the path is the client's and means nothing, the query is never read, and any method will do (G-07,
//! G-09): everything but the path's beginning can come from whoever is to be checked. These addresses are answered by
//! the check listener only (G-10).

mod answer;
mod asked;
mod credential;
mod grpc;
mod identity;
mod profile;

pub(crate) use grpc::{is_grpc, serve as serve_grpc};

use crate::App;
use crate::edge::Peer;
use crate::http::answer::request_id;
use crate::http::respond;
use asked::{Asked, Named};
use axum::body::Body;
use hyper::{Request, Response};
use keyreeve_api::{Code, Family, Problem};
use keyreeve_authority::verify::Via;
use profile::Profile;

const START: &str = "/gateway/";

/// Whether a path is one of a gateway's questions.
pub(crate) fn is_asked(path: &str) -> bool {
    path.starts_with(START)
}

/// Answers a gateway's question.
pub(crate) async fn serve<B>(app: &App, peer: &Peer, request: &Request<B>) -> Response<Body> {
    let id = request_id(app, request.headers());
    let Some((profile, policy)) = place(request.uri().path()) else {
        let detail = "A gateway asks at /gateway/{profile}/{policy}; the profiles are nginx, caddy, traefik, envoy, \
                      haproxy and generic.";
        return respond::problem(&Problem::new(Code::NotFound, detail), Family::Problem, &id);
    };
    let asked = Asked {
        policy: &policy,
        fields: request.headers(),
        address: profile.address(request.headers()),
        via: Via::Gateway,
    };
    match asked.decide(app).await {
        Ok(allowed) => {
            peer.seat.note_known();
            answer::allowed(&allowed, &id)
        }
        Err(denied) => answer::denied(&denied, profile, &id),
    }
}

/// The profile and the policy that a path names. What comes after them is not looked at.
fn place(path: &str) -> Option<(Profile, Named)> {
    let mut parts = path.strip_prefix(START)?.splitn(3, '/');
    let profile = Profile::parse(parts.next()?)?;
    Some((profile, Named::parse(parts.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tenant and the policy, or nothing if nobody can have it.
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
