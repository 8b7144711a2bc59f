//! All clients of this process: their sockets, and how far each is in its life. What they do when
//! they live is the mode's affair.
//!
//! ```text
//! Absent ─ dial ▶ Upgrading ─▶ Opening ─▶ Connecting ─▶ Joining ─▶ Live ─ leave ▶ Leaving
//!   ▲             (WebSocket)  (Socket.IO)  (Socket.IO)  (rooms)    │                │
//!   └──────────── drop, or the server's end: from everywhere ───────┴────────────────┘
//! ```

mod channel;
mod frames;
mod polling;

use std::collections::VecDeque;
use std::io;

use crate::codec::{Heard, Protocol, socketio, websocket};
use crate::failure::{Doing, Failure};
use crate::modes::Mode;
use crate::plan::{Plan, Share, Transport};
use crate::poller::{Poller, Ready};
use crate::sys;
use channel::{Buffers, Channel};
use polling::Posts;

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Absent,
    /// The answer to the WebSocket handshake is awaited.
    Upgrading,
    /// The session is awaited.
    Opening,
    /// The namespace is awaited.
    Connecting,
    /// The room is awaited.
    Joining,
    Live,
    /// It said that it goes, and awaits the server's end.
    Leaving,
}

/// How a client's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Before it was live.
    Refused,
    /// While it was.
    Lost,
    /// As it wished.
    Left,
}

struct Client {
    phase: Phase,
    /// Tells the events of these sockets from those of earlier ones.
    generation: u32,
    /// When it began to connect.
    begun_ns: u64,
    /// The WebSocket, or the connection that polls.
    main: Channel,
    /// With long-polling, how it says something.
    posts: Option<Box<Posts>>,
}

pub struct Clients<'a> {
    plan: &'a Plan,
    share: &'a Share,
    host: String,
    pub poller: Poller,
    list: Vec<Client>,
    buffers: Buffers,
    /// The message that is being written.
    message: Vec<u8>,
    mask: u32,
    /// Those that have something to send.
    unsent: Vec<u32>,
    /// Those that shall connect, and when the next one may.
    to_dial: VecDeque<u32>,
    next_dial_ns: u64,
    dial_interval_ns: u64,
    live: usize,
    handshaking: usize,
    /// Of how many clients was said how they were lost.
    complaints: u32,
}

/// Which socket of a client an event belongs to.
const POSTS: u64 = 1 << 32;

/// Of so many lost clients it is said why; the others will not differ.
const COMPLAINTS_MAX: u32 = 3;

fn token(index: usize, generation: u32) -> u64 {
    index as u64 | (u64::from(generation) << 33)
}

impl<'a> Clients<'a> {
    /// How far dialling may be behind its rate and still make up for it.
    const BEHIND_MAX_NS: u64 = 10_000_000;

    pub fn new(plan: &'a Plan, share: &'a Share) -> io::Result<Clients<'a>> {
        let absent = || Client {
            phase: Phase::Absent,
            generation: 0,
            begun_ns: 0,
            main: Channel::default(),
            posts: None,
        };
        Ok(Clients {
            plan,
            share,
            host: plan.target.to_string(),
            poller: Poller::new(plan.sleeps)?,
            list: std::iter::repeat_with(absent).take(share.clients).collect(),
            buffers: Buffers::default(),
            message: Vec::new(),
            mask: 0x9e37_79b9,
            unsent: Vec::new(),
            to_dial: VecDeque::new(),
            next_dial_ns: 0,
            dial_interval_ns: (1e9 / share.connect_rate) as u64,
            live: 0,
            handshaking: 0,
            complaints: 0,
        })
    }

    /// How many are live.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn is_live(&self, index: usize) -> bool {
        self.list[index].phase == Phase::Live
    }

    pub fn is_leaving(&self, index: usize) -> bool {
        self.list[index].phase == Phase::Leaving
    }

    /// When the client began to connect.
    pub fn begun_ns(&self, index: usize) -> u64 {
        self.list[index].begun_ns
    }

    /// From now on clients connect as fast as handshakes under way permit.
    pub fn dial_at_once(&mut self) {
        self.dial_interval_ns = 0;
    }

    /// This client shall connect, when it is its turn.
    pub fn dial(&mut self, index: usize) {
        self.to_dial.push_back(index as u32);
    }

    /// Begins to connect those whose turn it is.
    pub fn dial_due(&mut self, now_ns: u64) -> Result<(), Failure> {
        while !self.to_dial.is_empty()
            && self.handshaking < self.share.handshakes
            && now_ns >= self.next_dial_ns
        {
            let Some(index) = self.to_dial.pop_front() else { break };
            // A client that was lost and then cut off was asked for twice.
            if self.list[index as usize].phase != Phase::Absent {
                continue;
            }
            let earliest_ns = now_ns.saturating_sub(Self::BEHIND_MAX_NS);
            self.next_dial_ns = self.next_dial_ns.max(earliest_ns) + self.dial_interval_ns;
            self.begin(index as usize, now_ns)?;
        }
        Ok(())
    }

    /// When somebody may have to be dialled next.
    pub fn next_dial_ns(&self) -> u64 {
        if self.to_dial.is_empty() { u64::MAX } else { self.next_dial_ns }
    }

    fn begin(&mut self, index: usize, now_ns: u64) -> Result<(), Failure> {
        let client = &mut self.list[index];
        client.begun_ns = now_ns;
        self.handshaking += 1;
        match self.plan.transport {
            Transport::WebSocket => {
                client.phase = Phase::Upgrading;
                let path = self.plan.protocol.path();
                let out = client.main.outgoing(&mut self.buffers);
                websocket::request(path, &self.host, out);
            }
            Transport::Polling => {
                client.phase = Phase::Opening;
                client.posts = Some(Box::default());
                self.poll(index);
            }
        }
        self.connect(index)?;
        self.unsent.push(index as u32);
        Ok(())
    }

    /// Gives the client's main channel a socket.
    fn connect(&mut self, index: usize) -> Result<(), Failure> {
        let source = self.plan.source(self.share.first_client + index);
        let client = &mut self.list[index];
        let socket = connected(self.plan, source)?;
        let token = token(index, client.generation);
        client.main.open(socket, token, &self.poller).doing("watching a socket")
    }

    /// Queues a message; `flush` sends it with all others that the client has by then.
    pub fn say(&mut self, index: usize, write: impl FnOnce(Protocol, &mut Vec<u8>)) {
        self.message.clear();
        write(self.plan.protocol, &mut self.message);
        let message = std::mem::take(&mut self.message);
        self.queue(index, websocket::Kind::Text, &message);
        self.message = message;
    }

    fn queue(&mut self, index: usize, kind: websocket::Kind, message: &[u8]) {
        let client = &mut self.list[index];
        if let Some(posts) = &mut client.posts {
            posts.queue(message, &mut self.buffers);
            return self.unsent.push(index as u32);
        }
        if !client.main.has_outgoing() {
            self.unsent.push(index as u32);
        }
        // A key that differs from frame to frame is what RFC 6455 asks for; being hard to guess
        // protects proxies, and there are none.
        self.mask = self.mask.wrapping_mul(0x915f_77f5).wrapping_add(1);
        websocket::write(kind, message, self.mask, client.main.outgoing(&mut self.buffers));
    }

    /// Sends what was said, as far as there is room.
    pub fn flush(&mut self) -> Result<(), Failure> {
        while let Some(index) = self.unsent.pop() {
            self.send(index as usize)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<(), Failure> {
        let client = &mut self.list[index];
        let token = token(index, client.generation);
        if client.main.has_outgoing() {
            let sent = client.main.send(token, &self.poller, &mut self.buffers);
            sent.doing("sending")?;
        }
        if client.posts.is_some() { self.send_posts(index) } else { Ok(()) }
    }

    /// Ends a client's session as its protocol asks for. The mode hears of it when it is over.
    pub fn leave(&mut self, index: usize) {
        if self.plan.protocol == Protocol::SocketIo {
            self.say(index, |_, out| out.extend_from_slice(socketio::DISCONNECT));
        }
        match self.plan.transport {
            Transport::WebSocket => {
                self.queue(index, websocket::Kind::Close, &1000u16.to_be_bytes());
            }
            Transport::Polling => {
                self.say(index, |_, out| out.extend_from_slice(socketio::CLOSE));
            }
        }
        self.set_phase(index, Phase::Leaving);
    }

    /// Lets go of a client at once and without a word.
    pub fn drop_client(&mut self, index: usize) {
        self.release(index, true);
    }

    fn release(&mut self, index: usize, breaks: bool) {
        self.set_phase(index, Phase::Absent);
        let client = &mut self.list[index];
        client.generation = client.generation.wrapping_add(1) & 0x7fff_ffff;
        client.main.close(breaks, &mut self.buffers);
        if let Some(mut posts) = client.posts.take() {
            posts.close(&mut self.buffers);
        }
    }

    fn set_phase(&mut self, index: usize, phase: Phase) {
        let is_handshake = |phase| !matches!(phase, Phase::Absent | Phase::Live | Phase::Leaving);
        let before = std::mem::replace(&mut self.list[index].phase, phase);
        self.live -= usize::from(before == Phase::Live);
        self.live += usize::from(phase == Phase::Live);
        self.handshaking -= usize::from(is_handshake(before) && !is_handshake(phase));
    }

    /// A socket has something.
    pub fn ready<M: Mode>(
        &mut self,
        ready: Ready,
        buffer: &mut [u8],
        mode: &mut M,
    ) -> Result<(), Failure> {
        let index = ready.token as u32 as usize;
        if self.list[index].generation != (ready.token >> 33) as u32 {
            return Ok(());
        }
        if ready.can_send {
            self.send(index)?;
        }
        if !ready.can_receive {
            return Ok(());
        }
        match self.plan.transport {
            Transport::WebSocket => self.receive_frames(index, buffer, mode),
            Transport::Polling if ready.token & POSTS != 0 => self.posted(index, buffer, mode),
            Transport::Polling => self.polled(index, buffer, mode),
        }
    }

    /// A whole message came. `image` is what it looked like on the wire, if that can be compared.
    fn hear<M: Mode>(
        &mut self,
        index: usize,
        message: &[u8],
        image: &[u8],
        now_ns: u64,
        mode: &mut M,
    ) -> Result<(), Failure> {
        let heard = self.plan.protocol.decode(message);
        match (self.list[index].phase, heard) {
            (Phase::Leaving, _) | (_, Heard::Nothing) => {}
            (_, Heard::Ping) => self.say(index, |_, out| out.extend_from_slice(socketio::PONG)),
            (Phase::Opening, Heard::Open { session }) => {
                if let (Some(posts), Some(session)) = (&mut self.list[index].posts, session) {
                    posts.open(session);
                }
                self.say(index, |_, out| out.extend_from_slice(socketio::CONNECT));
                self.set_phase(index, Phase::Connecting);
            }
            (Phase::Connecting, Heard::Connected) => self.enter(index, now_ns, mode)?,
            (Phase::Joining, Heard::Joined) => self.arrive(index, now_ns, mode)?,
            (Phase::Live, heard @ (Heard::Broadcast(_) | Heard::Reply { .. } | Heard::Unknown)) => {
                mode.heard(self, index, &heard, image, now_ns);
            }
            (phase, _) => {
                let start = String::from_utf8_lossy(&message[..message.len().min(80)]);
                self.end(index, &format!("while {phase:?}, the server said: {start}"), mode)?;
            }
        }
        Ok(())
    }

    /// The session stands: on to the room, if there is one.
    fn enter<M: Mode>(&mut self, index: usize, now_ns: u64, mode: &mut M) -> Result<(), Failure> {
        let Some(room) = mode.room(index) else { return self.arrive(index, now_ns, mode) };
        self.say(index, |protocol, out| protocol.join(&room, out));
        self.set_phase(index, Phase::Joining);
        Ok(())
    }

    fn arrive<M: Mode>(&mut self, index: usize, now_ns: u64, mode: &mut M) -> Result<(), Failure> {
        self.set_phase(index, Phase::Live);
        mode.live(self, index, now_ns)
    }

    /// The connection broke, or the server has closed it.
    fn cut<M: Mode>(
        &mut self,
        index: usize,
        error: &io::Error,
        mode: &mut M,
    ) -> Result<(), Failure> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Err(Failure::Target(format!("nobody listens on {}", self.plan.target)))
            }
            _ => self.end(index, &error.to_string(), mode),
        }
    }

    /// The connection is over.
    fn end<M: Mode>(&mut self, index: usize, why: &str, mode: &mut M) -> Result<(), Failure> {
        let ending = match self.list[index].phase {
            Phase::Live => Ending::Lost,
            Phase::Leaving => Ending::Left,
            _ => Ending::Refused,
        };
        if ending == Ending::Lost && self.complaints < COMPLAINTS_MAX {
            self.complaints += 1;
            eprintln!("client {} was disconnected: {why}", self.share.first_client + index);
        }
        // Whoever closes second leaves nothing behind in the kernel.
        self.release(index, false);
        mode.ended(self, index, ending, why)
    }
}

fn connected(plan: &Plan, source: std::net::Ipv4Addr) -> Result<std::net::TcpStream, Failure> {
    sys::connect(source, plan.target).map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failure::Kernel("opening a socket", error),
        _ => Failure::Target(format!("connecting from {source} to {}: {error}", plan.target)),
    })
}
