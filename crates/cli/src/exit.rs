//! Exit codes: 0 done · 1 failed · 2 wrong usage · 3 the answer is no · 4 not allowed · 5 not found · 6 conflict ·
//! 7 unreachable, try again · 8 the database is not the one that was signed · 130 interrupted.

use crate::output;
use keyreeve_client::ClientError;
use keyreeve_server::instance::StartError;
use std::process::ExitCode;
use thiserror::Error;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const NOT_FOUND: u8 = 5;
const CONFLICT: u8 = 6;
const UNREACHABLE: u8 = 7;
const HISTORY: u8 = 8;
const INTERRUPTED: u8 = 130;

/// The command succeeded and its answer is negative. The answer was printed.
#[derive(Debug, Error)]
#[error("no")]
pub(crate) struct AnswerIsNo;

/// The command was called in a way that cannot work.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A second signal arrived while the first one was handled.
#[derive(Debug, Error)]
#[error("stopped immediately because of a second signal; running requests were aborted")]
pub(crate) struct Interrupted;

/// Runs a command and converts its result to an exit code.
pub(crate) async fn run(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match command.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<AnswerIsNo>() => NO.into(),
        Err(error) => failed(&error),
    }
}

/// Prints an error, and returns its exit code.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    output::say(&format!("error: {error:#}"));
    if let Some(ClientError::Refused(body)) = error.downcast_ref() {
        output::say(&format!(
            "see {} on the server, or docs/errors in the repository",
            body.kind
        ));
    }
    code(error).into()
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        return USAGE;
    }
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    if matches!(error.downcast_ref(), Some(StartError::History(_))) {
        return HISTORY;
    }
    match error.downcast_ref::<ClientError>() {
        None | Some(ClientError::Foreign { .. }) => FAILED,
        Some(ClientError::Address(_) | ClientError::Authorities(_)) => USAGE,
        Some(ClientError::Unreachable(_)) => UNREACHABLE,
        Some(ClientError::Refused(body)) => match body.status {
            401 | 403 => NOT_ALLOWED,
            404 => NOT_FOUND,
            409 | 412 | 422 => CONFLICT,
            429 | 500.. => UNREACHABLE,
            _ => FAILED,
        },
    }
}

/// Help and version are not errors; every other error of the parser is wrong usage.
pub(crate) fn of_usage(error: &clap::Error) -> ExitCode {
    // An error means that standard output is closed.
    drop(error.print());
    if error.use_stderr() {
        USAGE.into()
    } else {
        ExitCode::SUCCESS
    }
}

/// Some of several actions failed. Each error was printed separately.
#[derive(Debug, Error)]
#[error("some failed")]
pub(crate) struct SomeFailed;
