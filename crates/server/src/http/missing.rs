//! Details of 404: which record is missing. A malformed id gets the same answer as an unknown one, so both are named
//! here, by the route.

use keyreeve_api::{Code, Problem};
use keyreeve_web::failure::NO_RECORD;

/// Starts of routes, and what is missing if a record that they address does not exist. The first match counts.
const BY_ROUTE: [(&str, &str); 6] = [
    ("/v1/api_keys/{id}", "No API key with this id exists in this tenant."),
    (
        "/v1/check_policies/{name}",
        "No check policy with this name exists in this tenant.",
    ),
    ("/v1/users/{id}", "No user with this id exists in this tenant."),
    ("/v1/root_keys/{id}", "No root key with this id exists."),
    ("/v1/root_keys", "No tenant with this slug exists."),
    ("/v1/tenants/{slug}", "No tenant with this slug exists."),
];

/// Names the missing record by the route that addresses it. Other problems are not changed.
pub(super) fn named(mut problem: Problem, route: Option<&str>) -> Problem {
    if problem.code == Code::NotFound
        && problem.detail == NO_RECORD
        && let Some(route) = route
        && let Some((_, detail)) = BY_ROUTE.iter().find(|(start, _)| route.starts_with(start))
    {
        (*detail).clone_into(&mut problem.detail);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_web::failure::no_record;

    #[test]
    fn the_missing_record_is_named_by_the_route() {
        for (route, detail) in [
            (
                "/v1/api_keys/{id}/revoke",
                "No API key with this id exists in this tenant.",
            ),
            ("/v1/root_keys/{id}", "No root key with this id exists."),
            ("/v1/root_keys", "No tenant with this slug exists."),
            ("/v1/policy", NO_RECORD),
        ] {
            assert_eq!(named(no_record(), Some(route)).detail, detail, "{route}");
        }
    }

    #[test]
    fn other_problems_keep_their_detail() {
        let other = Problem::new(Code::NotFound, "No route has this address.");
        assert_eq!(named(other.clone(), Some("/v1/api_keys/{id}")), other);
    }
}
