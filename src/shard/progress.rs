//! Events of clients whose handlers wait. A client may have so many of them; while it has, nothing
//! is read from it, and the kernel makes it wait in its turn.
//!
//! Those of all clients are in one map, so that a client whose handlers do not wait has no byte for
//! it.

use std::collections::HashMap;
use std::rc::Rc;

use crate::base::slab::Key;
use crate::proto::http::Fault;

use super::context::Context;
use super::handler::{Event, Parked};
use super::state::{Action, Backlog, State};

/// What new clients are told while those that have gone have left too much to do.
pub(super) const LEFT_BEHIND: Fault =
    Fault { status: 503, message: "The server works for clients that have gone" };

/// The events of a shard's clients that are in progress.
#[derive(Default)]
pub struct Progress {
    by_session: HashMap<Key, InProgress>,
    /// What the events are charged whose clients have gone.
    left_behind: usize,
}

/// Those of one client.
#[derive(Default)]
struct InProgress {
    events: usize,
    bytes: usize,
    /// Whether nothing is read from the client.
    is_held: bool,
    /// What was read of a POST, and is not worked off.
    backlog: Option<Backlog>,
}

/// What an event is charged besides its bytes: what is kept of a handler that waits.
const EVENT_CHARGE: usize = 512;

impl Progress {
    /// Whether no handler of any client waits.
    pub fn is_empty(&self) -> bool {
        self.by_session.is_empty() && self.left_behind == 0
    }

    /// What the events are charged whose clients have gone: the next ones would add to it.
    pub fn left_behind(&self) -> usize {
        self.left_behind
    }

    /// What a client is charged for its events, and for what it has posted and waits for them.
    pub fn charge(&self, session: Key) -> usize {
        self.by_session.get(&session).map_or(0, |events| {
            let backlog = events.backlog.as_ref().map_or(0, |work| work.body.len());
            events.charge() + backlog
        })
    }

    /// Whether nothing is to be read from a client.
    pub fn holds(&self, session: Key) -> bool {
        !self.by_session.is_empty()
            && self.by_session.get(&session).is_some_and(|events| events.is_held)
    }

    /// Forgets a client. Its handlers go on, and count for nobody but the shard.
    pub fn forget(&mut self, session: Key) {
        if let Some(events) = self.by_session.remove(&session) {
            self.left_behind += events.charge();
        }
    }
}

impl InProgress {
    fn charge(&self) -> usize {
        self.bytes + self.events * EVENT_CHARGE
    }
}

/// One event, until the handler that waits has ended, however it ends.
pub(super) struct Counted {
    context: Rc<Context>,
    session: Key,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.context.with(|state| state.event_is_done(self.session, self.bytes));
    }
}

impl Context {
    /// Makes a handler that waits a task of this shard, which counts for the client that has sent
    /// the event.
    pub(super) fn park_event(self: &Rc<Self>, event: &Event<'_>, parked: Parked) {
        let counted = self.count_event(event);
        self.park(Box::pin(async move {
            let _counted = counted;
            parked.await;
        }));
    }

    /// Counts an event for its client until what this gives is dropped.
    pub(super) fn count_event(self: &Rc<Self>, event: &Event<'_>) -> Option<Counted> {
        let attached: usize = event.attachments.iter().map(|attachment| attachment.len()).sum();
        let bytes = event.args.len() + attached;
        let session = event.session.or_else(|| {
            self.with(|state| Some(state.sockets.get(state.socket_key(event.socket?)?)?.session))
        })?;
        self.with(|state| state.event_waits(session, bytes))?;
        Some(Counted { context: Rc::clone(self), session, bytes })
    }
}

impl State {
    /// A handler of a client's event waits.
    fn event_waits(&mut self, session: Key, bytes: usize) -> Option<()> {
        let limits = &self.shared.settings.options.limits;
        let entry = self.sessions.get(session)?;
        let events = self.progress.by_session.entry(session).or_default();
        events.events += 1;
        events.bytes += bytes;
        if self.shared.pressure.is_critical() && events.charge() > self.shared.pressure.share() {
            self.relieve_of(session);
            return Some(());
        }
        if events.events < limits.events_in_progress && events.bytes < limits.bytes_in_progress {
            return Some(());
        }
        self.stats.clients_held += u64::from(!std::mem::replace(&mut events.is_held, true));
        if let Some(connection) = entry.session.websocket() {
            self.actions.push(Action::Pause(connection));
        }
        Some(())
    }

    /// A handler has ended.
    fn event_is_done(&mut self, session: Key, bytes: usize) {
        let limits = &self.shared.settings.options.limits;
        let Some(events) = self.progress.by_session.get_mut(&session) else {
            let left_behind = &mut self.progress.left_behind;
            *left_behind = left_behind.saturating_sub(bytes + EVENT_CHARGE);
            return;
        };
        events.events -= 1;
        events.bytes -= bytes;
        let is_relieved = events.events <= limits.events_in_progress / 2
            && events.bytes <= limits.bytes_in_progress / 2;
        let backlog = match is_relieved && std::mem::take(&mut events.is_held) {
            true => events.backlog.take(),
            false => return self.forget_if_done(session),
        };
        self.backlog.extend(backlog);
        let entry = self.sessions.get(session);
        if let Some(connection) = entry.and_then(|entry| entry.session.websocket())
            && !self.surplus.resume(connection)
        {
            self.actions.push(Action::Receive(connection));
        }
        self.forget_if_done(session);
    }

    fn forget_if_done(&mut self, session: Key) {
        if self.progress.by_session.get(&session).is_some_and(|events| events.events == 0) {
            self.progress.forget(session);
        }
    }

    /// Keeps what was read of a POST until less is in progress, if the client has too much of that.
    pub(super) fn holds_back(&mut self, work: Backlog) -> Option<Backlog> {
        if !self.progress.holds(work.session) {
            return Some(work);
        }
        let Some(events) = self.progress.by_session.get_mut(&work.session) else {
            return Some(work);
        };
        events.backlog = Some(work);
        None
    }
}
