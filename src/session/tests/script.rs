//! A session, the time, and the names of the connections to it.
//!
//! Each method is something that happens; it gives what the session answers, as text:
//!
//! | text | meaning |
//! |---|---|
//! | `g ← 4a␞4b` | the request `g` is answered, or the WebSocket `g` is sent, these packets |
//! | `g ← 400`, `p ← ok` | the request is refused, or accepted |
//! | `p dropped` | the connection is ended at once |
//! | `w upgraded: 4a` | the WebSocket carries the session now, and is sent what was queued |
//! | `w closes` | the closing handshake of the WebSocket begins |
//! | `closing: …`, `closed: …` | the sockets, and the session, have come to an end |
//! | `25000: …` | this comes 25 seconds after the session was opened |

use std::time::Duration;

use crate::base::clock::Time;
use crate::base::frame::{Encoded, Frame};
use crate::base::id::SessionId;
use crate::base::slab::Key;
use crate::proto::engine::{self, Packet, Protocol};
use crate::proto::socket::DisconnectReason;
use crate::session::attachment::Assembly;
use crate::session::{Answer, Effect, Mismatch, Options, Session, Violation};

use super::ledger::{Ledger, text};

/// See the module documentation.
#[derive(Debug)]
pub struct Script {
    pub session: Session,
    pub options: Options,
    pub ledger: Ledger,
    now: Time,
    names: Vec<String>,
}

impl Script {
    /// A session that has joined a namespace, over long-polling.
    pub fn polling() -> Script {
        let mut script = Script::stranger(Options::default());
        script.session.connected();
        script
    }

    /// A session over long-polling that has not joined a namespace.
    pub fn stranger(options: Options) -> Script {
        Script::speaking(Protocol::V4, options)
    }

    /// A session over long-polling that speaks this and has not joined a namespace.
    pub fn speaking(protocol: Protocol, options: Options) -> Script {
        let session = Session::over_polling(id(), protocol.into(), Time::ZERO, &options);
        let ledger = Ledger::default();
        Script { session, options, ledger, now: Time::ZERO, names: Vec::new() }
    }

    /// A session that has joined a namespace, over the WebSocket `w`.
    pub fn websocket() -> Script {
        let mut script = Script::polling();
        let websocket = script.key("w");
        script.ledger.websockets.push(websocket);
        let (now, options) = (script.now, &script.options);
        script.session = Session::over_websocket(id(), websocket, Protocol::V4, now, options);
        script.session.connected();
        script
    }

    fn key(&mut self, name: &str) -> Key {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Key { index: u32::try_from(index).unwrap(), generation: 0 }
    }

    /// Lets the session do something, books the effects and gives them as text.
    fn drive<R>(&mut self, work: impl FnOnce(&mut Self, &mut Vec<Effect>) -> R) -> (R, String) {
        let mut effects = Vec::new();
        let result = work(self, &mut effects);
        effects.iter().for_each(|effect| self.ledger.book(effect));
        self.ledger.audit(&self.session, self.now);
        let lines: Vec<String> = effects.iter().map(|effect| self.describe(effect)).collect();
        (result, lines.join(", "))
    }

    fn describe(&self, effect: &Effect) -> String {
        let name = |key: &Key| &self.names[key.index as usize];
        let join = |frames: &[Frame]| frames.iter().map(text).collect::<Vec<_>>().join("␞");
        match effect {
            Effect::Poll(get, answer, _) => {
                let body = match answer {
                    Answer::Packets(frames) => join(frames),
                    Answer::Noop => "6".to_owned(),
                    Answer::Close => "1".to_owned(),
                    Answer::NoopClose => "6␞1".to_owned(),
                    Answer::BadRequest => "400".to_owned(),
                };
                format!("{} ← {body}", name(get))
            }
            Effect::RefusePost(post) => format!("{} ← 400", name(post)),
            Effect::AcceptPost(post) => format!("{} ← ok", name(post)),
            Effect::Text(websocket, text) => format!("{} ← {text}", name(websocket)),
            Effect::Upgraded(websocket, frames) if frames.is_empty() => {
                format!("{} upgraded", name(websocket))
            }
            Effect::Upgraded(websocket, frames) => {
                format!("{} upgraded: {}", name(websocket), join(frames))
            }
            Effect::CloseWebSocket(websocket) => format!("{} closes", name(websocket)),
            Effect::Drop(connection) => format!("{} dropped", name(connection)),
            Effect::Closing(reason) => format!("closing: {}", reason.as_str()),
            Effect::Closed(reason) => format!("closed: {}", reason.as_str()),
        }
    }

    /// A GET arrives.
    pub fn get(&mut self, name: &str) -> String {
        let get = self.key(name);
        let (result, effects) = self.drive(|script, effects| {
            script.ledger.gets.push(get);
            let result = script.session.poll(get, script.now, effects);
            if result.is_err() {
                script.ledger.gets.retain(|other| *other != get);
            }
            result
        });
        outcome(result, effects)
    }

    /// The same, of a client that sends no request on a connection before the last was answered.
    pub fn get_unless_busy(&mut self, name: &str) -> String {
        let get = self.key(name);
        if self.ledger.gets.contains(&get) {
            return "busy".to_owned();
        }
        self.get(name)
    }

    /// A POST arrives, and all of these packets with it.
    pub fn post(&mut self, name: &str, packets: &[&str]) -> String {
        let mut said = vec![self.post_begins(name)];
        let post = self.key(name);
        if self.session.is_posting(post) {
            for packet in packets {
                said.push(self.receives(packet));
            }
            said.push(self.post_ends(name));
        }
        said.retain(|text| !text.is_empty());
        said.join(", ")
    }

    /// The head of a POST arrives.
    pub fn post_begins(&mut self, name: &str) -> String {
        let post = self.key(name);
        let (result, effects) = self.drive(|script, effects| {
            script.ledger.posts.push(post);
            let result = script.session.post_begins(post, effects);
            if result.is_err() {
                script.ledger.posts.retain(|other| *other != post);
            }
            result
        });
        outcome(result.map(|_| ()), effects)
    }

    /// The same, of a client that sends no request on a connection before the last was answered.
    pub fn post_unless_busy(&mut self, name: &str) -> String {
        let post = self.key(name);
        if self.ledger.posts.contains(&post) {
            return "busy".to_owned();
        }
        self.post_begins(name)
    }

    /// All packets of a POST were worked off: it is answered by the shard, unless it is the last.
    pub fn post_ends(&mut self, name: &str) -> String {
        let post = self.key(name);
        if !self.ledger.posts.contains(&post) || self.session.is_leaving() {
            return String::new();
        }
        self.session.post_ends(post);
        self.ledger.posts.retain(|other| *other != post);
        format!("{name} ← ok")
    }

    /// A packet arrives on what carries the session; only an open session takes it.
    pub fn receives(&mut self, packet: &str) -> String {
        if !self.session.is_open() {
            return String::new();
        }
        let decoded = engine::decode(packet.as_bytes());
        let is_v4 = self.session.protocol() == Protocol::V4;
        let (now, options) = (self.now, self.options.clone());
        match decoded {
            Ok(Packet::Pong(_)) if is_v4 => self.session.pong(now, &options),
            _ => self.session.traffic(now, &options),
        }
        match decoded {
            Err(_) => self.violates(Violation::Undecodable),
            Ok(Packet::Ping(_)) if !is_v4 && self.pings() => self.queue("3"),
            Ok(Packet::Ping(_)) if !is_v4 => String::new(),
            Ok(Packet::Ping(_)) => self.violates(Violation::HeartbeatDirection),
            Ok(Packet::Pong(_)) if !is_v4 => self.violates(Violation::HeartbeatDirection),
            Ok(Packet::Close) => self.leaves(),
            Ok(_) => String::new(),
        }
    }

    /// The client, of protocol 3, says `2`. Answers whether a pong is due.
    pub fn pings(&mut self) -> bool {
        self.session.ping(self.now, &self.options)
    }

    /// The client says `1`.
    pub fn leaves(&mut self) -> String {
        self.drive(|script, effects| script.session.client_close(script.now, effects)).1
    }

    pub fn violates(&mut self, violation: Violation) -> String {
        let options = self.options.clone();
        self.drive(|script, effects| {
            script.session.violation(violation, script.now, &options, effects);
        })
        .1
    }

    /// A WebSocket handshake names the session.
    pub fn opens(&mut self, name: &str) -> String {
        let websocket = self.key(name);
        let (options, protocol) = (self.options.clone(), self.session.protocol());
        let (result, effects) = self.drive(|script, _| {
            let result = script.session.probe_opens(websocket, protocol, script.now, &options);
            if result.is_ok() {
                script.ledger.websockets.push(websocket);
            }
            result
        });
        outcome(result, effects)
    }

    /// The same, on a connection that is no WebSocket yet.
    pub fn open_unless_busy(&mut self, name: &str) -> String {
        let websocket = self.key(name);
        if self.ledger.websockets.contains(&websocket) {
            return "busy".to_owned();
        }
        self.opens(name)
    }

    /// A WebSocket says something; only the probing one is listened to here.
    pub fn says(&mut self, name: &str, text: &str) -> String {
        let websocket = self.key(name);
        if !self.session.is_probing(websocket) {
            return "not probing".to_owned();
        }
        let options = self.options.clone();
        self.drive(|script, effects| {
            script.session.probe_text(text.as_bytes(), script.now, &options, effects);
        })
        .1
    }

    /// A packet is emitted.
    pub fn queue(&mut self, packet: &str) -> String {
        if let Some(websocket) = self.session.websocket()
            && self.session.is_open()
        {
            assert_eq!(self.ledger.taken.len(), self.ledger.delivered, "overtakes what is queued");
            self.ledger.taken.push(packet.to_owned());
            self.ledger.delivered += 1;
            return format!("{} ← {packet}", self.names[websocket.index as usize]);
        }
        let length = u8::try_from(packet.len()).unwrap();
        let frame = [&[0x81, length], packet.as_bytes()].concat();
        if self.session.queue(Frame::own(Encoded::text_frame(&frame, 2).into())).is_none() {
            return "gone".to_owned();
        }
        self.ledger.taken.push(packet.to_owned());
        String::new()
    }

    /// The turn ends: a GET that waits is answered with what was emitted in it.
    pub fn flush(&mut self) -> String {
        self.drive(|script, effects| script.session.flush(effects)).1
    }

    /// A connection is lost.
    pub fn loses(&mut self, name: &str) -> String {
        let lost = self.key(name);
        let ledger = &mut self.ledger;
        ledger.gets.retain(|get| *get != lost);
        ledger.posts.retain(|post| *post != lost);
        let (_, said) = self.drive(|script, effects| {
            script.session.connection_ended(lost, effects);
            // A WebSocket that is gone may be told to close; it does not hear it.
            script.ledger.websockets.retain(|websocket| *websocket != lost);
            effects.retain(|effect| !matches!(effect, Effect::CloseWebSocket(key) if *key == lost));
        });
        said
    }

    /// The server closes the session after what is queued.
    pub fn closes(&mut self, deferred: DisconnectReason) -> String {
        let options = self.options.clone();
        self.drive(|script, effects| script.session.close(deferred, script.now, &options, effects))
            .1
    }

    /// The server drains.
    pub fn server_drains(&mut self) -> String {
        let (now, options) = (self.now, self.options.clone());
        let work = |script: &mut Self, effects: &mut Vec<Effect>| {
            script.session.send_away(now, &options, effects);
        };
        self.drive(work).1
    }

    /// The server closes.
    pub fn server_shuts_down(&mut self) -> String {
        let (now, options) = (self.now, self.options.clone());
        let work = |script: &mut Self, effects: &mut Vec<Effect>| {
            script.session.shut_down(now, &options, effects);
        };
        self.drive(work).1
    }

    /// The server ends the session.
    pub fn ends(&mut self, reason: DisconnectReason) -> String {
        self.drive(|script, effects| script.session.end(reason, effects)).1
    }

    /// The header of a binary packet came, whose attachments must follow.
    pub fn awaits_attachments(&mut self) {
        let until = self.now.after(self.options.limits.attachments_timeout);
        self.session.assembly = Some(Box::new(Assembly::new(b"51-[]", 1, until, 100)));
    }

    /// Time passes, and what falls due is done on time.
    pub fn wait(&mut self, millis: u64) -> String {
        let end = self.now.after(Duration::from_millis(millis));
        let mut said = Vec::new();
        while self.session.deadline() <= end {
            self.now = self.session.deadline();
            let effects = self.expire();
            if !effects.is_empty() {
                said.push(format!("{}: {effects}", self.now.as_micros() / 1000));
            }
        }
        self.now = end;
        said.join("; ")
    }

    /// The shard stands still for so long, and then does what is due.
    pub fn stands_still(&mut self, millis: u64) -> String {
        let (options, stall) = (self.options.clone(), Duration::from_millis(millis));
        self.session.resumed(self.now, stall, &options);
        self.expire()
    }

    fn expire(&mut self) -> String {
        let options = self.options.clone();
        self.drive(|script, effects| script.session.expire(script.now, &options, effects)).1
    }

    /// Nobody says anything any more. Gives how long the session still lives, and what it says.
    pub fn silence(&mut self) -> (Duration, String) {
        let start = self.now;
        let mut said = Vec::new();
        while !self.session.is_closed() {
            assert!(said.len() < 20, "no end in sight: {said:?}");
            self.now = self.session.deadline();
            said.push(self.expire());
        }
        (self.now.since(start), said.join("; "))
    }
}

fn id() -> SessionId {
    SessionId::new(0, 0, [7; SessionId::SECRET_BYTES])
}

fn outcome(result: Result<(), Mismatch>, effects: String) -> String {
    match result {
        Ok(()) => effects,
        Err(mismatch) => format!("{mismatch:?}"),
    }
}
