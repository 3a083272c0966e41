//! Exhaustive models of the coherence rules, small enough to try every order of events. Each rule is broken on purpose,
//! and the model must find a violation; without that it must find none.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking; what does not compile into the product may index"
)]

mod children;
mod crash;

use stateright::{Checker, Model};

/// Returns the first property that is violated, after every state was visited.
fn violated<M>(model: M) -> Option<&'static str>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + Eq + std::hash::Hash + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let mut found: Vec<_> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    found.first().copied()
}
