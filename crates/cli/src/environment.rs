//! Environment variables. An empty one counts as not set, because container tools and unit files leave a setting out
//! that way.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};

/// Parses arguments; omitted ones are read from the environment.
pub(crate) fn parse<C>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error>
where
    C: CommandFactory + FromArgMatches,
{
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = without_empty(C::command());
    let matches = command.try_get_matches_from_mut(&arguments);
    let mut matches = matches.map_err(|error| name_variable(error, &command, &arguments))?;
    C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Names the variable in an error about its value: clap names the flag alone, even if it was not given.
fn name_variable(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let flag = shown.split(' ').next().unwrap_or_default();
    let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
    let is_given = texts.any(|text| text.split('=').next() == Some(flag));
    if let Some(variable) = variable_of(command, flag).filter(|_| !is_given) {
        let shown = format!("{variable} ({shown})");
        error.insert(ContextKind::InvalidArg, ContextValue::String(shown));
    }
    error
}

/// Returns the variable of a flag, in a command or one of its subcommands.
fn variable_of(command: &Command, flag: &str) -> Option<String> {
    let is_named = |argument: &&Arg| argument.get_long() == flag.strip_prefix("--");
    let argument = command.get_arguments().find(is_named);
    let variable = argument.and_then(Arg::get_env).and_then(OsStr::to_str);
    let mut inner = command.get_subcommands();
    variable
        .map(str::to_owned)
        .or_else(|| inner.find_map(|inner| variable_of(inner, flag)))
}

/// Removes empty variables from the command and all its subcommands.
fn without_empty(command: Command) -> Command {
    let is_empty = |argument: &Arg| {
        let name = argument.get_env();
        name.is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    let command = command.mut_args(|argument| match is_empty(&argument) {
        true => argument.env(Resettable::Reset),
        false => argument,
    });
    command.mut_subcommands(without_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;

    /// Returns the error about a number that the flag or the variable has. `PATH` is set everywhere, and is no number.
    fn refused(arguments: &[&str]) -> String {
        let entries = Arg::new("entries").long("entries").env("PATH").value_name("N");
        let serve = Command::new("serve").arg(entries.value_parser(value_parser!(u32)));
        let mut command = Command::new("keyreeve").subcommand(serve);
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let error = command.try_get_matches_from_mut(&arguments).unwrap_err();
        name_variable(error, &command, &arguments).to_string()
    }

    #[test]
    fn an_error_about_a_value_names_where_it_came_from() {
        let error = refused(&["keyreeve", "serve"]);
        assert!(error.contains("for 'PATH (--entries <N>)'"), "{error}");
        for given in [
            &["keyreeve", "serve", "--entries", "x"][..],
            &["keyreeve", "serve", "--entries=x"],
        ] {
            let error = refused(given);
            assert!(error.contains("'x' for '--entries <N>'"), "{error}");
        }
    }
}
