//! A real ring whose kernel is at its worst: calls are refused, and completions come late and in
//! any order that is left open.

use std::io;
use std::time::Duration;

use io_uring::cqueue;

use crate::driver::sim::{PerMille, Random};

/// How often a call is refused.
const REFUSALS: PerMille = 200;

/// How a call is refused that would have been taken at another time.
const ERRORS: [i32; 3] = [libc::EAGAIN, libc::EBUSY, libc::EINTR];

/// What stands between a ring and its kernel.
pub struct Mischief {
    random: Random,
    /// Completions that the kernel has given and the ring has not, in their order.
    held: Vec<cqueue::Entry>,
}

impl Mischief {
    /// That of a seed.
    pub fn new(seed: u64) -> Mischief {
        Mischief { random: Random::new(seed), held: Vec::new() }
    }

    /// What the kernel says to a call, if it refuses it.
    pub fn refusal(&mut self) -> Option<io::Error> {
        let error = ERRORS[self.random.index(ERRORS.len())];
        self.random.chance(REFUSALS).then(|| io::Error::from_raw_os_error(error))
    }

    /// How long the kernel may be waited for: not at all while it has completed something.
    pub fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.held.is_empty() { timeout } else { Some(Duration::ZERO) }
    }

    /// Moves some of what has completed to `out`; what one operation has completed stays in order.
    pub fn reap(
        &mut self,
        completed: impl Iterator<Item = cqueue::Entry>,
        out: &mut Vec<cqueue::Entry>,
    ) {
        self.held.extend(completed);
        for _ in 0..self.random.range(0..=self.held.len()) {
            let any = self.held[self.random.index(self.held.len())].user_data();
            let first = self.held.iter().position(|entry| entry.user_data() == any);
            out.extend(first.map(|first| self.held.remove(first)));
        }
    }
}
