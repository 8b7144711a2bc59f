//! A small server with one fault. It has a thread a client, and speaks both protocols.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket, accept_hdr};

/// What the server does wrong, each time to the same one of several clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, that is.
    None,
    /// It does not send message 5.
    Drop,
    /// It sends message 5 twice.
    Repeat,
    /// It sends message 2 again after message 9.
    RepeatLate,
    /// It sends message 6 in front of message 5.
    Swap,
    /// It changes one byte of message 5, so many bytes behind the beginning of its payload.
    Flip(usize),
    /// It leaves out the last byte of message 5's payload.
    Shorten,
    /// Instead of message 5 it sends the one before again: as many, but not the same.
    Replace,
    /// It ends the connection instead of sending message 5.
    HangUp,
    /// It answers message 5 with a frame that no server may send.
    BadFrame,
    /// It asks for a heartbeat before every message, and ends the connection if it gets none.
    Heartbeats,
    /// It sends everything byte by byte.
    Dribble,
    /// What is for one room goes to all.
    Leak,
    /// It refuses the handshake.
    Refuse,
    /// It ends connections before the handshake.
    CloseAtOnce,
    /// It does not answer whoever wants to join a room.
    Silent,
}

/// Which client the fault is for, in the order in which they came.
const VICTIM: usize = 1;

#[derive(Default)]
struct Peer {
    rooms: Vec<String>,
    /// Messages for it so far.
    count: usize,
    /// The payload that waits for the one behind it, and those that were sent.
    held: Option<String>,
    sent: Vec<String>,
    /// Heartbeats that were not answered.
    asked: usize,
    socket: Option<TcpStream>,
}

struct Server {
    fault: Fault,
    peers: Mutex<BTreeMap<usize, Peer>>,
}

/// Starts a server, which ends with the test's process.
pub fn server(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { fault, peers: Mutex::default() });
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let (server, socket) = (Arc::clone(&server), socket.unwrap());
            thread::spawn(move || server.serve(number, socket));
        }
    });
    address
}

/// The two languages, as far as a swarm speaks them.
#[derive(Clone, Copy)]
enum Language {
    SocketIo,
    Plain,
}

enum Said<'a> {
    Connect,
    Pong,
    Echo(&'a str, &'a str),
    Join(&'a str),
    Publish(Option<&'a str>, &'a str),
    Nothing,
}

impl Language {
    fn read(self, text: &str) -> Said<'_> {
        match self {
            Language::Plain => match text.split_at(1) {
                ("E", payload) => Said::Echo("", payload),
                ("J", room) => Said::Join(room),
                ("P", payload) => Said::Publish(None, payload),
                ("R", rest) => {
                    let (room, payload) = rest.split_once('\n').unwrap();
                    Said::Publish(Some(room), payload)
                }
                _ => Said::Nothing,
            },
            Language::SocketIo => {
                let Some((head, rest)) = text.split_once('[') else {
                    return match text {
                        "40" => Said::Connect,
                        "3" => Said::Pong,
                        _ => Said::Nothing,
                    };
                };
                let words: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
                match *words {
                    ["echo", payload] => Said::Echo(&head[2..], payload),
                    ["join", room] => Said::Join(room),
                    ["publish", payload] => Said::Publish(None, payload),
                    ["publish_room", room, payload] => Said::Publish(Some(room), payload),
                    _ => Said::Nothing,
                }
            }
        }
    }

    fn broadcast(self, payload: &str) -> String {
        match self {
            Language::SocketIo => format!("42[\"broadcast\",\"{payload}\"]"),
            Language::Plain => format!("B{payload}"),
        }
    }

    fn reply(self, id: &str, payload: &str) -> String {
        match self {
            Language::SocketIo => format!("43{id}[\"{payload}\"]"),
            Language::Plain => format!("E{payload}"),
        }
    }
}

impl Server {
    fn serve(&self, number: usize, mut socket: TcpStream) {
        match self.fault {
            Fault::CloseAtOnce => return,
            Fault::Refuse => {
                let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                return socket.write_all(refusal.as_bytes()).unwrap();
            }
            _ => {}
        }
        socket.set_nodelay(true).unwrap();
        let writer = socket.try_clone().unwrap();
        let mut language = Language::Plain;
        #[allow(clippy::result_large_err, reason = "the callback's type is not ours")]
        let note = |request: &Request, response: Response| {
            if request.uri().path() == "/socket.io/" {
                language = Language::SocketIo;
            }
            Ok(response)
        };
        let mut websocket = accept_hdr(socket, note).unwrap();
        let peer = Peer { socket: Some(writer), ..Peer::default() };
        self.peers.lock().unwrap().insert(number, peer);
        if let Language::SocketIo = language {
            websocket.send(Message::text("0{\"sid\":\"s\",\"pingInterval\":25000}")).unwrap();
        }
        self.listen(number, language, &mut websocket);
        self.peers.lock().unwrap().remove(&number);
    }

    fn listen(&self, number: usize, language: Language, socket: &mut WebSocket<TcpStream>) {
        while let Ok(message) = socket.read() {
            let Message::Text(text) = message else { continue };
            let mut peers = self.peers.lock().unwrap();
            match language.read(&text) {
                Said::Connect => self.write(peers.get_mut(&number), "40{\"sid\":\"x\"}"),
                Said::Pong => peers.get_mut(&number).into_iter().for_each(|peer| peer.asked -= 1),
                Said::Join(room) => {
                    peers.get_mut(&number).unwrap().rooms.push(room.to_owned());
                    let joined = match language {
                        Language::SocketIo => "430[]",
                        Language::Plain => "J",
                    };
                    if self.fault != Fault::Silent {
                        self.write(peers.get_mut(&number), joined);
                    }
                }
                Said::Echo(id, payload) => {
                    let write = |payload: &str| language.reply(id, payload);
                    self.give(number, peers.get_mut(&number), payload, &write);
                }
                Said::Publish(room, payload) => {
                    let write = |payload: &str| language.broadcast(payload);
                    for (number, peer) in peers.iter_mut() {
                        let is_in = |room: &str| peer.rooms.iter().any(|known| known == room);
                        if room.is_none_or(is_in) || self.fault == Fault::Leak {
                            self.give(*number, Some(peer), payload, &write);
                        }
                    }
                }
                Said::Nothing => {}
            }
        }
    }

    /// Sends a message, or what the fault makes of it.
    fn give(
        &self,
        number: usize,
        peer: Option<&mut Peer>,
        payload: &str,
        write: &dyn Fn(&str) -> String,
    ) {
        let Some(peer) = peer else { return };
        let count = peer.count;
        peer.count += 1;
        if self.fault == Fault::Heartbeats {
            assert!(peer.asked < 1000, "heartbeats are not answered");
            peer.asked += 1;
            self.write(Some(&mut *peer), "2");
        }
        for payload in self.made_of(number, peer, count, payload) {
            self.write(Some(&mut *peer), &write(&payload));
            peer.sent.push(payload);
        }
    }

    fn made_of(&self, number: usize, peer: &mut Peer, count: usize, payload: &str) -> Vec<String> {
        let whole = payload.to_owned();
        if number != VICTIM {
            return vec![whole];
        }
        match (self.fault, count) {
            (Fault::Drop, 5) => vec![],
            (Fault::Repeat, 5) => vec![whole.clone(), whole],
            (Fault::RepeatLate, 9) => vec![whole, peer.sent[2].clone()],
            (Fault::Replace, 5) => vec![peer.sent[4].clone()],
            (Fault::Shorten, 5) => vec![payload[..payload.len() - 1].to_owned()],
            (Fault::Flip(at), 5) => {
                let mut bytes = whole.into_bytes();
                bytes[at] ^= 1;
                vec![String::from_utf8(bytes).unwrap()]
            }
            (Fault::Swap, 5) => {
                peer.held = Some(whole);
                vec![]
            }
            (Fault::Swap, 6) => [whole].into_iter().chain(peer.held.take()).collect(),
            (Fault::HangUp, 5) => {
                let socket = peer.socket.take().unwrap();
                socket.shutdown(std::net::Shutdown::Both).unwrap();
                vec![]
            }
            (Fault::BadFrame, 5) => {
                peer.socket.as_mut().unwrap().write_all(&[0xc1, 0]).unwrap();
                vec![]
            }
            _ => vec![whole],
        }
    }

    fn write(&self, peer: Option<&mut Peer>, text: &str) {
        let Some(socket) = peer.and_then(|peer| peer.socket.as_mut()) else { return };
        let mut frame = vec![0x81];
        match text.len() {
            length @ ..126 => frame.push(length as u8),
            length => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(text.as_bytes());
        let pieces = if self.fault == Fault::Dribble { 1 } else { frame.len() };
        for piece in frame.chunks(pieces) {
            // Whoever has gone hears nothing; a swarm ends while messages are under way.
            let _ = socket.write_all(piece);
        }
    }
}
