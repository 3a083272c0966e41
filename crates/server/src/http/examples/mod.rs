//! Adds examples to the published document, in one place: to each body the example of the schema that it refers to, and
//! to each error answer the problems of its codes.
//!
//! The values are in `keyreeve_api::examples` and in [`problems`]. A body without an example fails a test here.

mod problems;

use super::answer;
use keyreeve_api::examples::Examples;
use keyreeve_api::{Code, Family};
use serde_json::Value;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr};

/// The id of the request in the examples of problems.
const REQUEST_ID: &str = "req_00000000000000a1_1";
/// The schema of every problem.
const PROBLEM: &str = "ErrorBody";

/// Adds an example to every body of a complete document, and every code to its components.
pub(super) fn attach(document: &mut OpenApi) {
    let examples = Examples::all();
    let components = document.components.get_or_insert_default();
    for &code in Code::ALL {
        let _name = shared(components, Family::Problem, code);
    }
    for (path, item) in &mut document.paths.paths {
        let family = answer::family(path);
        let reads = item.get.as_mut().map(|read| (read, false));
        let writes = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        let writes = writes.into_iter().flatten().map(|write| (write, true));
        for (operation, may_change) in reads.into_iter().chain(writes) {
            let codes = Codes { path, may_change };
            of_request(operation, &examples);
            of_answers(operation, &examples);
            of_problems(operation, components, family, &codes);
        }
    }
}

fn of_request(operation: &mut Operation, examples: &Examples) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example = of_content(content, examples);
        }
    }
}

fn of_answers(operation: &mut Operation, examples: &Examples) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    for (status, answer) in &mut operation.responses.responses {
        for content in bodies(answer) {
            let special = examples.of_answer(id, status).cloned().or_else(|| inline(id, status));
            content.example = special.or_else(|| of_content(content, examples));
        }
    }
}

/// Returns the example of an answer that is no wire type.
fn inline(operation: &str, status: &str) -> Option<Value> {
    match (operation, status) {
        ("revokeToken", "200") => Some(Value::Object(serde_json::Map::new())),
        ("getErrorPage", "200") => Some(Code::NotFound.page().into()),
        _ => None,
    }
}

fn of_problems(operation: &mut Operation, components: &mut Components, family: Family, codes: &Codes<'_>) {
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(response) = &*answer else { continue };
        let named = codes.of(status, &response.description);
        for content in bodies(answer).filter(|content| schema_of(content) == Some(PROBLEM)) {
            let names = named.iter().map(|code| shared(components, family, *code));
            content.examples = names.map(|name| (name.clone(), reference(&name))).collect();
        }
    }
}

/// Returns the bodies of an answer.
fn bodies(answer: &mut RefOr<utoipa::openapi::Response>) -> impl Iterator<Item = &mut Content> {
    let contents = match answer {
        RefOr::T(answer) => Some(answer.content.values_mut()),
        RefOr::Ref(_) => None,
    };
    contents.into_iter().flatten().filter_map(|content| match content {
        RefOr::T(content) => Some(content),
        RefOr::Ref(_) => None,
    })
}

/// Returns the example of the schema of a body, or a list of one if the body is a list.
fn of_content(content: &Content, examples: &Examples) -> Option<Value> {
    match content.schema.as_ref()? {
        RefOr::Ref(reference) => examples.of_schema(name_of(reference)?).cloned(),
        RefOr::T(Schema::Array(array)) => match &array.items {
            ArrayItems::RefOrSchema(item) => match &**item {
                RefOr::Ref(reference) => Some(vec![examples.of_schema(name_of(reference)?)?.clone()].into()),
                RefOr::T(_) => None,
            },
            ArrayItems::False => None,
        },
        RefOr::T(_) => None,
    }
}

fn schema_of(content: &Content) -> Option<&str> {
    match content.schema.as_ref()? {
        RefOr::Ref(reference) => name_of(reference),
        RefOr::T(_) => None,
    }
}

fn name_of(reference: &Ref) -> Option<&str> {
    reference.ref_location.strip_prefix("#/components/schemas/")
}

/// Adds the problem of a code to the components, and returns its name there: the code itself, unless the family's body
/// differs from that of all other routes.
fn shared(components: &mut Components, family: Family, code: Code) -> String {
    let name = match family {
        Family::OAuth => format!("OAuth.{}", code.as_str()),
        Family::Clerk if code.on_clerk_wire() != code.as_str() => format!("Clerk.{}", code.as_str()),
        Family::Clerk | Family::Problem => code.as_str().to_owned(),
    };
    components
        .examples
        .entry(name.clone())
        .or_insert_with(|| RefOr::T(example(family, code)));
    name
}

fn example(family: Family, code: Code) -> Example {
    let body = problems::problem(code).body(family, REQUEST_ID);
    ExampleBuilder::new()
        .summary(code.title())
        .value(serde_json::to_value(body).ok())
        .build()
}

fn reference(name: &str) -> RefOr<Example> {
    RefOr::Ref(Ref::new(format!("#/components/examples/{name}")))
}

/// The codes of an operation's errors.
struct Codes<'a> {
    path: &'a str,
    may_change: bool,
}

impl Codes<'_> {
    /// Returns the codes of an answer: those that its description names, else those that are usual for its status.
    fn of(&self, status: &str, description: &str) -> Vec<Code> {
        let words = description.split(|char: char| !char.is_ascii_alphabetic() && char != '_');
        let named = words.filter_map(|word| {
            Code::ALL
                .iter()
                .find(|code| code.as_str() == word || code.on_clerk_wire() == word)
        });
        let named: Vec<_> = named
            .copied()
            .filter(|code| code.status().to_string() == status)
            .collect();
        match named.is_empty() {
            true => self.usual(status).to_vec(),
            false => named,
        }
    }

    /// Returns the codes of an answer whose description names none.
    fn usual(&self, status: &str) -> &'static [Code] {
        match status {
            "400" => &[Code::BadRequest],
            "401" => &[Code::RootKeyRequired, Code::RootKeyInvalid],
            "403" => &[Code::PermissionDenied],
            "404" => &[Code::NotFound],
            "408" => &[Code::RequestTimeout],
            "409" if self.path.starts_with("/v1/users") => &[Code::LastAdmin],
            "409" if self.path.starts_with("/v1/root_keys") => &[Code::LastRootKey],
            "409" => &[Code::InvalidTransition, Code::PolicyForbids, Code::OwnerBlocked],
            "413" => &[Code::PayloadTooLarge],
            "415" => &[Code::UnsupportedMediaType],
            "422" => &[Code::IdempotencyKeyReused],
            "429" => &[Code::RateLimited],
            "503" if self.may_change => &[Code::ServiceUnavailable, Code::OutcomeUnknown],
            "503" => &[Code::ServiceUnavailable],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::document;
    use http_body_util::BodyExt as _;
    use keyreeve_web::respond;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    /// Bodies without an example: the operation, `request` or the status, and why.
    const WITHOUT: [(&str, &str, &str); 1] = [("getOpenapi", "200", "the answer is this document")];

    fn parsed() -> Value {
        serde_json::from_str(document()).unwrap()
    }

    /// Calls `see` with the operation, the place and the content of every body.
    fn each_body(document: &Value, mut see: impl FnMut(&str, &str, &Value)) {
        let items = document["paths"].as_object().unwrap().values();
        for operation in items.flat_map(|item| item.as_object().unwrap().values()) {
            let id = operation["operationId"].as_str().unwrap();
            for content in contents(&operation["requestBody"]) {
                see(id, "request", content);
            }
            for (status, answer) in operation["responses"].as_object().unwrap() {
                for content in contents(answer) {
                    see(id, status, content);
                }
            }
        }
    }

    fn contents(body: &Value) -> Vec<&Value> {
        let contents = body["content"].as_object();
        contents.map(|contents| contents.values().collect()).unwrap_or_default()
    }

    #[test]
    fn every_body_has_an_example_or_a_reason() {
        let mut without = BTreeSet::new();
        each_body(&parsed(), |operation, place, content| {
            let has_examples = content["examples"].as_object().is_some_and(|all| !all.is_empty());
            if content.get("example").is_none() && !has_examples {
                without.insert((operation.to_owned(), place.to_owned()));
            }
        });
        let reviewed = WITHOUT.map(|(operation, place, _)| (operation.to_owned(), place.to_owned()));
        assert_eq!(without, BTreeSet::from(reviewed));
    }

    #[test]
    fn an_error_answer_refers_to_problems_of_its_status() {
        let document = parsed();
        each_body(&document, |operation, place, content| {
            for example in content["examples"].as_object().into_iter().flat_map(|all| all.values()) {
                let pointer = example["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
                let value = &document.pointer(pointer).unwrap()["value"];
                assert_eq!(value["status"].to_string(), place, "{operation} {pointer}");
            }
        });
    }

    #[test]
    fn every_code_has_an_example_that_is_the_real_answer() {
        let document = parsed();
        for &code in Code::ALL {
            let word = code.as_str();
            let body = &document["components"]["examples"][word]["value"];
            assert_eq!(problems::problem(code).code, code);
            assert_eq!(body["status"], code.status(), "{word}");
            assert_eq!(body["type"], format!("/errors/{word}"));
            assert_eq!(body["title"], code.title(), "{word}");
            assert_eq!(body["code"], word);
            assert_ne!(body["detail"], "", "{word}");
        }
        let clerk = &document["components"]["examples"]["Clerk.NOT_FOUND"]["value"];
        assert_eq!(clerk["code"], "resource_not_found");
        let oauth = &document["components"]["examples"]["OAuth.ROOT_KEY_INVALID"]["value"];
        assert_eq!(oauth["error"], "invalid_client");
    }

    #[test]
    fn every_tag_that_an_operation_has_is_described() {
        let document = parsed();
        let described: BTreeSet<_> = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|tag| tag["description"].as_str().is_some_and(|text| text.len() > 20))
            .map(|tag| tag["name"].as_str().unwrap())
            .collect();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let used: BTreeSet<_> = operations
            .flat_map(|operation| operation["tags"].as_array().unwrap())
            .map(|tag| tag.as_str().unwrap())
            .collect();
        assert_eq!(used, described);
    }

    #[test]
    fn a_description_selects_its_codes_by_either_spelling() {
        let codes = Codes {
            path: "/v1/api_keys",
            may_change: true,
        };
        let description = "token_creation_conflict, KEY_LIMIT_REACHED; NOT_FOUND is of another status";
        assert_eq!(codes.of("409", description), [Code::NameTaken, Code::KeyLimitReached]);
        assert_eq!(codes.of("404", "The record does not exist"), [Code::NotFound]);
    }

    #[tokio::test]
    async fn the_problem_of_every_code_is_as_reviewed() {
        let mut text = String::new();
        for &code in Code::ALL {
            let problem = problems::problem(code);
            let (head, body) = respond::problem(&problem, Family::Problem, REQUEST_ID).into_parts();
            let _written = writeln!(text, "{}", head.status);
            for (name, value) in &head.headers {
                let _written = writeln!(text, "{name}: {}", value.to_str().unwrap());
            }
            let bytes = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            let clerk = problem.body(Family::Clerk, REQUEST_ID).code;
            let oauth = problem.body(Family::OAuth, REQUEST_ID).error.unwrap();
            let _written = writeln!(text, "{body:#}\nClerk: {clerk}; OAuth: {oauth}\n");
        }
        insta::assert_snapshot!(text);
    }
}
