//! Loom models of the queue's lock-free algorithms, over the shipping code of `chronicle-sync`.
//!
//! Built with `RUSTFLAGS="--cfg chronicle_loom"` this runs every model, or seeds faults one by one
//! and demands that the model that is named for each fails. `cargo xtask loom` does the building.
//! Without that flag the words are the processor's and there is nothing to explore, so the program
//! only says how to build it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_types,
    reason = "a model reports by panicking, and its words are loom's"
)]

#[cfg(chronicle_loom)]
mod command;
#[cfg(chronicle_loom)]
mod explore;
#[cfg(chronicle_loom)]
mod models;
#[cfg(chronicle_loom)]
mod park;
#[cfg(chronicle_loom)]
mod words;

#[cfg(chronicle_loom)]
fn main() -> std::process::ExitCode {
    command::run()
}

#[cfg(not(chronicle_loom))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "chronicle-loom must be built with RUSTFLAGS=\"--cfg chronicle_loom\"; `cargo xtask loom` does that"
    );
    std::process::ExitCode::FAILURE
}
