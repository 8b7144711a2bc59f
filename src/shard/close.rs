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
}
