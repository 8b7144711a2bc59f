//! Acknowledgements that a socket owes us (protocol.md §14.6).

use crate::base::clock::Time;

/// What waits for the answers of one socket, by packet id. `W` is whoever wants the answer.
#[derive(Debug)]
pub struct Acks<W>(Vec<Awaited<W>>);

#[derive(Debug)]
struct Awaited<W> {
    id: u64,
    until: Time,
    waiter: W,
}

impl<W> Default for Acks<W> {
    fn default() -> Self {
        Acks(Vec::new())
    }
}

impl<W> Acks<W> {
    /// Waits for the answer to packet `id` until a moment, which may be the end of time.
    pub fn expect(&mut self, id: u64, until: Time, waiter: W) {
        self.0.push(Awaited { id, until, waiter });
    }

    /// The answer to packet `id` came: gives who waits for it, the first time.
    pub fn answered(&mut self, id: u64) -> Option<W> {
        // Answers mostly come in the order of the questions, so the search is short.
        let position = self.0.iter().position(|awaited| awaited.id == id)?;
        Some(self.0.remove(position).waiter)
    }

    /// Gives all that have waited in vain, in the order of their deadlines: a shard that stood
    /// still sees many of them at once.
    pub fn expired(&mut self, now: Time) -> impl Iterator<Item = W> {
        let is_due = |awaited: &mut Awaited<W>| awaited.until <= now;
        let mut due: Vec<Awaited<W>> = self.0.extract_if(.., is_due).collect();
        due.sort_by_key(|awaited| awaited.until);
        due.into_iter().map(|awaited| awaited.waiter)
    }

    /// When the next one will have waited in vain, if ever.
    pub fn next_deadline(&self) -> Option<Time> {
        self.0.iter().map(|awaited| awaited.until).min().filter(|until| *until != Time::NEVER)
    }

    /// Gives everyone who waits: there will be no answers.
    pub fn drain(&mut self) -> impl Iterator<Item = W> {
        std::mem::take(&mut self.0).into_iter().map(|awaited| awaited.waiter)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m38_an_answer_counts_once_and_an_unknown_one_not_at_all() {
        let mut acks = Acks::default();
        acks.expect(7, Time::NEVER, "seven");
        assert_eq!(acks.answered(8), None);
        assert_eq!(acks.answered(7), Some("seven"));
        assert_eq!(acks.answered(7), None);
    }

    #[test]
    fn m38_those_who_have_waited_in_vain_are_told_in_the_order_of_their_deadlines() {
        let mut acks = Acks::default();
        for deadline in [30, 10, 20, 10] {
            acks.expect(deadline, Time::from_micros(deadline), deadline);
        }
        assert_eq!(acks.expired(Time::from_micros(29)).collect::<Vec<u64>>(), [10, 10, 20]);
        assert_eq!(acks.len(), 1);
    }

    #[test]
    fn m38_a_hundred_thousand_timed_out_acks_leave_nothing_behind() {
        let mut acks = Acks::default();
        for id in 0..100_000 {
            acks.expect(id, Time::from_micros(5), id);
        }
        acks.expect(100_000, Time::NEVER, 100_000);
        assert_eq!(acks.expired(Time::from_micros(5)).count(), 100_000);
        assert_eq!(acks.len(), 1);
        assert_eq!(acks.drain().collect::<Vec<u64>>(), [100_000]);
        assert!(acks.is_empty());
    }
}
