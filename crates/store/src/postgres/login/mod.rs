//! User and password of a new connection. They are found again for each, so that a password that was changed, or that
//! is only good for minutes, needs no restart.
//!
//! Everything here waits for files or a command, and runs on a thread that may block.

mod command;
mod passfile;

use super::access::{LoginSources, Server, login_in};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long the outcome of the command, a password or an error, serves new connections: those of one start or one
/// reconnection. A server that refuses the password does not make it run sooner.
const COMMAND_FRESH: Duration = Duration::from_secs(5);

/// User and password of one connection.
#[derive(Clone, Default)]
pub(super) struct UserAndPassword {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Why a password file was ignored.
    pub(super) ignored: Option<String>,
}

/// Finds the user and password of new connections.
pub(super) struct LoginFinder {
    sources: LoginSources,
    /// The last outcome of the command, and when it ended. Held while the command runs, so that several connections run
    /// it once.
    last: Mutex<Option<(Result<String, String>, Instant)>>,
}

impl LoginFinder {
    pub(super) const fn new(sources: LoginSources) -> Self {
        Self {
            sources,
            last: Mutex::new(None),
        }
    }

    /// Returns the login for a server. Blocks.
    pub(super) fn find(&self, server: &Server, database: Option<&str>) -> Result<UserAndPassword, String> {
        let sources = &self.sources;
        let mut found = UserAndPassword {
            user: sources.user.clone(),
            password: sources.password.clone(),
            ignored: None,
        };
        // A file that is just being replaced leaves the login as it was.
        if let Some(Ok((user, password))) = sources.url_file.as_deref().map(login_in) {
            found.user = user.or(found.user);
            found.password = password.or(found.password);
        }
        if let Some(command) = &sources.command {
            found.password = Some(self.printed_by(command)?);
        } else if let (None, Some(path)) = (&found.password, &sources.passfile) {
            match passfile::find(path, server, database, found.user.as_deref()) {
                Ok(password) => found.password = password,
                Err(why) => found.ignored = Some(why),
            }
        }
        Ok(found)
    }

    fn printed_by(&self, command: &str) -> Result<String, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((outcome, at)) = &*last
            && at.elapsed() < COMMAND_FRESH
        {
            return outcome.clone();
        }
        let outcome = command::run(command);
        *last = Some((outcome.clone(), Instant::now()));
        outcome
    }
}

/// Reads a text file of bounded size.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is larger than {} KiB", bytes_max / 1024)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_runs_once_in_five_seconds_also_if_it_fails() {
        let runs = std::env::temp_dir().join(format!("keyreeve-runs-{}", std::process::id()));
        for (end, expected) in [("echo sesame", Ok("sesame".to_owned())), ("exit 4", Err(()))] {
            drop(std::fs::remove_file(&runs));
            let command = format!("echo x >>{}; {end}", runs.display());
            let finder = LoginFinder::new(LoginSources {
                user: None,
                password: None,
                url_file: None,
                command: Some(command.clone()),
                passfile: None,
            });
            for _ in 0..3 {
                assert_eq!(finder.printed_by(&command).map_err(drop), expected);
            }
            assert_eq!(std::fs::read_to_string(&runs).unwrap(), "x\n", "{end}");
        }
        drop(std::fs::remove_file(&runs));
    }
}
