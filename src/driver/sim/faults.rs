//! What goes wrong in a simulated network, and how often.

use std::time::Duration;

use super::random::{PerMille, Random};

/// How often each thing goes wrong, and how little there is of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that the two socket buffers between a server and a client that does not read hold.
    pub socket_buffer_bytes: usize,
    /// Most receive buffers of a driver; fewer than its limits ask for make it run out of them.
    /// Read when the driver is made.
    pub receive_buffers: u16,
    /// Most connections that all drivers together may have; beyond it accepts find no descriptor.
    pub descriptors: usize,
    /// The longest time that something is late.
    pub delay_max: Duration,
    /// A send takes fewer bytes than there is room for.
    pub sends_short: PerMille,
    /// A send is not done at once although there is room.
    pub sends_deferred: PerMille,
    /// A receive gives fewer bytes than have arrived.
    pub receives_split: PerMille,
    /// A receive finds no free buffer although there is one, and is tried again later.
    pub receives_exhausted: PerMille,
    /// The network cuts a piece off what one side sent; decided again for the rest.
    pub deliveries_split: PerMille,
    /// The network is late with a piece, in either direction, or with a new client.
    pub deliveries_delayed: PerMille,
    /// An accept finds no free descriptor and is tried again later.
    pub accepts_refused: PerMille,
    /// The network breaks a connection; decided for every send and every receive.
    pub resets: PerMille,
    /// A reset takes the bytes with it that had arrived before and were not received.
    pub resets_discarding: PerMille,
    /// A completion overtakes those of other connections.
    pub completions_reordered: PerMille,
    /// A turn gives nothing.
    pub turns_spurious: PerMille,
    /// A turn gives only some of what has completed.
    pub turns_short: PerMille,
    /// What was cancelled, by pause, detach or close, goes on for a while.
    pub cancels_late: PerMille,
}

impl Faults {
    /// Nothing goes wrong: every operation is done at once and in full.
    pub fn none() -> Faults {
        Faults {
            socket_buffer_bytes: 256 * 1024,
            receive_buffers: u16::MAX,
            descriptors: usize::MAX,
            delay_max: Duration::from_millis(5),
            sends_short: 0,
            sends_deferred: 0,
            receives_split: 0,
            receives_exhausted: 0,
            deliveries_split: 0,
            deliveries_delayed: 0,
            accepts_refused: 0,
            resets: 0,
            resets_discarding: 0,
            completions_reordered: 0,
            turns_spurious: 0,
            turns_short: 0,
            cancels_late: 0,
        }
    }

    /// Everything that the seed draws goes wrong. One fault in four is left out, because some
    /// states are reached only when another fault does not come first.
    pub fn all(seed: u64) -> Faults {
        let mut random = Random::new(!seed);
        let mut draw = |most: PerMille| match random.chance(250) {
            true => 0,
            false => random.range(1..=most as usize) as PerMille,
        };
        let mut faults = Faults {
            sends_short: draw(500),
            sends_deferred: draw(500),
            receives_split: draw(500),
            receives_exhausted: draw(200),
            deliveries_split: draw(700),
            deliveries_delayed: draw(700),
            accepts_refused: draw(300),
            resets: draw(4),
            resets_discarding: draw(1_000),
            completions_reordered: draw(1_000),
            turns_spurious: draw(300),
            turns_short: draw(500),
            cancels_late: draw(800),
            ..Faults::none()
        };
        faults.socket_buffer_bytes = 1 << random.range(6..=16);
        faults.receive_buffers = 1 << random.range(0..=5);
        faults.delay_max = Duration::from_micros(1 << random.range(0..=14));
        faults
    }

    /// The same without broken connections, for properties that hold only while they last.
    pub fn without_resets(self) -> Faults {
        Faults { resets: 0, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_its_faults() {
        assert_eq!(Faults::all(5), Faults::all(5));
        assert_ne!(Faults::all(5), Faults::all(6));
    }

    #[test]
    fn some_seed_leaves_each_fault_out_and_some_seed_has_it() {
        let drawn: Vec<Faults> = (0..100).map(Faults::all).collect();
        assert!(drawn.iter().any(|faults| faults.resets == 0));
        assert!(drawn.iter().any(|faults| faults.resets > 0));
        assert!(drawn.iter().any(|faults| faults.receive_buffers == 1));
    }
}
