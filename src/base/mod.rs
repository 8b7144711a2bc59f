//! Words that every layer may use. Nothing here knows a protocol, a file descriptor, a thread,
//! a clock or a source of randomness.

pub mod address;
pub mod chunks;
pub mod clock;
pub mod driver_kind;
pub mod fit;
pub mod frame;
pub mod id;
pub mod limits;
pub mod network;
pub mod offset;
pub mod raised;
pub mod rate;
pub mod shed;
pub mod slab;
pub mod stats;
pub mod sync;
