//! Long-polling, the probing WebSocket beside it, and the change from one to the other
//! (protocol.md §5, §8, §9).

use std::time::Duration;

use crate::base::clock::Time;
use crate::base::frame::{Encoded, Frame};
use crate::base::shed::{self, FRAME_CHARGE, Oldest};
use crate::base::slab::Key;
use crate::proto::engine::Protocol;
use crate::proto::jsonp::Callback;
use crate::proto::socket::DisconnectReason;

use super::{Carrier, Effect, Options, Phase, Session};

/// What a GET is answered.
#[derive(Debug)]
pub enum Answer {
    /// These packets.
    Packets(Vec<Frame>),
    /// `6`: nothing, but the client's poll is over.
    Noop,
    /// `1`: the session is closed.
    Close,
    /// `6` and `1`: nothing was left when the session that is closing was polled.
    NoopClose,
    /// 400 with an empty body: another GET was waiting already.
    BadRequest,
}

/// What waits for a client that polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it is charged for that.
    pub charge: usize,
    /// What it was charged before.
    pub charge_before: usize,
    /// Whether an older packet has made room.
    pub has_coalesced: bool,
}

/// How the payloads of a polling session are written and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// The revision, and how attachments are sent.
    pub protocol: Protocol,
    /// What a page calls that can only load scripts; it posts forms.
    pub callback: Option<Callback>,
}

impl From<Protocol> for Dialect {
    fn from(protocol: Protocol) -> Dialect {
        Dialect { protocol, callback: None }
    }
}

/// The requests of a polling session, and what waits for the next one.
#[derive(Debug, Default)]
pub struct Polling {
    pub(super) dialect: Dialect,
    /// The GET that is held.
    pub(super) get: Option<Key>,
    /// The POST that is being received or worked off.
    pub(super) post: Option<Key>,
    /// What the last GET of a session that is closing is answered.
    pub(super) farewell: Farewell,
    queue: Vec<Frame>,
    queued_bytes: usize,
}

/// Who has closed a session whose end waits for a GET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The server, for this client.
    #[default]
    Closed,
    /// The client, in the POST that waits for its answer.
    Leaving,
    /// The server, for all clients.
    ShuttingDown,
}

impl Farewell {
    fn answer(self) -> Answer {
        match self {
            Farewell::Closed => Answer::NoopClose,
            Farewell::Leaving => Answer::Noop,
            Farewell::ShuttingDown => Answer::Close,
        }
    }
}

/// A WebSocket that wants to become the transport.
#[derive(Debug)]
pub struct Probe {
    connection: Key,
    protocol: Protocol,
    stage: Stage,
    /// When it is given up (`upgradeTimeout`).
    until: Time,
    /// Polls that are still answered at once.
    noops_at_once: u8,
    /// When the poll that is held must be answered, once the probe is.
    next_noop: Time,
}

/// How far a probe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said on it.
    Opened,
    /// `2probe` was answered: the client waits for the end of its polls.
    Answered,
}

/// Polls during a probe that are answered at once: the client needs one or two until it has seen
/// the probe's answer. Later ones wait, so that a client that never finishes does not spin.
const NOOPS_AT_ONCE: u8 = 3;
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// The pong of a client that polls, as it is queued.
const PONG: &[u8] = b"\x81\x013";

impl Polling {
    pub(super) fn new(dialect: Dialect) -> Polling {
        Polling { dialect, ..Polling::default() }
    }

    pub(super) fn answer(&self, get: Key, answer: Answer) -> Effect {
        Effect::Poll(get, answer, self.dialect)
    }

    pub(super) fn ends_with_pong(&self) -> bool {
        self.queue.last().is_some_and(|frame| frame.bytes() == PONG)
    }

    pub(super) fn take_queued(&mut self) -> Option<Answer> {
        self.queued_bytes = 0;
        let queue = std::mem::take(&mut self.queue);
        (!queue.is_empty()).then_some(Answer::Packets(queue))
    }

    pub(super) fn queue_ping(&mut self) {
        let ping = Frame::own(Encoded::text_frame(b"\x81\x012", 2).compress(false).into());
        self.queue.push(ping);
    }

    pub(super) fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.queue.is_empty() {
            return;
        }
        if let Some(held) = self.get.take()
            && let Some(answer) = self.take_queued()
        {
            effects.push(self.answer(held, answer));
        }
    }

    pub(super) fn end(&mut self, effects: &mut Vec<Effect>) {
        self.forget_queued();
        if let Some(held) = self.get.take() {
            effects.push(self.answer(held, Answer::Close));
        }
        if self.farewell == Farewell::Leaving
            && let Some(last) = self.post.take()
        {
            effects.push(Effect::AcceptPost(last));
        }
    }

    /// What the client is charged for what waits: the bytes, and what it takes to hold them.
    fn charge(&self) -> usize {
        self.queued_bytes + self.queue.len() * FRAME_CHARGE
    }

    pub(super) fn forget_queued(&mut self) {
        self.queue = Vec::new();
        self.queued_bytes = 0;
    }
}

impl Probe {
    pub(super) fn deadline(&self, carrier: &Carrier) -> Time {
        match carrier {
            Carrier::Polling(polling) if polling.get.is_some() && self.stage == Stage::Answered => {
                self.until.min(self.next_noop)
            }
            _ => self.until,
        }
    }
}

/// Why a request does not fit the session: both are 400 with code 3 on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The session is carried by another transport, or is over.
    Transport,
    /// Another WebSocket is being probed.
    Probing,
}

impl Session {
    /// Closes the session because the server drains, behind what is queued. A polling client that
    /// has no GET under way is told with its next one, if that comes soon.
    pub fn send_away(&mut self, now: Time, options: &Options, effects: &mut Vec<Effect>) {
        let reason = DisconnectReason::ServerShuttingDown;
        if let Phase::Closing(until, reason) = self.phase {
            // Its client is waited for no longer than those that are sent away now.
            let soon = now.after(options.limits.farewell_timeout);
            self.phase = Phase::Closing(until.min(soon), reason);
        }
        if !self.is_open() {
            return;
        }
        let Carrier::Polling(polling) = &mut self.carrier else {
            return self.end(reason, effects);
        };
        if let Some(held) = polling.get.take() {
            let answer = polling.take_queued().unwrap_or(Answer::Close);
            effects.push(polling.answer(held, answer));
            return self.end(reason, effects);
        }
        self.start_closing(now.after(options.limits.farewell_timeout), reason, effects);
    }

    /// A GET arrived. It is answered at once or held.
    pub fn poll(
        &mut self,
        connection: Key,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Mismatch> {
        let polling = match &mut self.carrier {
            Carrier::Polling(polling) if self.phase != Phase::Closed => polling,
            _ => return Err(Mismatch::Transport),
        };
        if polling.get.is_some() {
            effects.push(polling.answer(connection, Answer::BadRequest));
            self.end(DisconnectReason::TransportError, effects);
            return Ok(());
        }
        let queued = polling.take_queued();
        if let Phase::Closing(_, reason) = self.phase {
            let is_last = queued.is_none();
            let last = polling.farewell.answer();
            effects.push(polling.answer(connection, queued.unwrap_or(last)));
            if is_last {
                self.end(reason, effects);
            }
            return Ok(());
        }
        if let Some(answer) = queued {
            effects.push(polling.answer(connection, answer));
            return Ok(());
        }
        if let Some(probe) = &mut self.probe
            && probe.stage == Stage::Answered
            && probe.noops_at_once > 0
        {
            probe.noops_at_once -= 1;
            effects.push(polling.answer(connection, Answer::Noop));
            return Ok(());
        }
        polling.get = Some(connection);
        if let Some(probe) = &mut self.probe {
            probe.next_noop = now.after(NOOP_INTERVAL);
        }
        Ok(())
    }

    /// A POST has begun. `Ok(false)` when it was refused because another one is under way, which
    /// also ends the session.
    pub fn post_begins(
        &mut self,
        connection: Key,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, Mismatch> {
        let polling = match &mut self.carrier {
            Carrier::Polling(polling) if self.phase != Phase::Closed => polling,
            _ => return Err(Mismatch::Transport),
        };
        if let Some(first) = polling.post.take() {
            effects.push(Effect::RefusePost(connection));
            effects.push(Effect::Drop(first));
            self.end(DisconnectReason::TransportError, effects);
            return Ok(false);
        }
        polling.post = Some(connection);
        Ok(true)
    }

    /// A POST was worked off and is answered.
    pub fn post_ends(&mut self, connection: Key) {
        if let Carrier::Polling(polling) = &mut self.carrier
            && polling.post == Some(connection)
        {
            polling.post = None;
        }
    }

    /// How the payload of a POST is to be read; `None` when a WebSocket carries the session.
    pub fn dialect(&self) -> Option<Dialect> {
        match &self.carrier {
            Carrier::Polling(polling) => Some(polling.dialect),
            Carrier::WebSocket(..) => None,
        }
    }

    /// Whether a POST is still this session's.
    pub fn is_posting(&self, connection: Key) -> bool {
        matches!(&self.carrier, Carrier::Polling(polling) if polling.post == Some(connection))
    }

    /// Queues a packet for the next poll, in place of the one of its key; only for a session that
    /// no WebSocket carries. `None` when the session takes no packets any more.
    pub fn queue(&mut self, frame: Frame) -> Option<Waiting> {
        if !self.is_open() {
            return None;
        }
        let Carrier::Polling(polling) = &mut self.carrier else { return None };
        let charge_before = polling.charge();
        let earlier = frame.wire().key().and_then(|key| shed::latest(polling.queue.iter(), 0, key));
        if let Some(position) = earlier {
            polling.queued_bytes -= polling.queue.remove(position).bytes().len();
        }
        polling.queued_bytes += frame.bytes().len();
        polling.queue.push(frame);
        let has_coalesced = earlier.is_some();
        Some(Waiting { charge: polling.charge(), charge_before, has_coalesced })
    }

    /// Drops the oldest events that wait for the next poll, until what is left is charged so much.
    pub fn drop_oldest(&mut self, most: usize) -> Vec<(usize, Frame)> {
        let Carrier::Polling(polling) = &mut self.carrier else { return Vec::new() };
        let excess = polling.charge().saturating_sub(most);
        let mut oldest = Oldest::new(polling.queue.len(), 0, excess);
        polling.queue.retain(|frame| oldest.keeps(frame));
        polling.queued_bytes -= oldest.dropped_bytes();
        oldest.dropped
    }

    /// What the client is charged for what waits for the next poll.
    pub fn queue_charge(&self) -> usize {
        match &self.carrier {
            Carrier::Polling(polling) => polling.charge(),
            Carrier::WebSocket(..) => 0,
        }
    }

    /// Bytes that wait for the next poll.
    pub fn queued_bytes(&self) -> usize {
        match &self.carrier {
            Carrier::Polling(polling) => polling.queued_bytes,
            Carrier::WebSocket(..) => 0,
        }
    }

    /// Whether a packet that is queued now would go out now: a GET is held and nothing waits.
    pub fn is_poll_writable(&self) -> bool {
        match &self.carrier {
            Carrier::Polling(polling) => polling.get.is_some() && polling.queue.is_empty(),
            Carrier::WebSocket(..) => false,
        }
    }

    /// Whether a GET is held.
    pub fn has_held_poll(&self) -> bool {
        matches!(&self.carrier, Carrier::Polling(polling) if polling.get.is_some())
    }

    /// Answers the held GET with what is queued.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        if let Carrier::Polling(polling) = &mut self.carrier {
            polling.flush(effects);
        }
    }

    /// A WebSocket handshake named this session. `Ok` when it may be answered 101. What was asked
    /// for with it is what the session speaks if it becomes the transport.
    pub fn probe_opens(
        &mut self,
        connection: Key,
        protocol: Protocol,
        now: Time,
        options: &Options,
    ) -> Result<(), Mismatch> {
        if self.websocket().is_some() || self.is_closed() || self.is_leaving() {
            return Err(Mismatch::Transport);
        }
        if self.probe.is_some() {
            return Err(Mismatch::Probing);
        }
        self.probe = Some(Box::new(Probe {
            connection,
            protocol,
            stage: Stage::Opened,
            until: now.after(options.upgrade_timeout),
            noops_at_once: NOOPS_AT_ONCE,
            next_noop: now,
        }));
        Ok(())
    }

    /// Whether a WebSocket is the one being probed.
    pub fn is_probing(&self, connection: Key) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.connection == connection)
    }

    /// The probing WebSocket sent a text message.
    pub fn probe_text(
        &mut self,
        text: &[u8],
        now: Time,
        options: &Options,
        effects: &mut Vec<Effect>,
    ) {
        let Some(probe) = &mut self.probe else { return };
        match text {
            b"2probe" => {
                probe.stage = Stage::Answered;
                effects.push(Effect::Text(probe.connection, "3probe"));
                if let Carrier::Polling(polling) = &mut self.carrier
                    && let Some(held) = polling.get.take()
                {
                    effects.push(polling.answer(held, Answer::Noop));
                }
            }
            b"5" => self.upgrade(now, options, effects),
            _ => self.probe_fails(effects),
        }
    }

    /// The probing WebSocket broke a rule: only it is closed.
    pub fn probe_fails(&mut self, effects: &mut Vec<Effect>) {
        if let Some(probe) = self.probe.take() {
            effects.push(Effect::CloseWebSocket(probe.connection));
        }
    }

    fn upgrade(&mut self, now: Time, options: &Options, effects: &mut Vec<Effect>) {
        let Some(probe) = self.probe.take() else { return };
        let next = Carrier::WebSocket(probe.connection, probe.protocol);
        let Carrier::Polling(mut polling) = std::mem::replace(&mut self.carrier, next) else {
            return;
        };
        if let Some(held) = polling.get.take() {
            effects.push(polling.answer(held, Answer::Noop));
        }
        if let Some(posting) = polling.post.take() {
            effects.push(Effect::Drop(posting));
        }
        effects.push(Effect::Upgraded(probe.connection, std::mem::take(&mut polling.queue)));
        self.heartbeat.upgraded(now, options.ping_timeout);
        if let Phase::Closing(_, reason) = self.phase {
            self.end(reason, effects);
        }
    }

    pub(super) fn expire_probe(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let Some(probe) = &mut self.probe else { return };
        if probe.until <= now {
            return self.probe_fails(effects);
        }
        if probe.stage == Stage::Answered
            && probe.next_noop <= now
            && let Carrier::Polling(polling) = &mut self.carrier
            && let Some(held) = polling.get.take()
        {
            effects.push(polling.answer(held, Answer::Noop));
        }
    }

    /// A connection has ended, other than by an effect. Maybe it was this session's once.
    pub fn connection_ended(&mut self, connection: Key, effects: &mut Vec<Effect>) {
        if self.is_probing(connection) {
            self.probe = None;
            return;
        }
        match &mut self.carrier {
            Carrier::WebSocket(carrier, _) if *carrier == connection => {
                self.end(DisconnectReason::TransportClose, effects);
            }
            Carrier::Polling(polling) if polling.get == Some(connection) => {
                polling.get = None;
                self.end(DisconnectReason::TransportError, effects);
            }
            Carrier::Polling(polling) if polling.post == Some(connection) => {
                polling.post = None;
                self.end(DisconnectReason::TransportError, effects);
            }
            _ => {}
        }
    }
}
