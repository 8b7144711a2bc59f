//! Tests of applications: a whole server and its clients in one thread, on virtual time. No ports,
//! no sleeping, no chance: a test that fails, fails again. For the feature `test`, which belongs
//! among the dependencies for development:
//!
//! ```toml
//! [dev-dependencies]
//! fanfare = { version = "0.1", features = ["test"] }
//! ```
//!
//! The server is the one that is served otherwise, down to the last byte of its protocol; only the
//! kernel, the network and the clock below it are simulated. So is what goes by time: heartbeats,
//! timeouts of acknowledgements, [`time::sleep`](crate::time::sleep).
//!
//! ```
//! use std::time::Duration;
//!
//! use fanfare::test::App;
//! use fanfare::{Ack, Data, DisconnectReason, Event, Server, Socket};
//!
//! const JOIN: Event<String, usize> = Event::new("join");
//! const JOINED: Event<String> = Event::new("joined");
//!
//! // The application, as it is served.
//! fn register(io: &Server) {
//!     let chat = io.of("/chat");
//!     chat.on(JOIN, async |socket: Socket, Data(room): Data<String>, ack: Ack<usize>| {
//!         socket.to(&room).emit(JOINED, socket.id().to_string());
//!         socket.join(&room);
//!         ack.send(socket.rooms().len() - 1);
//!     });
//!     chat.on("remind", async |socket: Socket, Data(seconds): Data<u64>| {
//!         fanfare::time::sleep(Duration::from_secs(seconds)).await;
//!         socket.emit("reminder", ());
//!     });
//!     let everywhere = io.clone();
//!     chat.on_disconnect(async move |reason: DisconnectReason| {
//!         everywhere.of("/chat").emit("left", reason.to_string());
//!     });
//! }
//!
//! // And its test.
//! let app = App::new(register);
//! let (alice, bob) = (app.connect("/chat"), app.connect("/chat"));
//! assert_eq!(alice.emit_with_ack(JOIN, "lobby").expect(), 1);
//! assert_eq!(bob.emit_with_ack(JOIN, "lobby").expect(), 1);
//! assert_eq!(alice.expect(JOINED), bob.id());
//! bob.expect_nothing();
//!
//! alice.emit("remind", 60);
//! app.advance(Duration::from_secs(59));
//! alice.expect_nothing();
//! app.advance(Duration::from_secs(1));
//! alice.expect::<()>("reminder");
//!
//! bob.fall_silent();
//! app.advance(Duration::from_secs(45)); // an interval of pings, and the time to answer one
//! assert_eq!(alice.expect::<String>("left"), "ping timeout");
//! assert_eq!(bob.expect_disconnect(), "transport close");
//! ```
//!
//! # What it does not show
//! How fast it is; threads that do meet in earnest; kernels, networks and clients that behave
//! badly; upgrades from polling to WebSocket. What an application asks of the system's own clock,
//! or of threads of its own, goes on as it does.

mod carrier;
mod client;
mod session;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub use self::client::{Answer, Client, ConnectError, Dialing, Reply};

use self::world::World;
use crate::api::server::Server;
use crate::base::clock::Time;
use crate::session::handshake::Transport;

/// A server that runs in the thread of a test, and the time it runs in.
///
/// Time stands still but for [`advance`](App::advance). Everything else, what clients and the
/// server have sent and what handlers do about it, is done whenever a test looks at something, or
/// [settles](App::settle).
///
/// A handler that panics makes the test panic as soon as it looks.
pub struct App {
    world: Rc<RefCell<World>>,
    server: Server,
    transport: Transport,
}

/// How a server is to be simulated: [`App::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    seed: u64,
    shards: usize,
    transport: Transport,
}

impl Builder {
    /// What decides about the order of things that have none by themselves, such as which shard a
    /// client comes to. Default: 0. Try several where order matters:
    ///
    /// ```
    /// use fanfare::test::App;
    ///
    /// for seed in 0..10 {
    ///     let server = fanfare::Server::builder().build().unwrap();
    ///     let app = App::builder().seed(seed).shards(3).start(server);
    ///     app.connect("/");
    /// }
    /// ```
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = seed;
        self
    }

    /// How many shards the server has, whatever it was built with. Default: 2, so that clients are
    /// on different ones.
    ///
    /// # Panics
    /// When it is 0.
    pub fn shards(mut self, shards: usize) -> Builder {
        assert!(shards > 0, "a server has at least one shard");
        self.shards = shards;
        self
    }

    /// The transport of clients that ask for none. Default: WebSocket.
    pub fn transport(mut self, transport: Transport) -> Builder {
        self.transport = transport;
        self
    }

    /// Starts a server.
    ///
    /// # Panics
    /// When it was started before.
    pub fn start(self, server: Server) -> App {
        let world = World::new(server.clone(), self.seed, self.shards);
        App { world: Rc::new(RefCell::new(world)), server, transport: self.transport }
    }
}

impl App {
    /// Starts a server with the options that are the default, and the handlers that `register`
    /// gives it.
    pub fn new(register: impl FnOnce(&Server)) -> App {
        match Server::builder().serve_client(false).build() {
            Ok(server) => {
                register(&server);
                App::start(server)
            }
            Err(error) => unreachable!("the default options make sense: {error}"),
        }
    }

    /// Starts a server that was built otherwise.
    ///
    /// # Panics
    /// When it was started before.
    pub fn start(server: Server) -> App {
        App::builder().start(server)
    }

    /// Says how the server is to be simulated.
    pub fn builder() -> Builder {
        Builder { seed: 0, shards: 2, transport: Transport::WebSocket }
    }

    /// The server: to emit, and to ask.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Connects a client to a namespace.
    ///
    /// # Panics
    /// When the server refuses it. A test of that uses [`App::client`].
    #[track_caller]
    pub fn connect(&self, namespace: &str) -> Client {
        match self.client().connect(namespace) {
            Ok(client) => client,
            Err(error) => panic!("a client is refused by {namespace:?}: {error}"),
        }
    }

    /// A client that is about to connect, with credentials or another transport:
    ///
    /// ```
    /// use fanfare::test::App;
    /// use fanfare::{Auth, Refuse, Socket, Transport};
    ///
    /// #[derive(serde::Deserialize, serde::Serialize)]
    /// struct Token { token: String }
    ///
    /// let app = App::new(|io| {
    ///     io.of("/admin").middleware(async |_: &Socket, Auth(auth): Auth<Token>| {
    ///         match auth.token == "open sesame" {
    ///             true => Ok(()),
    ///             false => Err(Refuse::new("not authorized")),
    ///         }
    ///     });
    /// });
    /// let guess = Token { token: "please".to_owned() };
    /// let refused = app.client().auth(&guess).connect("/admin").unwrap_err();
    /// assert_eq!(refused.message(), "not authorized");
    ///
    /// let known = Token { token: "open sesame".to_owned() };
    /// let admin = app.client().auth(&known).transport(Transport::Polling).connect("/admin");
    /// assert!(admin.is_ok());
    /// ```
    pub fn client(&self) -> Dialing {
        Dialing {
            world: Rc::clone(&self.world),
            transport: self.transport,
            query: String::new(),
            headers: String::new(),
            auth: None,
        }
    }

    /// Does everything that is to be done now. What reads does so by itself.
    #[track_caller]
    pub fn settle(&self) {
        self.world.borrow_mut().settle();
    }

    /// Lets time pass; everything that is due meanwhile happens at its time.
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        self.world.borrow_mut().advance(duration);
    }

    /// How much time has passed since the start.
    pub fn elapsed(&self) -> Duration {
        self.world.borrow().now().since(Time::ZERO)
    }

    /// Awaits something of the server:
    ///
    /// ```
    /// let app = fanfare::test::App::new(|_| {});
    /// let (alice, bob) = (app.connect("/"), app.connect("/"));
    /// assert_eq!(app.run(app.server().fetch_sockets()).len(), 2);
    /// ```
    ///
    /// # Panics
    /// When it waits for something that does not happen without time passing, or without the test
    /// doing something: let that happen first. What was emitted is under way before it is awaited.
    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        while woken.0.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            self.settle();
        }
        panic!("nothing happens any more that this waits for: let time pass first, or answer it");
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut app = formatter.debug_struct("App");
        app.field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}
