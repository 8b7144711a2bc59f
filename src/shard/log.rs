//! Every line that a shard logs, in one file, so that one can see what they tell.
//!
//! Targets are the scopes of the reference's `debug`: `engine`, `engine:socket`, `engine:polling`,
//! `engine:ws`, `socket.io:server`, `socket.io:namespace`, `socket.io:parent-namespace`,
//! `socket.io:client`, `socket.io:socket`, `socket.io-parser`. Nothing is logged for a packet or a
//! recipient: a place that logs costs a comparison, and those are places that count instructions.
//!
//! Sessions and sockets are named by shard and slot alone: the id of a session is a secret, and a
//! log is read by more people than may have it. What a peer or the application has chosen, as names
//! of namespaces and rooms, is [`Brief`]: escaped, so that it can neither end a line nor forge one,
//! and cut.
//!
//! A line that clients can cause and that nobody has asked for, which are those at level `warn`, is
//! written [`LINES_PER_SECOND`] times a second at most, in the whole process. Who turns `debug` on
//! wants every line.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use crate::base::address::ListenAddress;
use crate::base::clock::Time;
use crate::base::slab::Key;
use crate::driver::sys;
use crate::driver::uring::Features;
use crate::error::Error;
use crate::proto::http::{Fault, HandshakeFault};
use crate::proto::socket::DecodeError;
use crate::room::Target;
use crate::session::Violation;
use crate::session::departure::Departure;
use crate::session::handshake::{Refusal, Transport};

use super::lag::Lagged;

/// Where a session or a socket is.
struct Place(u16, Key);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.0, self.1.index)
    }
}

/// Bytes of a text of others that are shown.
const BRIEF_BYTES: usize = 256;

/// The beginning of a text of others, in quotes and escaped.
struct Brief<'a>(&'a str);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let shown = (0..=BRIEF_BYTES.min(text.len())).rev().find_map(|end| text.get(..end));
        let shown = shown.unwrap_or_default();
        write!(formatter, "{shown:?}{}", if shown.len() < text.len() { "…" } else { "" })
    }
}

/// As many of these texts as are brief together.
struct Briefs<'a>(&'a [Target]);

impl fmt::Display for Briefs<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut left, mut separator) = (BRIEF_BYTES, "[");
        for text in self.0 {
            if left == 0 {
                formatter.write_str(", …")?;
                break;
            }
            write!(formatter, "{separator}{}", Brief(text))?;
            (left, separator) = (left.saturating_sub(text.len()), ", ");
        }
        formatter.write_str(if self.0.is_empty() { "[]" } else { "]" })
    }
}

/// Lines of one message in a second.
const LINES_PER_SECOND: u32 = 10;

/// Keeps a message from filling the log.
struct Throttle(Mutex<Throttled>);

struct Throttled {
    second: u64,
    lines: u32,
    suppressed: u64,
}

impl Throttle {
    const fn new() -> Throttle {
        Throttle(Mutex::new(Throttled { second: 0, lines: 0, suppressed: 0 }))
    }

    /// Whether there may be another line now: with how many there were not since the one before.
    fn admits(&self, now: Time) -> Option<u64> {
        let mut throttled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.as_micros() / 1_000_000;
        if throttled.second != second {
            (throttled.second, throttled.lines) = (second, 0);
        }
        if throttled.lines == LINES_PER_SECOND {
            throttled.suppressed += 1;
            return None;
        }
        throttled.lines += 1;
        Some(std::mem::take(&mut throttled.suppressed))
    }
}

pub(super) fn uring(features: Features) {
    info!(target: "engine", missing = %features, "the shards are on io_uring");
}

pub(super) fn epoll_takes_its_place(error: &io::Error) {
    info!(target: "engine", why = %error, "the shards are on epoll, for there is no io_uring");
}

pub(super) fn epoll_is_wanted() {
    info!(target: "engine", "the shards are on epoll, as they were told to be");
}

pub(super) fn listening(addresses: &[ListenAddress], shards: usize) {
    debug!(target: "socket.io:server", ?addresses, shards, "listening");
}

/// The error names the shard.
pub(super) fn shard_died(why: &Error) {
    error!(target: "socket.io:server", why = ?why.to_string(), "the server ends: a shard has died");
}

pub(super) fn shard_blocked(shard: usize, handler: &str, blocked: Duration) {
    let blocked_ms = blocked.as_millis() as u64;
    let handler = Brief(handler);
    warn!(target: "socket.io:server", shard, %handler, blocked_ms, "a handler blocks its shard");
}

pub(super) fn hands_over() {
    info!(target: "socket.io:server", "another process serves from now on: this one ends");
}

pub(super) fn takes_over() {
    info!(target: "socket.io:server", "takes over from the process that has served so far");
}

#[cfg(feature = "tls")]
pub(super) fn certificates_were_read(result: &crate::error::Result<()>) {
    match result {
        Ok(()) => info!(target: "socket.io:server", "the certificates were read again"),
        Err(error) => {
            let why = error.to_string();
            warn!(target: "socket.io:server", ?why, "the certificates stay as they were");
        }
    }
}

pub(super) fn notified(result: io::Result<()>) {
    if let Err(error) = result {
        warn!(target: "socket.io:server", %error, "the service manager cannot be told");
    }
}

pub(super) fn no_hand_over(error: &io::Error) {
    warn!(target: "socket.io:server", %error, "a process has asked to take over, and did not");
}

pub(super) fn nothing_to_recover() {
    warn!(target: "socket.io:server", "a shard does not end: the next process has no state file");
}

pub(super) fn predecessor_fell_silent(error: &io::Error) {
    warn!(target: "socket.io:server", %error, "the process that has served so far says no word");
}

pub(super) fn shard_without_listener(shard: usize, error: &io::Error) {
    warn!(target: "socket.io:server", shard, %error, "a shard of the next process cannot listen");
}

/// The error names what there is not.
pub(super) fn succeeds_without(error: &Error) {
    let why = error.to_string();
    warn!(target: "socket.io:server", ?why, "it has taken over, and lacks what it was to have");
}

pub(super) fn closing_all(shard: u16, sessions: usize) {
    debug!(target: "engine", shard, sessions, "closing all open clients");
}

pub(super) fn state_written(path: &Path, sessions: usize, events: usize) {
    debug!(target: "socket.io:server", ?path, sessions, events, "wrote the state file");
}

pub(super) fn state_read(path: &Path, sessions: usize) {
    debug!(target: "socket.io:server", ?path, sessions, "read the state file");
}

pub(super) fn state_not_used(path: &Path, why: &str) {
    warn!(target: "socket.io:server", ?path, why, "the state file cannot be used");
}

pub(super) fn state_left(path: &Path, error: &io::Error) {
    warn!(target: "socket.io:server", ?path, %error, "the state file cannot be removed");
}

pub(super) fn handler_panicked(shard: u16) {
    static THROTTLE: Throttle = Throttle::new();
    match THROTTLE.admits(sys::monotonic_time()) {
        None => {}
        Some(0) => warn!(target: "socket.io:server", shard, "a handler has panicked"),
        Some(before) => {
            warn!(target: "socket.io:server", shard, before, "a handler has panicked, and others");
        }
    }
}

pub(super) fn served_client(name: &str, status: u16) {
    debug!(target: "socket.io:server", ?name, status, "serve client");
}

pub(super) fn refused(shard: u16, refusal: Refusal) {
    debug!(target: "engine", shard, why = refusal.message(), "refused request");
}

pub(super) fn refused_fault(shard: u16, fault: Fault) {
    debug!(target: "engine", shard, status = fault.status, why = fault.message, "faulty request");
}

pub(super) fn refused_handshake(shard: u16, fault: HandshakeFault) {
    debug!(target: "engine", shard, ?fault, "invalid transport upgrade");
}

pub(super) fn handshake(shard: u16, session: Key, transport: Transport) {
    debug!(target: "engine", session = %Place(shard, session), ?transport, "handshaking client");
}

pub(super) fn probe(shard: u16, session: Key, is_accepted: bool) {
    let session = Place(shard, session);
    match is_accepted {
        true => debug!(target: "engine", %session, "upgrading existing transport"),
        false => debug!(target: "engine", %session, "transport has already been upgraded"),
    }
}

pub(super) fn upgraded(shard: u16, session: Key) {
    debug!(target: "engine:socket", session = %Place(shard, session), "upgraded to websocket");
}

pub(super) fn memory_is_watched(limit_bytes: u64) {
    debug!(target: "engine", limit_bytes, "the memory of the process is watched");
}

pub(super) fn memory(is_short: bool, used_bytes: u64, limit_bytes: u64) {
    match is_short {
        true => warn!(target: "engine", used_bytes, limit_bytes, "memory runs short"),
        false => info!(target: "engine", used_bytes, limit_bytes, "there is memory again"),
    }
}

pub(super) fn lagged(shard: u16, session: Key, lagged: Lagged) {
    let Lagged { queued_bytes, dropped_events } = lagged;
    let session = Place(shard, session);
    debug!(target: "engine:socket", %session, queued_bytes, dropped_events, "the client is behind");
}

pub(super) fn too_slow(shard: u16, session: Key) {
    let session = Place(shard, session);
    debug!(target: "engine:socket", %session, "the client does not take what is queued for it");
}

pub(super) fn closed(shard: u16, session: Key, departure: &Departure) {
    let (reason, detail) = (departure.reason.as_str(), departure.detail);
    debug!(target: "engine:socket", session = %Place(shard, session), reason, ?detail, "closed");
}

pub(super) fn violation(shard: u16, session: Key, violation: Violation) {
    let session = Place(shard, session);
    match violation {
        Violation::Undecodable | Violation::HeartbeatDirection => {
            debug!(target: "engine:socket", %session, ?violation, "broke a rule");
        }
        Violation::Decode | Violation::State => {
            debug!(target: "socket.io:client", %session, ?violation, "broke a rule");
        }
    }
}

pub(super) fn request_overlap(shard: u16, connection: Key) {
    debug!(target: "engine:polling", connection = %Place(shard, connection), "request overlap");
}

pub(super) fn websocket_fault(shard: u16, session: Key, code: u16) {
    debug!(target: "engine:ws", session = %Place(shard, session), code, "broke the framing");
}

pub(super) fn websocket_closed(shard: u16, session: Key, code: Option<u16>) {
    debug!(target: "engine:ws", session = %Place(shard, session), code, "got a close frame");
}

pub(super) fn undecodable(shard: u16, session: Key, error: DecodeError) {
    debug!(target: "socket.io-parser", session = %Place(shard, session), %error, "no packet");
}

pub(super) fn connecting(shard: u16, session: Key, namespace: &str) {
    let (session, namespace) = (Place(shard, session), Brief(namespace));
    debug!(target: "socket.io:client", %session, %namespace, "connecting to namespace");
}

pub(super) fn namespace_denied(shard: u16, session: Key, namespace: &str) {
    let (session, namespace) = (Place(shard, session), Brief(namespace));
    debug!(target: "socket.io:client", %session, %namespace, "there is no such namespace");
}

pub(super) fn child_created(namespace: &str) {
    let namespace = Brief(namespace);
    debug!(target: "socket.io:parent-namespace", %namespace, "creating child namespace");
}

pub(super) fn child_removed(shard: u16, namespace: &str) {
    let namespace = Brief(namespace);
    debug!(target: "socket.io:parent-namespace", shard, %namespace, "left child namespace");
}

pub(super) fn refused_socket(shard: u16, socket: Key, why: &str) {
    let (socket, why) = (Place(shard, socket), Brief(why));
    debug!(target: "socket.io:namespace", %socket, %why, "refused by a middleware");
}

pub(super) fn connected(shard: u16, socket: Key, namespace: &str, has_come_back: bool) {
    let (socket, namespace) = (Place(shard, socket), Brief(namespace));
    debug!(target: "socket.io:namespace", %socket, %namespace, has_come_back, "socket connected");
}

pub(super) fn joined(shard: u16, socket: Key, rooms: &[Target]) {
    let (socket, rooms) = (Place(shard, socket), Briefs(rooms));
    trace!(target: "socket.io:socket", %socket, %rooms, "join rooms");
}

pub(super) fn left(shard: u16, socket: Key, room: &str) {
    let (socket, room) = (Place(shard, socket), Brief(room));
    trace!(target: "socket.io:socket", %socket, %room, "leave room");
}

pub(super) fn ack_timed_out(shard: u16, socket: Key) {
    let socket = Place(shard, socket);
    debug!(target: "socket.io:socket", %socket, "an acknowledgement has timed out");
}

pub(super) fn socket_gone(shard: u16, socket: Key, departure: &Departure) {
    let (socket, reason) = (Place(shard, socket), departure.reason.as_str());
    debug!(target: "socket.io:socket", %socket, reason, "closing socket");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m71_a_text_of_others_is_escaped_and_cut() {
        let evil = "a\"\r\nWARN forged\u{1b}[31m\u{202e}";
        let shown = Brief(evil).to_string();
        assert_eq!(shown, r#""a\"\r\nWARN forged\u{1b}[31m\u{202e}""#);
        for (text, bytes) in
            [("x".repeat(65_536), 256), ("é".repeat(200), 256), ("€".repeat(200), 255)]
        {
            let shown = Brief(&text).to_string();
            assert_eq!(shown.len(), bytes + 2 + "…".len());
            assert!(shown.ends_with("\"…"));
        }
        assert_eq!(Brief(&"x".repeat(256)).to_string().len(), 258);
    }

    #[test]
    fn m71_a_list_of_texts_of_others_is_cut_as_well() {
        let rooms: Vec<Target> = (0..1_000).map(|_| "\n".repeat(200).into()).collect();
        let shown = Briefs(&rooms).to_string();
        assert!(shown.len() < 1_000 && shown.ends_with("\", …]"), "{shown}");
        let shown = |rooms: &[Target]| Briefs(rooms).to_string();
        assert_eq!(shown(&["a".into(), "b".into()]), r#"["a", "b"]"#);
        assert_eq!(shown(&[]), "[]");
    }

    #[test]
    fn m71_a_message_has_ten_lines_a_second_and_tells_of_those_it_has_not() {
        let throttle = Throttle::new();
        let at = |millis: u64| Time::from_micros(millis * 1_000);
        let lines = |from| (from..from + 500).filter_map(|millis| throttle.admits(at(millis)));
        assert_eq!(lines(5_000).collect::<Vec<_>>(), [0; 10]);
        assert_eq!(throttle.admits(at(5_999)), None);
        assert_eq!(lines(6_000).collect::<Vec<_>>(), [491, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
