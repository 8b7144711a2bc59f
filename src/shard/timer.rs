//! What becomes due when.
//!
//! A deadline that moves, as those of sessions do with every pong, is not moved here: its owner
//! remembers the earliest entry it has, and looks again when that comes up. So there is about one
//! entry for each owner, and a packet costs no timer at all.
//!
//! An entry is the eight bytes of its owner, in the list of the span of time in which it is due.
//! When the span begins each owner is asked, and what is due later in the span is put into a heap;
//! so that everything comes up in its microsecond, and ten thousands of clients cost no more than
//! their lists.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::base::clock::Time;
use crate::base::fit::Fit;

/// Whose deadline it is, by index. Who has an index by now may be another than the one who had it
/// when the entry was made: an entry only asks its owner to look whether anything is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A connection.
    Connection(u32),
    /// A session.
    Session(u32),
    /// The acknowledgements that a socket owes.
    Acks(u32),
    /// A sleeping task.
    Sleep(u32),
    /// What the shard keeps for those who may come back.
    Recovery,
}

/// A span of time: 2^16 microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Span(u64);

impl Span {
    const BITS: u32 = 16;

    fn of(time: Time) -> Span {
        Span(time.as_micros() >> Span::BITS)
    }

    fn begins(self) -> Time {
        Time::from_micros(self.0 << Span::BITS)
    }
}

/// Deadlines, earliest first.
#[derive(Debug, Default)]
pub struct Timers {
    /// What is due in a span that has begun.
    soon: BinaryHeap<Reverse<(Time, Owner)>>,
    /// What is due in a span that has not.
    later: BTreeMap<Span, Vec<Owner>>,
    /// The first span that has not begun.
    next_span: Span,
}

impl Timers {
    fn add(&mut self, due: Time, owner: Owner) {
        let span = Span::of(due);
        match span < self.next_span {
            true => self.soon.push(Reverse((due, owner))),
            false => self.later.entry(span).or_default().push(owner),
        }
    }

    /// Removes and gives an entry that is due, or may be: its owner knows.
    pub fn expire(&mut self, now: Time) -> Option<Owner> {
        self.next_span = self.next_span.max(Span(Span::of(now).0 + 1));
        if let Some(mut span) = self.later.first_entry()
            && *span.key() < self.next_span
        {
            let owner = span.get_mut().pop();
            if span.get().is_empty() {
                span.remove();
            }
            return owner;
        }
        self.soon.peek().filter(|entry| entry.0.0 <= now)?;
        self.soon.pop().map(|Reverse((_, owner))| owner)
    }

    /// Forgets the entries of owners that are gone, which would else stay until they are due.
    pub fn retain(&mut self, mut exists: impl FnMut(Owner) -> bool) {
        self.soon.retain(|Reverse((_, owner))| exists(*owner));
        self.soon.fit(0);
        self.later.retain(|_, owners| {
            owners.retain(|owner| exists(*owner));
            owners.shrink_to_fit();
            !owners.is_empty()
        });
    }

    /// When the next entry may be due.
    pub fn next(&self) -> Option<Time> {
        let soon = self.soon.peek().map(|Reverse((due, _))| *due);
        let later = self.later.first_key_value().map(|(span, _)| span.begins());
        soon.into_iter().chain(later).min()
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

    /// An entry of `owner` came up; answers whether it is due. If it will be in the span that has
    /// begun, it comes up again.
    pub fn came_up(&mut self, now: Time, owner: Owner, timers: &mut Timers) -> bool {
        let due = std::mem::replace(&mut self.0, Time::NEVER);
        if due > now && due != Time::NEVER {
            self.0 = due;
            if Span::of(due) <= Span::of(now) {
                timers.add(due, owner);
            }
        }
        due <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    /// Whether the owner's deadline has come by `now`, with how many entries looked at.
    fn look(timers: &mut Timers, armed: &mut Armed, now: Time) -> (bool, usize) {
        let (mut is_due, mut looked_at) = (false, 0);
        while let Some(owner) = timers.expire(now) {
            is_due |= armed.came_up(now, owner, timers);
            looked_at += 1;
        }
        (is_due, looked_at)
    }

    #[test]
    fn a_deadline_that_moves_later_adds_no_entry_and_one_that_moves_earlier_adds_one() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        let owner = Owner::Session(1);
        armed.arm(at(9_000_000), owner, &mut timers);
        armed.arm(at(9_500_000), owner, &mut timers);
        assert_eq!(timers.later.len(), 1);
        armed.arm(at(5_000_000), owner, &mut timers);
        assert_eq!(timers.later.len(), 2);
        assert_eq!(look(&mut timers, &mut armed, at(5_000_000)), (true, 1));
        armed.arm(at(20_000_000), owner, &mut timers);
        // The entry that was overtaken finds nothing due.
        assert_eq!(look(&mut timers, &mut armed, at(9_500_000)), (false, 1));
        assert_eq!(look(&mut timers, &mut armed, at(20_000_000)), (true, 1));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn nothing_comes_up_before_its_microsecond() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        armed.arm(at(1_000_010), Owner::Connection(1), &mut timers);
        let span = timers.next().unwrap();
        assert!(span <= at(1_000_010));
        assert_eq!(look(&mut timers, &mut armed, span), (false, 1));
        assert_eq!(timers.next(), Some(at(1_000_010)));
        assert_eq!(look(&mut timers, &mut armed, at(1_000_009)), (false, 0));
        assert_eq!(look(&mut timers, &mut armed, at(1_000_010)), (true, 1));
    }

    #[test]
    fn entries_of_owners_that_are_gone_are_forgotten_and_the_others_come_up() {
        let (mut timers, mut armed) = (Timers::default(), [Armed::default(); 2]);
        for due in [0, 7_000_000] {
            timers.expire(at(1));
            for (index, armed) in (0..).zip(&mut armed) {
                *armed = Armed::default();
                armed.arm(at(due + 10), Owner::Session(index), &mut timers);
            }
        }
        timers.retain(|owner| owner == Owner::Session(1));
        let left: Vec<Owner> = std::iter::from_fn(|| timers.expire(at(7_000_010))).collect();
        assert_eq!(left, [Owner::Session(1); 2]);
    }

    proptest! {
        #[test]
        fn whoever_waits_until_next_is_told_of_every_deadline_when_it_comes(
            deadlines in vec(0..300_000u64, 1..40),
        ) {
            let (mut timers, mut now) = (Timers::default(), Time::ZERO);
            let mut armed: Vec<Armed> = vec![Armed::default(); deadlines.len()];
            for (index, due) in deadlines.iter().enumerate() {
                armed[index].arm(at(*due), Owner::Session(index as u32), &mut timers);
            }
            let mut seen = Vec::new();
            loop {
                while let Some(owner) = timers.expire(now) {
                    let Owner::Session(index) = owner else { unreachable!() };
                    if armed[index as usize].came_up(now, owner, &mut timers) {
                        prop_assert_eq!(now, at(deadlines[index as usize]));
                        seen.push(index);
                    }
                }
                let Some(next) = timers.next() else { break };
                prop_assert!(next > now);
                now = next;
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..deadlines.len() as u32).collect::<Vec<_>>());
        }
    }
}
