//! The watchdog: a thread that sees when a shard does not come to the end of its turn, and whose
//! code it is running.
//!
//! A shard says when it begins to work and when it has done, and what it is running: a few relaxed
//! stores that nobody waits for. The watchdog looks at them a few times in the time that a turn may
//! take. What it sees may be a moment old, which is no matter: a stall worth a line takes a million
//! times as long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::limits::LABELS_MAX;
use crate::driver::sys;
use crate::error::{Error, Result};

use super::handler::{Gate, Trigger};
use super::log;
use super::shared::Shared;

/// Looks in the time that a turn may take.
const LOOKS: u32 = 4;

/// Names a piece of the application for the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u32);

/// Labels of pieces that are not registered by name, in the order of the constants.
const FIXED: [&str; 7] = [
    "nothing of the application",
    "a handler",
    "a listener of one socket or session",
    "a callback, or something that is dropped",
    "the fallback",
    "a hook of HTTP requests",
    "a task of spawn_local, or a predicate of namespaces",
];

/// What the labels stand for; the first ones are [`FIXED`].
struct Names {
    list: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Label {
    /// One of more than there are labels for.
    const OTHER: Label = Label(1);
    /// What a socket or session listens to by itself.
    pub const LISTENER: Label = Label(2);
    /// What is told of something, and destructors.
    pub const CALLBACK: Label = Label(3);
    /// Answers other paths.
    pub const FALLBACK: Label = Label(4);
    /// Asked about requests.
    pub const HOOK: Label = Label(5);
    /// Code that runs beside handlers.
    pub const TASK: Label = Label(6);

    /// The handlers of a namespace that are for something.
    pub fn of(namespace: &str, trigger: &Trigger) -> Label {
        Label::of_name(match trigger {
            Trigger::Event(name) => format!("{namespace} {name:?}"),
            Trigger::Connect => format!("{namespace} connect"),
            Trigger::Disconnecting => format!("{namespace} disconnecting"),
            Trigger::Disconnect => format!("{namespace} disconnect"),
            Trigger::Any => format!("{namespace} any event"),
            Trigger::AnyOutgoing => format!("{namespace} any outgoing event"),
            Trigger::Refused => format!("{namespace} refused"),
            Trigger::Message => format!("{namespace} message"),
            Trigger::Session => format!("{namespace} session"),
        })
    }

    /// The middlewares of a namespace.
    pub fn of_gate(namespace: &str, gate: Gate) -> Label {
        Label::of_name(match gate {
            Gate::Connection => format!("{namespace} middleware"),
            Gate::Packet => format!("{namespace} middleware of events"),
        })
    }

    fn of_name(name: String) -> Label {
        names().lock().unwrap_or_else(PoisonError::into_inner).label(name)
    }

    fn name(self) -> Arc<str> {
        let names = names().lock().unwrap_or_else(PoisonError::into_inner);
        names.list.get(self.0 as usize).map_or_else(|| FIXED[0].into(), Arc::clone)
    }
}

impl Names {
    fn new() -> Names {
        let list = FIXED.iter().map(|name| Arc::from(*name)).collect();
        Names { list, by_name: HashMap::new() }
    }

    fn label(&mut self, name: String) -> Label {
        if let Some(&index) = self.by_name.get(&*name) {
            return Label(index);
        }
        // Namespaces that clients ask for may have handlers of their own: there is an end to them.
        if self.list.len() >= LABELS_MAX {
            return Label::OTHER;
        }
        let (name, index): (Arc<str>, _) = (name.into(), self.list.len() as u32);
        self.list.push(Arc::clone(&name));
        self.by_name.insert(name, index);
        Label(index)
    }
}

fn names() -> &'static Mutex<Names> {
    static NAMES: OnceLock<Mutex<Names>> = OnceLock::new();
    NAMES.get_or_init(|| Mutex::new(Names::new()))
}

/// What a shard does, as others may see it.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it began to work, in microseconds of its driver's time; 0 while it waits.
    since_us: AtomicU64,
    /// A [`Label`].
    runs: AtomicU32,
    /// Times that it was found blocked.
    blocked: AtomicU64,
}

impl Pulse {
    /// The shard begins a turn.
    pub fn begins(&self, now: Time) {
        self.since_us.store(now.as_micros().max(1), Ordering::Relaxed);
    }

    /// It has done what there was.
    pub fn ends(&self) {
        self.since_us.store(0, Ordering::Relaxed);
    }

    /// It runs a piece of the application, until what it gets is dropped.
    pub fn runs(&self, label: Label) -> AtWork<'_> {
        let before = Label(self.runs.load(Ordering::Relaxed));
        self.runs.store(label.0, Ordering::Relaxed);
        AtWork { pulse: self, before }
    }

    /// When it began the turn that it is in, by its driver; `None` while it waits.
    pub fn since(&self) -> Option<Time> {
        let since_us = self.since_us.load(Ordering::Relaxed);
        (since_us != 0).then(|| Time::from_micros(since_us))
    }

    /// Times that it was found blocked.
    pub fn blocked(&self) -> u64 {
        self.blocked.load(Ordering::Relaxed)
    }
}

/// A shard runs a piece of the application.
pub struct AtWork<'a> {
    pulse: &'a Pulse,
    before: Label,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.pulse.runs.store(self.before.0, Ordering::Relaxed);
    }
}

/// What the watchdog knows of a shard: the turn that it has told of.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    told: Time,
}

impl Seen {
    /// Looks at a shard. Gives what it runs, and for how long, when that is news.
    fn look(&mut self, pulse: &Pulse, now: Time, limit: Duration) -> Option<(Label, Duration)> {
        let since = pulse.since()?;
        let blocked = now.since(since);
        if since == self.told || blocked < limit {
            return None;
        }
        self.told = since;
        pulse.blocked.fetch_add(1, Ordering::Relaxed);
        Some((Label(pulse.runs.load(Ordering::Relaxed)), blocked))
    }
}

/// The thread that watches the shards of a server, until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    /// Dropped to end the thread, which sleeps on the other end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Tells of each turn that takes longer than `limit`.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(shared: &Arc<Shared>, limit: Duration) -> Result<Watchdog> {
        let (stop, stopped) = channel();
        let (shared, pause) = (Arc::clone(shared), (limit / LOOKS).max(Duration::from_millis(1)));
        let watch = move || {
            let mut seen = vec![Seen::default(); shared.posts().len()];
            let mut looked = sys::monotonic_time();
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let now = sys::monotonic_time();
                // When this thread did not run either, it is no shard's fault.
                if now.since(looked) < limit {
                    look(&shared, &mut seen, now, limit);
                }
                looked = now;
            }
        };
        let thread = thread::Builder::new().name("fanfare-watchdog".to_owned()).spawn(watch);
        Ok(Watchdog { stop: Some(stop), thread: Some(thread.map_err(Error::Thread)?) })
    }
}

fn look(shared: &Shared, seen: &mut [Seen], now: Time, limit: Duration) {
    for (index, (post, seen)) in shared.posts().iter().zip(seen).enumerate() {
        if let Some((label, blocked)) = seen.look(&post.pulse, now, limit) {
            log::shard_blocked(index, &label.name(), blocked);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        // It only looks: it has nothing to report.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn m60_a_turn_that_takes_too_long_is_told_of_once_with_what_runs() {
        let (pulse, mut seen) = (Pulse::default(), Seen::default());
        assert_eq!(seen.look(&pulse, at(90_000), LIMIT), None, "it waits");
        for begins in [100_000, 200_000] {
            pulse.begins(at(begins));
            let label = Label::of("/chat", &Trigger::Event("slow".into()));
            let _outer = pulse.runs(label);
            drop(pulse.runs(Label::CALLBACK));
            assert_eq!(seen.look(&pulse, at(begins + 999), LIMIT), None);
            let (told, blocked) = seen.look(&pulse, at(begins + 1_250), LIMIT).unwrap();
            assert_eq!((&*told.name(), blocked.as_millis()), ("/chat \"slow\"", 1_250));
            assert_eq!(seen.look(&pulse, at(begins + 1_500), LIMIT), None);
            pulse.ends();
        }
        assert_eq!(pulse.blocked(), 2);
    }

    #[test]
    fn what_is_registered_again_has_its_label_again_and_there_is_an_end_to_labels() {
        let mut names = Names::new();
        let first = names.label("/a connect".to_owned());
        assert_eq!(names.label("/a connect".to_owned()), first);
        assert_ne!(names.label("/b connect".to_owned()), first);
        let labels = (0..LABELS_MAX).map(|index| names.label(index.to_string()));
        assert_eq!(labels.last(), Some(Label::OTHER));
        assert_eq!(names.list.len(), LABELS_MAX);
        assert_eq!(names.label("/a connect".to_owned()), first);
    }
}
