//! The scenarios of the matrix for rust_socketio; `../../scenarios.js` says what each proves, and
//! `../../catalogue.js` which this client cannot take part in.

use std::net::TcpStream;

use bytes::Bytes;
use rust_socketio::Payload;
use serde_json::{Value, json};

use crate::client::{Client, Kind, Options, Outcome};

const UNICODE: &str = "utf8 — ☃ 日本語 👩‍👩‍👧‍👦 \0 \u{2028} \" \\ é";

/// One side of a scenario: what its clients have in common.
pub struct Peer {
    pub kind: Kind,
    pub url: String,
    pub heartbeat_url: String,
    pub relay_url: String,
    pub cut_url: String,
    pub transport: String,
}

pub type Scenario = fn(&Peer) -> Outcome;

pub const IMPLEMENTED: &[(&str, Scenario)] = &[
    ("connect", connect),
    ("events", events),
    ("acks", acks),
    ("binary", binary),
    ("empty", empty),
    ("unicode", unicode),
    ("large", large),
    ("namespace", namespace),
    ("rooms", rooms),
    ("refused", refused),
    ("leave", leave),
    ("ended", ended),
    ("reconnect", reconnect),
    ("upgrade", upgrade),
];

impl Peer {
    fn open(&self, namespace: &str, auth: Value) -> Outcome<Client> {
        let Peer { url, transport, .. } = self;
        Client::open(self.kind, &Options { url, transport, namespace, auth })
    }

    fn connected(&self) -> Outcome<Client> {
        self.connected_to(&self.url)
    }

    pub fn connected_to(&self, url: &str) -> Outcome<Client> {
        let Peer { transport, .. } = self;
        let options = Options { url, transport, namespace: "/", auth: json!({}) };
        let client = Client::open(self.kind, &options)?;
        client.take("connect")?;
        Ok(client)
    }

    /// A client whose connection `cut` breaks.
    fn relayed(&self) -> Outcome<Client> {
        self.connected_to(&self.relay_url)
    }

    /// To connect to that port is enough.
    fn cut(&self) -> Outcome {
        let address = self.cut_url.trim_start_matches("http://").trim_end_matches('/');
        TcpStream::connect(address)?;
        Ok(())
    }

    /// What the server says that the transport is, once it is what was asked for.
    fn expected(&self) -> &str {
        if self.transport == "polling" { "polling" } else { "websocket" }
    }
}

pub fn same<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> Outcome {
    if actual == expected {
        return Ok(());
    }
    let [is, must] = [actual, expected].map(|value| {
        let text = format!("{value:?}");
        text.chars().take(300).collect::<String>()
    });
    Err(format!("{is} instead of {must}").into())
}

fn text(args: impl Into<Vec<Value>>) -> Payload {
    Payload::Text(args.into())
}

fn echoed(client: &Client, payload: Payload) -> Outcome {
    client.emit("echo", payload.clone())?;
    same(client.take("echo")?, payload)
}

/// The client does not tell its id; the server does.
fn id(client: &Client) -> Outcome<String> {
    let who = client.request("whoami", vec![])?;
    Ok(who[0]["id"].as_str().ok_or("no id")?.to_owned())
}

/// A client that has ended cannot connect again: its place is taken by a new one.
fn comes_back(peer: &Peer, id_before: &str) -> Outcome {
    let client = peer.connected()?;
    same(id(&client)? == id_before, false)?;
    same(client.request("ack", vec![json!("back")])?, vec![json!("back")])
}

fn connect(peer: &Peer) -> Outcome {
    let auth = json!({ "token": UNICODE, "nested": [1, { "a": null }] });
    let client = peer.open("/", auth.clone())?;
    same(client.take("auth")?, text([auth]))?;
    let who = client.request("whoami", vec![])?;
    same(who[0]["transport"].as_str(), Some(peer.expected()))?;
    same(&who[0]["rooms"], &json!([who[0]["id"]]))
}

fn json_values() -> Vec<Vec<Value>> {
    vec![
        vec![json!("plain")],
        vec![Value::Null],
        vec![json!("a"), Value::Null, json!(1)],
        vec![json!({ "a": [1, { "b": [[], {}, null, true, -0.5, 1e-21, ""] }] })],
        vec![json!(1), json!("2"), json!([3]), json!({ "four": 4 }), Value::Null, json!(false)],
    ]
}

fn events(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    for args in json_values() {
        echoed(&client, text(args))?;
    }
    echoed_in_order(&client, 100)
}

fn echoed_in_order(client: &Client, count: usize) -> Outcome {
    for index in 0..count {
        client.emit("echo", text([json!(index)]))?;
    }
    for index in 0..count {
        same(client.take("echo")?, text([json!(index)]))?;
    }
    Ok(())
}

fn acks(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    for args in json_values().into_iter().chain([vec![]]) {
        same(client.request("ack", args.clone())?, args)?;
    }
    // One after the other: it draws the ids of its acks at random, so two may be the same.
    for index in 0..20 {
        same(client.request("ack", vec![json!(index)])?, vec![json!(index)])?;
    }
    Ok(())
}

fn binary(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    echoed(&client, Payload::Binary(Bytes::from_static(&[0, 1, 2, 254, 255])))?;
    echoed(&client, Payload::Binary(pattern(256)))
}

fn empty(peer: &Peer) -> Outcome {
    echoed(&peer.connected()?, Payload::Binary(Bytes::new()))
}

fn unicode(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    let (room, event) = ("räume/☃", "événement 日本語");
    echoed(&client, text([json!(UNICODE)]))?;
    client.request("join", vec![json!(room)])?;
    client.emit("in", text([json!([room]), json!([]), json!(event), json!(UNICODE)]))?;
    same(client.take(event)?, text([json!(UNICODE)]))
}

fn large(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    echoed(&client, text([json!("x".repeat(999_900))]))?;
    // On polling it travels as base64, a third larger.
    let size = if peer.transport == "polling" { 740_000 } else { 999_900 };
    echoed(&client, Payload::Binary(pattern(size)))
}

/// Bytes of every value but 0x1E, at which this client takes a binary WebSocket message apart.
fn pattern(size: usize) -> Bytes {
    (0..=255).filter(|byte| *byte != 0x1E).cycle().take(size).collect()
}

fn namespace(peer: &Peer) -> Outcome {
    let auth = json!({ "token": "custom" });
    let client = peer.open("/custom", auth.clone())?;
    same(client.take("auth")?, text([auth]))?;
    echoed(&client, text([json!("a")]))?;
    echoed(&client, Payload::Binary(Bytes::from_static(&[1])))?;
    same(client.request("ack", vec![json!("b")])?, vec![json!("b")])?;
    let unknown = peer.open("/unknown", json!({}))?;
    same(refusal(&unknown)?, json!({ "message": "Invalid namespace" }))
}

/// Why the server does not let it in.
fn refusal(client: &Client) -> Outcome<Value> {
    let Payload::Text(args) = client.take("error")? else { return Err("no text".into()) };
    let said = args.first().and_then(Value::as_str).ok_or("no text")?;
    let (_, frame) = said.split_once("ConnectError frame: ").ok_or_else(|| said.to_owned())?;
    Ok(serde_json::from_str(frame)?)
}

fn rooms(peer: &Peer) -> Outcome {
    let [a, b, c] = [peer.connected()?, peer.connected()?, peer.connected()?];
    let send = |from: &Client, how: &str, rooms: Value, except: Value, payload: Value| {
        from.emit(how, text([rooms, except, json!("news"), payload]))
    };
    let hears = |client: &Client, payload: Value| same(client.take("news")?, text([payload]));
    a.request("join", vec![json!("one")])?;
    b.request("join", vec![json!("one")])?;
    b.request("join", vec![json!("two")])?;
    for index in 0..20 {
        send(&c, "to", json!(["one", "two"]), json!([]), json!(index))?;
    }
    send(&c, "to", json!([]), json!([]), json!("all but c"))?;
    for client in [&a, &b] {
        for index in 0..20 {
            hears(client, json!(index))?;
        }
        hears(client, json!("all but c"))?;
    }
    send(&a, "to", json!(["one"]), json!([]), json!("b"))?;
    hears(&b, json!("b"))?;
    send(&c, "in", json!(["one", "two"]), json!([id(&b)?]), json!("a"))?;
    b.request("leave", vec![json!("one")])?;
    send(&c, "in", json!(["one"]), json!([]), json!("rest"))?;
    hears(&a, json!("a"))?;
    hears(&a, json!("rest"))?;
    // What was sent to the wrong ones comes before the fence of who had it sent.
    for client in [&a, &c] {
        client.emit("in", text([json!([]), json!([]), json!("fence"), Value::Null]))?;
    }
    for client in [&a, &b, &c] {
        client.take("fence")?;
        client.take("fence")?;
        same(client.has("news"), false)?;
    }
    Ok(())
}

fn refused(peer: &Peer) -> Outcome {
    let stranger = peer.open("/guarded", json!({ "token": "x" }))?;
    let data = json!({ "code": 7, "why": "no ☃ token" });
    same(refusal(&stranger)?, json!({ "message": "not allowed", "data": data }))?;
    same(stranger.has("connect"), false)?;
    let friend = peer.open("/guarded", json!({ "token": "open sesame" }))?;
    friend.take("connect")?;
    Ok(())
}

fn leave(peer: &Peer) -> Outcome {
    let [client, watcher] = [peer.connected()?, peer.connected()?];
    let id_before = id(&client)?;
    client.disconnect()?;
    same(reason_of(&watcher, &id_before)?, json!("client namespace disconnect"))?;
    comes_back(peer, &id_before)
}

/// Why the server says that this one left; others are of scenarios before.
fn reason_of(watcher: &Client, id_before: &str) -> Outcome<Value> {
    loop {
        let Payload::Text(mut args) = watcher.take("gone")? else { return Err("no text".into()) };
        let reason = args.pop().ok_or("no reason")?;
        if args == [json!(id_before)] {
            return Ok(reason);
        }
    }
}

fn ended(peer: &Peer) -> Outcome {
    for close in [false, true] {
        let client = peer.connected()?;
        let id_before = id(&client)?;
        client.emit("disconnect-me", text([json!(close)]))?;
        client.take("close")?;
        comes_back(peer, &id_before)?;
    }
    Ok(())
}

fn reconnect(peer: &Peer) -> Outcome {
    let client = peer.relayed()?;
    let id_before = id(&client)?;
    peer.cut()?;
    client.take("connect")?;
    same(id(&client)? == id_before, false)?;
    same(client.request("ack", vec![json!("back")])?, vec![json!("back")])
}

fn upgrade(peer: &Peer) -> Outcome {
    let client = peer.connected()?;
    client.emit("burst", text([json!(50), json!(0)]))?;
    echoed_in_order(&client, 50)?;
    for index in 0..50 {
        same(client.take("burst")?, text([json!(index)]))?;
    }
    same(client.request("whoami", vec![])?[0]["transport"].as_str(), Some("websocket"))
}
