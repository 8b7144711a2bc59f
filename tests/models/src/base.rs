//! The words of the server that the modelled files use.

#[path = "../../../src/base/raised.rs"]
pub mod raised;
pub mod sync;
