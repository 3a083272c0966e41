//! Tests of the use cases, without HTTP and without a disk.
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod access;
mod checks;
mod children;
mod durations;
mod failover;
mod immediate;
mod limits;
mod model;
mod nodes;
mod people;
mod replays;
mod root_keys;
mod unfinished;
mod unknown;
mod usage;
mod world;
