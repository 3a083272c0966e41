//! Exhaustive models of the rules of coherence, small enough that every order of events is tried. Each rule is broken on
//! purpose and must be found; without that the model holds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking; what does not compile into the product may index"
)]

mod children;
mod crash;

use stateright::{Checker, Model};

/// The first property that is violated, once every state has been looked at.
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
