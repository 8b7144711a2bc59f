//! Logs and courses in a form that outlives the process: ages instead of moments, since whoever
//! reads it has another clock, and events by their offsets.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::clock::Time;
use crate::base::offset::{Emitter, Offset};

use super::{Course, Entry, Log, Missed, Seen, charge};

/// A log without its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogImage {
    first: u64,
    seen: Seen,
    forgotten: Seen,
    /// Which events, and their ages in milliseconds.
    entries: Vec<(Offset, u64)>,
}

/// What one socket was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourseImage {
    carried: Vec<Offset>,
    since: u64,
    is_broken: bool,
}

impl LogImage {
    /// The events it holds.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.entries.iter().map(|(offset, _)| *offset)
    }

    /// What it was told of.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Adds the events to many that only the other log was told of. `false` when they are not known
    /// any more.
    fn follow(&mut self, other: &LogImage) -> bool {
        let missing = |(offset, _): &&(Offset, u64)| {
            matches!(offset.emitter(), Emitter::ToMany(_)) && !self.seen.has(*offset)
        };
        let missing: Vec<(Offset, u64)> = other.entries.iter().filter(missing).copied().collect();
        let is_whole = self.seen.covers(&other.forgotten);
        for (offset, age) in missing {
            self.seen.note(offset);
            self.entries.push((offset, age));
        }
        is_whole
    }
}

/// Shards of a server that closes do not end at one moment. Gives each of their logs what only
/// others were told of, so that all know the same; and says which of them lack nothing.
pub fn level(logs: &mut [LogImage]) -> Vec<bool> {
    let mut are_whole = vec![true; logs.len()];
    for index in 0..logs.len() {
        let mut log = std::mem::take(&mut logs[index]);
        are_whole[index] = logs.iter().all(|other| log.follow(other));
        logs[index] = log;
    }
    are_whole
}

impl<S> Log<S> {
    /// What outlives the process.
    pub fn image(&self, now: Time) -> LogImage {
        let age = |entry: &Entry<S>| now.since(entry.logged_at).as_millis() as u64;
        LogImage {
            first: self.first,
            seen: self.seen.clone(),
            forgotten: self.forgotten.clone(),
            entries: self.entries.iter().map(|entry| (entry.event.offset, age(entry))).collect(),
        }
    }

    /// Each event that it holds, and whom it was for.
    pub fn events(&self) -> impl Iterator<Item = (&Missed, &S)> {
        self.entries.iter().map(|entry| (&entry.event, &entry.scope))
    }

    /// The log of an image that was made so long ago. `None` when `event` does not know an event.
    pub fn restore(
        image: &LogImage,
        now: Time,
        elapsed: Duration,
        mut event: impl FnMut(Offset) -> Option<(Missed, S)>,
    ) -> Option<Log<S>> {
        let mut log = Log { first: image.first, ..Log::default() };
        for &(offset, age_ms) in &image.entries {
            let (event, scope) = event(offset)?;
            let age = Duration::from_millis(age_ms).saturating_add(elapsed);
            log.bytes += charge(&event);
            log.entries.push_back(Entry { event, scope, logged_at: now.before(age) });
        }
        log.seen = image.seen.clone();
        log.forgotten = image.forgotten.clone();
        Some(log)
    }
}

impl Course {
    /// What outlives the process, for a socket whose client was heard of last at that moment.
    pub fn image<S>(&self, log: &Log<S>, heard_at: Time) -> CourseImage {
        let carried = || self.carried.iter().map(|event| event.offset).collect();
        let Course { since, is_broken, .. } = *self;
        match log.is_complete(since, heard_at) {
            true => CourseImage { carried: carried(), since, is_broken },
            // It may come back all the same if the last event that it has received is in the log.
            false => CourseImage { carried: Vec::new(), since, is_broken: true },
        }
    }

    /// Each event that it holds besides those of the log.
    pub fn carried_events(&self) -> &[Missed] {
        &self.carried
    }

    /// The course of an image. `None` when `event` does not know an event.
    pub fn restore(
        image: &CourseImage,
        event: impl FnMut(&Offset) -> Option<Missed>,
    ) -> Option<Course> {
        let carried = image.carried.iter().map(event).collect::<Option<_>>()?;
        Some(Course { carried, since: image.since, is_broken: image.is_broken })
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.text().escape_ascii())
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Offset, D::Error> {
        let text = String::deserialize(deserializer)?;
        Offset::parse(text.as_bytes()).ok_or_else(|| D::Error::custom("not an offset"))
    }
}
