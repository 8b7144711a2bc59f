//! Answers to the WebSocket pings of clients (RFC 6455 5.5.2 and 5.5.3).
//!
//! One who takes nothing gets one answer, to its latest ping, when it takes something again: its
//! pings never make a queue grow, and none of them is what it is disconnected by itself for.

use std::collections::HashMap;

use crate::base::frame::Frame;
use crate::base::slab::Key;
use crate::proto::websocket;

use super::conn::Role;
use super::state::State;

/// Payloads of the latest pings of connections that something else is being sent on. They are in
/// one map, so that a connection without any has no byte for it.
#[derive(Default)]
pub struct Pongs(HashMap<Key, Box<[u8]>>);

impl Pongs {
    /// How many are to be sent.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The connection has ended.
    pub(super) fn forget(&mut self, connection: Key) {
        if !self.0.is_empty() {
            self.0.remove(&connection);
        }
    }
}

impl State {
    /// Answers a ping, now or when what is being sent has been taken.
    pub(super) fn pong(&mut self, key: Key, payload: &[u8]) {
        let Some(conn) = self.connections.get(key) else { return };
        if !matches!(&conn.role, Role::WebSocket(socket) if !socket.is_closing) {
            return;
        }
        if conn.is_sending() {
            self.pongs.0.insert(key, payload.into());
            return;
        }
        let mut frame = Vec::with_capacity(payload.len() + 2);
        websocket::write_pong(&mut frame, payload);
        self.push(key, Frame::raw(&frame));
    }

    /// Something was taken: a ping that came meanwhile is answered.
    pub(super) fn pong_at_last(&mut self, key: Key) {
        if let Some(payload) = self.pongs.0.remove(&key) {
            self.pong(key, &payload);
        }
    }
}
