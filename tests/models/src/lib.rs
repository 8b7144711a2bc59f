//! The mailbox and the bell of a shard, and the flag of its wake-ups, compiled from the files of
//! the server with atomics that `loom` tries in every order that the memory model allows.
//!
//! Modelled: everything in `src/mailbox.rs` and `src/base/raised.rs`, and the sleep of a shard as
//! `src/shard/turn.rs` and the drivers do it ([`Sleeper`]). Not modelled: `crossbeam_queue`, in
//! whose place [`SegQueue`] gives no more order than that promises, and the kernel's event counter,
//! which is a number behind a lock.

extern crate self as crossbeam_queue;

pub mod base;
#[path = "../../../src/mailbox.rs"]
pub mod mailbox;
mod queue;
mod sleeper;

pub use queue::SegQueue;
pub use sleeper::Sleeper;

/// Runs a model in every order in which no thread is interrupted more often than so many times,
/// which is where the faults are; all orders of three threads would take days.
pub fn explore(interruptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(model);
}
