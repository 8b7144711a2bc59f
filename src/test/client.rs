//! Clients of a simulated application.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::event::{Asks, Carries, Emits, Payload};
use crate::proto::json::{Arguments, FromArguments, Raw};
use crate::proto::socket::{write_ack, write_disconnect, write_event};
use crate::session::handshake::Transport;

use super::session::{Arrived, Phase, Session, Socket};
use super::world::World;

/// A client that is about to connect: [`App::client`](super::App::client).
#[must_use = "it connects with `connect`"]
pub struct Dialing {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) transport: Transport,
    pub(super) query: String,
    pub(super) headers: String,
    pub(super) auth: Option<Value>,
}

/// Why a client did not get into a namespace (`connect_error`).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectError {
    message: String,
    data: Option<Value>,
}

/// One client in one namespace, as `Socket` of the JavaScript client. What it reads it reads when
/// everything that is under way has arrived.
///
/// All methods that find something else than they expect panic, as assertions do.
pub struct Client {
    world: Rc<RefCell<World>>,
    /// Its connection, by its number in the world.
    session: usize,
    namespace: String,
}

/// The acknowledgement of what a client has emitted.
pub struct Answer<'a, T> {
    client: &'a Client,
    id: u64,
    answer: PhantomData<fn() -> T>,
}

/// How a client acknowledges an event of the server.
#[must_use = "the server waits for it"]
pub struct Reply<'a, T> {
    client: &'a Client,
    id: u64,
    answer: PhantomData<fn(T)>,
}

impl Dialing {
    /// Over this transport. Default: WebSocket.
    pub fn transport(mut self, transport: Transport) -> Dialing {
        self.transport = transport;
        self
    }

    /// With these credentials (`auth`), a struct or a map.
    pub fn auth(mut self, auth: &impl Serialize) -> Dialing {
        match serde_json::to_value(auth) {
            Ok(auth) => self.auth = Some(auth),
            Err(error) => panic!("the credentials have no form in JSON: {error}"),
        }
        self
    }

    /// With a parameter in the query of the first request (`query`).
    pub fn query(mut self, name: &str, value: &str) -> Dialing {
        for (before, text) in [('&', name), ('=', value)] {
            self.query.push(before);
            for byte in text.bytes() {
                // Writing to a string cannot fail.
                let _ = match byte.is_ascii_alphanumeric() {
                    true => write!(self.query, "{}", char::from(byte)),
                    false => write!(self.query, "%{byte:02X}"),
                };
            }
        }
        self
    }

    /// With a header in its requests (`extraHeaders`).
    pub fn header(mut self, name: &str, value: &str) -> Dialing {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// Connects to a namespace, and waits for the answer.
    ///
    /// # Errors
    /// The server refuses it: the namespace is not there, a middleware says no, or the request
    /// itself is answered with an error.
    ///
    /// # Panics
    /// When there is no answer because a middleware waits for a time that has not come: see
    /// [`begin`](Dialing::begin).
    #[track_caller]
    pub fn connect(self, namespace: &str) -> Result<Client, ConnectError> {
        self.begin(namespace).admitted()
    }

    /// Begins to connect, and waits for nothing: whether the client is in, and why not, is known
    /// later ([`Client::is_connected`], [`Client::connect_error`]).
    pub fn begin(self, namespace: &str) -> Client {
        let namespace = with_slash(namespace);
        let session = {
            let mut world = self.world.borrow_mut();
            let number = world.dial(self.transport, &self.query, self.headers);
            world.sessions[number].join(&namespace, self.auth);
            number
        };
        Client { world: self.world, session, namespace }
    }
}

impl ConnectError {
    pub(super) fn new(message: String, data: Option<Value>) -> ConnectError {
        ConnectError { message, data }
    }

    /// Reads the payload of a CONNECT_ERROR packet.
    pub(super) fn read(payload: &[u8]) -> ConnectError {
        let mut payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        let data = payload.get_mut("data").map(Value::take);
        ConnectError { message: payload["message"].as_str().unwrap_or_default().to_owned(), data }
    }

    /// What went wrong: `Invalid namespace`, what a middleware says, or what the server answered to
    /// the request.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What else a middleware says ([`Refuse::data`](crate::Refuse::data)); `None` if nothing, or
    /// if it is no `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.data.clone()?).ok()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for ConnectError {}

impl Client {
    /// The id of its socket, as the server knows it. Empty before it is connected.
    pub fn id(&self) -> String {
        match self.phase() {
            Phase::Connected(id) => id,
            _ => String::new(),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase(), Phase::Connected(_))
    }

    /// Why it did not get in; `None` while that is not decided, and when it did.
    pub fn connect_error(&self) -> Option<ConnectError> {
        match self.phase() {
            Phase::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Why it is not connected any more, in the words of the JavaScript client: `io server
    /// disconnect`, `io client disconnect` or `transport close`. `None` while it is.
    pub fn disconnect_reason(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Gone(reason) => Some(reason),
            _ => None,
        }
    }

    /// As [`disconnect_reason`](Client::disconnect_reason), of a client that must be gone.
    #[track_caller]
    pub fn expect_disconnect(&self) -> &'static str {
        match self.disconnect_reason() {
            Some(reason) => reason,
            None => panic!("{self:?} was expected to be disconnected"),
        }
    }

    /// Joins another namespace over the same connection.
    ///
    /// # Errors
    /// The server refuses it.
    #[track_caller]
    pub fn connect(&self, namespace: &str) -> Result<Client, ConnectError> {
        let namespace = with_slash(namespace);
        self.with_session(|session| session.join(&namespace, None));
        Client { world: Rc::clone(&self.world), session: self.session, namespace }.admitted()
    }

    /// Sends an event: one of any name, or an [`Event`](crate::Event) with exactly its arguments.
    #[track_caller]
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) {
        self.send(&args, |out, args, count| {
            write_event(out, &self.namespace, None, event.name(), args, count);
        });
    }

    /// Sends an event and asks for an acknowledgement.
    #[track_caller]
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        &self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Answer<'_, T> {
        let id = self.with(|socket| {
            let id = socket.answers.len() as u64;
            socket.answers.insert(id, None);
            id
        });
        self.send(&args, |out, args, count| {
            write_event(out, &self.namespace, Some(id), event.name(), args, count);
        });
        Answer { client: self, id, answer: PhantomData }
    }

    /// Takes all events of this name that have come and were not taken, in order.
    ///
    /// # Panics
    /// When the arguments of one are no `T`.
    #[track_caller]
    pub fn received<T: FromArguments>(&self, event: impl Carries<T>) -> Vec<T> {
        self.settle();
        std::iter::from_fn(|| self.take(event.name())).map(|arrived| read(arrived).0).collect()
    }

    /// Takes the first event of this name that has come and was not taken.
    ///
    /// # Panics
    /// When there is none, or its arguments are no `T`.
    #[track_caller]
    pub fn expect<T: FromArguments>(&self, event: impl Carries<T>) -> T {
        read(self.expected(event.name())).0
    }

    /// As [`expect`](Client::expect), for an event that the server wants acknowledged.
    ///
    /// # Panics
    /// As [`expect`](Client::expect), and when it does not want that.
    #[track_caller]
    pub fn expect_with_ack<T: FromArguments, E: Carries<T>>(
        &self,
        event: E,
    ) -> (T, Reply<'_, E::Answer>) {
        match read(self.expected(event.name())) {
            (args, Some(id)) => (args, Reply { client: self, id, answer: PhantomData }),
            (_, None) => panic!("the server wants no acknowledgement of {:?}", event.name()),
        }
    }

    /// Takes all events that have come and were not taken, in order.
    pub fn events(&self) -> Vec<(String, Raw)> {
        self.settle();
        let events = self.with(|socket| std::mem::take(&mut socket.events));
        events.into_iter().map(|arrived| (arrived.name, arrived.args)).collect()
    }

    /// Makes sure that there is no event that was not taken.
    #[track_caller]
    pub fn expect_nothing(&self) {
        self.settle();
        let waiting = self.describe();
        assert!(waiting.is_empty(), "{self:?} has received {waiting}");
    }

    /// Leaves the namespace (`socket.disconnect()`). Others on the same connection stay.
    pub fn disconnect(&self) {
        if !self.is_connected() {
            return;
        }
        self.with_session(|session| {
            let mut packet = Vec::new();
            write_disconnect(&mut packet, &self.namespace);
            session.send(packet, Vec::new());
        });
        self.with(|socket| {
            socket.answers.clear();
            socket.phase = Phase::Gone("io client disconnect");
        });
        self.settle();
    }

    /// Ends the connection in order, as a page that is left: the server sees `transport close`.
    pub fn close(&self) {
        self.with_session(Session::close);
        self.settle();
    }

    /// Cuts the connection, without a word: the server sees `transport close`, over polling
    /// `transport error`.
    pub fn cut(&self) {
        self.with_session(Session::cut);
        self.settle();
    }

    /// Answers no ping from now on, as a machine that sleeps: the server sees `ping timeout`, when
    /// its time has come.
    pub fn fall_silent(&self) {
        self.with_session(|session| session.is_silent = true);
    }

    #[track_caller]
    fn admitted(self) -> Result<Client, ConnectError> {
        match self.phase() {
            Phase::Refused(error) => Err(error),
            Phase::Connecting => panic!(
                "no answer for {:?}: a middleware waits; `begin` to connect, and let time pass",
                self.namespace
            ),
            Phase::Connected(_) | Phase::Gone(_) => Ok(self),
        }
    }

    #[track_caller]
    fn send(&self, args: &impl Arguments, write: impl FnOnce(&mut Vec<u8>, &[u8], usize)) {
        // What several clients send before anyone looks may arrive in any order.
        let is_connected = || self.with(|socket| matches!(socket.phase, Phase::Connected(_)));
        assert!(is_connected() || self.is_connected(), "{self:?} is not connected");
        let (mut json, mut attachments, mut packet) = (Vec::new(), Vec::new(), Vec::new());
        if let Err(error) = args.write(&mut json, &mut attachments) {
            panic!("the arguments cannot be sent: {error}");
        }
        write(&mut packet, &json, attachments.len());
        self.with_session(|session| session.send(packet, attachments));
    }

    #[track_caller]
    fn expected(&self, event: &str) -> Arrived {
        self.settle();
        match self.take(event) {
            Some(arrived) => arrived,
            None => panic!("{self:?} has received no {event:?}, but: [{}]", self.describe()),
        }
    }

    fn take(&self, event: &str) -> Option<Arrived> {
        self.with(|socket| {
            let position = socket.events.iter().position(|arrived| arrived.name == event)?;
            socket.events.remove(position)
        })
    }

    /// The events that were not taken.
    fn describe(&self) -> String {
        self.with(|socket| {
            let events = socket.events.iter().map(|arrived| {
                format!("{:?}({})", arrived.name, String::from_utf8_lossy(arrived.args.args()))
            });
            events.collect::<Vec<_>>().join(", ")
        })
    }

    fn phase(&self) -> Phase {
        self.settle();
        self.with(|socket| socket.phase.clone())
    }

    fn settle(&self) {
        self.world.borrow_mut().settle();
    }

    fn with_session<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        work(&mut self.world.borrow_mut().sessions[self.session])
    }

    fn with<R>(&self, work: impl FnOnce(&mut Socket) -> R) -> R {
        self.with_session(|session| match session.sockets.get_mut(&self.namespace) {
            Some(socket) => work(socket),
            None => unreachable!("a client has asked for its namespace"),
        })
    }
}

impl<T: FromArguments> Answer<'_, T> {
    /// The answer, if it has come.
    ///
    /// # Panics
    /// When it is no `T`.
    #[track_caller]
    pub fn received(&self) -> Option<T> {
        self.client.settle();
        let answer = self.client.with(|socket| socket.answers.get(&self.id).cloned().flatten())?;
        match T::from_arguments(answer) {
            Ok(answer) => Some(answer),
            Err(error) => panic!("the acknowledgement: {error}"),
        }
    }

    /// The answer, which must have come.
    ///
    /// # Panics
    /// When it has not, or is no `T`.
    #[track_caller]
    pub fn expect(&self) -> T {
        match self.received() {
            Some(answer) => answer,
            None => panic!("the server has not acknowledged what {:?} sent", self.client),
        }
    }
}

impl<T> Reply<'_, T> {
    /// Acknowledges.
    #[track_caller]
    pub fn send(self, args: impl Payload<T>) {
        self.client.send(&args, |out, args, count| {
            write_ack(out, &self.client.namespace, self.id, args, count);
        });
    }
}

#[track_caller]
fn read<T: FromArguments>(arrived: Arrived) -> (T, Option<u64>) {
    match T::from_arguments(arrived.args) {
        Ok(args) => (args, arrived.id),
        Err(error) => panic!("the arguments of {:?}: {error}", arrived.name),
    }
}

fn with_slash(namespace: &str) -> String {
    match namespace.starts_with('/') {
        true => namespace.to_owned(),
        false => format!("/{namespace}"),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client {} of {:?}", self.session, self.namespace)
    }
}

impl fmt::Debug for Dialing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dialing = formatter.debug_struct("Dialing");
        dialing.field("transport", &self.transport).field("auth", &self.auth);
        dialing.finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Answer<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reply<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reply").field("id", &self.id).finish_non_exhaustive()
    }
}
