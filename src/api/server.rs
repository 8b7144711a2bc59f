//! The server: where everything begins.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use regex_lite::Regex;

use crate::base::address::ListenAddress;
use crate::base::id::SocketId;
use crate::base::stats::Stats;
use crate::command::Command;
use crate::config::Builder;
use crate::error::{Error, Result};
use crate::shard::attach::HandOverError;
use crate::shard::registry::Matcher;
use crate::shard::run::Plan;
use crate::shard::running::Running;
use crate::shard::shared::{ExpiredSession, Shared};

use super::ack::Acknowledgements;
use super::emit::{Emitted, Emitter};
use super::event::{Asks, Emits};
use super::fetch::FetchSockets;
use super::hooks::Engine;
use super::namespace::{Candidate, Namespace};
use super::signals::Signals;
use super::targets::IntoTargets;
use crate::proto::json::{Arguments, FromArguments};

/// A Socket.IO server. Cheap to clone, usable from any thread.
///
/// ```no_run
/// use fanfare::{Data, Server, Socket};
///
/// fn main() -> fanfare::Result<()> {
///     let io = Server::builder().build()?;
///     io.of("/").on_connect(async |socket: Socket| {
///         socket.join("lobby");
///     });
///     io.of("/").on("message", async |socket: Socket, Data(text): Data<String>| {
///         socket.to("lobby").emit("message", &text);
///     });
///     io.listen("127.0.0.1:3000")
/// }
/// ```
#[derive(Clone)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    addresses: Arc<[ListenAddress]>,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Server {
    /// The options of a new server.
    pub fn builder() -> Builder {
        Builder::new("/socket.io", true)
    }

    pub(crate) fn build(builder: &Builder) -> Result<Server> {
        let shared = Shared::new(builder.settings()?);
        if let Some(allow_request) = &builder.allow_request {
            shared.hooks.change(|hooks| hooks.allow_request = Some(Arc::clone(allow_request)));
        }
        shared.define("/");
        let plan = Plan::new(builder.shards, builder.pin, builder.driver)?;
        let addresses = builder.addresses.as_slice().into();
        Ok(Server { shared, addresses, plan: Arc::new(Mutex::new(Some(plan))) })
    }

    /// The namespace of a name, which clients may join from now on. `""` and `/` are the same; a
    /// missing slash is added, as by the reference.
    ///
    /// # Panics
    /// When the name holds a comma, which ends a name on the wire, so that no client could join; or
    /// when there are 65,535 namespaces already.
    pub fn of(&self, name: &str) -> Namespace {
        assert!(!name.contains(','), "the name of a namespace must not hold a comma: {name:?}");
        let definition = match name.starts_with('/') {
            true => self.shared.define(name),
            false => self.shared.define(&format!("/{name}")),
        };
        Namespace { shared: Arc::clone(&self.shared), definition }
    }

    /// The engine below (`io.engine`): what is done with requests before they are clients.
    pub fn engine(&self) -> Engine {
        Engine { shared: Arc::clone(&self.shared) }
    }

    /// The namespaces whose names match a regular expression (`of` with a `RegExp`): a child comes
    /// into being when a client asks for such a name, with the middlewares and handlers that are
    /// registered here. Emits go to all children.
    ///
    /// A name that was made with [`of`](Server::of) is not asked about. Of several parents the
    /// first that matches takes the name. There are as many children as
    /// [`Limits::child_namespaces`](crate::Limits) says, and they stay unless
    /// [`Builder::cleanup_empty_child_namespaces`](crate::Builder::cleanup_empty_child_namespaces)
    /// is on: turn it on where clients may make up names without end.
    ///
    /// ```
    /// use fanfare::{Server, Socket};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = Server::builder().build()?;
    /// io.of_pattern(r"^/tenant-\d+$")?.on_connect(async |socket: Socket| {
    ///     socket.emit("welcome", socket.namespace());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Pattern`]: it is no regular expression, in the syntax of the crate `regex-lite`.
    pub fn of_pattern(&self, pattern: &str) -> Result<Namespace> {
        let pattern = Regex::new(pattern).map_err(|error| Error::Pattern(error.to_string()))?;
        Ok(self.parent(Matcher::Pattern(Arc::new(pattern))))
    }

    /// As [`of_pattern`](Server::of_pattern), for the names that an async predicate takes (`of`
    /// with a function). It is asked on the shard of the client and must not block; while it waits
    /// the client may not send anything for the namespace, and when the client goes meanwhile it is
    /// dropped. One session may wait for [`Limits::namespaces_per_session`] answers, and one that
    /// has joined nothing for [`Builder::connect_timeout`].
    ///
    /// [`Limits::namespaces_per_session`]: crate::Limits::namespaces_per_session
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// # async fn is_known(tenant: &str) -> bool { true }
    /// let io = fanfare::Server::builder().build()?;
    /// let tenants = io.of_matching(async |candidate| {
    ///     match candidate.name().strip_prefix("/tenant/") {
    ///         Some(tenant) => is_known(tenant).await,
    ///         None => false,
    ///     }
    /// });
    /// tenants.emit("maintenance", "at noon");
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_matching<F>(&self, predicate: F) -> Namespace
    where
        F: AsyncFn(Candidate) -> bool + Send + Sync + 'static,
    {
        let predicate = Arc::new(predicate);
        self.parent(Matcher::Predicate(Arc::new(move |candidate| {
            let predicate = Arc::clone(&predicate);
            Box::pin(async move { predicate(Candidate(candidate)).await })
        })))
    }

    /// Calls `listener` for each namespace that is made from now on (`new_namespace`), before
    /// anyone joins it: by [`of`](Server::of), or because a parent takes its name. It must not
    /// block. If it panics there is no such namespace, and whoever asked for it is refused.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.on_new_namespace(|namespace| println!("{} is there", namespace.name()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_new_namespace(&self, listener: impl Fn(Namespace) + Send + Sync + 'static) {
        self.shared.listen_to_namespaces(Arc::new(move |shared, definition| {
            let (shared, definition) = (Arc::clone(shared), Arc::clone(definition));
            listener(Namespace { shared, definition });
        }));
    }

    /// Calls `listener` for each socket whose state was kept in case that its client comes back,
    /// which it has not in time ([`Builder::connection_state_recovery`]). It is called on the shard
    /// that has kept it, and must not block.
    ///
    /// [`Builder::connection_state_recovery`]: crate::Builder::connection_state_recovery
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.on_session_expired(|expired| println!("{} has left for good", expired.id));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_session_expired(&self, listener: impl Fn(&ExpiredSession) + Send + Sync + 'static) {
        self.shared.listen_to_expiries(Arc::new(listener));
    }

    fn parent(&self, matcher: Matcher) -> Namespace {
        let definition = self.shared.registry.define_parent(matcher);
        self.shared.changed();
        Namespace { shared: Arc::clone(&self.shared), definition }
    }

    /// Sends an event to every client of `/`. See [`Emitter::emit`].
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) -> Emitted {
        self.of("/").emit(event, args)
    }

    /// Aims at the sockets of `/` that are in any of these rooms. See [`Emitter::to`].
    pub fn to(&self, rooms: impl IntoTargets) -> Emitter {
        self.of("/").to(rooms)
    }

    /// Sends an event to every client of `/` and gathers what they acknowledge. See
    /// [`Emitter::emit_with_ack`].
    ///
    /// # Errors
    /// The same.
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        &self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Acknowledgements<T> {
        self.of("/").emit_with_ack(event, args)
    }

    /// The same as [`to`](Server::to); `in` is a keyword of Rust.
    pub fn in_(&self, rooms: impl IntoTargets) -> Emitter {
        self.of("/").to(rooms)
    }

    /// Aims at the sockets of `/` that are in none of these rooms. See [`Emitter::except`].
    pub fn except(&self, rooms: impl IntoTargets) -> Emitter {
        self.of("/").except(rooms)
    }

    /// Only the latest event of this key matters. See [`Emitter::coalesce`].
    pub fn coalesce(&self, key: impl Into<Arc<str>>) -> Emitter {
        self.of("/").coalesce(key)
    }

    /// Whether the packet that follows may be compressed. See [`Emitter::compress`].
    pub fn compress(&self, compress: bool) -> Emitter {
        self.of("/").compress(compress)
    }

    /// Tells which sockets of `/` there are. See [`Emitter::fetch_sockets`].
    pub fn fetch_sockets(&self) -> FetchSockets {
        self.of("/").emitter().fetch_sockets()
    }

    /// The ids of the sockets of `/`. See [`Emitter::all_sockets`].
    pub async fn all_sockets(&self) -> HashSet<SocketId> {
        self.of("/").all_sockets().await
    }

    /// Makes all sockets of `/` join rooms. See [`Emitter::sockets_join`].
    pub fn sockets_join(&self, rooms: impl IntoTargets) -> Emitted {
        self.of("/").emitter().sockets_join(rooms)
    }

    /// Makes all sockets of `/` leave rooms. See [`Emitter::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl IntoTargets) -> Emitted {
        self.of("/").emitter().sockets_leave(rooms)
    }

    /// Disconnects all sockets of `/`. See [`Emitter::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) -> Emitted {
        self.of("/").emitter().disconnect_sockets(close)
    }

    /// Sends the event `message` to all sockets of `/`.
    pub fn send(&self, args: impl Arguments) -> Emitted {
        self.emit("message", args)
    }

    /// The same as [`send`](Server::send).
    pub fn write(&self, args: impl Arguments) -> Emitted {
        self.send(args)
    }

    /// Aims at the sockets of `/` whose clients are writable at that moment. See
    /// [`Emitter::volatile`].
    pub fn volatile(&self) -> Emitter {
        self.of("/").volatile()
    }

    /// Aims at the sockets of `/` of this process. See [`Emitter::local`].
    pub fn local(&self) -> Emitter {
        self.of("/").local()
    }

    /// How long the `emit_with_ack` that follows waits. See [`Emitter::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Emitter {
        self.of("/").timeout(timeout)
    }

    /// The namespace `/`: the same as `of("/")` (`io.sockets`).
    pub fn sockets(&self) -> Namespace {
        self.of("/")
    }

    /// The namespaces there are, also those that a parent has made; no parents.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let all = self.shared.registry.namespaces().into_iter();
        let shared = &self.shared;
        all.map(|definition| Namespace { shared: Arc::clone(shared), definition }).collect()
    }

    /// Serves clients on all addresses of [`Builder::listen`], on threads of its own, and returns
    /// at once. Without any it has only those that are [handed over](Server::handle_connection).
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Listen`], [`Error::Driver`] and [`Error::Thread`] as they say;
    /// [`Error::Started`] when the server was started before. A server that cannot have all of its
    /// addresses has none, and cannot be started again.
    pub fn start(&self) -> Result<Running> {
        self.start_on(&self.addresses)
    }

    /// As [`start`](Server::start), and on this address, too. With port 0 the kernel chooses the
    /// port: [`Running::address`] tells it.
    ///
    /// # Errors
    /// The same.
    pub fn spawn(&self, address: impl Into<ListenAddress>) -> Result<Running> {
        self.start_on(&[&*self.addresses, &[address.into()]].concat())
    }

    fn start_on(&self, addresses: &[ListenAddress]) -> Result<Running> {
        self.take_plan()?.start(&self.shared, addresses)
    }

    /// How it is to be started, which happens once.
    pub(crate) fn take_plan(&self) -> Result<Plan> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        plan.ok_or(Error::Started)
    }

    /// Serves clients on an address, and on those of [`Builder::listen`], until
    /// [`close`](Server::close) is called, or the process gets SIGTERM or SIGINT, which
    /// [`drain`](Server::drain) it. A second signal ends the process at once, with 128 and its
    /// number as the exit code.
    ///
    /// # Errors
    /// Those of [`spawn`](Server::spawn), and what ends a shard later.
    pub fn listen(&self, address: impl Into<ListenAddress>) -> Result<()> {
        let running = self.spawn(address)?;
        self.wait(running)
    }

    /// Waits for a running server to end, as [`listen`](Server::listen) does.
    ///
    /// # Errors
    /// What ends a shard before its time, as [`Running::join`].
    pub fn wait(&self, running: Running) -> Result<()> {
        let signals = Signals::obey(&self.shared)?;
        let result = running.join();
        signals.stop();
        result
    }

    /// Closes the server (`io.close()`): it accepts no more clients, those there are see
    /// `transport close`, and their disconnect handlers run with `server shutting down`. Packets
    /// that were queued before this turn of their shard have been sent; others are lost.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Ends the server as its clients like it best: it accepts no more connections, and opens no
    /// session on those there are, which is answered 503; the clients are sent away one after the
    /// other, at 1,000 a second or as fast as [`Builder::drain_timeout`] demands, each behind what
    /// is queued for it and behind the acknowledgement of its last event. They see `transport
    /// close` and come back, to another server. Disconnect handlers run with `server shutting
    /// down`.
    ///
    /// SIGTERM and SIGINT do this to a server that [`listen`](Server::listen)s.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Reads the files of [`TlsOptions`](crate::TlsOptions) again, for handshakes that begin from
    /// now on (`setSecureContext` of Node.js); connections that exist stay as they are. May be
    /// called on any thread. SIGHUP does this to a server that [`listen`](Server::listen)s.
    ///
    /// # Errors
    /// [`Error::Tls`]: a file is at fault, and all stays as it was. [`Error::Option`]: the server
    /// has no TLS.
    #[cfg(feature = "tls")]
    pub fn reload_certificates(&self) -> Result<()> {
        self.shared.reload_certificates()
    }

    /// Takes a connection that the application has accepted, with the bytes that it has read from
    /// it, and goes on as if the server had accepted it: it answers the request that these bytes
    /// begin, and all that follow on the connection. The bytes may be none, a part of a request
    /// head, or a head and whatever came behind it; they must all be here, from the first one. May
    /// be called on any thread; the connections are given to the shards by turns.
    ///
    /// It is `engine.handleUpgrade(request, socket, head)` of Node.js, also for the requests of
    /// long-polling, for which Node.js has `engine.handleRequest(request, response)`. Where Node.js
    /// has `engine.attach(httpServer)`, to share a port with an application, this server answers
    /// for the application ([`Builder::fallback`](crate::Builder::fallback)), or is a part of it
    /// (`Server::service`, with the feature `tower`, for hyper and axum).
    ///
    /// `stream` is a connected TCP or Unix socket. Whether it blocks does not matter, but nobody
    /// else may use it any more. A client on a Unix socket has no
    /// [`address`](crate::Handshake::address).
    ///
    /// ```no_run
    /// use std::io::Read;
    /// use std::net::TcpListener;
    ///
    /// fn accept(io: &fanfare::Server, listener: &TcpListener) -> std::io::Result<()> {
    ///     let (mut stream, _) = listener.accept()?;
    ///     let mut read = vec![0; 4096];
    ///     let length = stream.read(&mut read)?;
    ///     read.truncate(length);
    ///     if read.starts_with(b"GET /socket.io/") || read.starts_with(b"POST /socket.io/") {
    ///         io.handle_connection(stream, read).map_err(std::io::Error::other)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Gives the connection back when the server does not run, all of its shards are behind, the
    /// descriptor is no stream socket, or the bytes are more than a request may have. A connection
    /// that is taken may still be closed at once: beyond
    /// [`connections`](crate::Limits::connections), or when the server is being closed.
    pub fn handle_connection(
        &self,
        stream: impl Into<OwnedFd>,
        read: impl Into<Vec<u8>>,
    ) -> std::result::Result<(), HandOverError> {
        self.shared.attach(stream.into(), read.into(), None)
    }

    /// The first TCP address that the server listens on, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.address()
    }

    /// All that the server listens on, once it does, with the ports that were taken.
    pub fn addresses(&self) -> &[ListenAddress] {
        self.shared.addresses()
    }

    /// The version of the JavaScript client that is served; `None` when none is.
    pub fn client_version(&self) -> Option<&str> {
        Some(&self.shared.settings.client.as_ref()?.version)
    }

    /// What the targets of requests to this server begin with (`io.path()`).
    pub fn path(&self) -> &str {
        &self.shared.settings.path
    }

    /// The counters of each shard, by index; none before the server runs. May be awaited on any
    /// thread. Shards that are gone are left out.
    pub async fn stats(&self) -> Vec<Stats> {
        let mut receivers = Vec::new();
        for post in self.shared.posts() {
            let (sender, receiver) = oneshot::channel();
            if post.mailbox.ask(Command::Stats(sender)).is_ok() {
                receivers.push(receiver);
            }
        }
        let mut stats = Vec::new();
        for receiver in receivers {
            stats.extend(receiver.await.ok());
        }
        stats
    }
}

impl Builder {
    /// Makes the server. It serves nobody until [`Server::listen`] or [`Server::spawn`].
    ///
    /// # Errors
    /// [`Error::Option`] and [`Error::ClientBundle`], which name what the caller gave.
    pub fn build(self) -> Result<Server> {
        if !self.has_namespaces {
            let why = "options of an engine server are for `fanfare::engine::Server::build`";
            return Err(Error::Option("engine", why.to_owned()));
        }
        Server::build(&self)
    }
}
