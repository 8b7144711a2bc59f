//! From received bytes to messages, one at a time, with user code in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::base::slab::Key;
use crate::proto::engine::{self, ParseError, Protocol};
use crate::proto::engine_v3::{self, Form, Piece};
use crate::proto::jsonp;
use crate::proto::socket::DisconnectReason;
use crate::proto::websocket::{self, CloseCode, Message};
use crate::session::departure::{Cause, DisconnectLimit};
use crate::session::{Dialect, Violation};

use super::conn::{After, Role};
use super::context::Context;
use super::log;
use super::message::Inbound;
use super::request::HttpStep;
use super::shared::Shared;
use super::state::{Backlog, State};
use super::watch::Label;

impl Context {
    /// Handles bytes that arrived on a connection.
    pub fn received(self: &Rc<Self>, key: Key, bytes: &mut [u8]) {
        if self.with(|state| state.http_input(key, bytes)) {
            self.pump_http(key);
        } else {
            self.received_on_websocket(key, bytes);
        }
        if self.shared.pressure.is_high() {
            self.with(|state| state.received_in_need(key));
            self.run_jobs();
        }
    }

    /// Goes on with an HTTP connection as far as it can.
    pub fn pump_http(self: &Rc<Self>, key: Key) {
        loop {
            match self.with(|state| state.http_step(key)) {
                HttpStep::Wait => return self.run_jobs(),
                HttpStep::Again => self.run_jobs(),
                HttpStep::Payload(session, form, body) => {
                    if !self.posted(key, session, form, body) {
                        return;
                    }
                }
                HttpStep::WebSocket(mut rest) => {
                    self.run_jobs();
                    return self.received_on_websocket(key, &mut rest);
                }
                HttpStep::Decide(undecided) => self.decide_request(key, *undecided),
                HttpStep::Fallback(request) => self.fall_back(key, *request),
            }
        }
    }

    fn fall_back(&self, key: Key, request: ::http::Request<bytes::Bytes>) {
        let shared: &Shared = &self.shared;
        let is_head = request.method() == ::http::Method::HEAD;
        let Some(fallback) = &shared.settings.fallback else { return };
        let runs = self.runs(Label::FALLBACK);
        let response = catch_unwind(AssertUnwindSafe(|| fallback(request)));
        drop(runs);
        self.with(|state| {
            let response = response.unwrap_or_else(|_| {
                state.stats.handlers_panicked += 1;
                let mut response = ::http::Response::new(bytes::Bytes::new());
                *response.status_mut() = ::http::StatusCode::INTERNAL_SERVER_ERROR;
                response
            });
            state.fallback_response(key, is_head, &response);
        });
    }

    /// Reads the body of a POST, and works off its packets. Answers whether it is done with them.
    fn posted(self: &Rc<Self>, connection: Key, session: Key, form: Form, body: Vec<u8>) -> bool {
        let dialect = self.with(|state| state.dialect(session)).unwrap_or_default();
        let protocol = dialect.protocol;
        let read = match (dialect.callback, protocol) {
            (Some(_), _) => jsonp::read_form(&body).map(|field| field.map(String::into_bytes)),
            // Each packet of v3 is checked by itself.
            (None, Protocol::V3(_)) => Ok(Some(body)),
            (None, Protocol::V4) => match simdutf8::basic::from_utf8(&body) {
                Ok(_) => Ok(Some(body)),
                Err(_) => Err(ParseError),
            },
        };
        match read {
            Ok(Some(body)) => {
                let form = if dialect.callback.is_some() { Form::Text } else { form };
                let (offset, count) = (0, 0);
                let work = Backlog { connection, session, protocol, form, body, offset, count };
                return self.payload(work);
            }
            // A form without the field does nothing.
            Ok(None) => {}
            Err(_) => self.with(|state| state.undecodable(session, connection)),
        }
        self.post_ends(connection, session);
        true
    }

    /// Works off the packets of a POST; what is too much for a turn waits for the next one.
    /// Answers whether it is done with them.
    pub fn payload(self: &Rc<Self>, mut work: Backlog) -> bool {
        let limits = &self.shared.settings.options.limits;
        let (session, connection) = (work.session, work.connection);
        let turn_end = work.count + limits.packets_per_turn;
        while self.with(|state| state.is_open(session)) {
            work = match self.with(|state| state.holds_back(work)) {
                Some(work) => work,
                None => return false,
            };
            if work.count == turn_end {
                self.with(|state| state.backlog.push_back(work));
                return false;
            }
            let (inbound, next) = match work.cut() {
                Ok(None) => break,
                Ok(Some(cut)) if work.count < limits.packets_per_payload => cut,
                _ => {
                    self.with(|state| state.undecodable(session, connection));
                    break;
                }
            };
            if let Some(inbound) = inbound {
                self.message(session, connection, &inbound);
            }
            work.offset = next;
            work.count += 1;
        }
        self.post_ends(connection, session);
        true
    }

    fn post_ends(self: &Rc<Self>, connection: Key, session: Key) {
        self.with(|state| {
            let is_valid = state.last_undecodable != Some(connection);
            state.last_undecodable = None;
            state.post_ends(connection, session, is_valid);
        });
        self.run_jobs();
    }

    /// Handles bytes of a WebSocket: each message as far as its handlers go without waiting. Tells
    /// how many they were; the others are beyond the share of the turn.
    pub(super) fn pump_websocket(self: &Rc<Self>, key: Key, bytes: &mut [u8]) -> usize {
        let most = self.shared.settings.options.limits.packets_per_turn;
        let mut offset = 0;
        while offset < bytes.len() && self.with(|state| state.surplus.takes(key, most)) {
            let rest = &mut bytes[offset..];
            let (consumed, inbound) = self.with(|state| state.websocket_step(key, rest));
            if let Some((session, inbound)) = inbound {
                self.message(session, key, &inbound);
            }
            offset = consumed.map_or(bytes.len(), |consumed| offset + consumed);
        }
        self.run_jobs();
        offset
    }
}

impl Backlog {
    /// The next packet, if it is not one that stands for nothing, and where the one behind it
    /// begins; `None` behind the last one.
    fn cut(&self) -> Result<Option<(Option<Inbound<'_>>, usize)>, ParseError> {
        if let Protocol::V3(_) = self.protocol {
            let Some((piece, next)) = engine_v3::split(self.form, &self.body, self.offset)? else {
                return Ok(None);
            };
            let inbound = match piece {
                Piece::Empty => None,
                Piece::Text(text) => Some(Inbound::Text(text.into())),
                Piece::Binary(data) => Some(Inbound::Binary(data.into())),
            };
            return Ok(Some((inbound, next)));
        }
        let Some(rest) = self.body.get(self.offset..) else { return Ok(None) };
        let end = memchr::memchr(engine::RECORD_SEPARATOR, rest).unwrap_or(rest.len());
        Ok(Some((Some(Inbound::Text(rest[..end].into())), self.offset + end + 1)))
    }
}

/// How many bytes were consumed (`None`: the rest is of no interest), and a message.
type WebSocketStep<'a> = (Option<usize>, Option<(Key, Inbound<'a>)>);

impl State {
    fn is_open(&self, session: Key) -> bool {
        self.sessions.get(session).is_some_and(|entry| entry.session.is_open())
    }

    fn dialect(&self, session: Key) -> Option<Dialect> {
        self.sessions.get(session)?.session.dialect()
    }

    /// The body of a POST is no payload.
    fn undecodable(&mut self, session: Key, connection: Key) {
        self.last_undecodable = Some(connection);
        self.violation(session, Violation::Undecodable);
    }

    fn websocket_step<'a>(&mut self, key: Key, bytes: &'a mut [u8]) -> WebSocketStep<'a> {
        let limits = &self.shared.settings.options.limits;
        let Some(conn) = self.connections.get_mut(key) else { return (None, None) };
        let Role::WebSocket(socket) = &mut conn.role else { return (None, None) };
        if conn.after != After::Stay {
            return (None, None);
        }
        let session = socket.session;
        let outcome = match &mut self.compression {
            Some(compression) if socket.deflate.is_some() => {
                socket.decoder.decode_compressed(bytes, limits, compression.inflater(key))
            }
            _ => socket.decoder.decode(bytes, limits),
        };
        let decoded = match outcome {
            Ok(decoded) => decoded,
            Err(fault) => {
                self.websocket_fault(key, session, fault.code);
                return (None, None);
            }
        };
        let consumed = Some(decoded.consumed);
        let is_control = matches!(decoded.message, Some(Message::Ping(_) | Message::Pong(_)));
        if is_control && !socket.control.take(limits.control_frames(), self.now) {
            self.because(Cause::limit(DisconnectLimit::ControlFrames), |state| {
                state.websocket_fault(key, session, CloseCode::POLICY_VIOLATION);
            });
            return (None, None);
        }
        match decoded.message {
            None => (consumed, None),
            Some(Message::Text(text)) => (consumed, Some((session, Inbound::Text(text)))),
            Some(Message::Binary(data)) => (consumed, Some((session, Inbound::Binary(data)))),
            Some(Message::Pong(_)) => (consumed, None),
            Some(Message::Ping(payload)) => {
                self.pong(key, &payload);
                (consumed, None)
            }
            Some(Message::Close(close)) => {
                self.websocket_closed(key, session, close.map(|(code, _)| code));
                (None, None)
            }
        }
    }

    /// The peer broke the framing: it is told the code, and the session ends.
    pub(super) fn websocket_fault(&mut self, key: Key, session: Key, code: CloseCode) {
        log::websocket_fault(self.index, session, code.value());
        self.close_websocket(key, Some(code));
        self.drive(session, |session, effects| {
            if session.is_probing(key) {
                session.connection_ended(key, effects);
            } else if session.websocket() == Some(key) {
                session.end(DisconnectReason::TransportError, effects);
            }
        });
    }

    /// The peer sent a close frame: it is echoed, once, and the connection ends.
    fn websocket_closed(&mut self, key: Key, session: Key, code: Option<CloseCode>) {
        let close_timeout = self.shared.settings.options.limits.close_timeout;
        let close_code = code.map(CloseCode::value);
        log::websocket_closed(self.index, session, close_code);
        let Some(conn) = self.connections.get_mut(key) else { return };
        let Role::WebSocket(socket) = &mut conn.role else { return };
        let was_closing = std::mem::replace(&mut socket.is_closing, true);
        conn.after = After::Linger;
        conn.role = Role::Discard;
        conn.deadline = self.now.after(close_timeout);
        if !was_closing {
            let mut frame = Vec::new();
            websocket::write_close(&mut frame, code.map(|code| (code, "")));
            self.push(key, crate::base::frame::Frame::raw(&frame));
        } else {
            conn.mark_dirty(key, &mut self.dirty);
        }
        self.rearm_connection(key);
        self.because(Cause::close_frame(close_code), |state| {
            state.drive(session, |session, effects| session.connection_ended(key, effects));
        });
    }
}
