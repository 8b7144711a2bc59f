//! One connection of a client, and the sockets on it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use crate::base::limits::Limits;
use crate::driver::sim::Random;
use crate::proto::engine;
use crate::proto::json::Raw;
use crate::proto::socket::{self, Body, Kind};

use super::carrier::{Carrier, Dial, Message, News};
use super::client::ConnectError;

/// One connection.
pub(super) struct Session {
    carrier: Carrier,
    /// By namespace.
    pub sockets: BTreeMap<String, Socket>,
    /// A packet whose attachments have not all come.
    incomplete: Option<Incomplete>,
    is_open: bool,
    has_ended: bool,
    /// Whether it does not answer pings.
    pub is_silent: bool,
}

/// A client in a namespace, as it sees itself.
pub(super) struct Socket {
    pub phase: Phase,
    /// What it sends to be let in, as JSON.
    auth: Option<Value>,
    /// Events that nobody has looked at yet.
    pub events: VecDeque<Arrived>,
    /// Acknowledgements that it has asked for, by id.
    pub answers: HashMap<u64, Option<Raw>>,
}

#[derive(Clone)]
pub(super) enum Phase {
    Connecting,
    /// With the id of the socket.
    Connected(String),
    Refused(ConnectError),
    /// Why, in the words of the JavaScript client.
    Gone(&'static str),
}

/// An event of the server.
pub(super) struct Arrived {
    pub name: String,
    pub args: Raw,
    /// The acknowledgement that the server asks for.
    pub id: Option<u64>,
}

struct Incomplete {
    text: Vec<u8>,
    attachments: Vec<Bytes>,
    missing: usize,
}

impl Session {
    /// A client that connects.
    pub fn open(dial: Dial, random: Random) -> Session {
        Session {
            carrier: Carrier::open(dial, random),
            sockets: BTreeMap::new(),
            incomplete: None,
            is_open: false,
            has_ended: false,
            is_silent: false,
        }
    }

    /// Asks for a namespace.
    pub fn join(&mut self, namespace: &str, auth: Option<Value>) {
        let (events, answers) = (VecDeque::new(), HashMap::new());
        let socket = Socket { phase: Phase::Connecting, auth, events, answers };
        self.sockets.insert(namespace.to_owned(), socket);
        if self.is_open {
            self.ask(namespace);
        }
        if self.has_ended {
            self.end("transport close");
        }
    }

    fn ask(&mut self, namespace: &str) {
        let auth = self.sockets.get(namespace).and_then(|socket| socket.auth.as_ref());
        let auth = auth.map(Value::to_string).unwrap_or_default();
        let packet = match namespace {
            "/" => format!("40{auth}"),
            other => format!("40{other},{auth}"),
        };
        self.carrier.send(vec![Message::Text(packet.into_bytes())]);
    }

    /// Sends a Socket.IO packet and its attachments.
    pub fn send(&mut self, packet: Vec<u8>, attachments: Vec<Bytes>) {
        let mut text = vec![engine::MESSAGE];
        text.extend(packet);
        let attachments = attachments.into_iter().map(Message::Binary);
        self.carrier.send([Message::Text(text)].into_iter().chain(attachments).collect());
    }

    /// Does what there is to do; answers whether there was anything.
    pub fn step(&mut self) -> bool {
        let mut news = Vec::new();
        let has_moved = self.carrier.step(&mut news);
        if !self.has_ended {
            news.into_iter().for_each(|news| self.take(news));
        }
        has_moved
    }

    /// The client ends the session in order.
    pub fn close(&mut self) {
        self.carrier.close();
        self.end("io client disconnect");
    }

    /// The network is gone.
    pub fn cut(&mut self) {
        self.carrier.cut();
        self.end("transport close");
    }

    fn end(&mut self, reason: &'static str) {
        self.has_ended = true;
        for socket in self.sockets.values_mut() {
            match socket.phase {
                Phase::Connected(_) => socket.phase = Phase::Gone(reason),
                Phase::Connecting => {
                    let message = format!("the connection has ended: {reason}");
                    socket.phase = Phase::Refused(ConnectError::new(message, None));
                }
                Phase::Refused(_) | Phase::Gone(_) => {}
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Open(_) => {
                self.is_open = true;
                for namespace in self.sockets.keys().cloned().collect::<Vec<_>>() {
                    self.ask(&namespace);
                }
            }
            News::Ping if self.is_silent => {}
            News::Ping => self.carrier.send(vec![Message::Text(b"3".to_vec())]),
            News::Packet(text) => match socket::decode(&text, &limits()) {
                Ok(packet) if packet.attachments > 0 => {
                    let missing = packet.attachments;
                    self.incomplete = Some(Incomplete { text, attachments: Vec::new(), missing });
                }
                Ok(_) => self.packet(&text, Vec::new()),
                Err(error) => {
                    panic!("the server sent {:?}: {error}", String::from_utf8_lossy(&text))
                }
            },
            News::Binary(bytes) => {
                let Some(mut packet) = self.incomplete.take() else {
                    panic!("the server sent an attachment that belongs to nothing");
                };
                packet.attachments.push(bytes);
                match packet.attachments.len() == packet.missing {
                    true => self.packet(&packet.text, packet.attachments),
                    false => self.incomplete = Some(packet),
                }
            }
            News::Refused(status, body) => {
                let message = format!("the server answered {status}: {body}");
                for socket in self.sockets.values_mut() {
                    socket.phase = Phase::Refused(ConnectError::new(message.clone(), None));
                }
                self.has_ended = true;
            }
            News::Ended => {
                self.carrier.cut();
                self.end("transport close");
            }
        }
    }

    /// A whole Socket.IO packet has come.
    fn packet(&mut self, text: &[u8], attachments: Vec<Bytes>) {
        let Ok(packet) = socket::decode(text, &limits()) else { return };
        let Some(socket) = self.sockets.get_mut(packet.namespace) else {
            panic!("the server sent a packet for {:?}", packet.namespace);
        };
        let raw = |args: &[u8]| Raw::scanned(Bytes::copy_from_slice(args), attachments);
        match (packet.kind, packet.body) {
            (Kind::Connect, Body::Connect(reply)) => {
                let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
                let id = reply["sid"].as_str().unwrap_or_default().to_owned();
                socket.phase = Phase::Connected(id);
            }
            (Kind::ConnectError, _) => {
                socket.phase = Phase::Refused(ConnectError::read(payload(text)));
            }
            (Kind::Disconnect, _) => socket.phase = Phase::Gone("io server disconnect"),
            (_, Body::Event { name, args }) => {
                let (name, args) = (name.into_owned(), raw(args));
                socket.events.push_back(Arrived { name, args, id: packet.id });
            }
            (_, Body::Ack { args }) => {
                let asked = packet.id.and_then(|id| socket.answers.get_mut(&id));
                let Some(answer) = asked else {
                    panic!("the server acknowledges {:?}, which was not asked for", packet.id);
                };
                *answer = Some(raw(args));
            }
            _ => {}
        }
    }
}

/// A server may send more than it takes.
fn limits() -> Limits {
    Limits { attachments: usize::MAX, ..Limits::default() }
}

/// What follows the type and the namespace of a packet.
fn payload(text: &[u8]) -> &[u8] {
    let rest = text.get(1..).unwrap_or_default();
    match (rest.first(), rest.iter().position(|byte| *byte == b',')) {
        (Some(b'/'), Some(comma)) => &rest[comma + 1..],
        _ => rest,
    }
}
