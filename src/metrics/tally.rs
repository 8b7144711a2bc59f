//! What a shard counts by cause, beside what everybody may ask it for.

use crate::proto::socket::DisconnectReason;
use crate::session::departure::{Closer, Departure, DisconnectLimit};

use super::Histogram;

/// Counts of a few things that are told apart by a value of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K>(Vec<(K, u64)>);

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally(Vec::new())
    }
}

impl<K: Copy + PartialEq> Tally<K> {
    /// One more of these.
    pub fn add(&mut self, kind: K) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.0.push((kind, 1)),
        }
    }

    /// Those that there were, each with how often.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.0.iter().copied()
    }
}

/// Ends of sessions or sockets, by what is known of them without a word of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departures(Tally<(DisconnectReason, Closer, Option<DisconnectLimit>)>);

impl Departures {
    /// One more.
    pub fn add(&mut self, departure: &Departure) {
        self.0.add((departure.reason, departure.detail.by, departure.detail.limit));
    }

    /// The reason, who it was and the limit, as the metrics call them; and how often.
    pub fn iter(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        self.0.iter().map(|((reason, by, limit), count)| {
            let limit = limit.map_or("", DisconnectLimit::name);
            ([reason.as_str(), by.name(), limit], count)
        })
    }
}

/// What a shard has counted by cause, or by time.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Sessions that have closed.
    pub sessions: Departures,
    /// Sockets that have gone.
    pub sockets: Departures,
    /// Requests that were refused, by what the client was told.
    pub refused: Tally<&'static str>,
    /// How long its turns took.
    pub turns: Histogram,
    /// How long broadcasts took, until the kernel had them for the last client that was not behind.
    pub broadcasts: Histogram,
}
