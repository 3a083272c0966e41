//! Tests that commands named in texts (help, errors, pages, documents) exist in this program.

use super::Cli;
use clap::{Command, CommandFactory as _};
use std::path::{Path, PathBuf};

/// What precedes a command: a code mark, the beginning of a line, a pipe, a substitution, a colon.
const BEFORE: [&str; 5] = ["`", "\n", "| ", "$(", ": "];
/// What ends it: the end of the code or the line, a redirection, a pipe, a comment, the gap before an explanation.
const AFTER: [&str; 10] = ["`", "\n", "\\n", " < ", " > ", " | ", " &", ")", " #", "   "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns every text file of the repository under a folder.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let (mut found, mut waiting) = (Vec::new(), vec![root().join(folder)]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(&path).unwrap();
            waiting.extend(inside.map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.push((path, text));
        }
    }
    found
}

/// Returns the commands in a text.
fn commands(text: &str) -> Vec<String> {
    // As the text is printed: continued source lines are joined, and escaped quotes are quotes.
    let joined: Vec<_> = text.split("\\\n").map(str::trim_start).collect();
    let lines: Vec<_> = joined
        .concat()
        .lines()
        .map(|line| line.trim_start().to_owned())
        .collect();
    let text = format!("\n{}", lines.join("\n").replace("\\\"", "\"").replace("\\n", "\n"));
    let text = text.replace("\n  keyreeve", "\nkeyreeve").replace("\n ", "\n");
    let mut found = Vec::new();
    for before in BEFORE {
        for rest in text.split(&format!("{before}keyreeve ")).skip(1) {
            let end = AFTER.iter().filter_map(|after| rest.find(after)).min();
            let mut command = rest.split_at(end.unwrap_or(rest.len())).0;
            // An unmatched quote is the end of the text in the source.
            if command.matches('"').count() % 2 == 1 {
                command = command.rsplit_once('"').map_or(command, |(before, _)| before);
            }
            found.push(command.trim_end_matches(['.', ',', ';']).trim().to_owned());
        }
    }
    found
}

/// Splits a command into words, as a shell does.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in command.chars().chain([' ']) {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            (' ', None) => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(letter),
        }
    }
    words
}

/// Returns why a command does not exist in this program.
fn complaint(program: &Command, command: &str) -> Option<String> {
    let words = words(command);
    let is_name = |word: &&String| word.starts_with(|first: char| first.is_ascii_lowercase());
    // `keyreeve … --url` does not name the command.
    if !words.first().is_some_and(|word| is_name(&word)) {
        return None;
    }
    let mut at = program;
    for word in words.iter().take_while(is_name) {
        if !at.has_subcommands() {
            break;
        }
        // In `gitleaks|trufflehog`, every alternative must exist.
        let named: Vec<_> = word.split('|').map(|name| at.find_subcommand(name)).collect();
        match named
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.first().copied())
        {
            Some(next) => at = next,
            None => return Some(format!("`{}` has no command `{word}`", at.get_name())),
        }
    }
    let is_known = |flag: &str| {
        let mut arguments = at.get_arguments();
        arguments.any(|argument| argument.get_long() == Some(flag)) || ["help", "version"].contains(&flag)
    };
    let flags = words.iter().filter_map(|word| word.strip_prefix("--"));
    let names = flags.map(|flag| flag.split(['=', '|', ']', '…']).next().unwrap_or_default());
    let mut unknown = names.filter(|flag| !flag.is_empty() && !is_known(flag));
    unknown
        .next()
        .map(|flag| format!("`{}` has no option --{flag}", at.get_name()))
}

fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

#[test]
fn every_command_that_a_text_names_is_there() {
    let program = program();
    let mut complaints = Vec::new();
    let mut count = 0;
    let folders = [
        "crates",
        "docs",
        "deploy",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "bench/README.md",
    ];
    for (path, text) in folders.into_iter().flat_map(texts) {
        if path.ends_with("advice.rs") {
            continue;
        }
        for command in commands(&text) {
            count += 1;
            if let Some(why) = complaint(&program, &command) {
                complaints.push(format!("{}: keyreeve {command}: {why}", path.display()));
            }
        }
    }
    assert!(count > 150, "only {count} commands were found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Examples are complete: they are parsed as they are written.
#[test]
fn every_example_of_the_help_is_parsed() {
    let program = program();
    let (mut waiting, mut count) = (vec![&program], 0);
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in commands(&help).iter().filter(|example| !example.contains('[')) {
            count += 1;
            let parsed = Cli::command().try_get_matches_from([vec!["keyreeve".to_owned()], words(example)].concat());
            assert!(parsed.is_ok(), "keyreeve {example}: {}", parsed.unwrap_err());
        }
    }
    assert!(count > 40, "only {count} examples were found");
}

#[test]
fn what_is_no_command_is_found() {
    let program = program();
    let finds = |text: &str| commands(text).iter().find_map(|command| complaint(&program, command));
    assert_eq!(
        finds("run `keyreeve keys revoke ak_… --reason x`, or\n  keyreeve serve --listen 127.0.0.1:0   a free port"),
        None
    );
    assert_eq!(
        finds("a newer keyreeve process; `keyreeve … --url x` and keyreeve is fine"),
        None
    );
    assert!(finds("run `keyreeve keys burn`").is_some());
    assert!(finds("    keyreeve kyes list").is_some());
    assert!(finds("try again: keyreeve users invite --now {id}").is_some());
    assert!(finds("printf %s \"$KEY\" | keyreeve keys verfy -").is_some());
    assert!(finds("X=$(keyreeve root-keys crate)").is_some());
    assert!(finds("`keyreeve users open|nothing`").is_some());
}
