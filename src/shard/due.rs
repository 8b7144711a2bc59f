//! What a shard does because its time has come.

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::base::slab::Key;

use super::state::State;
use super::timer::Owner;

impl State {
    /// An entry among the timers is due. Gives who sleeps no longer.
    pub(super) fn came_up(&mut self, owner: Owner) -> Option<Waker> {
        match owner {
            Owner::Connection(index) => {
                let key = self.connections.key_at(index)?;
                let conn = self.connections.get_mut(key)?;
                if conn.armed.came_up(self.now, owner, &mut self.timers) {
                    match conn.deadline <= self.now {
                        true => self.connection_overdue(key),
                        false => self.rearm_connection(key),
                    }
                }
            }
            Owner::Session(index) => {
                let key = self.sessions.key_at(index)?;
                let entry = self.sessions.get_mut(key)?;
                if entry.armed.came_up(self.now, owner, &mut self.timers) {
                    self.expire_session(key);
                }
            }
            Owner::Recovery => self.look_after_recovery(),
            Owner::Acks(index) => self.expire_acks(self.sockets.key_at(index)?),
            Owner::Sleep(index) => {
                let name = self.sleepers.key_at(index)?;
                let sleeper = self.sleepers.get_mut(name)?;
                if sleeper.armed.came_up(self.now, owner, &mut self.timers) {
                    return sleeper.waker.take();
                }
            }
        }
        None
    }

    /// The shard stood still for so long: sessions are told, and may have something to do.
    pub(super) fn resumed(&mut self, stall: Duration) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.session.resumed(now, stall, &options);
            }
            self.rearm_session(key);
        }
    }
}
