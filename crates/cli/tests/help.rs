//! The help of every command is as it was reviewed: one snapshot for each command of the first level, with all below it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and starts the program"
)]

use std::process::Command;

/// Returns the help of a command. The environment is empty, because help shows the values of variables.
fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_keyreeve"))
        .args(words)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the commands that a help lists.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_ascii_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

/// Appends the help of a command and of all commands below it.
fn append(text: &mut String, words: &[&str]) {
    let own = help(words);
    let name = words.join(" ");
    text.extend(["$ keyreeve ", name.as_str(), " --help\n", own.as_str(), "\n"]);
    for below in subcommands(&own) {
        append(text, &[words, &[below]].concat());
    }
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let own = help(&[]);
    insta::assert_snapshot!("keyreeve", own);
    let commands = subcommands(&own);
    assert!(commands.len() > 15, "the commands were found: {commands:?}");
    for command in commands {
        let mut text = String::new();
        append(&mut text, &[command]);
        insta::assert_snapshot!(command, text);
    }
}
