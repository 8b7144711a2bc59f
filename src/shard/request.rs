//! HTTP requests: from received bytes to what is asked of a session, and back to a response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::limits::Limits;
use crate::base::rate::Allowance;
use crate::base::slab::Key;
use crate::proto::engine::Protocol;
use crate::proto::engine_v3::Form;
use crate::proto::http::{self, BodyReader, CONTINUE, Field, FieldBuf, Head};
use crate::proto::socket::DisconnectReason;
use crate::proto::websocket::{Decoder, WindowBits};
use crate::session::Dialect;
use crate::session::handshake::Refusal;

use super::addresses::TOO_MANY;
use super::conn::{After, Http, Purpose, Role, Stage, WebSocket};
use super::decide::{Undecided, request_of};
use super::hooks::ErrorContext;
use super::log;
use super::pressure::SHORT_OF_MEMORY;
use super::progress::LEFT_BEHIND;
use super::response::{FULL, Rejected, SHUTTING_DOWN};
use super::session::{Carried, Opening};
use super::shared::Shared;
use super::state::State;

/// What is left to do for a connection when the state is not borrowed any more.
pub enum HttpStep {
    /// More bytes, or an answer from elsewhere, must come first.
    Wait,
    /// Something was done; there may be more to do.
    Again,
    /// The body of a POST, whose packets are to be worked off.
    Payload(Key, Form, Vec<u8>),
    /// The connection has become a WebSocket; these bytes came behind the handshake.
    WebSocket(Vec<u8>),
    /// A request that the application is to be asked about.
    Decide(Box<Undecided>),
    /// A request outside the path, to be answered by the application.
    Fallback(Box<::http::Request<Bytes>>),
}

/// Random bytes that one request may need: an id for a session, and one for a socket.
const RANDOM_RESERVE: usize = 1_024;

impl State {
    /// Counts bytes that arrived, and keeps them for an HTTP connection. `false` when it is no such
    /// connection.
    pub fn http_input(&mut self, key: Key, bytes: &[u8]) -> bool {
        self.stats.bytes_received += bytes.len() as u64;
        let limits = &self.shared.settings.options.limits;
        let Some(conn) = self.connections.get_mut(key) else { return false };
        let Role::Http(http) = &mut conn.role else { return false };
        if matches!(conn.after, After::Linger | After::Close) {
            // Behind a request whose answer, which may still wait to be sent, was the last one.
            return true;
        }
        let is_first = http.input.is_empty() && matches!(http.stage, Stage::Head | Stage::Preamble);
        http.input.extend_from_slice(bytes);
        let most = match http.stage {
            Stage::Preamble | Stage::Head | Stage::Body(..) => usize::MAX,
            // What it has read of a body will be counted as one: here, or by the other shard.
            Stage::Leaving | Stage::Deciding(_) | Stage::Decided(_) => limits.request_bytes(),
            _ => limits.pipelined_bytes,
        };
        let is_too_much = http.input.len() > most;
        if is_first {
            conn.deadline = self.now.after(limits.head_timeout);
            self.rearm_connection(key);
        }
        if is_too_much {
            self.connection_ended(key);
        }
        true
    }

    /// Goes on with an HTTP connection as far as it can without user code.
    pub fn http_step(&mut self, key: Key) -> HttpStep {
        let is_short_of_random = self.random.len() < RANDOM_RESERVE;
        let shared = Arc::clone(&self.shared);
        let limits = &shared.settings.options.limits;
        let Some(conn) = self.connections.get_mut(key) else { return HttpStep::Wait };
        let Role::Http(http) = &mut conn.role else { return HttpStep::Wait };
        let is_decided = matches!(http.stage, Stage::Decided(_));
        // Requests are smaller than their answers, and more of them than it takes may have come.
        if conn.queue.charge() > limits.send_queue_bytes {
            self.connection_ended(key);
            return HttpStep::Wait;
        }
        if conn.after != After::Stay || (http.input.is_empty() && !is_decided) {
            return HttpStep::Wait;
        }
        match &mut http.stage {
            Stage::Head | Stage::Decided(_) if is_short_of_random => {
                self.resumed.push_back(key);
                HttpStep::Wait
            }
            Stage::Preamble => self.preamble(key),
            Stage::Head => match http.scanner.end(&http.input, limits) {
                Ok(None) => HttpStep::Wait,
                Ok(Some(end)) => {
                    let rest = http.input.split_off(end);
                    let head = std::mem::replace(&mut http.input, rest);
                    http.scanner = http::HeadScanner::default();
                    self.head(key, &shared, &head)
                }
                Err(fault) => self.refuse_fault(key, fault),
            },
            stage @ Stage::Decided(_) => match std::mem::take(stage) {
                Stage::Decided(decided) => self.go_on(key, &shared, *decided),
                _ => HttpStep::Wait,
            },
            Stage::Body(reader, body, _) => {
                let input = std::mem::take(&mut http.input);
                let (began, bytes) = (http.body_began.0, http.body_began.1 + input.len());
                http.body_began.1 = bytes;
                conn.deadline = body_deadline(began, bytes, limits);
                match reader.read(&input, body) {
                    Ok(progress) => {
                        http.input = input[progress.consumed..].to_vec();
                        match progress.complete {
                            true => self.body_complete(key),
                            false => HttpStep::Wait,
                        }
                    }
                    Err(fault) => self.refuse_body(key, fault),
                }
            }
            _ => HttpStep::Wait,
        }
    }

    pub(super) fn http_mut(&mut self, key: Key) -> Option<&mut Http> {
        match &mut self.connections.get_mut(key)?.role {
            Role::Http(http) => Some(http),
            _ => None,
        }
    }

    /// Hands the connection to the shard that owns the session its request names.
    pub(super) fn leave_for(&mut self, key: Key, shard: u16, bytes: &[u8]) -> HttpStep {
        let Some(conn) = self.connections.get_mut(key) else { return HttpStep::Wait };
        let Role::Http(http) = &mut conn.role else { return HttpStep::Wait };
        http.input.splice(..0, bytes.iter().copied());
        http.stage = Stage::Leaving;
        conn.deadline = Time::NEVER;
        conn.after = After::Leave(shard);
        self.stats.connections_handed_over += 1;
        // Flushing notices that nothing is left to send, now or later, and detaches.
        conn.mark_dirty(key, &mut self.dirty);
        HttpStep::Wait
    }

    /// Opens a session, which the client knows by `name` if the application has made one.
    pub(super) fn open(
        &mut self,
        key: Key,
        carried: Carried,
        head: &Head<'_>,
        bytes: &[u8],
        name: Option<&str>,
    ) -> HttpStep {
        if self.is_closing || self.is_draining {
            return self.refuse_fault(key, SHUTTING_DOWN);
        }
        if self.shared.pressure.is_high() {
            self.stats.sessions_refused += 1;
            return self.refuse_fault(key, SHORT_OF_MEMORY);
        }
        let http = self.http_mut(key).map(|http| (http.peer, http.is_encrypted));
        let (peer, is_encrypted) = http.unwrap_or_default();
        let client = self.client_of(peer, head);
        if !self.may_shake_hands(client) {
            return self.refuse_fault(key, TOO_MANY);
        }
        let limits = &self.shared.settings.options.limits;
        if self.progress.left_behind() > limits.bytes_left_behind {
            self.stats.sessions_refused += 1;
            return self.refuse_fault(key, LEFT_BEHIND);
        }
        let sessions_max = limits.sessions;
        if self.sessions.len() >= sessions_max || !self.has_place() {
            self.stats.sessions_refused += 1;
            return self.refuse_fault(key, FULL);
        }
        let accept = match carried {
            Carried::WebSocket(protocol) => Some(self.websocket_handshake(key, protocol, head)),
            Carried::Polling(_) => None,
        };
        let accept = match accept.transpose() {
            Ok(accept) => accept,
            Err(fault) => return self.refuse_handshake(key, fault),
        };
        let id = self.next_session_id(carried.protocol());
        if name.is_some_and(|name| !self.shared.aliases.claim(name, id)) {
            let context = ErrorContext::IdGenerationError("another session has it".to_owned());
            let (refusal, message) = (Refusal::BadRequest, String::new());
            return self.reject(key, head, &Rejected { refusal, message, context });
        }
        let text = id.text();
        let name = name.or(std::str::from_utf8(&text).ok()).unwrap_or_default();
        let opening =
            Opening { carried, id, name, connection: key, peer: client, is_encrypted, head: bytes };
        if let Some((accept, deflate)) = accept {
            let rest = self.switch(key, &accept);
            let session = self.open_session(&opening);
            self.become_websocket(key, session, deflate);
            return HttpStep::WebSocket(rest);
        }
        self.choose_encoding(key, head);
        self.calm_explorer(key, head);
        self.set_cookie(key, name);
        let session = self.open_session(&opening);
        let now = self.now;
        // The open packet is queued: this is answered at once.
        self.drive(session, |session, effects| session.poll(key, now, effects));
        HttpStep::Again
    }

    pub(super) fn poll(&mut self, key: Key, session: Key, head: &Head<'_>) -> HttpStep {
        let now = self.now;
        // A poll that comes after the end is told so, also when the timers are looked at later.
        self.expire_session(session);
        if self.sessions.get(session).is_none() {
            return self.refuse(key, head, Refusal::SessionUnknown);
        }
        self.calm_explorer(key, head);
        if let Some(conn) = self.connections.get_mut(key)
            && let Role::Http(http) = &mut conn.role
        {
            http.stage = Stage::Held(session);
            conn.deadline = Time::NEVER;
        }
        self.choose_encoding(key, head);
        match self.drive(session, |session, effects| session.poll(key, now, effects)) {
            Some(Ok(())) => HttpStep::Again,
            _ => self.refuse(key, head, Refusal::BadRequest),
        }
    }

    pub(super) fn post_begins(&mut self, key: Key, session: Key, head: &Head<'_>) -> HttpStep {
        let reader = match BodyReader::new(head.body, &self.shared.settings.options.limits) {
            Ok(reader) => reader,
            Err(fault) => return self.refuse_body(key, fault),
        };
        let begun = self.drive(session, |session, effects| session.post_begins(key, effects));
        match begun {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                log::request_overlap(self.index, key);
                return HttpStep::Wait;
            }
            _ => return self.refuse(key, head, Refusal::BadRequest),
        }
        let form = Form::of_content_type(head.header("content-type"));
        let dialect = self.sessions.get(session).and_then(|entry| entry.session.dialect());
        // Others read it as what it says, or as a form whatever it says.
        if form == Form::Binary && dialect == Some(Dialect::default()) {
            self.drive(session, |session, _| session.post_ends(key));
            self.end_session(session, DisconnectReason::TransportError);
            self.close_with(key, 400, &[], b"");
            return HttpStep::Wait;
        }
        self.calm_explorer(key, head);
        self.begin_body(key, reader, Purpose::Packets(session, form), head)
    }

    fn begin_body(
        &mut self,
        key: Key,
        reader: BodyReader,
        purpose: Purpose,
        head: &Head<'_>,
    ) -> HttpStep {
        let body_grace = self.shared.settings.options.limits.body_grace;
        let Some(conn) = self.connections.get_mut(key) else { return HttpStep::Wait };
        let Role::Http(http) = &mut conn.role else { return HttpStep::Wait };
        let is_complete = reader.is_complete();
        let waits = http.input.is_empty() && !is_complete;
        http.stage = Stage::Body(reader, Vec::new(), purpose);
        http.body_began = (self.now, 0);
        http.keep_alive = head.keep_alive && !head.upgrade;
        conn.deadline = self.now.after(body_grace);
        self.rearm_connection(key);
        if waits && head.expect_continue {
            self.push(key, Frame::raw(CONTINUE));
        }
        match is_complete {
            true => self.body_complete(key),
            false => HttpStep::Again,
        }
    }

    fn body_complete(&mut self, key: Key) -> HttpStep {
        let Some(conn) = self.connections.get_mut(key) else { return HttpStep::Wait };
        let Role::Http(http) = &mut conn.role else { return HttpStep::Wait };
        conn.deadline = Time::NEVER;
        match std::mem::replace(&mut http.stage, Stage::Over) {
            Stage::Body(_, body, Purpose::Packets(session, form)) => {
                http.stage = Stage::Posting(session);
                HttpStep::Payload(session, form, body)
            }
            Stage::Body(_, body, Purpose::Fallback(request)) => {
                HttpStep::Fallback(Box::new(request.map(|()| Bytes::from(body))))
            }
            _ => HttpStep::Wait,
        }
    }

    /// The packets of a POST were worked off.
    pub fn post_ends(&mut self, key: Key, session: Key, is_valid: bool) {
        let is_answered_later = self.drive(session, |session, _| {
            let is_answered_later = session.is_leaving();
            if !is_answered_later {
                session.post_ends(key);
            }
            is_answered_later
        });
        match (is_answered_later, is_valid) {
            (Some(true), _) => {}
            (_, true) => self.accept_post(key),
            (_, false) => self.respond(key, 400, &[], b""),
        }
    }

    pub(super) fn probe(
        &mut self,
        key: Key,
        session: Key,
        protocol: Protocol,
        head: &Head<'_>,
    ) -> HttpStep {
        let (shared, now) = (Arc::clone(&self.shared), self.now);
        let (accept, deflate) = match self.websocket_handshake(key, protocol, head) {
            Ok(accepted) => accepted,
            Err(fault) => return self.refuse_handshake(key, fault),
        };
        let options = &shared.settings.options;
        let opened =
            self.drive(session, |session, _| session.probe_opens(key, protocol, now, options));
        log::probe(self.index, session, matches!(opened, Some(Ok(()))));
        let rest = self.switch(key, &accept);
        self.become_websocket(key, session, deflate);
        if !matches!(opened, Some(Ok(()))) {
            // As the reference: the session has its WebSocket, this one is opened and closed.
            self.close_websocket(key, None);
        }
        HttpStep::WebSocket(rest)
    }

    /// Checks a handshake. With the answer comes the server's window, if messages may be
    /// compressed: those of older clients may not.
    pub(super) fn websocket_handshake<'h>(
        &mut self,
        key: Key,
        protocol: Protocol,
        head: &Head<'h>,
    ) -> Result<(http::Accept<'h>, Option<WindowBits>), http::HandshakeFault> {
        let accept = head.websocket_handshake()?;
        let compression = self.compression.as_mut().filter(|_| protocol == Protocol::V4);
        let Some(compression) = compression else { return Ok((accept, None)) };
        let wanted = head.deflate_agreement(compression.options())?;
        let agreed = wanted.map(|wanted| compression.agree(key, wanted, &self.shared.contexts));
        let window_bits = agreed.map(|agreed| agreed.server_window_bits());
        Ok((accept.with_deflate(agreed), window_bits))
    }

    /// Takes note of what the client of a GET would have its packets compressed with.
    fn choose_encoding(&mut self, key: Key, head: &Head<'_>) {
        if self.shared.settings.http_compression.is_some()
            && let Some(http) = self.http_mut(key)
        {
            http.encoding = head.accepted_encoding(http::FOR_ANSWERS);
        }
    }

    /// Answers a handshake with 101; gives the bytes behind it.
    pub(super) fn switch(&mut self, key: Key, accept: &http::Accept<'_>) -> Vec<u8> {
        let Some(http) = self.http_mut(key) else { return Vec::new() };
        let (fields, rest) = (std::mem::take(&mut http.fields), std::mem::take(&mut http.input));
        let fields: Vec<Field<'_>> = fields.iter().map(FieldBuf::as_field).collect();
        let mut response = Vec::with_capacity(160);
        http::write_switching_protocols(&mut response, accept, &fields);
        self.push(key, Frame::raw(&response));
        rest
    }

    pub(super) fn become_websocket(&mut self, key: Key, session: Key, deflate: Option<WindowBits>) {
        let limits = &self.shared.settings.options.limits;
        let control = Allowance::full(limits.control_frames_burst, self.now);
        let Some(conn) = self.connections.get_mut(key) else { return };
        let decoder = Decoder::default();
        let is_closing = false;
        conn.role = Role::WebSocket(WebSocket { session, decoder, control, is_closing, deflate });
        conn.deadline = Time::NEVER;
    }

    pub(super) fn outside(&mut self, key: Key, shared: &Arc<Shared>, head: &Head<'_>) -> HttpStep {
        if head.upgrade && shared.settings.echo_outside {
            return self.open_echo(key, head);
        }
        if head.upgrade {
            self.leave_alone(key);
            return HttpStep::Wait;
        }
        if shared.settings.fallback.is_none() {
            self.close_with(key, 404, &[], b"");
            return HttpStep::Wait;
        }
        let limits = &shared.settings.options.limits;
        let reader = match BodyReader::new(head.body, limits) {
            Ok(reader) => reader,
            Err(fault) => return self.refuse_fault(key, fault),
        };
        match request_of(head) {
            Ok(request) => {
                let purpose = Purpose::Fallback(Box::new(request));
                self.begin_body(key, reader, purpose, head)
            }
            Err(fault) => self.refuse_fault(key, fault),
        }
    }

    /// An upgrade outside the path is none of the server's business: it is not answered, and its
    /// connection ends after a time.
    fn leave_alone(&mut self, key: Key) {
        let timeout = self.shared.settings.destroy_upgrade;
        let Some(conn) = self.connections.get_mut(key) else { return };
        conn.role = Role::Discard;
        conn.deadline = timeout.map_or(Time::NEVER, |timeout| self.now.after(timeout));
        self.rearm_connection(key);
    }
}

/// When a body of which so many bytes have come must be complete, or must have brought more.
fn body_deadline(began: Time, bytes: usize, limits: &Limits) -> Time {
    let seconds = bytes as f64 / f64::from(limits.body_bytes_per_second.max(1));
    let earned = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    began.after(limits.body_grace.saturating_add(earned).min(limits.body_timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m8_a_body_has_its_grace_then_what_its_bytes_earn_and_its_timeout_in_any_case() {
        let limits = Limits::default();
        let began = Time::ZERO.after(Duration::from_secs(7));
        let millis_for = |bytes, limits: &Limits| {
            body_deadline(began, bytes, limits).since(began).as_millis() as u64
        };
        for (bytes, millis) in [
            (0, 10_000),
            (1, 10_002),
            (500, 11_000),
            (5_000, 20_000),
            (9_999, 29_998),
            (10_000, 30_000),
            (10_001, 30_000),
            (1_000_000, 30_000),
            (usize::MAX, 30_000),
        ] {
            assert_eq!(millis_for(bytes, &limits), millis, "{bytes} bytes");
        }
        let of = |grace: u64, rate, timeout: u64| Limits {
            body_grace: Duration::from_millis(grace),
            body_bytes_per_second: rate,
            body_timeout: Duration::from_millis(timeout),
            ..Limits::default()
        };
        assert_eq!(millis_for(50, &of(200, 1_000, 30_000)), 250);
        assert_eq!(millis_for(50, &of(200, 1_000, 220)), 220);
        assert_eq!(
            millis_for(0, &of(200, 1_000, 100)),
            100,
            "the timeout holds for the grace, too"
        );
        assert_eq!(
            millis_for(3, &of(200, 0, 30_000)),
            3_200,
            "no rate is the lowest that there is"
        );
    }
}
