//! The two clients of rust_socketio behind one blocking face, so that scenarios are written once.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rust_socketio::{Event, Payload, TransportType, asynchronous, client as blocking};
use serde_json::Value;
use tokio::runtime::Runtime;

pub const DEADLINE: Duration = Duration::from_secs(20);

const RECONNECT_DELAY_MIN_MS: u64 = 20;
const RECONNECT_DELAY_MAX_MS: u64 = 50;

/// What the asynchronous client runs on.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Which of the two clients.
#[derive(Clone, Copy)]
pub enum Kind {
    Blocking,
    Async,
}

/// How to connect.
pub struct Options<'a> {
    pub url: &'a str,
    pub transport: &'a str,
    pub namespace: &'a str,
    pub auth: Value,
}

/// A client that has begun to connect; it ends when dropped.
pub struct Client {
    inner: Inner,
    arrivals: Mutex<Arrivals>,
}

enum Inner {
    Blocking(blocking::Client),
    Async(asynchronous::Client),
}

/// What has come: events by name, `connect`, `close` and `error` being the client's own.
struct Arrivals {
    receiver: Receiver<Arrival>,
    waiting: HashMap<String, VecDeque<Payload>>,
}

type Arrival = (String, Payload);

impl Client {
    pub fn open(kind: Kind, options: &Options) -> Outcome<Client> {
        let (sender, receiver) = channel();
        let inner = match kind {
            Kind::Blocking => Inner::Blocking(open_blocking(options, &sender)?),
            Kind::Async => Inner::Async(open_async(options, &sender)?),
        };
        let arrivals = Arrivals { receiver, waiting: HashMap::new() };
        Ok(Client { inner, arrivals: Mutex::new(arrivals) })
    }

    pub fn emit(&self, event: &str, payload: Payload) -> Outcome {
        match &self.inner {
            Inner::Blocking(client) => client.emit(event, payload)?,
            Inner::Async(client) => RUNTIME.block_on(client.emit(event, payload))?,
        }
        Ok(())
    }

    /// The arguments of the ack to this event.
    pub fn request(&self, event: &str, args: Vec<Value>) -> Outcome<Vec<Value>> {
        let (sender, receiver) = channel();
        let payload = Payload::Text(args);
        match &self.inner {
            Inner::Blocking(client) => {
                let answer = move |payload, _| note(&sender, "ack", payload);
                client.emit_with_ack(event, payload, DEADLINE, answer)?;
            }
            Inner::Async(client) => {
                let answer = move |payload, _| noted(&sender, "ack", payload);
                RUNTIME.block_on(client.emit_with_ack(event, payload, DEADLINE, answer))?;
            }
        }
        let (_, payload) =
            receiver.recv_timeout(DEADLINE).map_err(|_| format!("no ack: {event}"))?;
        match payload {
            Payload::Text(mut values) => match values.pop() {
                Some(Value::Array(args)) => Ok(args),
                other => Err(format!("{other:?} as ack to {event}").into()),
            },
            other => Err(format!("{other:?} as ack to {event}").into()),
        }
    }

    /// The next event of that name.
    pub fn take(&self, event: &str) -> Outcome<Payload> {
        let mut arrivals = self.arrivals.lock().expect("nobody panics with it");
        arrivals.take(event, DEADLINE).ok_or_else(|| format!("{event} did not come").into())
    }

    /// Whether an event of that name has come and was not taken.
    pub fn has(&self, event: &str) -> bool {
        let mut arrivals = self.arrivals.lock().expect("nobody panics with it");
        arrivals.take(event, Duration::ZERO).is_some()
    }

    /// Whether an event of that name comes within this time.
    pub fn gets(&self, event: &str, within: Duration) -> bool {
        let mut arrivals = self.arrivals.lock().expect("nobody panics with it");
        arrivals.take(event, within).is_some()
    }

    pub fn disconnect(&self) -> Outcome {
        match &self.inner {
            Inner::Blocking(client) => client.disconnect()?,
            Inner::Async(client) => RUNTIME.block_on(client.disconnect())?,
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended before, and says so.
        let _ = self.disconnect();
    }
}

impl Arrivals {
    fn take(&mut self, event: &str, deadline: Duration) -> Option<Payload> {
        let until = Instant::now() + deadline;
        loop {
            if let Some(payload) = self.waiting.get_mut(event).and_then(VecDeque::pop_front) {
                return Some(payload);
            }
            let (name, payload) =
                self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
            self.waiting.entry(name).or_default().push_back(payload);
        }
    }
}

fn transport_type(transport: &str) -> TransportType {
    match transport {
        "polling" => TransportType::Polling,
        "websocket" => TransportType::Websocket,
        _ => TransportType::WebsocketUpgrade,
    }
}

fn open_blocking(options: &Options, sender: &Sender<Arrival>) -> Outcome<blocking::Client> {
    let all = sender.clone();
    let mut builder = blocking::ClientBuilder::new(options.url)
        .namespace(options.namespace)
        .transport_type(transport_type(options.transport))
        .auth(options.auth.clone())
        .reconnect_delay(RECONNECT_DELAY_MIN_MS, RECONNECT_DELAY_MAX_MS)
        .on_any(move |event, payload, _| note(&all, event.as_str(), payload));
    for event in [Event::Connect, Event::Close, Event::Error] {
        let (name, sender) = (event.to_string(), sender.clone());
        builder = builder.on(event, move |payload, _| note(&sender, &name, payload));
    }
    Ok(builder.connect()?)
}

fn open_async(options: &Options, sender: &Sender<Arrival>) -> Outcome<asynchronous::Client> {
    let all = sender.clone();
    let mut builder = asynchronous::ClientBuilder::new(options.url)
        .namespace(options.namespace)
        .transport_type(transport_type(options.transport))
        .auth(options.auth.clone())
        .reconnect_delay(RECONNECT_DELAY_MIN_MS, RECONNECT_DELAY_MAX_MS)
        .on_any(move |event, payload, _| noted(&all, event.as_str(), payload));
    for event in [Event::Connect, Event::Close, Event::Error] {
        let (name, sender) = (event.to_string(), sender.clone());
        builder = builder.on(event, move |payload, _| noted(&sender, &name, payload));
    }
    Ok(RUNTIME.block_on(builder.connect())?)
}

fn note(sender: &Sender<Arrival>, event: &str, payload: Payload) {
    // A scenario that has ended is not interested any more.
    let _ = sender.send((event.to_owned(), payload));
}

fn noted(sender: &Sender<Arrival>, event: &str, payload: Payload) -> BoxFuture<'static, ()> {
    note(sender, event, payload);
    std::future::ready(()).boxed()
}
