//! A command that prints the password, for passwords that are good for minutes.
//!
//! Its output is a secret: it is in no error. What it writes to standard error is discarded, because a program that
//! fails may repeat there what it was given.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum time of the command.
const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum output in bytes. The tokens of cloud providers have about two thousand.
const OUTPUT_MAX: u64 = 16 * 1024;
/// Interval at which the end of the command is looked for, once its output has ended.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a command of the shell and returns its output without the line break at its end. Blocks.
pub(super) fn run(command: &str) -> Result<String, String> {
    run_within(command, DEADLINE)
}

fn run_within(command: &str, time: Duration) -> Result<String, String> {
    let until = Instant::now() + time;
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // So that what the shell has started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(&format!("it cannot be started: {error}")))?;
    let outcome = password_of(&mut child, until);
    if outcome.is_err() {
        end(&mut child);
    }
    outcome.map_err(|why| failed(&why))
}

fn failed(why: &str) -> String {
    format!("database-password-command gave no password: {why}. Run it as the user of the server to see its messages")
}

fn password_of(child: &mut Child, until: Instant) -> Result<String, String> {
    let late = || "it did not end in time".to_owned();
    let output = child.stdout.take().ok_or("it has no output")?;
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.take(OUTPUT_MAX + 1).read_to_end(&mut text).map(|_| text);
        // A receiver that has given up needs nothing.
        drop(sender.send(read));
    });
    let read = received.recv_timeout(until - Instant::now()).map_err(|_| late())?;
    let output = read.map_err(|_| "its output cannot be read")?;
    if output.len() as u64 > OUTPUT_MAX {
        return Err(format!("its output is larger than {} KiB", OUTPUT_MAX / 1024));
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(status)) => return Err(format!("it failed ({status})")),
            Ok(None) if Instant::now() < until => thread::sleep(END_INTERVAL),
            Ok(None) => return Err(late()),
            Err(_) => return Err("its end cannot be found out".to_owned()),
        }
    }
    let text = String::from_utf8(output).map_err(|_| "its output is not text")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    match password.strip_suffix('\r').unwrap_or(password) {
        "" => Err("its output is empty".to_owned()),
        password if password.contains(['\n', '\0']) => Err("its output has several lines".to_owned()),
        password => Ok(password.to_owned()),
    }
}

/// Ends the command and everything that it has started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        let _ended = kill_process_group(group, Signal::KILL);
    }
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_the_password() {
        for (command, password) in [
            ("echo sesame", "sesame"),
            ("printf sesame", "sesame"),
            ("printf 'a b \\r\\n'", "a b "),
            ("echo loud >&2; echo sesame", "sesame"),
        ] {
            assert_eq!(run(command).as_deref(), Ok(password), "{command}");
        }
    }

    #[test]
    fn a_failure_has_a_reason_and_no_output() {
        for (command, reason) in [
            ("echo hidden; exit 3", "exit status: 3"),
            ("echo hidden; kill -9 $$", "signal"),
            ("true", "empty"),
            ("echo", "empty"),
            ("printf 'hidden\\nhidden\\n'", "several lines"),
            ("printf '\\377'", "not text"),
            ("yes hidden", "larger than 16 KiB"),
            ("/nonexistent/hid", "exit status: 127"),
        ] {
            let why = run(command).unwrap_err();
            assert!(why.contains(reason) && !why.contains("hid"), "{command}: {why}");
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let command = format!("sleep 60 & echo $! > {}; echo hidden; wait", file.display());
        let began = Instant::now();
        let why = run_within(&command, Duration::from_millis(500)).unwrap_err();
        assert!(why.contains("in time") && began.elapsed() < DEADLINE, "{why}");
        let pid = std::fs::read_to_string(&file).unwrap();
        let is_there = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
            !status.is_empty() && !status.contains("State:\tZ")
        };
        while is_there() && began.elapsed() < DEADLINE {
            thread::sleep(END_INTERVAL);
        }
        assert!(!is_there(), "what the command has started still runs");
    }
}
