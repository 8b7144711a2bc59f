//! A Socket.IO client as a script: it speaks the protocol over simulated connections, whatever the
//! network does, and panics when the server does not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare::base::clock::Time;
use fanfare::driver::sim::{Client, End, Network, Random};
use serde_json::{Value, json};

use crate::wire::{self, Event, Frame};

/// Which transports a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    WebSocket,
    Polling,
    /// Long-polling, and WebSocket as soon as it can.
    Upgrading,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its session.
    Opening,
    /// It waits for its socket.
    Joining,
    Joined,
    /// It has said that it leaves.
    Leaving,
    Gone,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
pub enum Leave {
    /// As the protocol wants it: a close frame, or a close packet in a POST.
    Politely,
    /// It breaks its connections.
    Reset,
    /// Its process ends.
    Vanish,
    /// It sends two POSTs at once, which is forbidden: the server drops the first one's connection
    /// while more of it arrives.
    Rudely,
}

impl Leave {
    /// Any way.
    pub fn any(random: &mut Random) -> Leave {
        let ways = [Leave::Politely, Leave::Reset, Leave::Vanish, Leave::Rudely];
        ways[random.index(ways.len())]
    }
}

/// A connection with what was read from it.
struct Link {
    client: Client,
    buffer: Vec<u8>,
    /// When the last response came: whether the server may have closed it as idle.
    used: Time,
    /// Whether its end was seen.
    is_over: bool,
}

/// A WebSocket beside the polling that it is to replace.
struct Probe {
    link: Link,
    is_open: bool,
    is_answered: bool,
}

/// One client.
pub struct Peer {
    pub name: usize,
    pub kind: Kind,
    pub phase: Phase,
    /// The id of its socket.
    pub id: Option<String>,
    /// Everything that the server has sent it, but control packets.
    pub events: Vec<Event>,
    /// With what it can have its socket back, and the last event that it has received.
    pub pid: Option<String>,
    offset: Option<String>,
    /// Events that have come before it knows who it is; its earlier id.
    early: Vec<Event>,
    earlier_id: Option<String>,
    /// Heartbeats answered.
    pub pings: usize,
    /// It does not read, for now.
    pub is_deaf: bool,
    /// Connections may end in the middle of something.
    pub is_lenient: bool,
    /// Probes that it breaks before it lets one be.
    pub spoiled_probes: usize,
    network: Network,
    address: SocketAddr,
    random: Random,
    session: Option<String>,
    outbox: VecDeque<String>,
    websocket: Option<Link>,
    is_websocket_open: bool,
    probe: Option<Probe>,
    get: Option<Link>,
    post: Option<Link>,
    idle: Option<Link>,
}

/// How long a client trusts a connection that nothing happens on; the server closes it after 5 s.
const REUSE: Duration = Duration::from_secs(1);

impl Link {
    fn open(network: &Network, address: SocketAddr) -> Link {
        let client = network.connect(address);
        Link { client, buffer: Vec::new(), used: network.now(), is_over: false }
    }

    /// Reads some of what has arrived; answers whether there was anything new.
    fn pull(&mut self, random: &mut Random, is_lenient: bool) -> bool {
        let most = match random.chance(200) {
            true => random.range(1..=40),
            false => usize::MAX,
        };
        let bytes = self.client.read_at_most(most);
        self.buffer.extend_from_slice(&bytes);
        let ended = !self.is_over && self.client.readable_bytes() == 0;
        let end = self.client.end().filter(|_| ended);
        self.is_over |= end.is_some();
        if end == Some(End::Finished) && bytes.is_empty() && !is_lenient {
            assert!(self.buffer.is_empty(), "a stream ended in the middle: {:?}", self.text());
        }
        !bytes.is_empty() || end.is_some()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

impl Peer {
    /// A client that connects at once.
    pub fn new(name: usize, kind: Kind, network: &Network, at: SocketAddr, seed: Random) -> Peer {
        let mut peer = Peer {
            name,
            kind,
            phase: Phase::Opening,
            id: None,
            events: Vec::new(),
            pid: None,
            offset: None,
            early: Vec::new(),
            earlier_id: None,
            pings: 0,
            is_deaf: false,
            is_lenient: false,
            spoiled_probes: 0,
            network: network.clone(),
            address: at,
            random: seed,
            session: None,
            outbox: VecDeque::new(),
            websocket: None,
            is_websocket_open: false,
            probe: None,
            get: None,
            post: None,
            idle: None,
        };
        let (link, first) = match kind {
            Kind::WebSocket => (&mut peer.websocket, wire::handshake("")),
            _ => (&mut peer.get, wire::request("GET", "transport=polling", None)),
        };
        link.insert(Link::open(network, at)).client.write(&first);
        peer
    }

    /// The same client, after it has lost its connections. It asks for what it had.
    pub fn coming_back(old: Peer, kind: Kind, seed: Random) -> Peer {
        let mut peer = Peer::new(old.name, kind, &old.network, old.address, seed);
        peer.events = old.events;
        // An event without its attachments has not come.
        peer.events.retain(|event| event.missing == 0);
        (peer.pid, peer.offset) = (old.pid, old.offset);
        peer.earlier_id = old.id.or(old.earlier_id);
        peer
    }

    /// Whether it is the one it was before, if it was one.
    pub fn has_its_id(&self) -> bool {
        self.earlier_id.is_none() || self.earlier_id == self.id
    }

    /// Sends an event, after those before.
    pub fn emit(&mut self, name: &str, mut args: Vec<Value>, id: Option<u64>) {
        args.insert(0, name.into());
        let id = id.map_or_else(String::new, |id| id.to_string());
        self.outbox.push_back(format!("42{id}{}", Value::Array(args)));
    }

    pub fn is_joined(&self) -> bool {
        self.phase == Phase::Joined
    }

    /// Whether a WebSocket carries it.
    pub fn is_upgraded(&self) -> bool {
        self.websocket.is_some()
    }

    /// Whether everything it wanted to say is with the network.
    pub fn has_said_all(&self) -> bool {
        self.outbox.is_empty() && self.post.is_none()
    }

    /// Events of a name.
    pub fn heard<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.name.as_deref() == Some(name))
    }

    pub fn leave(&mut self, how: Leave) {
        self.outbox.clear();
        match how {
            Leave::Politely => {
                self.phase = Phase::Leaving;
                match (&mut self.websocket, &self.session) {
                    (Some(link), _) if self.is_websocket_open => {
                        let close = wire::frame(&mut self.random, 8, &[]);
                        link.client.write(&close);
                    }
                    (None, Some(_)) => self.outbox.push_back("1".to_owned()),
                    _ => self.gone(),
                }
            }
            Leave::Reset => {
                let links = [&mut self.websocket, &mut self.get, &mut self.post, &mut self.idle];
                links.into_iter().flatten().for_each(|link| link.client.reset());
                self.gone();
            }
            Leave::Vanish => self.gone(),
            Leave::Rudely => {
                if let (None, Some(session)) = (&self.websocket, &self.session) {
                    let query = format!("transport=polling&sid={session}");
                    let post = wire::request("POST", &query, Some(&"x".repeat(4_000)));
                    let mut links = [0; 2].map(|_| Link::open(&self.network, self.address));
                    links.iter_mut().for_each(|link| link.client.write(&post));
                }
                self.gone();
            }
        }
    }

    /// Sends the beginning of a frame on its WebSocket, up to somewhere in the header, the mask or
    /// the payload, and then nothing any more.
    pub fn stall_in_frame(&mut self) {
        let whole = wire::frame(&mut self.random, 1, &[b'x'; 2_000]);
        let most = [4, 8, whole.len()][self.random.index(3)];
        let stalled = self.random.range(1..=most - 1);
        if let Some(link) = &mut self.websocket {
            link.client.write(&whole[..stalled]);
        }
        (self.is_deaf, self.is_lenient) = (true, true);
    }

    fn gone(&mut self) {
        self.phase = Phase::Gone;
        (self.websocket, self.probe) = (None, None);
        (self.get, self.post, self.idle) = (None, None, None);
        self.outbox.clear();
    }

    /// Reads what has come and does what is next; answers whether there was anything.
    pub fn step(&mut self) -> bool {
        if self.phase == Phase::Gone || self.is_deaf {
            return false;
        }
        let mut has_news = self.read_polls();
        has_news |= self.read_websocket();
        has_news |= self.read_probe();
        has_news | self.act()
    }

    fn read_polls(&mut self) -> bool {
        let mut has_news = false;
        for is_get in [true, false] {
            let slot = if is_get { &mut self.get } else { &mut self.post };
            let Some(mut link) = slot.take() else { continue };
            has_news |= link.pull(&mut self.random, self.is_lenient);
            let Some(response) = wire::take_response(&mut link.buffer) else {
                match link.is_over {
                    true => self.gone(),
                    false if is_get => self.get = Some(link),
                    false => self.post = Some(link),
                }
                continue;
            };
            assert!(link.buffer.is_empty(), "more than one response: {:?}", link.text());
            link.used = self.network.now();
            if response.keep_alive && !link.is_over && self.idle.is_none() {
                self.idle = Some(link);
            }
            if response.status != 200 {
                self.gone();
                continue;
            }
            let body = String::from_utf8(response.body).expect("a body is text");
            match is_get {
                true => body.split('\x1e').for_each(|packet| self.packet(packet, true)),
                false => assert_eq!(body, "ok", "the answer to a POST"),
            }
            if !is_get && self.phase == Phase::Leaving && self.outbox.is_empty() {
                self.gone();
            }
        }
        if let Some(idle) = &mut self.idle {
            has_news |= idle.pull(&mut self.random, self.is_lenient);
            assert!(idle.buffer.is_empty(), "an answer without a question: {:?}", idle.text());
            if idle.is_over {
                self.idle = None;
            }
        }
        has_news
    }

    fn read_websocket(&mut self) -> bool {
        let Some(mut link) = self.websocket.take() else { return false };
        let has_news = link.pull(&mut self.random, self.is_lenient);
        if !self.is_websocket_open
            && let Some(response) = wire::take_response_head(&mut link.buffer)
        {
            // Only after a jump of the clock the server may have given up on it.
            assert!(response == 101 || self.is_lenient, "a handshake was answered {response}");
            if response != 101 {
                self.gone();
                return true;
            }
            self.is_websocket_open = true;
        }
        let mut is_closed = false;
        while self.is_websocket_open
            && let Some(frame) = wire::take_frame(&mut link.buffer)
        {
            assert!(!is_closed, "nothing follows a close frame: {frame:?}");
            match frame {
                Frame::Text(text) => {
                    assert!(text != "6", "a noop belongs to polling");
                    self.packet(&text, false);
                }
                Frame::Binary(data) => self.attached(data),
                Frame::Close(_) => is_closed = true,
            }
        }
        match is_closed || link.is_over || self.phase == Phase::Gone {
            true => self.gone(),
            false => self.websocket = Some(link),
        }
        has_news
    }

    fn read_probe(&mut self) -> bool {
        let Some(mut probe) = self.probe.take() else { return false };
        let has_news = probe.link.pull(&mut self.random, self.is_lenient);
        if !probe.is_open
            && let Some(status) = wire::take_response_head(&mut probe.link.buffer)
        {
            if status != 101 {
                return true;
            }
            probe.is_open = true;
            probe.link.client.write(&wire::frame(&mut self.random, 1, b"2probe"));
        }
        while probe.is_open
            && let Some(frame) = wire::take_frame(&mut probe.link.buffer)
        {
            match frame {
                Frame::Text(text) if text == "3probe" => probe.is_answered = true,
                Frame::Close(_) => return true,
                other => panic!("on a WebSocket that is probed: {other:?}"),
            }
        }
        if !probe.link.is_over {
            self.probe = Some(probe);
        }
        has_news
    }

    fn packet(&mut self, packet: &str, is_poll: bool) {
        let (kind, rest) = packet.split_at_checked(1).expect("a packet is not empty");
        let latest = self.early.last().or(self.events.last());
        let is_inside = latest.is_some_and(|event| event.missing > 0);
        assert!(!is_inside || kind == "b", "{packet:?} came where an attachment belongs");
        match kind {
            "0" => {
                assert!(self.session.is_none(), "one session is opened once");
                let open: Value = serde_json::from_str(rest).expect("an open packet is JSON");
                self.session = open["sid"].as_str().map(str::to_owned);
                if self.phase == Phase::Leaving {
                    return;
                }
                self.phase = Phase::Joining;
                let mut auth = json!({ "name": self.name });
                if let Some(pid) = &self.pid {
                    auth["pid"] = json!(pid);
                }
                if let Some(offset) = &self.offset {
                    auth["offset"] = json!(offset);
                }
                self.outbox.push_back(format!("40{auth}"));
            }
            "1" => self.gone(),
            "2" => {
                self.pings += 1;
                self.outbox.push_front("3".to_owned());
            }
            "4" => self.message(rest),
            "6" => assert!(is_poll),
            "b" => self.attached(wire::attachment(rest)),
            _ => panic!("the server sent {packet:?}"),
        }
    }

    fn message(&mut self, packet: &str) {
        if let Some(payload) = packet.strip_prefix('0') {
            assert!(self.id.is_none(), "a socket connects once");
            let payload: Value = serde_json::from_str(payload).expect("a CONNECT reply is JSON");
            self.id = payload["sid"].as_str().map(str::to_owned);
            self.pid = payload["pid"].as_str().map(str::to_owned);
            for event in std::mem::take(&mut self.early) {
                self.receive(event);
            }
            if self.phase == Phase::Joining {
                self.phase = Phase::Joined;
            }
            return;
        }
        if packet == "1" {
            return self.gone();
        }
        let event = wire::event(packet);
        match self.id.is_some() {
            true => self.receive(event),
            false => {
                assert!(self.pid.is_some(), "{packet:?} came before the socket was connected");
                self.early.push(event);
            }
        }
    }

    fn receive(&mut self, event: Event) {
        if event.missing == 0 {
            self.note_offset(&event);
        }
        self.events.push(event);
    }

    fn note_offset(&mut self, event: &Event) {
        let is_offset = self.pid.is_some() && event.name.is_some() && event.id.is_none();
        if let Some(Value::String(offset)) = event.args.last().filter(|_| is_offset) {
            self.offset = Some(offset.clone());
        }
    }

    fn attached(&mut self, data: Vec<u8>) {
        let is_early = self.id.is_none();
        let events = if is_early { &mut self.early } else { &mut self.events };
        let event = events.last_mut().filter(|event| event.missing > 0);
        let event = event.expect("an attachment belongs to an event");
        event.missing -= 1;
        event.attachments.push(data);
        if event.missing == 0 && !is_early {
            let event = event.clone();
            self.note_offset(&event);
        }
    }

    /// Does what is next; answers whether there was anything.
    fn act(&mut self) -> bool {
        let Some(session) = self.session.clone().filter(|_| self.phase != Phase::Gone) else {
            return false;
        };
        if let Some(link) = &mut self.websocket {
            let has_news = !self.outbox.is_empty();
            for packet in self.outbox.drain(..) {
                link.client.write(&wire::frame(&mut self.random, 1, packet.as_bytes()));
            }
            return has_news;
        }
        let mut has_news = self.begin_probe(&session) || self.spoil_probe();
        if self.probe.as_ref().is_some_and(|probe| probe.is_answered) {
            return self.finish_upgrade() || has_news;
        }
        let query = format!("transport=polling&sid={session}");
        if self.post.is_none() && !self.outbox.is_empty() {
            let count = self.random.range(1..=self.outbox.len());
            let body: Vec<String> = self.outbox.drain(..count).collect();
            let body = body.join("\x1e");
            self.post = Some(self.ask(&wire::request("POST", &query, Some(&body))));
            has_news = true;
        }
        if self.get.is_none() && self.phase != Phase::Leaving {
            self.get = Some(self.ask(&wire::request("GET", &query, None)));
            has_news = true;
        }
        has_news
    }

    fn begin_probe(&mut self, session: &str) -> bool {
        let wants =
            self.kind == Kind::Upgrading && matches!(self.phase, Phase::Joining | Phase::Joined);
        if !wants || self.probe.is_some() || !self.random.chance(300) {
            return false;
        }
        let mut link = Link::open(&self.network, self.address);
        link.client.write(&wire::handshake(&format!("&sid={session}")));
        self.probe = Some(Probe { link, is_open: false, is_answered: false });
        true
    }

    /// Breaks a probe, wherever it is: the session must go on as if nothing had been.
    fn spoil_probe(&mut self) -> bool {
        if self.spoiled_probes == 0 || !self.random.chance(200) {
            return false;
        }
        let Some(mut probe) = self.probe.take() else { return false };
        self.spoiled_probes -= 1;
        match self.random.chance(500) {
            true => probe.link.client.reset(),
            false => probe.link.client.shutdown(),
        }
        true
    }

    /// Polling has paused: the last answers are awaited, then the WebSocket takes over.
    fn finish_upgrade(&mut self) -> bool {
        if self.get.is_some() || self.post.is_some() {
            return false;
        }
        let Some(mut probe) = self.probe.take() else { return false };
        probe.link.client.write(&wire::frame(&mut self.random, 1, b"5"));
        self.websocket = Some(probe.link);
        self.is_websocket_open = true;
        self.idle = None;
        true
    }

    /// Sends a request, on a connection of its own or on one that is kept alive.
    fn ask(&mut self, request: &[u8]) -> Link {
        let is_fresh = |link: &Link| self.network.now().since(link.used) < REUSE && !link.is_over;
        let kept = self.idle.take_if(|link| is_fresh(link)).filter(|_| self.random.chance(500));
        let mut link = kept.unwrap_or_else(|| Link::open(&self.network, self.address));
        link.client.write(request);
        link
    }
}
