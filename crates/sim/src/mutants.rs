//! The simulator is worth as much as it finds: each rule is broken on purpose and must be missed.

use crate::run::run;
use anyhow::bail;
use keyreeve_core::coherence::rules::{Rule, break_rule};

/// Breaks every rule in turn.
pub(crate) fn hunt(seeds: u64) -> anyhow::Result<()> {
    let mut survivors = Vec::new();
    for rule in Rule::ALL {
        break_rule(Some(rule));
        let found =
            (1..=seeds).find_map(|seed| run(seed, false).violations.first().map(|first| (seed, first.invariant)));
        break_rule(None);
        match found {
            Some((seed, invariant)) => println!("{:<28} found at seed {seed} ({invariant})", rule.name()),
            None => {
                println!("{:<28} NOT FOUND within {seeds} seeds", rule.name());
                survivors.push(rule.name());
            }
        }
    }
    if !survivors.is_empty() {
        bail!("nobody noticed that these were broken: {}", survivors.join(", "));
    }
    Ok(())
}
