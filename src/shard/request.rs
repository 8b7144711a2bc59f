//! HTTP requests: from received bytes to what is asked of a session, and back to a response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::proto::http::{self, BodyReader, CONTINUE, Fault, Head, Query};
use crate::proto::socket::DisconnectReason;
use crate::proto::websocket::Decoder;
use crate::session::handshake::{Refusal, Request, Route, Transport, route};

use super::conn::{After, Allowance, Http, Purpose, Role, Stage, WebSocket};
use super::log;
use super::shared::Shared;
use super::state::State;

/// What is left to do for a connection when the state is not borrowed any more.
pub enum HttpStep {
    /// More bytes, or an answer from elsewhere, must come first.
    Wait,
    /// Something was done; there may be more to do.
    Again,
    /// The packets of a POST, to be worked off.
    Payload(Key, Vec<u8>),
    /// The connection has become a WebSocket; these bytes came behind the handshake.
    WebSocket(Vec<u8>),
    /// A request outside the path, to be answered by the application.
    Fallback(Box<::http::Request<Bytes>>),
}

/// Random bytes that one request may need: an id for a session, and one for a socket.
const RANDOM_RESERVE: usize = 1_024;

impl State {
    /// Keeps bytes that arrived on an HTTP connection. `false` when it is no such connection.
    pub fn http_input(&mut self, key: Key, bytes: &[u8]) -> bool {
        let limits = &self.shared.settings.options.limits;
        let Some(conn) = self.connections.get_mut(key) else { return false };
        let Role::Http(http) = &mut conn.role else { return false };
        let is_first = http.input.is_empty() && matches!(http.stage, Stage::Head);
        http.input.extend_from_slice(bytes);
        let most = match http.stage {
            Stage::Head | Stage::Body(..) => usize::MAX,
            // What it has read of a body goes to the other shard, which counts it as one.
            Stage::Leaving => {
                limits.message_bytes.saturating_add(limits.head_bytes + limits.pipelined_bytes)
            }
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
        if conn.after != After::Stay || http.input.is_empty() {
            return HttpStep::Wait;
        }
        match &mut http.stage {
            Stage::Head if is_short_of_random => {
                self.resumed.push_back(key);
                HttpStep::Wait
            }
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

    fn head(&mut self, key: Key, shared: &Arc<Shared>, bytes: &[u8]) -> HttpStep {
        let limits = &shared.settings.options.limits;
        let head = match Head::parse(bytes, limits) {
            Ok(head) => head,
            Err(fault) => return self.refuse_fault(key, fault),
        };
        if let Some(http) = self.http_mut(key) {
            // Until somebody reads its body: what follows the head may look like a request.
            http.keep_alive = head.keep_alive && !head.upgrade && head.body.is_empty();
        }
        let Some(rest) = head.target.strip_prefix(&*shared.settings.path) else {
            return self.outside(key, shared, &head);
        };
        let name = rest.split('?').next().unwrap_or_default();
        let client = shared.settings.client.as_ref();
        if let Some((client, file)) =
            client.and_then(|client| Some((client, client.files.get(name)?)))
        {
            self.serve_file(key, &head, name, &client.version, file);
            return HttpStep::Again;
        }
        self.engine_request(key, shared, &head, bytes)
    }

    fn engine_request(
        &mut self,
        key: Key,
        shared: &Arc<Shared>,
        head: &Head<'_>,
        bytes: &[u8],
    ) -> HttpStep {
        let query = Query::parse(head.target);
        let [transport, protocol, session] = query.values(["transport", "EIO", "sid"]);
        let is_illegal = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        let request = Request {
            method: head.method,
            upgrade: head.upgrade,
            transport: transport.as_deref(),
            protocol: protocol.as_deref(),
            session: session.as_deref(),
            illegal_origin: head.values("origin").any(|origin| origin.iter().any(is_illegal)),
        };
        let route = match route(&request, &shared.settings.transports) {
            Ok(route) => route,
            Err(refusal) => return self.refuse(key, head, refusal),
        };
        let id = match route {
            Route::Open(transport) => return self.open(key, transport, head, bytes),
            Route::Poll(id) | Route::Post(id) | Route::Upgrade(id) | Route::Unfit(id) => id,
        };
        if id.shard() != self.index && usize::from(id.shard()) < self.outbox.len() {
            return self.leave_for(key, id.shard(), bytes);
        }
        let Some(session) = self.session_key(&id) else {
            return self.refuse(key, head, Refusal::SessionUnknown);
        };
        match route {
            Route::Poll(_) => self.poll(key, session, head),
            Route::Post(_) => self.post_begins(key, session, head),
            Route::Upgrade(_) => self.probe(key, session, head),
            _ => self.refuse(key, head, Refusal::BadRequest),
        }
    }

    /// Hands the connection to the shard that owns the session its request names.
    fn leave_for(&mut self, key: Key, shard: u16, bytes: &[u8]) -> HttpStep {
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

    fn open(&mut self, key: Key, transport: Transport, head: &Head<'_>, bytes: &[u8]) -> HttpStep {
        if self.is_closing {
            let fault = Fault { status: 503, message: "The server is shutting down" };
            return self.refuse_fault(key, fault);
        }
        let peer = self.http_mut(key).and_then(|http| http.peer);
        if transport == Transport::WebSocket {
            let accept = match head.websocket_handshake() {
                Ok(accept) => accept,
                Err(fault) => return self.refuse_handshake(key, fault),
            };
            let rest = self.switch(key, &accept);
            let session = self.open_session(transport, key, peer, bytes);
            self.become_websocket(key, session);
            return HttpStep::WebSocket(rest);
        }
        let session = self.open_session(transport, key, peer, bytes);
        let now = self.now;
        // The open packet is queued: this is answered at once.
        self.drive(session, |session, effects| session.poll(key, now, effects));
        HttpStep::Again
    }

    fn poll(&mut self, key: Key, session: Key, head: &Head<'_>) -> HttpStep {
        let now = self.now;
        // A poll that comes after the end is told so, also when the timers are looked at later.
        self.expire_session(session);
        if self.sessions.get(session).is_none() {
            return self.refuse(key, head, Refusal::SessionUnknown);
        }
        if let Some(conn) = self.connections.get_mut(key)
            && let Role::Http(http) = &mut conn.role
        {
            http.stage = Stage::Held(session);
            conn.deadline = Time::NEVER;
        }
        match self.drive(session, |session, effects| session.poll(key, now, effects)) {
            Some(Ok(())) => HttpStep::Again,
            _ => self.refuse(key, head, Refusal::BadRequest),
        }
    }

    fn post_begins(&mut self, key: Key, session: Key, head: &Head<'_>) -> HttpStep {
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
        if head.header("content-type") == Some(b"application/octet-stream") {
            self.drive(session, |session, _| session.post_ends(key));
            self.end_session(session, DisconnectReason::TransportError);
            self.close_with(key, 400, &[], b"");
            return HttpStep::Wait;
        }
        self.begin_body(key, reader, Purpose::Packets(session), head)
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
            Stage::Body(_, body, Purpose::Packets(session)) => {
                http.stage = Stage::Posting(session);
                HttpStep::Payload(session, body)
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

    fn probe(&mut self, key: Key, session: Key, head: &Head<'_>) -> HttpStep {
        let (shared, now) = (Arc::clone(&self.shared), self.now);
        let accept = match head.websocket_handshake() {
            Ok(accept) => accept,
            Err(fault) => return self.refuse_handshake(key, fault),
        };
        let options = &shared.settings.options;
        let opened = self.drive(session, |session, _| session.probe_opens(key, now, options));
        log::probe(self.index, session, matches!(opened, Some(Ok(()))));
        let rest = self.switch(key, &accept);
        self.become_websocket(key, session);
        if !matches!(opened, Some(Ok(()))) {
            // As the reference: the session has its WebSocket, this one is opened and closed.
            self.close_websocket(key, None);
        }
        HttpStep::WebSocket(rest)
    }

    /// Answers a handshake with 101; gives the bytes behind it.
    fn switch(&mut self, key: Key, accept: &http::Accept<'_>) -> Vec<u8> {
        let mut response = Vec::with_capacity(160);
        http::write_switching_protocols(&mut response, accept, &[]);
        self.push(key, Frame::raw(&response));
        self.http_mut(key).map(|http| std::mem::take(&mut http.input)).unwrap_or_default()
    }

    fn become_websocket(&mut self, key: Key, session: Key) {
        let limits = &self.shared.settings.options.limits;
        let control = Allowance::full(limits.control_frames_burst, self.now);
        let Some(conn) = self.connections.get_mut(key) else { return };
        let decoder = Decoder::default();
        conn.role = Role::WebSocket(WebSocket { session, decoder, control, is_closing: false });
        conn.deadline = Time::NEVER;
    }

    fn outside(&mut self, key: Key, shared: &Arc<Shared>, head: &Head<'_>) -> HttpStep {
        if shared.settings.fallback.is_none() || head.upgrade {
            self.close_with(key, 404, &[], b"");
            return HttpStep::Wait;
        }
        let limits = &shared.settings.options.limits;
        let reader = match BodyReader::new(head.body, limits) {
            Ok(reader) => reader,
            Err(fault) => return self.refuse_fault(key, fault),
        };
        let mut request = ::http::Request::builder().method(head.method.name()).uri(head.target);
        for (name, value) in head.headers() {
            request = request.header(name, value);
        }
        match request.body(()) {
            Ok(request) => {
                let purpose = Purpose::Fallback(Box::new(request));
                self.begin_body(key, reader, purpose, head)
            }
            Err(_) => self.refuse_fault(key, Fault { status: 400, message: "Bad request target" }),
        }
    }
}

/// When a body of which so many bytes have come must be complete, or must have brought more.
fn body_deadline(began: Time, bytes: usize, limits: &Limits) -> Time {
    let seconds = bytes as f64 / f64::from(limits.body_bytes_per_second.max(1));
    let earned = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    began.after(limits.body_grace.saturating_add(earned).min(limits.body_timeout))
}
