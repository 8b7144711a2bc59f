//! The end of a server, as one shard does its part.

use std::rc::Rc;

use crate::base::slab::Key;

use super::conn::{Role, Stage};
use super::connection::is_idle;
use super::log;
use super::response::SHUTTING_DOWN;
use super::state::State;

impl State {
    /// The server closes: every client is told, and what it has not been sent is lost.
    pub(super) fn close_all(&mut self) {
        self.is_closing = true;
        let (options, now) = (Rc::clone(&self.options), self.now);
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        log::closing_all(self.index, sessions.len());
        for session in sessions {
            self.drive(session, |session, effects| session.shut_down(now, &options, effects));
        }
    }

    /// Closes connections on which nothing is under way, those that only echo, and those that wait
    /// for the application to decide; once no session can need them.
    pub(super) fn drop_idle(&mut self) {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(conn) = self.connections.get(key) else { continue };
            match &conn.role {
                Role::Http(http) if is_idle(http) && conn.is_flushed() => self.drop_connection(key),
                Role::Http(http) if matches!(http.stage, Stage::Deciding(_)) => {
                    self.refuse_fault(key, SHUTTING_DOWN);
                }
                Role::WebSocket(socket) if socket.session == Key::NONE => self.drop_connection(key),
                _ => {}
            }
        }
    }

    /// Gives away all that may be, or hold, user code.
    pub(super) fn dismantle(&mut self) -> impl Sized + use<> {
        let sockets = std::mem::take(&mut self.sockets);
        let namespaces = std::mem::take(&mut self.namespaces);
        let (jobs, sleepers) = (std::mem::take(&mut self.jobs), std::mem::take(&mut self.sleepers));
        let listeners = std::mem::take(&mut self.session_listeners);
        let drains = std::mem::take(&mut self.drains);
        let outbox = std::mem::take(&mut self.outbox);
        let connections = std::mem::take(&mut self.connections);
        let recovery = self.dismantle_recovery();
        let undecided = std::mem::take(&mut self.undecided);
        let sessions = (connections, listeners, drains, undecided);
        (sockets, namespaces, jobs, sleepers, outbox, sessions, recovery)
    }
}
