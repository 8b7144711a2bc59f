//! What goes wrong in a simulated network, and how often.
//!
//! Each field of [`Faults`] is something that a real driver shows its shard:
//!
//! | in the kernel | here |
//! |---|---|
//! | short reads and writes | `receives_split`, `sends_short`, `deliveries_split` |
//! | a full socket buffer | `socket_buffer_bytes`, `sends_deferred` |
//! | `EMFILE`, `ENFILE` of an accept | `descriptors`, `accepts_refused` |
//! | `ENOBUFS` of a receive | `receive_buffers`, `receives_exhausted`, `releases_late` |
//! | `ENOBUFS`, `ENOMEM`, `EPIPE`, `ECANCELED` of a send | `sends_failed` |
//! | `ECONNRESET`, `ETIMEDOUT`, `EHOSTUNREACH`, `EPIPE` | `resets`, `resets_discarding` |
//! | `EINTR`, `EAGAIN`, `EBUSY` of the wait | `turns_spurious` |
//! | completions that overflow their queue | `completions_max`, `turns_short` |
//! | completions out of order | `completions_reordered` |
//! | completions that are late | `ends_late`, `deliveries_delayed` |
//! | a cancellation that takes its time | `cancels_late` |
//! | a slot that is used again while the kernel works for its last user | `slots_reused` |
//! | connections that were accepted before the listener went | `accepts_late` |
//! | many clients at once | `accepts_in_bursts` |
//! | a wake-up that takes its time | `wakes_late` |
//! | a process that is stopped | `stalls` |

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
    /// The kernel has no memory for a send, or takes it for cancelled; the connection stands.
    pub sends_failed: PerMille,
    /// Most completions that a turn gives; the others wait for the next one. At least 1.
    pub completions_max: usize,
    /// The end of a connection is reported later than its last bytes.
    pub ends_late: PerMille,
    /// A buffer that is released reaches the kernel with the next turn, and not before.
    pub releases_late: PerMille,
    /// A connection that is closed leaves its slot to others at once, while the kernel still works
    /// on it.
    pub slots_reused: PerMille,
    /// A client that waits when its listener goes was accepted before, and is reported after that.
    pub accepts_late: PerMille,
    /// A new client comes together with others, at the next full hundredth of a second.
    pub accepts_in_bursts: PerMille,
    /// The waker is noticed later than it was used.
    pub wakes_late: PerMille,
    /// The clock jumps during a turn, by up to a quarter of a second.
    pub stalls: PerMille,
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
            sends_failed: 0,
            completions_max: usize::MAX,
            ends_late: 0,
            releases_late: 0,
            slots_reused: 0,
            accepts_late: 0,
            accepts_in_bursts: 0,
            wakes_late: 0,
            stalls: 0,
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
            sends_failed: draw(2),
            ends_late: draw(500),
            releases_late: draw(800),
            slots_reused: draw(1_000),
            accepts_late: draw(1_000),
            accepts_in_bursts: draw(500),
            wakes_late: draw(500),
            stalls: draw(3),
            ..Faults::none()
        };
        faults.socket_buffer_bytes = 1 << random.range(6..=16);
        faults.receive_buffers = 1 << random.range(0..=5);
        faults.delay_max = Duration::from_micros(1 << random.range(0..=14));
        if random.chance(500) {
            faults.completions_max = 1 << random.range(0..=5);
        }
        faults
    }

    /// The same without broken connections, for properties that hold only while they last.
    pub fn without_resets(self) -> Faults {
        Faults { resets: 0, sends_failed: 0, ..self }
    }

    /// The same without jumps of the clock, for properties that name a time.
    pub fn without_stalls(self) -> Faults {
        Faults { stalls: 0, ..self }
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
        type Strength = fn(&Faults) -> usize;
        let most = |faults: &Faults| usize::MAX - faults.completions_max;
        let each: [(&str, Strength); 20] = [
            ("sends_short", |it| it.sends_short as usize),
            ("sends_deferred", |it| it.sends_deferred as usize),
            ("receives_split", |it| it.receives_split as usize),
            ("receives_exhausted", |it| it.receives_exhausted as usize),
            ("deliveries_split", |it| it.deliveries_split as usize),
            ("deliveries_delayed", |it| it.deliveries_delayed as usize),
            ("accepts_refused", |it| it.accepts_refused as usize),
            ("resets", |it| it.resets as usize),
            ("resets_discarding", |it| it.resets_discarding as usize),
            ("completions_reordered", |it| it.completions_reordered as usize),
            ("turns_spurious", |it| it.turns_spurious as usize),
            ("turns_short", |it| it.turns_short as usize),
            ("cancels_late", |it| it.cancels_late as usize),
            ("sends_failed", |it| it.sends_failed as usize),
            ("ends_late", |it| it.ends_late as usize),
            ("releases_late", |it| it.releases_late as usize),
            ("slots_reused", |it| it.slots_reused as usize),
            ("accepts_late", |it| it.accepts_late as usize),
            ("wakes_late", |it| it.wakes_late as usize),
            ("stalls", |it| it.stalls as usize),
        ];
        let drawn: Vec<Faults> = (0..100).map(Faults::all).collect();
        for (name, often) in each {
            assert!(drawn.iter().any(|faults| often(faults) == 0), "{name} is never left out");
            assert!(drawn.iter().any(|faults| often(faults) > 0), "{name} is never drawn");
        }
        assert!(drawn.iter().any(|faults| most(faults) > 0) && most(&Faults::none()) == 0);
        assert!(drawn.iter().any(|faults| faults.receive_buffers == 1));
    }
}
