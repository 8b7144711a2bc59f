//! What threads share. `tests/models` puts other types of these names in their place, which are
//! tried in every order that the memory model allows.

pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
