//! Environment variables. An empty one counts as not set, because container tools and unit files leave a setting out
//! that way.

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// Parses arguments; omitted ones are read from the environment.
pub(crate) fn parse<C>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error>
where
    C: CommandFactory + FromArgMatches,
{
    let mut command = without_empty(C::command());
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
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
