//! Precedence: what the command line and the variables give is put over the file, and the file over the defaults. Both by
//! the libraries: serde takes what the file lacks from the defaults, and clap updates what was given.

use super::Options;
use crate::exit::UsageError;
use anyhow::Context as _;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use keyreeve_server::settings::{PublicUrl, Settings};
use std::fmt;
use std::path::{Path, PathBuf};
use tracing::level_filters::LevelFilter;

/// The file that is read by default, if it exists.
const FILE_DEFAULT: &str = "keyreeve.toml";

/// The settings on the command line and in variables, before the file is read. Clap has the source of each value.
#[derive(Clone)]
pub(crate) struct GivenOptions(ArgMatches);

impl fmt::Debug for GivenOptions {
    /// Omits the values: the database's URL may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenOptions").finish_non_exhaustive()
    }
}

impl Args for GivenOptions {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

impl GivenOptions {
    /// Reads the settings file, and returns the server's settings and the log level.
    pub(crate) fn settle(self) -> anyhow::Result<(Settings, LevelFilter)> {
        self.over_file()?.settle()
    }

    /// Returns the public URL. The settings file is read only if the URL was not given.
    pub(super) fn public_url(self) -> anyhow::Result<Option<PublicUrl>> {
        match self.0.get_one::<PublicUrl>("public_url").cloned() {
            Some(url) => Ok(Some(url)),
            None => Ok(self.over_file()?.public_url),
        }
    }

    /// Reads the settings file, and returns all settings.
    fn over_file(self) -> anyhow::Result<Options> {
        match self.0.get_one::<PathBuf>("config").cloned() {
            Some(path) => self.over(&read(&path)?, &path),
            None => match Path::new(FILE_DEFAULT) {
                path if path.exists() => self.over(&read(path)?, path),
                path => self.over("", path),
            },
        }
    }

    /// Puts what was given over the text of a file.
    fn over(mut self, text: &str, path: &Path) -> anyhow::Result<Options> {
        let mut options: Options = toml::from_str(text).map_err(|error| wrong_file(path, text, error))?;
        let is_default = |id: &str| self.0.value_source(id) == Some(ValueSource::DefaultValue);
        let defaults = self.0.ids().filter(|id| is_default(id.as_str()));
        for id in defaults.cloned().collect::<Vec<_>>() {
            self.0.try_clear_id(id.as_str())?;
        }
        options.forget_halves(|id| self.0.contains_id(id));
        options.update_from_arg_matches_mut(&mut self.0)?;
        Ok(options)
    }
}

/// Returns the declared defaults: what an empty command line gives without variables. A default that does not parse
/// would end the process here; tests parse all.
pub(super) fn declared<T: Args>() -> T {
    let command = T::augment_args(Command::new("defaults")).mut_args(|argument| argument.env(Resettable::Reset));
    let mut matches = command.get_matches_from(["defaults"]);
    T::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Names the file, the line and the key. The line itself is not printed: it may contain a password.
fn wrong_file(path: &Path, text: &str, mut error: toml::de::Error) -> UsageError {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
    error.set_input(None);
    let why = error.to_string();
    UsageError(format!(
        "{}, line {line}: {}",
        path.display(),
        why.trim_end().replace('\n', "; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges arguments, without variables, with a file.
    fn merged(arguments: &[&str], file: &str) -> anyhow::Result<Options> {
        let command = GivenOptions::augment_args(Command::new("keyreeve")).mut_args(|one| one.env(Resettable::Reset));
        let matches = command.try_get_matches_from([&["keyreeve"], arguments].concat())?;
        GivenOptions::from_arg_matches(&matches)?.over(file, Path::new("keyreeve.toml"))
    }

    fn refused(file: &str) -> String {
        merged(&[], file).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_was_given_precedes_the_file_and_the_file_precedes_the_default() {
        for (arguments, file, entries) in [
            (&[][..], "", 2_000_000),
            (&[], "cache_entries = 5", 5),
            (&["--cache-entries", "7"], "cache_entries = 5", 7),
            (&["--cache-entries", "2000000"], "cache_entries = 5", 2_000_000),
            (&["--log", "warn"], "cache_entries = 5", 5),
        ] {
            let options = merged(arguments, file).unwrap();
            assert_eq!(options.cache_entries, entries, "{arguments:?} {file}");
        }
    }

    #[test]
    fn a_switch_of_the_file_is_kept_unless_it_is_given() {
        for (arguments, file, expected) in [
            (&[][..], "", false),
            (&[], "require_sync = true", true),
            (&["--require-sync"], "", true),
            (&["--require-sync"], "require_sync = false", true),
        ] {
            assert_eq!(
                merged(arguments, file).unwrap().require_sync,
                expected,
                "{arguments:?} {file}"
            );
        }
    }

    #[test]
    fn lists_of_the_command_line_replace_those_of_the_file() {
        let listen = |arguments: &[&str], file: &str| {
            let places = merged(arguments, file).unwrap().listen;
            places.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(listen(&[], ""), ["127.0.0.1:7300"]);
        assert_eq!(listen(&[], "listen = '[::1]:1'"), ["[::1]:1"]);
        assert_eq!(listen(&[], "listen = ['[::1]:1', 'unix:/a']"), ["[::1]:1", "unix:/a"]);
        assert_eq!(
            listen(&["--listen", "[::1]:2,[::1]:3"], "listen = '[::1]:1'"),
            ["[::1]:2", "[::1]:3"]
        );
    }

    #[test]
    fn a_section_of_the_file_is_a_setting_too() {
        let seconds = |arguments: &[&str], file: &str| merged(arguments, file).unwrap().introspection.max_exp.seconds();
        assert_eq!(seconds(&[], ""), 60);
        assert_eq!(seconds(&[], "[introspection]"), 60);
        assert_eq!(seconds(&[], "[introspection]\nmax_exp = '5m'"), 300);
        assert_eq!(
            seconds(&["--introspection-max-exp", "5s"], "[introspection]\nmax_exp = '5m'"),
            5
        );
    }

    #[test]
    fn a_certificate_and_its_key_come_from_one_place() {
        let file = "tls_cert = 'theirs'\ntls_key = 'theirs'\ncheck_tls_cert = 'c'\ncheck_tls_key = 'd'";
        let options = merged(&["--tls-cert", "mine"], file).unwrap();
        assert_eq!((options.tls_cert, options.tls_key), (Some("mine".into()), None));
        assert_eq!(options.check_tls_key, Some("d".into()));
        let options = merged(&[], file).unwrap();
        assert_eq!(options.tls_key, Some("theirs".into()));
    }

    #[test]
    fn an_error_in_the_file_names_file_line_and_key() {
        for (file, named) in [
            ("lisen = '127.0.0.1:1'", &["line 1", "`lisen`"][..]),
            ("\nlease = '1s'", &["keyreeve.toml, line 2", "2s to 1h", "`lease`"]),
            (
                "[introspection]\nmax_exp = '2h'",
                &["line 2", "`introspection.max_exp`"],
            ),
            ("[introspection]\nmax = '2m'", &["line 2", "`max`"]),
            ("check_plain = 'yes'", &["line 1", "`check_plain`"]),
            ("public_url = 'nowhere'", &["line 1", "`public_url`"]),
            ("log = 'loud'", &["line 1", "`loud`"]),
            ("listen = 'nowhere'", &["line 1", "ADDRESS:PORT", "`listen`"]),
            ("listen = 7300", &["line 1", "a text or a list", "`listen`"]),
            ("accept_clock = true", &["line 1", "`accept_clock`"]),
            ("a = 1\n\nb = = 2", &["line 3"]),
        ] {
            let why = refused(file);
            assert!(named.iter().all(|part| why.contains(part)), "{file}: {why}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_line_of_the_file() {
        for file in [
            "database = ['postgres://u:hidden@h/k']",
            "database = 'postgres://u:hidden@h/k",
            "x = { hidden }",
        ] {
            assert!(!refused(file).contains("hidden"), "{file}");
        }
    }
}
