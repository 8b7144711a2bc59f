//! Requests of polling sessions that arrive on any shard and are handed over to the right one.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare::base::clock::Time;
use fanfare::driver::sim::Client;
use fanfare::{Auth, Data, Server, Socket};
use serde_json::Value;

use crate::broadcast::Hello;
use crate::seeds;
use crate::wire;
use crate::world::{Handlers, Plan, World};

const MESSAGES: u64 = 8;

/// A connection that carries requests of several sessions, one behind the other.
struct Channel {
    client: Client,
    buffer: Vec<u8>,
    /// Which answers are awaited, in this order.
    asked: VecDeque<Asked>,
    used: Time,
}

/// What a request was.
enum Asked {
    Handshake,
    /// A POST of this session.
    Post(usize),
    Poll,
}

/// A session without a client of its own.
struct Session {
    id: String,
    said: u64,
    /// A POST of it is under way; there may be one at a time.
    is_busy: bool,
}

/// Sessions, and connections that are theirs by turns.
struct Office {
    world: World,
    channels: Vec<Channel>,
    sessions: Vec<Session>,
}

/// The longer part of a message: a request comes in several pieces.
fn filling(number: u64) -> String {
    "ab7-".repeat((number * 97 % 400) as usize)
}

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move |socket: Socket, Auth(hello): Auth<Hello>| {
        seen.with(|seen| seen.connected += 1);
        socket.data().set(hello.name);
    });
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || seen.with(|seen| seen.disconnected += 1));
    let seen = handlers.clone();
    type Up = Data<(u64, String)>;
    io.of("/").on("up", async move |socket: Socket, Data((number, text)): Up| {
        assert_eq!(text, filling(number), "a body arrives as it was sent");
        let name = socket.data().with(|name: &mut usize| *name);
        seen.with(|seen| seen.messages.push((name.unwrap_or(usize::MAX), number)));
    });
}

impl Office {
    fn new(seed: u64) -> Office {
        let mut plan = Plan::new(seed);
        plan.shards = 2 + (seed % 3) as usize;
        let world = World::new(seed, plan, register);
        Office { world, channels: Vec::new(), sessions: Vec::new() }
    }

    /// A connection for another request: a new one, or one that may have to move once more.
    fn channel(&mut self) -> &mut Channel {
        let now = self.world.now();
        let fresh = |channel: &Channel| now.since(channel.used) < Duration::from_millis(500);
        let usable = self.channels.iter().position(fresh);
        let position = match usable.filter(|_| self.world.random.chance(600)) {
            Some(position) => position,
            None => {
                let client = self.world.network.connect(self.world.address);
                let (buffer, asked) = (Vec::new(), VecDeque::new());
                self.channels.push(Channel { client, buffer, asked, used: now });
                self.channels.len() - 1
            }
        };
        let channel = &mut self.channels[position];
        channel.used = now;
        channel
    }

    fn open_sessions(&mut self, count: usize) {
        for _ in 0..count {
            let channel = self.channel();
            channel.asked.push_back(Asked::Handshake);
            channel.client.write(&wire::request("GET", "transport=polling", None));
        }
        self.run_until(|office| office.sessions.len() == count);
    }

    /// Requests of several sessions, written at once on one connection or on several.
    fn say(&mut self) {
        let mut free: Vec<usize> = (0..self.sessions.len())
            .filter(|session| !self.sessions[*session].is_busy)
            .filter(|session| self.sessions[*session].said <= MESSAGES)
            .collect();
        self.world.random.shuffle(&mut free);
        let most = self.world.random.range(1..=3);
        for name in free.into_iter().take(most) {
            let session = &mut self.sessions[name];
            let body = match session.said.checked_sub(1) {
                None => format!("40{{\"name\":{name}}}"),
                Some(number) => format!("42[\"up\",{number},\"{}\"]", filling(number)),
            };
            session.said += 1;
            session.is_busy = true;
            let query = format!("transport=polling&sid={}", session.id);
            let channel = self.channel();
            channel.asked.push_back(Asked::Post(name));
            channel.client.write(&wire::request("POST", &query, Some(&body)));
        }
    }

    /// One poll that is answered at once, one that is held until there is news, and a request
    /// behind it, which must not be forgotten.
    fn wait_behind_polls(&mut self) {
        let count = self.sessions.len();
        for name in 0..count {
            let query = format!("transport=polling&sid={}", self.sessions[name].id);
            let poll = wire::request("GET", &query, None);
            let client = self.world.network.connect(self.world.address);
            let asked = [Asked::Poll, Asked::Poll, Asked::Handshake].into();
            let (buffer, used) = (Vec::new(), self.world.now());
            self.channels.push(Channel { client, buffer, asked, used });
            let handshake = wire::request("GET", "transport=polling", None);
            let all = [poll.clone(), poll, handshake].concat();
            self.channels.last_mut().expect("just made").client.write(&all);
        }
        self.world.settle();
        self.world.server.emit("news", ());
        self.run_until(|office| office.sessions.len() == 2 * count);
    }

    fn read(&mut self) {
        for channel in &mut self.channels {
            channel.buffer.extend(channel.client.read());
            while let Some(response) = wire::take_response(&mut channel.buffer) {
                channel.used = self.world.network.now();
                let asked = channel.asked.pop_front().expect("one response for each request");
                assert_eq!((response.status, response.keep_alive), (200, true));
                let body = String::from_utf8(response.body).expect("a body is text");
                match asked {
                    Asked::Post(session) => {
                        assert_eq!(body, "ok");
                        self.sessions[session].is_busy = false;
                    }
                    Asked::Poll => assert!(body.starts_with('4'), "{body:?}"),
                    Asked::Handshake => {
                        let open: Value = serde_json::from_str(&body[1..]).expect("an open packet");
                        let id = open["sid"].as_str().expect("a session id").to_owned();
                        self.sessions.push(Session { id, said: 0, is_busy: false });
                    }
                }
            }
            let is_awaited = !channel.asked.is_empty();
            assert!(!is_awaited || channel.client.end().is_none(), "a request without an answer");
        }
        self.channels.retain(|channel| channel.client.end().is_none());
    }

    fn run_until(&mut self, done: impl Fn(&Office) -> bool) {
        let end = self.world.now().after(Duration::from_secs(20));
        while !done(self) {
            assert!(self.world.now() < end, "requests wait for ever");
            self.world.step();
            self.read();
        }
    }
}

#[test]
fn a_connection_that_moves_between_shards_loses_and_doubles_no_byte_and_no_answer() {
    seeds::for_each("a_connection_that_moves", 2, |seed| {
        let mut office = Office::new(seed);
        let count = office.world.random.range(2..=5);
        office.open_sessions(count);
        while office.sessions.iter().any(|session| session.said <= MESSAGES) {
            if office.world.random.chance(300) {
                office.say();
            }
            office.world.step();
            office.read();
        }
        office.run_until(|office| office.sessions.iter().all(|session| !session.is_busy));
        for name in 0..count {
            let handled = office.world.handlers.with(|seen| seen.messages.clone());
            let handled = handled.into_iter().filter(|(from, _)| *from == name);
            let numbers: Vec<u64> = handled.map(|(_, number)| number).collect();
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "of session {name}");
        }
        office.wait_behind_polls();
        office.world.run_for(Duration::from_millis(50));
        office.read();
        office.channels.clear();
        office.world.finish();
    });
}
