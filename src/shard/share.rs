//! The share that one connection has of a turn. What a WebSocket has sent beyond it waits for the
//! next turn, and nothing more is read from it meanwhile: a client that sends without an end costs
//! the others one share a turn.
//!
//! ```text
//! received ─▶ handled, up to its share ─▶ the rest is kept, reading pauses
//!                                            │ a share each turn, by turns
//!                                            └─▶ all of it is handled: reading goes on
//! ```

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::base::slab::Key;

use super::conn::Role;
use super::context::Context;
use super::state::{Action, State};

/// What connections have sent beyond their share.
#[derive(Debug, Default)]
pub struct Surplus {
    rests: HashMap<Key, Rest>,
    /// Those that are to have their share, in order.
    order: VecDeque<Key>,
    /// The connection at hand, and how many of its packets were handled in this turn.
    at_hand: Option<(Key, usize)>,
}

/// What is left of one connection.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    /// How much of it was handled.
    offset: usize,
    /// Whether nothing comes behind it.
    has_ended: bool,
}

impl Surplus {
    /// Whether somebody is to have a share.
    pub fn is_ready(&self) -> bool {
        !self.order.is_empty()
    }

    /// How many are to have a share.
    pub fn ready(&self) -> usize {
        self.order.len()
    }

    /// Everybody has a new share.
    pub fn turn_begins(&mut self) {
        self.at_hand = None;
    }

    /// Takes one packet of a connection's share, if it has any left.
    pub fn takes(&mut self, connection: Key, most: usize) -> bool {
        let taken = match self.at_hand {
            Some((at_hand, taken)) if at_hand == connection => taken,
            _ => 0,
        };
        self.at_hand = Some((connection, taken + 1));
        taken < most
    }

    /// Bytes that are kept of a connection.
    pub fn bytes(&self, connection: Key) -> usize {
        self.rests.get(&connection).map_or(0, |rest| rest.bytes.len() - rest.offset)
    }

    /// Forgets a connection.
    pub fn forget(&mut self, connection: Key) {
        if !self.rests.is_empty() {
            self.rests.remove(&connection);
        }
    }

    /// Lets a connection go on whose events were too many. `false` when nothing is kept of it.
    pub fn resume(&mut self, connection: Key) -> bool {
        let is_kept = self.rests.contains_key(&connection);
        if is_kept && !self.order.contains(&connection) {
            self.order.push_back(connection);
        }
        is_kept
    }

    fn keep(&mut self, connection: Key, rest: Rest) {
        self.rests.insert(connection, rest);
        self.order.push_back(connection);
    }

    /// Adds what has come behind what is kept. `false` when nothing is.
    fn extend(&mut self, connection: Key, bytes: &[u8]) -> bool {
        let Some(rest) = self.rests.get_mut(&connection) else { return false };
        rest.bytes.extend_from_slice(bytes);
        true
    }

    /// Nothing comes behind what is kept. `false` when nothing is.
    pub fn ends(&mut self, connection: Key) -> bool {
        let Some(rest) = self.rests.get_mut(&connection) else { return false };
        rest.has_ended = true;
        true
    }
}

impl Context {
    /// Handles bytes of a WebSocket, as far as its share of the turn goes.
    pub(super) fn received_on_websocket(self: &Rc<Self>, key: Key, bytes: &mut [u8]) {
        if self.with(|state| state.surplus.extend(key, bytes)) {
            return;
        }
        let offset = self.pump_websocket(key, bytes);
        if offset < bytes.len() {
            let rest = Rest { bytes: bytes[offset..].to_vec(), ..Rest::default() };
            self.with(|state| {
                if state.connections.get(key).is_some() {
                    state.surplus.keep(key, rest);
                    state.actions.push(Action::Pause(key));
                }
            });
        }
    }

    /// Gives the next connection with something left its share.
    pub fn pump_surplus(self: &Rc<Self>) {
        let Some((key, mut rest)) = self.with(State::next_rest) else { return };
        let mut offset = rest.offset;
        offset += self.pump_websocket(key, &mut rest.bytes[offset..]);
        self.with(|state| match rest {
            _ if state.connections.get(key).is_none() => {}
            rest if offset < rest.bytes.len() => state.surplus.keep(key, Rest { offset, ..rest }),
            Rest { has_ended: true, .. } => state.ended(key),
            _ => state.read_on(key),
        });
        self.run_jobs();
    }
}

impl State {
    /// What is left of the next connection that may go on.
    fn next_rest(&mut self) -> Option<(Key, Rest)> {
        let key = self.surplus.order.pop_front()?;
        // One with too many events in progress goes on when these are fewer.
        if self.is_held(key) {
            return None;
        }
        self.surplus.rests.remove_entry(&key)
    }

    /// Goes on reading from a connection, unless its events are too many.
    fn read_on(&mut self, key: Key) {
        if !self.is_held(key) {
            self.actions.push(Action::Receive(key));
        }
    }

    fn is_held(&self, connection: Key) -> bool {
        let role = self.connections.get(connection).map(|conn| &conn.role);
        matches!(role, Some(Role::WebSocket(socket)) if self.progress.holds(socket.session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = Key { index: 1, generation: 1 };
    const OTHER: Key = Key { index: 2, generation: 1 };

    #[test]
    fn a_connection_has_so_many_packets_of_a_turn_and_as_many_of_the_next() {
        let mut surplus = Surplus::default();
        assert!((0..3).all(|_| surplus.takes(ONE, 3)));
        assert!(!surplus.takes(ONE, 3));
        assert!(surplus.takes(OTHER, 3), "it has its own");
        surplus.turn_begins();
        assert!(surplus.takes(ONE, 3));
    }

    #[test]
    fn what_comes_behind_what_is_kept_is_kept_behind_it() {
        let mut surplus = Surplus::default();
        assert!(!surplus.extend(ONE, b"a") && !surplus.ends(ONE) && !surplus.resume(ONE));
        surplus.keep(ONE, Rest { bytes: b"abc".to_vec(), offset: 1, has_ended: false });
        assert!(surplus.extend(ONE, b"de") && surplus.ends(ONE) && surplus.resume(ONE));
        assert_eq!((surplus.bytes(ONE), surplus.bytes(OTHER), surplus.ready()), (4, 0, 1));
        surplus.forget(ONE);
        assert_eq!(surplus.bytes(ONE), 0);
    }
}
