//! One Engine.IO session as a pure state machine.
//!
//! ```text
//!  GET                                                    WebSocket
//!   │                                                         │
//!   ▼        2probe, 5; polling goes on until the 5           ▼
//! polling ───────────────────────────────────────────────▶ websocket
//!   │ │                                                       │
//!   │ │ a GET is held, or what is queued does not matter      │ close, fault, timeout
//!   │ └─────────────────────────────────────────────────────┐ │
//!   │ close, with no GET to tell it to                      ▼ ▼
//!   └─────────▶ closing ────────────────────────────────▶ closed
//!                        the last GET, 5, fault, timeout
//! ```
//!
//! Polling and closing may have a WebSocket probed beside them: it becomes the transport with the
//! `5`, or it goes away alone. What is queued when a session is closing goes out with the next GET,
//! or with the upgrade, unless it is the client that leaves.
//!
//! The machine is told what happened and what time it is; it answers through a list of
//! [`Effect`]s, which the caller must carry out in order before it tells the machine anything else.
//! It owns no descriptor, no clock and no randomness. Connections are named by their [`Key`].

pub mod ack;
pub mod attachment;
pub mod departure;
pub mod handshake;
pub mod heartbeat;
pub mod namespace;
pub mod recovery;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::id::SessionId;
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::proto::engine::Protocol;
use crate::proto::socket::DisconnectReason;

use attachment::Assembly;
use departure::DisconnectLimit;
use heartbeat::{Beat, Heartbeat};
use namespace::Namespaces;
use recovery::{ConnectionStateRecovery, StateFile};
pub use transport::{Answer, Dialect, Mismatch};
use transport::{Farewell, Polling, Probe};

/// What the caller must do for the session, in order.
#[derive(Debug)]
pub enum Effect {
    /// Answer a GET, in this dialect.
    Poll(Key, Answer, Dialect),
    /// Refuse a POST with 400 and an empty body.
    RefusePost(Key),
    /// Answer a POST with `ok`: the last one of a client that leaves.
    AcceptPost(Key),
    /// Send a text message on a WebSocket.
    Text(Key, &'static str),
    /// Send what was queued on the WebSocket that has become the transport.
    Upgraded(Key, Vec<Frame>),
    /// Start the closing handshake of a WebSocket; what was queued before goes out first. It may be
    /// one that has ended already, or that is being closed for a fault: then nothing is left to do.
    CloseWebSocket(Key),
    /// End a connection at once.
    Drop(Key),
    /// The session takes and dispatches nothing more: its sockets are disconnected, for this
    /// reason. What is queued may still go out.
    Closing(DisconnectReason),
    /// The session is over, for this reason, which is that of [`Effect::Closing`] if that came
    /// before. Nothing follows for it.
    Closed(DisconnectReason),
}

/// Timing and limits of a session, shared by all sessions of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// `pingInterval`: 25 s.
    pub ping_interval: Duration,
    /// `pingTimeout`: 20 s.
    pub ping_timeout: Duration,
    /// `upgradeTimeout`: 10 s.
    pub upgrade_timeout: Duration,
    /// `connectTimeout`: 45 s; `None` on a server without namespaces.
    pub connect_timeout: Option<Duration>,
    /// How long an acknowledgement is waited for unless its emit says otherwise: 60 s.
    pub ack_timeout: Option<Duration>,
    /// How clients that were away have their state back, if they do: no.
    pub connection_state_recovery: Option<ConnectionStateRecovery>,
    /// Every other limit.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Some(Duration::from_secs(45)),
            ack_timeout: Some(Duration::from_secs(60)),
            connection_state_recovery: None,
            limits: Limits::default(),
        }
    }
}

impl Options {
    /// Where the state of clients is kept while the server restarts.
    pub fn state_file(&self) -> Option<&StateFile> {
        self.connection_state_recovery.as_ref()?.state_file.as_ref()
    }

    /// How long a client that pings may be silent.
    fn patience(&self) -> Duration {
        self.ping_interval.saturating_add(self.ping_timeout)
    }
}

/// How long the end of a session that its client closes waits for the GET that is under way.
const LEAVE_GRACE: Duration = Duration::from_millis(50);

/// What carries the packets of a session.
#[derive(Debug)]
enum Carrier {
    Polling(Box<Polling>),
    WebSocket(Key, Protocol),
}

impl Carrier {
    fn protocol(&self) -> Protocol {
        match self {
            Carrier::Polling(polling) => polling.dialect.protocol,
            Carrier::WebSocket(_, protocol) => *protocol,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No namespace was joined: when it is closed for that, and the bytes that it has sent so far.
    Unjoined(Time, u32),
    Open,
    /// What is queued may still go out, until then; what its sockets were told.
    Closing(Time, DisconnectReason),
    Closed,
}

/// One Engine.IO session. See the module documentation.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    carrier: Carrier,
    probe: Option<Box<Probe>>,
    phase: Phase,
    heartbeat: Heartbeat,
    /// The namespaces it has joined.
    pub namespaces: Namespaces,
    /// The packet whose messages are still coming.
    pub assembly: Option<Box<Assembly>>,
    /// The request that opened the session, if it is kept.
    pub request: Option<Arc<[u8]>>,
}

/// Why a packet ended its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Not an Engine.IO packet.
    Undecodable,
    /// A ping from a client of protocol 4, or a pong from one of protocol 3: heartbeats go the
    /// other way.
    HeartbeatDirection,
    /// Not a Socket.IO packet: the session is closed after what is queued has gone out.
    Decode,
    /// A Socket.IO packet that does not fit the state of its socket: likewise.
    State,
}

impl Session {
    /// A session that a GET has opened.
    pub fn over_polling(id: SessionId, dialect: Dialect, now: Time, options: &Options) -> Session {
        let polling = Box::new(Polling::new(dialect));
        Session::new(id, Carrier::Polling(polling), now, options)
    }

    /// A session that a WebSocket handshake has opened.
    pub fn over_websocket(
        id: SessionId,
        connection: Key,
        protocol: Protocol,
        now: Time,
        options: &Options,
    ) -> Session {
        Session::new(id, Carrier::WebSocket(connection, protocol), now, options)
    }

    fn new(id: SessionId, carrier: Carrier, now: Time, options: &Options) -> Session {
        let heartbeat = match carrier.protocol() {
            Protocol::V4 => Heartbeat::new(now, options.ping_interval),
            Protocol::V3(_) => Heartbeat::of_client(now, options.patience()),
        };
        Session {
            id,
            carrier,
            probe: None,
            phase: match options.connect_timeout {
                Some(timeout) => Phase::Unjoined(now.after(timeout), 0),
                None => Phase::Open,
            },
            heartbeat,
            namespaces: Namespaces::default(),
            assembly: None,
            request: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whether packets are still exchanged.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Unjoined(..))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The WebSocket that carries it, if one does.
    pub fn websocket(&self) -> Option<Key> {
        match self.carrier {
            Carrier::WebSocket(connection, _) => Some(connection),
            Carrier::Polling(_) => None,
        }
    }

    /// The WebSocket that carries it, if one does that speaks this.
    pub fn websocket_of(&self, protocol: Protocol) -> Option<Key> {
        match self.carrier {
            Carrier::WebSocket(connection, spoken) if spoken == protocol => Some(connection),
            _ => None,
        }
    }

    /// What it speaks on its transport.
    pub fn protocol(&self) -> Protocol {
        self.carrier.protocol()
    }

    /// The transport's name in the protocol.
    pub fn transport_name(&self) -> &'static str {
        match self.carrier {
            Carrier::WebSocket(..) => "websocket",
            Carrier::Polling(_) => "polling",
        }
    }

    /// How long its client took to answer the latest ping that it has answered.
    pub fn round_trip(&self) -> Option<Duration> {
        self.heartbeat.round_trip()
    }

    /// Whether its client has not answered the latest ping.
    pub fn awaits_pong(&self) -> bool {
        self.heartbeat.is_awaited()
    }

    /// The limit that its client is beyond by now, but for the heartbeat: [`Session::expire`] ends
    /// it for that.
    pub fn overdue(&self, now: Time) -> Option<DisconnectLimit> {
        if self.assembly.as_ref().is_some_and(|assembly| assembly.until <= now) {
            return Some(DisconnectLimit::AttachmentsTimeout);
        }
        let is_unjoined = matches!(self.phase, Phase::Unjoined(until, _) if until <= now);
        is_unjoined.then_some(DisconnectLimit::ConnectTimeout)
    }

    /// Takes note that a namespace was joined: the session may stay (`connectTimeout`).
    pub fn connected(&mut self) {
        if let Phase::Unjoined(..) = self.phase {
            self.phase = Phase::Open;
        }
    }

    /// Charges received bytes to a session that has not joined a namespace; answers whether that
    /// was too much.
    pub fn charge(&mut self, bytes: usize, options: &Options) -> bool {
        let Phase::Unjoined(_, sum) = &mut self.phase else { return false };
        *sum = sum.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        *sum as usize > options.limits.bytes_before_connect
    }

    /// A pong came in.
    pub fn pong(&mut self, now: Time, options: &Options) {
        if self.is_open() {
            self.heartbeat.pong(now, options.ping_interval);
        }
    }

    /// The shard has stood still for so long, which does not count in `now`.
    pub fn resumed(&mut self, now: Time, stall: Duration, options: &Options) {
        if self.is_open() {
            self.heartbeat.resumed(now, stall, options.ping_timeout);
        }
    }

    /// A ping came in, from a client of protocol 3. Answers whether a pong is due: pings of which
    /// the client has not fetched the answers share the next one.
    pub fn ping(&mut self, now: Time, options: &Options) -> bool {
        if !self.is_open() {
            return false;
        }
        self.heartbeat = Heartbeat::of_client(now, options.patience());
        match &self.carrier {
            Carrier::Polling(polling) => !polling.ends_with_pong(),
            Carrier::WebSocket(..) => true,
        }
    }

    /// Any other packet came in.
    pub fn traffic(&mut self, now: Time, options: &Options) {
        if self.is_open() {
            self.heartbeat.traffic(now, options.ping_timeout);
        }
    }

    /// What the client has sent is not read, for a reason of the server's: it is not overdue.
    pub fn forgive(&mut self, now: Time, options: &Options) {
        self.heartbeat.forgive(now, options.ping_interval, options.patience());
    }

    /// The client said that it leaves (Engine.IO `1`). A polling client has a GET under way then,
    /// which must see the end. It may be behind the POST that says so, on another connection: so
    /// the end, and the answer to the POST, wait a moment for it.
    pub fn client_close(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if !self.is_open() {
            return;
        }
        let reason = DisconnectReason::TransportClose;
        let Carrier::Polling(polling) = &mut self.carrier else {
            return self.end(reason, effects);
        };
        if let Some(held) = polling.get.take() {
            effects.push(polling.answer(held, Answer::Noop));
            return self.end(reason, effects);
        }
        polling.farewell = Farewell::Leaving;
        polling.forget_queued();
        // A `5` that comes now must not take the last POST away: the client has left.
        self.probe_fails(effects);
        self.start_closing(now.after(LEAVE_GRACE), reason, effects);
    }

    /// Whether the client has said that it leaves, and its last POST is not answered yet.
    pub fn is_leaving(&self) -> bool {
        matches!(&self.carrier, Carrier::Polling(polling) if polling.farewell == Farewell::Leaving)
    }

    /// The client broke a rule.
    pub fn violation(
        &mut self,
        violation: Violation,
        now: Time,
        options: &Options,
        effects: &mut Vec<Effect>,
    ) {
        match violation {
            Violation::Undecodable => self.end(DisconnectReason::ParseError, effects),
            Violation::HeartbeatDirection => self.end(DisconnectReason::TransportError, effects),
            Violation::Decode => {
                self.close(DisconnectReason::ForcedClose, now, options, effects);
            }
            Violation::State => {
                self.close(DisconnectReason::ForcedServerClose, now, options, effects);
            }
        }
    }

    /// Closes the session after what is queued has gone out. `deferred` is the reason that its
    /// sockets see when that takes another poll; it is [`DisconnectReason::ForcedClose`] otherwise.
    pub fn close(
        &mut self,
        deferred: DisconnectReason,
        now: Time,
        options: &Options,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_open() {
            return;
        }
        let Carrier::Polling(polling) = &mut self.carrier else {
            return self.end(DisconnectReason::ForcedClose, effects);
        };
        if let Some(held) = polling.get.take() {
            let answer = polling.take_queued().unwrap_or(Answer::Close);
            effects.push(polling.answer(held, answer));
            return self.end(DisconnectReason::ForcedClose, effects);
        }
        let until = now.after(options.limits.polling_close_timeout);
        self.start_closing(until, deferred, effects);
    }

    /// Closes the session because the server closes; what is queued is lost. A polling client that
    /// has no GET under way is told with its next one, if that comes soon.
    pub fn shut_down(&mut self, now: Time, options: &Options, effects: &mut Vec<Effect>) {
        let (reason, is_open) = (DisconnectReason::ServerShuttingDown, self.is_open());
        match &mut self.carrier {
            Carrier::Polling(polling) if polling.get.is_none() && is_open => {
                polling.farewell = Farewell::ShuttingDown;
                polling.forget_queued();
                self.probe_fails(effects);
                self.start_closing(now.after(options.limits.farewell_timeout), reason, effects);
            }
            _ => self.end(reason, effects),
        }
    }

    fn start_closing(&mut self, until: Time, reason: DisconnectReason, effects: &mut Vec<Effect>) {
        debug_assert!(self.is_open(), "a session closes once");
        self.phase = Phase::Closing(until, reason);
        self.assembly = None;
        effects.push(Effect::Closing(reason));
    }

    /// Closes the session at once; what is queued is lost. The reason of a session that is closing
    /// stays what its sockets were told.
    pub fn end(&mut self, reason: DisconnectReason, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Closed {
            return;
        }
        let reason = match self.phase {
            Phase::Closing(_, reason) => reason,
            _ => reason,
        };
        self.phase = Phase::Closed;
        self.assembly = None;
        self.probe_fails(effects);
        match &mut self.carrier {
            Carrier::WebSocket(connection, _) => effects.push(Effect::CloseWebSocket(*connection)),
            Carrier::Polling(polling) => polling.end(effects),
        }
        effects.push(Effect::Closed(reason));
    }

    /// The next moment at which [`Session::expire`] has something to do.
    pub fn deadline(&self) -> Time {
        let due = match self.phase {
            Phase::Closed => return Time::NEVER,
            Phase::Closing(until, _) => until,
            Phase::Unjoined(until, _) => self.heartbeat.due().min(until),
            Phase::Open => self.heartbeat.due(),
        };
        let assembly = self.assembly.as_ref().map_or(due, |assembly| assembly.until.min(due));
        self.probe.as_ref().map_or(assembly, |probe| probe.deadline(&self.carrier).min(assembly))
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Time, options: &Options, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Closed => return,
            Phase::Closing(until, reason) if until <= now => return self.end(reason, effects),
            Phase::Closing(..) => return self.expire_probe(now, effects),
            Phase::Unjoined(..) | Phase::Open => {}
        }
        if self.assembly.as_ref().is_some_and(|assembly| assembly.until <= now) {
            return self.end(DisconnectReason::ParseError, effects);
        }
        self.expire_probe(now, effects);
        match self.heartbeat.expire(now, options.ping_timeout) {
            Beat::Quiet => {}
            Beat::Ping => self.send_ping(effects),
            Beat::Dead => return self.end(DisconnectReason::PingTimeout, effects),
        }
        if let Phase::Unjoined(until, _) = self.phase
            && until <= now
        {
            self.close(DisconnectReason::ForcedServerClose, now, options, effects);
        }
    }

    fn send_ping(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.carrier {
            Carrier::WebSocket(connection, _) => effects.push(Effect::Text(*connection, "2")),
            Carrier::Polling(polling) => {
                polling.queue_ping();
                polling.flush(effects);
            }
        }
    }
}

#[cfg(test)]
mod tests;
