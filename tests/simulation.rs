//! Whole shards on the seeded fake kernel: what must hold whatever the kernel, the network and the
//! clients do, and in whatever order.
//!
//! A `World` is a server with one to four shards and any number of clients that speak the protocol
//! byte by byte. Everything is drawn from a seed. Only shards that the kernel, their bell or their
//! deadline would wake get a turn, so that a lost wake-up is a client that waits for ever.
//!
//! `SIMULATION_SEEDS=100000` tries more seeds, `SIMULATION_SEED=17` one alone.

#[path = "simulation/broadcast.rs"]
mod broadcast;
#[path = "simulation/broken.rs"]
mod broken;
#[path = "simulation/churn.rs"]
mod churn;
#[path = "simulation/deadlines.rs"]
mod deadlines;
#[path = "simulation/guest.rs"]
mod guest;
#[path = "simulation/handover.rs"]
mod handover;
#[path = "simulation/memory.rs"]
mod memory;
#[path = "simulation/peer.rs"]
mod peer;
#[path = "simulation/recovery.rs"]
mod recovery;
#[path = "simulation/reused.rs"]
mod reused;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "simulation/share.rs"]
mod share;
#[path = "simulation/slow.rs"]
mod slow;
#[path = "simulation/stall.rs"]
mod stall;
#[path = "simulation/upgrade.rs"]
mod upgrade;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;
