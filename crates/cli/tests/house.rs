//! Tests that the repository is as ARCHITECTURE.md describes it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and is started by cargo"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most lines of a source file.
const LINES_MAX: usize = 460;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the files of a kind under a folder, as paths from the root.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

/// Returns what each crate of the workspace depends on when it is built, tests aside.
fn dependencies() -> Vec<(String, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let built = all.filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), built.map(|one| text(&one["name"])).collect())
        })
        .collect()
}

#[test]
fn each_crate_knows_only_whom_it_may_know() {
    let allowed: &[(&str, &[&str])] = &[
        ("keyreeve-core", &[]),
        ("keyreeve-api", &[]),
        ("keyreeve-store", &["keyreeve-core"]),
        ("keyreeve-authority", &["keyreeve-core", "keyreeve-store"]),
        ("keyreeve-web", &["keyreeve-api", "keyreeve-authority", "keyreeve-core"]),
        (
            "keyreeve-dashboard",
            &["keyreeve-api", "keyreeve-authority", "keyreeve-core", "keyreeve-web"],
        ),
        (
            "keyreeve-server",
            &[
                "keyreeve-api",
                "keyreeve-authority",
                "keyreeve-core",
                "keyreeve-dashboard",
                "keyreeve-store",
                "keyreeve-web",
            ],
        ),
        (
            "keyreeve-sim",
            &["keyreeve-authority", "keyreeve-core", "keyreeve-store"],
        ),
        ("keyreeve-client", &["keyreeve-api", "keyreeve-core"]),
        ("keyreeve", &["keyreeve-api", "keyreeve-client", "keyreeve-server"]),
    ];
    for (name, dependencies) in dependencies() {
        let (_, known) = allowed
            .iter()
            .find(|(allowed, _)| *allowed == name)
            .unwrap_or_else(|| panic!("{name} is not in the plan of ARCHITECTURE.md"));
        for ours in dependencies.iter().filter(|one| one.starts_with("keyreeve")) {
            assert!(known.contains(&ours.as_str()), "{name} must not know {ours}");
        }
    }
}

#[test]
fn what_must_be_pure_has_no_runtime_no_sockets_and_no_database() {
    let never = [
        "tokio",
        "axum",
        "hyper",
        "rusqlite",
        "tokio-postgres",
        "reqwest",
        "getrandom",
        "rand",
        "chrono",
    ];
    for (name, dependencies) in dependencies() {
        if ["keyreeve-core", "keyreeve-authority"].contains(&name.as_str()) {
            let found: Vec<_> = never.iter().filter(|one| dependencies.contains(**one)).collect();
            assert!(found.is_empty(), "{name} has {found:?}");
        }
        assert_eq!(dependencies.contains("rusqlite"), name == "keyreeve-store", "{name}");
        assert_eq!(
            dependencies.contains("tokio-postgres"),
            name == "keyreeve-store",
            "{name}"
        );
        let is_face = ["keyreeve-dashboard", "keyreeve-server"].contains(&name.as_str());
        assert_eq!(dependencies.contains("axum"), is_face, "{name}");
        for one in ["askama", "tower-sessions"] {
            assert_eq!(
                dependencies.contains(one),
                name == "keyreeve-dashboard",
                "{name}: {one}"
            );
        }
    }
}

#[test]
fn only_the_composition_root_of_the_server_names_the_dashboard() {
    for path in files("crates/server/src", "rs") {
        let text = read(&path);
        let found: Vec<_> = text.lines().filter(|line| line.contains("dashboard::")).collect();
        let is_allowed = path.ends_with("src/pages.rs");
        assert!(is_allowed || found.is_empty(), "{} has {found:?}", path.display());
    }
}

/// The files that may name the state of a complete server: where it is built, started and stopped, where its routes are
/// listed, and where the dashboard is connected.
const KNOW_THE_COMPLETE_SERVER: [&str; 6] = [
    "app.rs",
    "http/openapi.rs",
    "instance.rs",
    "lib.rs",
    "pages.rs",
    "ready.rs",
];

#[test]
fn a_module_of_the_server_takes_the_parts_that_it_needs() {
    let folder = "crates/server/src";
    let knows = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .any(|word| word == "App")
    };
    let mut known: Vec<_> = files(folder, "rs")
        .into_iter()
        .filter(|path| knows(&read(path)))
        .map(|path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    known.sort();
    assert_eq!(
        known, KNOW_THE_COMPLETE_SERVER,
        "a handler takes State<Arc<Part>> (crates/server/src/app.rs)"
    );
}

#[test]
fn files_are_short() {
    for path in files("crates", "rs") {
        let lines = read(&path).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn each_error_code_has_its_page_and_each_page_its_code() {
    let source = read("crates/api/src/code.rs");
    let codes: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().split_once(" \""))
        .filter_map(|(_, rest)| rest.split_once("\" "))
        .filter(|(_, status)| status.bytes().take(3).all(|byte| byte.is_ascii_digit()))
        .map(|(code, _)| code.to_owned())
        .collect();
    assert!(codes.len() > 20, "the codes were found: {codes:?}");
    let pages: BTreeSet<_> = files("docs/errors", "md")
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(codes, pages);
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    assert!(
        read("openapi.json") == keyreeve_server::openapi_document(),
        "run: cargo run -- openapi > openapi.json"
    );
}

#[test]
fn links_between_our_pages_lead_somewhere() {
    let mut pages: Vec<_> = files("docs", "md");
    let at_door = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ];
    pages.extend(at_door.iter().map(PathBuf::from));
    for page in pages {
        let folder = page.parent().unwrap().to_owned();
        for link in read(&page)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with('/') || target.contains(' ') {
                continue;
            }
            assert!(root().join(&folder).join(target).exists(), "{}: {link}", page.display());
        }
    }
}

/// Returns the documentation of a file itself.
fn module_comment(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_endpoint_names_its_tests() {
    let mut endpoints = 0;
    for path in files("crates/server/src/http", "rs") {
        let source = read(&path);
        if !source.contains("#[utoipa::path(") {
            continue;
        }
        endpoints += 1;
        let comment = module_comment(&source);
        let named = comment.split_once("Tests:").map_or("", |(_, named)| named);
        let suites: Vec<_> = named.split('`').filter(|part| part.starts_with("e2e/")).collect();
        assert!(!suites.is_empty(), "{} has no line `Tests:`", path.display());
        let texts: Vec<_> = suites.iter().map(read).collect();
        for address in source
            .split("path = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            let mut parts = address.rsplit('/');
            let word = parts.find(|part| !part.is_empty() && !part.starts_with('{')).unwrap();
            assert!(
                texts.iter().any(|text| text.contains(word)),
                "{}: none of {suites:?} calls {address}",
                path.display()
            );
        }
    }
    assert!(endpoints > 30, "the endpoints were found: {endpoints}");
}
