//! WebSockets that carry no session: what they say is sent back.
//!
//! Suites such as Autobahn test the framing alone, with a server that echoes. Here it is the server
//! itself, with everything but Engine.IO: its driver, the handshake, the decoder, compression and
//! its contexts, the queue, pongs and the closing handshake are those of every client. Only
//! `examples/websocket_echo.rs` and tests turn it on.

use crate::base::frame::Encoded;
use crate::base::slab::Key;
use crate::proto::engine::Protocol;
use crate::proto::http::Head;
use crate::proto::websocket;

use super::conn::Role;
use super::message::Inbound;
use super::queue::Outgoing;
use super::request::HttpStep;
use super::state::State;

impl State {
    /// A request for a WebSocket outside the path of the server.
    pub(super) fn open_echo(&mut self, key: Key, head: &Head<'_>) -> HttpStep {
        let (accept, deflate) = match self.websocket_handshake(key, Protocol::V4, head) {
            Ok(accepted) => accepted,
            Err(fault) => return self.refuse_handshake(key, fault),
        };
        let rest = self.switch(key, &accept);
        self.become_websocket(key, Key::NONE, deflate);
        HttpStep::WebSocket(rest)
    }

    /// A message has come on a connection that carries no session.
    pub(super) fn echo(&mut self, key: Key, inbound: &Inbound<'_>) {
        let limit = self.patience.queued_bytes;
        let Some(conn) = self.connections.get_mut(key) else { return };
        if !matches!(&conn.role, Role::WebSocket(socket) if socket.session == Key::NONE) {
            return;
        }
        let mut frame = Vec::new();
        match inbound {
            Inbound::Text(text) => websocket::write_text(&mut frame, text),
            Inbound::Binary(data) => websocket::write_binary(&mut frame, data),
        }
        let packet = Outgoing::Own(Encoded::raw(&frame));
        let packet = match &mut self.compression {
            Some(compression) => compression.outgoing(key, &conn.role, packet),
            None => packet,
        };
        conn.queue.add(packet, &mut self.spare);
        conn.mark_dirty(key, &mut self.dirty);
        if conn.queue.bytes() > limit {
            self.connection_ended(key);
        }
    }
}
