//! HTTP responses: what a request is answered, and what then becomes of its connection.

use bytes::Bytes;

use crate::base::frame::Frame;
use crate::base::slab::Key;
use crate::proto::http::{self, Fault, Field, Head, Method, ResponseHead};
use crate::session::handshake::Refusal;

use super::conn::{After, Role, Stage};
use super::log;
use super::request::HttpStep;
use super::state::State;

const PLAIN_TEXT: Field<'static> = Field::known("Content-Type", "text/plain; charset=UTF-8");
const HTML: Field<'static> = Field::known("Content-Type", "text/html");
const JSON: Field<'static> = Field::known("Content-Type", "application/json");
const NO_STORE: Field<'static> = Field::known("cache-control", "no-store");
const CACHE: Field<'static> = Field::known("Cache-Control", "public, max-age=0");
const SCRIPT: Field<'static> =
    Field::known("Content-Type", "application/javascript; charset=utf-8");
const MAP: Field<'static> = Field::known("Content-Type", "application/json; charset=utf-8");

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

    pub(super) fn serve_file(
        &mut self,
        key: Key,
        head: &Head<'_>,
        name: &str,
        version: &str,
        file: &Bytes,
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
        let fields = match Field::new("ETag", tag.as_bytes()) {
            Ok(tag) => vec![CACHE, content_type, tag],
            Err(_) => vec![CACHE, content_type],
        };
        self.respond_with(key, 200, &fields, file, head.method == Method::Head);
    }

    /// Answers a GET with packets.
    pub fn respond_packets(&mut self, key: Key, body: &[u8]) {
        self.respond(key, 200, &[PLAIN_TEXT, NO_STORE], body);
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
        let keep_alive_timeout = self.shared.settings.options.limits.keep_alive_timeout;
        let is_closing = self.is_closing;
        let Some(conn) = self.connections.get_mut(key) else { return };
        let Role::Http(http) = &mut conn.role else { return };
        let keep_alive = http.keep_alive && !is_closing;
        let mut response = Vec::with_capacity(body.len() + 192);
        let head = ResponseHead { status, keep_alive, omit_body, fields };
        http::write_response(&mut response, &head, body);
        http.stage = if keep_alive { Stage::Head } else { Stage::Over };
        conn.after = if keep_alive { After::Stay } else { After::Linger };
        conn.deadline = self.now.after(keep_alive_timeout);
        let has_more = keep_alive && !http.input.is_empty();
        self.push(key, Frame::raw(&response));
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

    /// Refuses a request inside the path. A JSON body for HTTP, plain text for an upgrade
    /// (protocol.md §2).
    pub(super) fn refuse(&mut self, key: Key, head: &Head<'_>, refusal: Refusal) -> HttpStep {
        log::refused(self.index, refusal);
        if head.upgrade {
            self.close_with(key, 400, &[HTML], refusal.message().as_bytes());
            return HttpStep::Wait;
        }
        let omit_body = head.method == Method::Head;
        self.respond_with(key, 400, &[JSON], refusal.body().as_bytes(), omit_body);
        HttpStep::Again
    }

    pub(super) fn refuse_handshake(&mut self, key: Key, fault: http::HandshakeFault) -> HttpStep {
        log::refused_handshake(self.index, fault);
        let mut response = Vec::new();
        fault.respond(&mut response);
        self.finish_with(key, &response);
        HttpStep::Wait
    }

    /// Answers something that is no request, and closes the connection.
    pub fn refuse_fault(&mut self, key: Key, fault: Fault) -> HttpStep {
        log::refused_fault(self.index, fault);
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
