//! Clients that do not take what is queued for them as fast as it comes.
//!
//! ```text
//! queued ─▶ sent at the end of the turn, as far as the kernel takes it
//!             │ more than the soft mark is left      ─▶ `lagged`; the oldest events go, if so set
//!             │ nothing was taken for a time (stall) ─▶ the end
//! queued ─▶ more than the hard mark                  ─▶ the oldest events go, if so set; the end
//! ```

use crate::base::frame::Frame;
use crate::base::shed::SendQueuePolicy;
use crate::base::slab::Key;
use crate::proto::socket::DisconnectReason;
use crate::proto::websocket::{self, Opcode};
use crate::session::departure::{Cause, DisconnectLimit};

use super::events::Occasion;
use super::log;
use super::state::State;

/// What those are told who hear of a client that is behind ([`Session::on_lagged`]).
///
/// [`Session::on_lagged`]: crate::Session::on_lagged
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lagged {
    /// What is queued for the client, as it counts for [`Limits`](crate::Limits).
    pub queued_bytes: usize,
    /// Events that it will not get: those that were dropped now, so as to make room.
    pub dropped_events: u64,
}

impl State {
    /// More is queued for a client than may be.
    pub(super) fn over_budget(&mut self, session: Key) {
        self.falls_behind(session, false);
        let limit = self.shared.settings.options.limits.send_queue_bytes;
        match self.charge(session) {
            charge if charge > limit => self.too_slow(session, DisconnectLimit::SendQueueBytes),
            charge if charge > self.patience.queued_bytes => self.relieve_of(session),
            _ => {}
        }
    }

    /// More is left for a client than should be, and was not before if that `is_new`.
    pub(super) fn lags(&mut self, session: Key, is_new: bool) {
        match self.shared.pressure.is_critical() {
            true => self.relieve_of(session),
            false => self.falls_behind(session, is_new),
        }
    }

    /// What a client has not taken is more than the soft mark, and was not before if that `is_new`.
    pub(super) fn falls_behind(&mut self, session: Key, is_new: bool) {
        let dropped_events = match self.shared.settings.send_queue_policy {
            SendQueuePolicy::Disconnect => 0,
            SendQueuePolicy::DropOldest => self.drop_oldest(session),
        };
        self.stats.clients_lagged += u64::from(is_new);
        self.stats.events_dropped += dropped_events;
        if is_new || dropped_events > 0 {
            let lagged = Lagged { queued_bytes: self.charge(session), dropped_events };
            log::lagged(self.index, session, lagged);
            self.happens(session, Occasion::Lagged(lagged));
        }
    }

    pub(super) fn charge(&self, session: Key) -> usize {
        let Some(entry) = self.sessions.get(session) else { return 0 };
        match entry.session.websocket() {
            Some(key) => self.connections.get(key).map_or(0, |conn| conn.queue.charge()),
            None => entry.session.queue_charge(),
        }
    }

    /// Drops the oldest events that wait for a client, and tells how many.
    fn drop_oldest(&mut self, session: Key) -> u64 {
        let limits = &self.shared.settings.options.limits;
        let soft = limits.send_queue_soft_bytes.min(limits.send_queue_bytes);
        // A good part at once, so that not every event that comes looks through the queue.
        let most = soft - soft / 4;
        let Some(entry) = self.sessions.get_mut(session) else { return 0 };
        let dropped = match entry.session.websocket() {
            Some(key) => {
                let Some(conn) = self.connections.get_mut(key) else { return 0 };
                conn.queue.drop_oldest(most, conn.in_flight)
            }
            None => entry.session.drop_oldest(most),
        };
        for (offset, frame) in &dropped {
            self.drains.dropped(session, *offset, frame.bytes().len());
        }
        dropped.iter().map(|(_, frame)| events_in(frame)).sum()
    }

    /// Ends a session whose client does not take what is queued for it.
    pub fn too_slow(&mut self, session: Key, limit: DisconnectLimit) {
        self.stats.slow_clients += 1;
        log::too_slow(self.index, session);
        // What it did not take it will not take: no closing handshake behind a full queue.
        self.because(Cause::limit(limit), |state| {
            state.cut_off(session, DisconnectReason::TransportError);
        });
    }

    /// Ends a session at once, without a closing handshake.
    pub(super) fn cut_off(&mut self, session: Key, reason: DisconnectReason) {
        let connection = self.sessions.get(session).and_then(|entry| entry.session.websocket());
        if let Some(connection) = connection {
            self.drop_connection(connection);
        }
        self.end_session(session, reason);
    }
}

/// Events in a frame: messages, without the attachments behind them.
fn events_in(frame: &Frame) -> u64 {
    let (mut texts, mut others) = (0, 0);
    for (opcode, _) in websocket::frames(frame.bytes()) {
        match opcode {
            Opcode::Text => texts += 1,
            _ => others += 1,
        }
    }
    if texts > 0 { texts } else { others }
}
