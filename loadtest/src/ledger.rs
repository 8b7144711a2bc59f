//! Who got what: per client the number that is due next, and so what was lost, repeated or out of
//! order.
//!
//! - **repeated**: a number that this client had already.
//! - **reordered**: a number that comes after a later one of its stream. It is then not lost.
//! - **lost**: a number that has not come by the end of the run, which waits for what is late.
//! - **damaged**: a message of which any byte differs. Which number it was cannot be trusted, so
//!   that one is lost as well.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// What went wrong, as counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    pub lost: u64,
    pub repeated: u64,
    pub reordered: u64,
    pub damaged: u64,
    /// Clients that the server let go, or that gave up on it.
    pub disconnected: u64,
}

impl Faults {
    pub fn any(&self) -> bool {
        *self != Faults::default()
    }

    pub fn add(&mut self, other: &Faults) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.disconnected += other.disconnected;
    }
}

/// What the arrival of a number meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It had not come yet.
    First,
    /// It had come before.
    Again,
}

/// The books of all clients. Each client follows one stream.
#[derive(Default)]
pub struct Ledger {
    /// For each client the number that is due next: all below came, but for those in `gaps`.
    due: Vec<u32>,
    /// Numbers that were jumped over, of those few clients that have any.
    gaps: HashMap<u32, HashSet<u32>>,
    pub faults: Faults,
}

impl Ledger {
    /// Books for so many clients, of which each is due number 0.
    pub fn new(clients: usize) -> Ledger {
        Ledger { due: vec![0; clients], ..Ledger::default() }
    }

    /// The number that the client is due next.
    pub fn due(&self, client: usize) -> u32 {
        self.due[client]
    }

    /// The client got the number that it was due.
    pub fn came_in_order(&mut self, client: usize) {
        self.due[client] += 1;
    }

    /// The client got a number.
    pub fn came(&mut self, client: usize, sequence: u32) -> Arrival {
        let due = self.due[client];
        if sequence >= due {
            if sequence > due {
                self.gaps.entry(client as u32).or_default().extend(due..sequence);
            }
            self.due[client] = sequence + 1;
            return Arrival::First;
        }
        let gaps = self.gaps.get_mut(&(client as u32));
        if gaps.is_some_and(|gaps| gaps.remove(&sequence)) {
            self.faults.reordered += 1;
            return Arrival::First;
        }
        self.faults.repeated += 1;
        Arrival::Again
    }

    /// Whether the client has this number already.
    pub fn has(&self, client: usize, sequence: u32) -> bool {
        let is_gap = self.gaps.get(&(client as u32)).is_some_and(|gaps| gaps.contains(&sequence));
        sequence < self.due[client] && !is_gap
    }

    /// How many of the numbers below `end` the client does not have.
    pub fn missing(&self, client: usize, end: u32) -> u64 {
        let gaps = self.gaps.get(&(client as u32)).map_or(0, |gaps| gaps.len() as u64);
        gaps + u64::from(end.saturating_sub(self.due[client]))
    }

    /// Nothing more will come to the client: what it lacks of the numbers below `end` is lost,
    /// and it is due nothing before `end`.
    pub fn close(&mut self, client: usize, end: u32) {
        self.faults.lost += self.missing(client, end);
        self.gaps.remove(&(client as u32));
        self.due[client] = self.due[client].max(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(arrivals: &[u32], published: u32) -> Faults {
        let mut ledger = Ledger::new(2);
        for &sequence in arrivals {
            ledger.came(1, sequence);
        }
        ledger.close(1, published);
        ledger.faults
    }

    #[test]
    fn what_comes_once_and_in_order_is_no_fault() {
        assert_eq!(after(&[0, 1, 2, 3], 4), Faults::default());
    }

    #[test]
    fn what_never_comes_is_lost() {
        assert_eq!(after(&[0, 2, 3], 4), Faults { lost: 1, ..Faults::default() });
        assert_eq!(after(&[0, 1], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(after(&[], 4), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn what_comes_twice_is_repeated() {
        assert_eq!(after(&[0, 0, 1], 2), Faults { repeated: 1, ..Faults::default() });
        assert_eq!(after(&[0, 1, 0, 1], 2), Faults { repeated: 2, ..Faults::default() });
    }

    #[test]
    fn what_comes_after_a_later_one_is_reordered_and_not_lost() {
        assert_eq!(after(&[1, 0], 2), Faults { reordered: 1, ..Faults::default() });
        assert_eq!(after(&[3, 0, 1, 2], 4), Faults { reordered: 3, ..Faults::default() });
    }

    #[test]
    fn a_late_one_that_comes_again_is_repeated() {
        let faults = Faults { reordered: 1, repeated: 1, ..Faults::default() };
        assert_eq!(after(&[1, 0, 0], 2), faults);
    }

    #[test]
    fn a_client_that_is_closed_is_due_what_comes_later() {
        let mut ledger = Ledger::new(1);
        ledger.came(0, 1);
        ledger.close(0, 3);
        assert_eq!(ledger.faults.lost, 2);
        assert_eq!(ledger.due(0), 3);
        assert_eq!(ledger.missing(0, 4), 1);
    }

    #[test]
    fn books_know_what_a_client_has() {
        let mut ledger = Ledger::new(1);
        ledger.came(0, 0);
        ledger.came(0, 2);
        let has: Vec<bool> = (0..4).map(|sequence| ledger.has(0, sequence)).collect();
        assert_eq!(has, [true, false, true, false]);
    }
}
