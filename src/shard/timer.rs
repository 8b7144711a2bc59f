//! What becomes due when.
//!
//! A deadline that moves, as those of sessions do with every pong, is not moved here: its owner
//! remembers the earliest entry it has, and looks again when that comes up. So there is about one
//! entry for each owner, and a packet costs no timer at all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::clock::Time;
use crate::base::slab::Key;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A connection.
    Connection(Key),
    /// A session.
    Session(Key),
    /// The acknowledgements that a socket owes.
    Acks(Key),
    /// A sleeping task.
    Sleep(u64),
}

/// Deadlines, earliest first.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(Time, Owner)>>);

impl Timers {
    /// Adds an entry.
    pub fn add(&mut self, due: Time, owner: Owner) {
        self.0.push(Reverse((due, owner)));
    }

    /// Removes and gives an entry that is due.
    pub fn expire(&mut self, now: Time) -> Option<(Time, Owner)> {
        self.0.peek().filter(|entry| entry.0.0 <= now)?;
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// When the next entry is due.
    pub fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The earliest entry that an owner has among the timers.
#[derive(Clone, Copy, Debug)]
pub struct Armed(Time);

impl Default for Armed {
    fn default() -> Self {
        Armed(Time::NEVER)
    }
}

impl Armed {
    /// Makes sure that `owner` comes up at `due`, or before.
    pub fn arm(&mut self, due: Time, owner: Owner, timers: &mut Timers) {
        if due < self.0 {
            self.0 = due;
            timers.add(due, owner);
        }
    }

    /// An entry came up; answers whether it is the one that counts.
    pub fn came_up(&mut self, due: Time) -> bool {
        let counts = due == self.0;
        if counts {
            self.0 = Time::NEVER;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_deadline_that_moves_later_adds_no_entry_and_one_that_moves_earlier_adds_one() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        let owner = Owner::Sleep(1);
        armed.arm(at(100), owner, &mut timers);
        armed.arm(at(200), owner, &mut timers);
        assert_eq!(timers.len(), 1);
        armed.arm(at(50), owner, &mut timers);
        assert_eq!(timers.len(), 2);
        let (due, _) = timers.expire(at(60)).unwrap();
        assert!(armed.came_up(due));
        armed.arm(at(200), owner, &mut timers);
        let (stale, _) = timers.expire(at(100)).unwrap();
        assert!(!armed.came_up(stale), "this entry was overtaken by an earlier one");
        assert_eq!(timers.next(), Some(at(200)));
    }

    #[test]
    fn nothing_comes_up_before_it_is_due() {
        let mut timers = Timers::default();
        timers.add(at(10), Owner::Sleep(1));
        assert_eq!(timers.expire(at(9)), None);
        assert_eq!(timers.expire(at(10)), Some((at(10), Owner::Sleep(1))));
    }
}
