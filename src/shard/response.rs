//! HTTP responses: what a request is answered, and what then becomes of its connection.

use bytes::Bytes;
use memchr::memmem;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::limits::COMPRESSED_BYTES_MAX;
use crate::base::slab::Key;
use crate::proto::engine_v3::{self, Form};
use crate::proto::http::{
    self, Encoding, Fault, Field, FieldBuf, Head, Method, Query, ResponseHead,
};
use crate::session::handshake::Refusal;

use super::conn::{After, Role, Stage};
use super::hooks::ErrorContext;
use super::log;
use super::request::HttpStep;
use super::shared::ClientFile;
use super::state::State;

const PLAIN_TEXT: Field<'static> = Field::known("Content-Type", "text/plain; charset=UTF-8");
const OCTETS: Field<'static> = Field::known("Content-Type", engine_v3::BINARY_CONTENT_TYPE);
const HTML: Field<'static> = Field::known("Content-Type", "text/html");
const JSON: Field<'static> = Field::known("Content-Type", "application/json");
const NO_STORE: Field<'static> = Field::known("cache-control", "no-store");
const NO_XSS_FILTER: Field<'static> = Field::known("X-XSS-Protection", "0");
const CACHE: Field<'static> = Field::known("Cache-Control", "public, max-age=0");
const SCRIPT: Field<'static> =
    Field::known("Content-Type", "application/javascript; charset=utf-8");
const MAP: Field<'static> = Field::known("Content-Type", "application/json; charset=utf-8");

fn content_encoding(encoding: Encoding) -> Field<'static> {
    Field::known("Content-Encoding", encoding.name())
}

/// What new clients are told when the server is being closed.
pub const SHUTTING_DOWN: Fault = Fault { status: 503, message: "The server is shutting down" };

/// What new clients are told when a shard has as many as it may.
pub const FULL: Fault = Fault { status: 503, message: "There are too many clients" };

/// Why a request inside the path is refused, and how the client is told.
#[derive(Debug)]
pub struct Rejected {
    /// Code and status.
    pub refusal: Refusal,
    /// The application's message; the usual one if it is empty.
    pub message: String,
    /// What the application is told.
    pub context: ErrorContext,
}

impl Rejected {
    /// What the client is told.
    pub fn message(&self) -> &str {
        match self.message.as_str() {
            "" => self.refusal.message(),
            message => message,
        }
    }
}

impl State {
    /// Says that the packets of a POST were taken.
    pub fn accept_post(&mut self, key: Key) {
        self.respond(key, 200, &[HTML, NO_STORE], b"ok");
    }

    /// Sends what the application answers to a request outside the path.
    pub fn fallback_response(
        &mut self,
        key: Key,
        is_head: bool,
        response: &::http::Response<Bytes>,
    ) {
        let fields: Vec<Field<'_>> = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Field::new(name.as_str(), value.as_bytes()).ok())
            .collect();
        // An informational status cannot end a request: the application is at fault.
        let status = match response.status().as_u16() {
            status @ 200.. => status,
            _ => 500,
        };
        self.respond_with(key, status, &fields, response.body(), is_head);
    }

    /// Sends what a middleware has answered.
    pub(super) fn respond_as_answered(
        &mut self,
        key: Key,
        head: &Head<'_>,
        status: u16,
        body: &[u8],
    ) {
        // As in `fallback_response`.
        let status = if status < 200 { 500 } else { status };
        self.respond_with(key, status, &[], body, head.method == Method::Head);
    }

    /// Gives the answer to a polling handshake the cookie with the id of its session.
    pub(super) fn set_cookie(&mut self, key: Key, session: &str) {
        let Some(cookie) = &self.shared.settings.cookie else { return };
        let value = cookie.value(session);
        if let Ok(field) = Field::new("Set-Cookie", value.as_bytes()) {
            self.add_field(key, field);
        }
    }

    /// Tells an old Internet Explorer not to take what it has sent, and gets back, for an attack
    /// (protocol.md §11.3).
    pub(super) fn calm_explorer(&mut self, key: Key, head: &Head<'_>) {
        let agent = head.header("user-agent").unwrap_or_default();
        if [&b";MSIE"[..], b"Trident/"].iter().any(|name| memmem::find(agent, name).is_some()) {
            self.add_field(key, NO_XSS_FILTER);
        }
    }

    fn add_field(&mut self, key: Key, field: Field<'_>) {
        if let Some(http) = self.http_mut(key) {
            let fields = std::mem::take(&mut http.fields);
            http.fields = fields.into_iter().chain([field.into()]).collect();
        }
    }

    pub(super) fn serve_file(
        &mut self,
        key: Key,
        head: &Head<'_>,
        name: &str,
        version: &str,
        file: &ClientFile,
    ) {
        let tag = format!("\"{version}\"");
        let weak = format!("W/{tag}");
        let known = head.header("if-none-match");
        if known.is_some_and(|known| known == tag.as_bytes() || known == weak.as_bytes()) {
            log::served_client(name, 304);
            return self.respond(key, 304, &[], b"");
        }
        log::served_client(name, 200);
        let content_type = if name.ends_with(".map") { MAP } else { SCRIPT };
        let mut fields = vec![CACHE, content_type];
        fields.extend(Field::new("ETag", tag.as_bytes()));
        let encoding = head.accepted_encoding(http::FOR_FILES);
        fields.extend(encoding.map(content_encoding));
        let body = file.encoded(encoding);
        self.respond_with(key, 200, &fields, body, head.method == Method::Head);
    }

    /// Answers a GET with packets, which may be compressed.
    pub fn respond_packets(&mut self, key: Key, form: Form, body: &[u8], compress: bool) {
        let content_type = match form {
            Form::Text => PLAIN_TEXT,
            Form::Binary => OCTETS,
        };
        let least = self.shared.settings.http_compression.filter(|_| compress);
        let lengths = least.map(|least| least..=COMPRESSED_BYTES_MAX);
        let is_worth_it = lengths.is_some_and(|lengths| lengths.contains(&body.len()));
        let encoding = self.http_mut(key).and_then(|http| http.encoding).filter(|_| is_worth_it);
        let Some(encoding) = encoding else {
            return self.respond(key, 200, &[content_type, NO_STORE], body);
        };
        let fields = [content_type, content_encoding(encoding), NO_STORE];
        let body = self.bodies.compress(encoding, body);
        self.respond(key, 200, &fields, &body);
    }

    /// Answers a request with a status alone. An unread body forces the connection to close.
    pub fn respond_empty(&mut self, key: Key, status: u16) {
        self.close_with(key, status, &[], b"");
    }

    pub(super) fn respond(&mut self, key: Key, status: u16, fields: &[Field<'_>], body: &[u8]) {
        self.respond_with(key, status, fields, body, false);
    }

    fn respond_with(
        &mut self,
        key: Key,
        status: u16,
        fields: &[Field<'_>],
        body: &[u8],
        omit_body: bool,
    ) {
        let is_closing = self.is_closing;
        let Some(conn) = self.connections.get_mut(key) else { return };
        let Role::Http(http) = &mut conn.role else { return };
        let keep_alive = http.keep_alive && !is_closing;
        let mut response = Vec::with_capacity(body.len() + 192);
        let more = std::mem::take(&mut http.fields);
        let all;
        let fields = match more.is_empty() {
            true => fields,
            false => {
                all = joined(&more, fields);
                &all
            }
        };
        let head = ResponseHead { status, keep_alive, omit_body, fields };
        http::write_response(&mut response, &head, body);
        self.responded(key, keep_alive, &response);
    }

    /// Sends a whole response, and goes on to the next request or lets the connection end.
    pub(super) fn responded(&mut self, key: Key, keep_alive: bool, response: &[u8]) {
        let Some(conn) = self.connections.get_mut(key) else { return };
        let Role::Http(http) = &mut conn.role else { return };
        http.stage = if keep_alive { Stage::Head } else { Stage::Over };
        conn.after = if keep_alive { After::Stay } else { After::Linger };
        // Flushing sets another: how long it takes to be sent is up to the client.
        conn.deadline = Time::NEVER;
        let has_more = keep_alive && !http.input.is_empty();
        self.push(key, Frame::raw(response));
        self.rearm_connection(key);
        if has_more {
            self.resumed.push_back(key);
        }
    }

    pub(super) fn close_with(&mut self, key: Key, status: u16, fields: &[Field<'_>], body: &[u8]) {
        if let Some(http) = self.http_mut(key) {
            http.keep_alive = false;
        }
        self.respond(key, status, fields, body);
    }

    /// Refuses a request inside the path.
    pub(super) fn refuse(&mut self, key: Key, head: &Head<'_>, refusal: Refusal) -> HttpStep {
        let (message, context) = (String::new(), context_of(refusal, head));
        self.reject(key, head, &Rejected { refusal, message, context })
    }

    /// Refuses a request inside the path, for a reason that is known. A JSON body for HTTP, plain
    /// text for an upgrade (protocol.md §2).
    pub(super) fn reject(&mut self, key: Key, head: &Head<'_>, rejected: &Rejected) -> HttpStep {
        log::refused(self.index, rejected.refusal);
        self.counts.refused.add(rejected.refusal.message());
        self.tell_of(key, head, rejected);
        let message = rejected.message();
        if head.upgrade {
            // As the reference, which adds nothing to it.
            if let Some(http) = self.http_mut(key) {
                http.fields = Box::default();
            }
            let status = match rejected.context {
                // The reference never refuses these: it has no word for them.
                ErrorContext::ForbiddenOrigin => 403,
                _ => 400,
            };
            self.close_with(key, status, &[HTML], message.as_bytes());
            return HttpStep::Wait;
        }
        let omit_body = head.method == Method::Head;
        let refusal = rejected.refusal;
        self.respond_with(key, refusal.status(), &[JSON], &refusal.body(message), omit_body);
        HttpStep::Again
    }

    pub(super) fn refuse_handshake(&mut self, key: Key, fault: http::HandshakeFault) -> HttpStep {
        log::refused_handshake(self.index, fault);
        self.counts.refused.add(fault.fault().message);
        let mut response = Vec::new();
        fault.respond(&mut response);
        self.finish_with(key, &response);
        HttpStep::Wait
    }

    /// Answers something that is no request, and closes the connection.
    pub fn refuse_fault(&mut self, key: Key, fault: Fault) -> HttpStep {
        log::refused_fault(self.index, fault);
        self.counts.refused.add(fault.message);
        let mut response = Vec::new();
        fault.respond(&mut response);
        self.abandon_request(key);
        self.finish_with(key, &response);
        HttpStep::Wait
    }

    /// Answers a body that cannot be received with a status alone (protocol.md §5.2), and closes
    /// the connection.
    pub(super) fn refuse_body(&mut self, key: Key, fault: Fault) -> HttpStep {
        log::refused_fault(self.index, fault);
        self.counts.refused.add(fault.message);
        self.abandon_request(key);
        self.close_with(key, fault.status, &[], b"");
        HttpStep::Wait
    }

    /// A request body that cannot be received: its session goes on without it.
    fn abandon_request(&mut self, key: Key) {
        let session = self.http_mut(key).and_then(|http| http.session());
        if let Some(session) = session {
            self.drive(session, |session, _| session.post_ends(key));
        }
    }

    fn finish_with(&mut self, key: Key, response: &[u8]) {
        let close_timeout = self.shared.settings.options.limits.close_timeout;
        let Some(conn) = self.connections.get_mut(key) else { return };
        conn.role = Role::Discard;
        conn.after = After::Linger;
        conn.deadline = self.now.after(close_timeout);
        self.push(key, Frame::raw(response));
        self.rearm_connection(key);
    }
}

/// The headers of the application, and those of the server which it has not given.
fn joined<'a>(more: &'a [FieldBuf], fields: &[Field<'a>]) -> Vec<Field<'a>> {
    let replaced = |field: &Field<'_>| more.iter().any(|other| other.is_named(field.name()));
    let own = fields.iter().filter(|field| !replaced(field)).copied();
    more.iter().map(FieldBuf::as_field).chain(own).collect()
}

fn context_of(refusal: Refusal, head: &Head<'_>) -> ErrorContext {
    let is_illegal = |origin: &[u8]| origin.iter().any(|byte| is_illegal_in_origin(*byte));
    match refusal {
        Refusal::TransportUnknown => ErrorContext::UnknownTransport,
        Refusal::SessionUnknown => ErrorContext::UnknownSession,
        Refusal::BadHandshakeMethod => ErrorContext::BadHandshakeMethod,
        Refusal::Forbidden => ErrorContext::Forbidden,
        Refusal::UnsupportedProtocol => ErrorContext::UnsupportedProtocolVersion,
        Refusal::BadRequest if head.values("origin").any(is_illegal) => ErrorContext::InvalidOrigin,
        Refusal::BadRequest if Query::parse(head.target).value("sid").is_some() => {
            ErrorContext::TransportMismatch
        }
        Refusal::BadRequest => ErrorContext::TransportHandshakeError,
    }
}

/// Whether an origin must not hold this byte: a control character other than a tab.
pub(super) fn is_illegal_in_origin(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
