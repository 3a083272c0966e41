//! docs/operations/settings.md against the declaration of the settings.

use super::{Options, declared};
use clap::{Arg, Args as _, Command};

const PAGE: &str = include_str!("../../../../docs/operations/settings.md");
const HEAD: &str = "| flag | variable | key | default | |\n|---|---|---|---|---|\n";

fn arguments() -> Vec<Arg> {
    let command = Options::augment_args(Command::new("keyreeve"));
    command.get_arguments().cloned().collect()
}

/// Returns the key in the settings file; `None` if the file has none.
fn key(argument: &Arg) -> Option<&str> {
    let id = argument.get_id().as_str();
    // No setting is a list of lists, so the error about a key that exists is another one.
    let error = toml::from_str::<Options>(&format!("{id} = [[1]]")).err().unwrap();
    (!error.message().starts_with("unknown field")).then_some(id)
}

fn variable(argument: &Arg) -> &str {
    argument.get_env().and_then(|name| name.to_str()).unwrap()
}

/// Returns the row of a setting: what clap and serde derive from its declaration.
fn row(argument: &Arg) -> String {
    let code = |text: &str| format!("`{text}`");
    let help = argument.get_help().unwrap().to_string();
    let declared = argument
        .get_default_values()
        .iter()
        .map(|value| code(value.to_str().unwrap()));
    let (meaning, default) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning, default.trim_end_matches(']').to_owned()),
        None => (help.as_str(), declared.collect::<Vec<_>>().join(", ")),
    };
    format!(
        "| {} | {} | {} | {default} | {meaning} |\n",
        code(&format!("--{}", argument.get_long().unwrap())),
        code(variable(argument)),
        key(argument).map(code).unwrap_or_default(),
    )
}

#[test]
fn the_page_of_settings_lists_every_setting_as_it_is_declared() {
    let rows: String = arguments().iter().map(row).collect();
    let table = format!("{HEAD}{rows}");
    assert!(
        PAGE.contains(&format!("\n{table}\n")),
        "docs/operations/settings.md needs this table:\n\n{table}"
    );
}

#[test]
fn flag_variable_and_key_of_a_setting_have_one_name() {
    for argument in arguments() {
        let id = argument.get_id().as_str();
        assert_eq!(argument.get_long().unwrap(), id.replace(['.', '_'], "-"));
        let expected = match id {
            "database" => "KEYREEVE_DATABASE_URL".to_owned(),
            other => format!("KEYREEVE_{}", other.replace('.', "_").to_uppercase()),
        };
        assert_eq!(variable(&argument), expected, "{id}");
    }
}

#[test]
fn every_key_of_the_file_is_a_flag_too() {
    let error = toml::from_str::<Options>("nothing = 1").err().unwrap();
    let (_, names) = error.message().split_once("expected one of").unwrap();
    let arguments = arguments();
    for name in names.split('`').skip(1).step_by(2) {
        let is_named = |argument: &Arg| argument.get_id().as_str().split('.').next() == Some(name);
        assert!(arguments.iter().any(is_named), "{name}");
    }
}

#[test]
fn every_declared_default_can_be_parsed() {
    let _: Options = declared();
}
