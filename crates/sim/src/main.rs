//! `keyreeve-sim`: the shipped core and authority in simulated time, with every kind of fault.
//!
//! A seed decides everything: the order of tasks, the delay of messages, whose clock is wrong and by how much, which
//! processes are paused, killed or cut off, and which answers are lost. The same seed gives the same trace, byte for
//! byte. After each run the history is checked against the invariants I1 to I5 and L1 to L3,
//! and after each step the state of every process against those that it can judge itself (`docs/design/protocol.md`).
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod child;
mod clients;
mod database;
mod executor;
mod history;
mod invariants;
mod kind;
#[cfg(feature = "break-rules")]
mod mutants;
mod node;
mod park;
mod pipe;
mod random;
mod run;
mod scenarios;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Runs the shipped core and authority in simulated time.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: SimulatorCommand,
}

#[derive(Debug, Subcommand)]
enum SimulatorCommand {
    /// One seed, with its complete trace.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Print what happened.
        #[arg(long)]
        trace: bool,
    },
    /// Seed after seed, until the time is over or an invariant is broken.
    Swarm {
        /// Duration in minutes.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
        /// Maximum number of seeds.
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// The seeds in a file, one a line: each must hold, and give the same trace twice.
    Replay {
        /// The file.
        file: PathBuf,
    },
    /// Breaks every rule in turn. Each must be detected within this many seeds.
    #[cfg(feature = "break-rules")]
    Mutants {
        /// Maximum number of seeds for one rule.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// Only rules whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        SimulatorCommand::Run { seed, trace } => one(seed, trace),
        SimulatorCommand::Swarm { minutes, seeds, from } => swarm(minutes, seeds.unwrap_or(u64::MAX), from),
        SimulatorCommand::Replay { file } => replay(&file),
        #[cfg(feature = "break-rules")]
        SimulatorCommand::Mutants { seeds, only } => mutants::hunt(seeds, &only),
    }
}

fn one(seed: u64, trace: bool) -> anyhow::Result<()> {
    let outcome = run::run(seed, trace);
    if trace {
        println!("{}", outcome.trace);
    }
    println!(
        "seed {seed}, a run of {:?}: {} verifications ({} valid), {} changes, {} steps",
        outcome.kind, outcome.verifications, outcome.valid, outcome.changes, outcome.steps
    );
    report(seed, &outcome)
}

fn report(seed: u64, outcome: &run::SeedOutcome) -> anyhow::Result<()> {
    let Some(first) = outcome.violations.first() else {
        return Ok(());
    };
    bail!(
        "seed {seed} breaks the promise {} times, first {first}. See it: keyreeve-sim run --seed {seed} --trace",
        outcome.violations.len()
    )
}

#[expect(clippy::disallowed_methods, reason = "how long to go on is asked of the real clock")]
fn swarm(minutes: f64, seeds: u64, from: u64) -> anyhow::Result<()> {
    let (begun, limit) = (Instant::now(), Duration::try_from_secs_f64(minutes * 60.0)?);
    let (mut ran, mut verifications, mut valid, mut changes) = (0_u64, 0, 0, 0);
    while ran < seeds && begun.elapsed() < limit {
        let seed = from + ran;
        let outcome = run::run(seed, false);
        report(seed, &outcome)?;
        ran += 1;
        verifications += outcome.verifications;
        valid += outcome.valid;
        changes += outcome.changes;
    }
    println!("{ran} seeds from {from}: {verifications} verifications ({valid} valid), {changes} changes, no violation");
    Ok(())
}

fn replay(file: &PathBuf) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut ran = 0;
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let seed: u64 = line.parse().with_context(|| format!("{line:?} is no seed"))?;
        let (first, second) = (run::run(seed, true), run::run(seed, true));
        report(seed, &first)?;
        if first.trace != second.trace {
            bail!("seed {seed} gives two different traces");
        }
        ran += 1;
    }
    println!("{ran} seeds replayed: no violation, and each the same twice");
    Ok(())
}
