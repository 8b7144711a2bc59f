//! The options of a server, with the names, meanings and defaults of Socket.IO.

mod client;
mod compression;
mod life;
mod overload;
mod settings;
#[cfg(feature = "tls")]
mod tls;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::address::ListenAddress;
use crate::base::driver_kind::DriverKind;
use crate::base::shed::SendQueuePolicy;
use crate::proto::http::{CookieOptions, CorsOptions};
use crate::proto::parser::{Form, Message};
use crate::session::Options;
use crate::session::handshake::{Offer, Transport};
use crate::session::recovery::ConnectionStateRecovery;
use crate::shard::hooks::AllowRequest;
use crate::shard::shared::{CrowdLeft, Fallback};

pub use compression::{HttpCompression, PerMessageDeflate};

/// Collects the options of a server. Every setter may be left out.
///
/// ```
/// use std::time::Duration;
/// # fn main() -> fanfare::Result<()> {
/// let io = fanfare::Server::builder()
///     .path("/live")
///     .ping_interval(Duration::from_secs(10))
///     .max_http_buffer_size(100_000)
///     .shards(2)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    pub(crate) options: Options,
    path: String,
    add_trailing_slash: bool,
    offer: Offer,
    allow_upgrades: bool,
    cors: Option<CorsOptions>,
    cookie: Option<CookieOptions>,
    initial_packet: Option<Message>,
    destroy_upgrade: bool,
    destroy_upgrade_timeout: Duration,
    pub(crate) allow_request: Option<AllowRequest>,
    serve_client: bool,
    client_folder: Option<PathBuf>,
    keep_handshake: bool,
    form: Form,
    per_message_deflate: Option<PerMessageDeflate>,
    send_queue_policy: SendQueuePolicy,
    trusted_proxies: Vec<String>,
    proxy_protocol: bool,
    http_compression: Option<HttpCompression>,
    cleanup_empty_child_namespaces: bool,
    fallback: Option<Fallback>,
    pub(crate) echo_outside: bool,
    crowd_left: Option<CrowdLeft>,
    states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) has_namespaces: bool,
    pub(crate) shards: Option<usize>,
    pub(crate) pin: bool,
    pub(crate) driver: DriverKind,
    pub(crate) addresses: Vec<ListenAddress>,
    unix_socket_mode: u32,
    hand_over_at: Option<PathBuf>,
    drain_timeout: Duration,
    watchdog: Option<Duration>,
    metrics: Option<ListenAddress>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsOptions>,
}

impl Builder {
    pub(crate) fn new(path: &str, has_namespaces: bool) -> Builder {
        let mut options = Options::default();
        if !has_namespaces {
            options.connect_timeout = None;
        }
        Builder {
            options,
            path: path.to_owned(),
            add_trailing_slash: true,
            offer: Offer::default(),
            allow_upgrades: true,
            cors: None,
            cookie: None,
            initial_packet: None,
            destroy_upgrade: true,
            destroy_upgrade_timeout: Duration::from_secs(1),
            allow_request: None,
            serve_client: has_namespaces,
            client_folder: None,
            keep_handshake: true,
            form: Form::Json,
            per_message_deflate: None,
            send_queue_policy: SendQueuePolicy::default(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            http_compression: Some(HttpCompression::default()),
            cleanup_empty_child_namespaces: false,
            fallback: None,
            echo_outside: false,
            crowd_left: None,
            states: HashMap::new(),
            has_namespaces,
            shards: None,
            pin: true,
            driver: DriverKind::default(),
            addresses: Vec::new(),
            unix_socket_mode: 0o660,
            hand_over_at: None,
            drain_timeout: Duration::from_secs(30),
            watchdog: Some(Duration::from_secs(1)),
            metrics: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// `path`: the requests whose target begins with it, and a slash, belong to this server.
    /// Default: `/socket.io`, and `/engine.io` for an engine server.
    pub fn path(mut self, path: &str) -> Builder {
        self.path = path.to_owned();
        self
    }

    /// `addTrailingSlash`: whether the path ends with a slash that requests must have, too.
    /// Default: true. Without it `/socket.io?EIO=4` belongs to this server as well, and so does
    /// everything that begins like that.
    pub fn add_trailing_slash(mut self, add: bool) -> Builder {
        self.add_trailing_slash = add;
        self
    }

    /// `pingInterval`: how long after the handshake, and after each pong, a client is pinged.
    /// Default: 25 s.
    pub fn ping_interval(mut self, interval: Duration) -> Builder {
        self.options.ping_interval = interval;
        self
    }

    /// `pingTimeout`: how long a client may take to answer a ping before it is disconnected with
    /// `ping timeout`. Default: 20 s.
    pub fn ping_timeout(mut self, timeout: Duration) -> Builder {
        self.options.ping_timeout = timeout;
        self
    }

    /// `upgradeTimeout`: how long an upgrade to WebSocket may take before it is given up; the
    /// session then stays on long-polling. Default: 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Builder {
        self.options.upgrade_timeout = timeout;
        self
    }

    /// `connectTimeout`: how long a client may stay without having joined a namespace. Default:
    /// 45 s. An engine server has no namespaces and ignores it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        if self.has_namespaces {
            self.options.connect_timeout = Some(timeout);
        }
        self
    }

    /// How long `emit_with_ack` waits for a client that does not answer, unless `timeout` says
    /// otherwise. Default: 60 s, so that nothing waits for ever; with `None` it waits as long as
    /// the client is connected, as the reference does.
    pub fn ack_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder {
        self.options.ack_timeout = timeout.into();
        self
    }

    /// `connectionStateRecovery`: clients that were away for a while have their id, rooms, data and
    /// the events that they have missed back. Default: they are new ones.
    ///
    /// ```
    /// use fanfare::{ConnectionStateRecovery, Server};
    ///
    /// let builder = Server::builder()
    ///     .connection_state_recovery(ConnectionStateRecovery::default());
    /// ```
    pub fn connection_state_recovery(mut self, recovery: ConnectionStateRecovery) -> Builder {
        self.options.connection_state_recovery = Some(recovery);
        self
    }

    /// `maxHttpBufferSize`: the largest message that is received, in bytes, on both transports.
    /// Default: 1,000,000. Beyond it a POST is answered 413, and a WebSocket closed with 1009.
    pub fn max_http_buffer_size(mut self, bytes: usize) -> Builder {
        self.options.limits.message_bytes = bytes;
        self
    }

    /// The same as [`max_http_buffer_size`](Builder::max_http_buffer_size), under the name that the
    /// handshake gives it (`maxPayload`).
    pub fn max_payload(self, bytes: usize) -> Builder {
        self.max_http_buffer_size(bytes)
    }

    /// `transports`: which ones are offered. Default: both.
    pub fn transports(mut self, transports: impl Into<Vec<Transport>>) -> Builder {
        self.offer.transports = transports.into();
        self
    }

    /// `allowEIO3`: whether clients of Socket.IO before version 3, which speak Engine.IO v3, are
    /// served beside the others. Default: false; they are refused with code 5 then.
    ///
    /// Such a client joins `/` by itself, and takes the id of its session for that of its socket in
    /// `/`: whoever is told the id of the socket can speak in the client's name. Do not hand those
    /// ids on. In another namespace, such as `/chat`, it calls its socket `/chat#` and the id of
    /// its session. That name may be given to [`to`](crate::Namespace::to), but the id of the
    /// socket is one of its own.
    ///
    /// Its packets are in the default form, are not recovered, and are not compressed on a
    /// WebSocket. [`build`](Builder::build) fails when [`parser`](Builder::parser) names another
    /// form.
    ///
    /// ```
    /// let builder = fanfare::Server::builder().allow_eio3(true);
    /// ```
    pub fn allow_eio3(mut self, allow: bool) -> Builder {
        self.offer.allow_eio3 = allow;
        self
    }

    /// Whether polls that ask for JSONP (`forceJSONP` of old clients) are answered with scripts,
    /// for browsers that have no other way to another origin. Default: false; they are refused with
    /// code 3 then. In Socket.IO it has no option, and is on.
    ///
    /// No browser asks before it loads a script: a page of any origin can open a session, whatever
    /// is configured about origins.
    pub fn jsonp(mut self, allow: bool) -> Builder {
        self.offer.jsonp = allow;
        self
    }

    /// `allowUpgrades`: whether a polling client is told that it may upgrade to WebSocket.
    /// Default: true.
    pub fn allow_upgrades(mut self, allow: bool) -> Builder {
        self.allow_upgrades = allow;
        self
    }

    /// `cors`: which pages of other sites may use the server. Default: none, so that browsers let
    /// only pages of the same site use it. Meanings and defaults are those of the npm package
    /// `cors`; `covers_upgrades` is not in it.
    ///
    /// ```
    /// use fanfare::{CorsOptions, CorsOrigin, Server};
    ///
    /// let builder = Server::builder().cors(CorsOptions {
    ///     origin: CorsOrigin::List(vec!["https://example.com".into()]),
    ///     credentials: true,
    ///     covers_upgrades: true,
    ///     ..CorsOptions::default()
    /// });
    /// ```
    ///
    /// [`build`](Builder::build) fails when an origin or a header name cannot be one.
    pub fn cors(mut self, options: CorsOptions) -> Builder {
        self.cors = Some(options);
        self
    }

    /// `cookie`: the answer to a polling handshake sets a cookie with the id of the session, for
    /// balancers that look for one. Default: none. The server does not look at it.
    ///
    /// ```
    /// let builder = fanfare::Server::builder().cookie(fanfare::CookieOptions::default());
    /// ```
    ///
    /// [`build`](Builder::build) fails when the cookie would be none.
    pub fn cookie(mut self, options: CookieOptions) -> Builder {
        self.cookie = Some(options);
        self
    }

    /// `allowRequest`: asked about every request that would open a session; an error refuses it
    /// with that message, with status 403 and code 4 (an upgrade: 400, as by the reference). An
    /// empty message stands for `Forbidden`. Default: all are allowed.
    ///
    /// It runs on the shard that received the request, whose other clients do not wait for it. It
    /// is given up when its client goes away, and after
    /// [`decision_timeout`](crate::Limits::decision_timeout). The extensions of the request hold
    /// the address of the peer, a [`SocketAddr`](std::net::SocketAddr).
    ///
    /// ```
    /// let builder = fanfare::Server::builder().allow_request(async |request| {
    ///     match request.headers().contains_key("authorization") {
    ///         true => Ok(()),
    ///         false => Err("log in first"),
    ///     }
    /// });
    /// ```
    pub fn allow_request<F, M>(mut self, allow_request: F) -> Builder
    where
        F: AsyncFn(&http::Request<()>) -> std::result::Result<(), M> + Send + Sync + 'static,
        M: Into<String>,
    {
        self.allow_request = Some(erased(allow_request));
        self
    }

    /// `initialPacket`: a message that every client is sent right behind the handshake, and with it
    /// on long-polling. Default: none. On a Socket.IO server it must be a packet of Socket.IO.
    pub fn initial_packet(mut self, packet: Message) -> Builder {
        self.initial_packet = Some(packet);
        self
    }

    /// `destroyUpgrade`: whether the connection of a request that asks for an upgrade outside the
    /// path is closed, without an answer, after
    /// [`destroy_upgrade_timeout`](Builder::destroy_upgrade_timeout). Default: true. Otherwise it
    /// stays until the client closes it.
    pub fn destroy_upgrade(mut self, destroy: bool) -> Builder {
        self.destroy_upgrade = destroy;
        self
    }

    /// `destroyUpgradeTimeout`: see [`destroy_upgrade`](Builder::destroy_upgrade). Default: 1 s.
    pub fn destroy_upgrade_timeout(mut self, timeout: Duration) -> Builder {
        self.destroy_upgrade_timeout = timeout;
        self
    }

    /// `cleanupEmptyChildNamespaces`: whether a child namespace goes with its last socket. Default:
    /// false. See [`Server::of_pattern`](crate::Server::of_pattern).
    pub fn cleanup_empty_child_namespaces(mut self, cleanup: bool) -> Builder {
        self.cleanup_empty_child_namespaces = cleanup;
        self
    }

    /// Whether the request that opened a session is kept, for
    /// [`Socket::handshake`](crate::Socket::handshake). Default: true. Without it each client costs
    /// as much less memory as its request had bytes.
    pub fn keep_handshake(mut self, keep: bool) -> Builder {
        self.keep_handshake = keep;
        self
    }

    /// `parser`: the form of packets on the wire, which must be that of the clients: see
    /// [`parser`](crate::parser). Default: [`Form::Json`]. An engine server has no packets and
    /// ignores it.
    pub fn parser(mut self, parser: impl Into<Form>) -> Builder {
        self.form = parser.into();
        self
    }

    /// `perMessageDeflate`: whether WebSocket messages are compressed for clients that offer it,
    /// and how. Default: `None`, they are not.
    pub fn per_message_deflate(mut self, how: impl Into<Option<PerMessageDeflate>>) -> Builder {
        self.per_message_deflate = how.into();
        self
    }

    /// `httpCompression`: whether answers to polling requests are compressed for clients that
    /// accept it, and how. Default: they are, from 1024 bytes on. `None` turns it off.
    pub fn http_compression(mut self, how: impl Into<Option<HttpCompression>>) -> Builder {
        self.http_compression = how.into();
        self
    }

    /// How many shards the server has: threads with a ring, a listener and clients of their own.
    /// Default: one for each core that the process may run on.
    pub fn shards(mut self, shards: usize) -> Builder {
        self.shards = Some(shards);
        self
    }

    /// Which interface of the kernel the shards use. Default: [`DriverKind::Auto`], which is
    /// io_uring, or epoll where that cannot be used. What was chosen, and why, is logged when the
    /// server starts, for the target `engine` at the level `info`.
    ///
    /// ```
    /// use fanfare::{DriverKind, Server};
    ///
    /// let io = Server::builder().driver(DriverKind::Epoll).serve_client(false).build()?;
    /// # Ok::<(), fanfare::Error>(())
    /// ```
    pub fn driver(mut self, driver: DriverKind) -> Builder {
        self.driver = driver;
        self
    }

    /// Whether each shard is pinned to a core of its own. Default: true. Only shards up to the
    /// number of cores are pinned.
    pub fn pin_shards(mut self, pin: bool) -> Builder {
        self.pin = pin;
        self
    }

    /// Somewhere to listen, in addition to what was said before: a TCP address, or a Unix socket as
    /// a path or `unix:` and a path. Clients of all of them are clients of one server. Default:
    /// nowhere but where [`listen`](crate::Server::listen) or [`spawn`](crate::Server::spawn) says.
    ///
    /// The file of a Unix socket is made with [`unix_socket_mode`](Builder::unix_socket_mode) and
    /// removed when the server has ended. One that a killed server has left behind is replaced; one
    /// on which somebody listens is an [`Error::Listen`](crate::Error::Listen).
    ///
    /// ```no_run
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder()
    ///     .listen("127.0.0.1:3000")
    ///     .listen(([0, 0, 0, 0, 0, 0, 0, 0], 8080))
    ///     .listen("unix:/run/live/fanfare.sock")
    ///     .build()?;
    /// let running = io.start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(mut self, address: impl Into<ListenAddress>) -> Builder {
        self.addresses.push(address.into());
        self
    }

    /// The permissions of the files of Unix sockets: who may write may connect. Default: `0o660`,
    /// the user and the group that the server runs as.
    pub fn unix_socket_mode(mut self, mode: u32) -> Builder {
        self.unix_socket_mode = mode;
        self
    }

    /// Answers requests outside the path, such as those for a page. It runs on the shard that
    /// received the request and must not block. Without one they are answered 404.
    ///
    /// ```
    /// let builder = fanfare::Server::builder().fallback(|request| match request.uri().path() {
    ///     "/" => http::Response::new("hello".into()),
    ///     _ => http::Response::builder().status(404).body("".into()).unwrap(),
    /// });
    /// ```
    pub fn fallback(
        mut self,
        answer: impl Fn(http::Request<Bytes>) -> http::Response<Bytes> + Send + Sync + 'static,
    ) -> Builder {
        self.fallback = Some(Arc::new(answer));
        self
    }

    /// Called by a shard, on its thread, when most of its clients have left for a second and it has
    /// given their memory back to the allocator. An allocator may keep that for the next ones; here
    /// it can be told to hand it on to the system, as by `mi_collect` or `malloc_trim`. It must not
    /// block. Without one that is left to the allocator.
    pub fn on_crowd_left(mut self, call: impl Fn() + Send + Sync + 'static) -> Builder {
        self.crowd_left = Some(Arc::new(call));
        self
    }

    /// Something that handlers may ask for, as [`State`](crate::State). One value for each type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Builder {
        self.states.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }
}

fn erased<F, M>(allow_request: F) -> AllowRequest
where
    F: AsyncFn(&http::Request<()>) -> std::result::Result<(), M> + Send + Sync + 'static,
    M: Into<String>,
{
    let allow_request = Arc::new(allow_request);
    Arc::new(move |request| {
        let allow_request = Arc::clone(&allow_request);
        Box::pin(async move { allow_request(request).await.map_err(Into::into) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_socket_io() {
        let settings = Builder::new("/socket.io", true).settings().unwrap();
        let options = &settings.options;
        assert_eq!(settings.path, "/socket.io/");
        assert_eq!(options.ping_interval, Duration::from_millis(25_000));
        assert_eq!(options.ping_timeout, Duration::from_millis(20_000));
        assert_eq!(options.upgrade_timeout, Duration::from_millis(10_000));
        assert_eq!(options.connect_timeout, Some(Duration::from_millis(45_000)));
        assert_eq!(options.limits.message_bytes, 1_000_000);
        assert_eq!(settings.offer.transports, [Transport::Polling, Transport::WebSocket]);
        assert!(settings.allow_upgrades);
        assert!(!settings.offer.allow_eio3 && !settings.offer.jsonp);
    }

    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let builders = [
            (Builder::new("live", true), "path"),
            (Builder::new("/", true).shards(0), "shards"),
            (Builder::new("/", true).ping_interval(Duration::ZERO), "ping_interval"),
            (Builder::new("/", true).transports([]), "transports"),
            (Builder::new("/", true).unix_socket_mode(0o1000), "unix_socket_mode"),
            (Builder::new("/", true).trusted_proxies(["10.0.0.0/33"]), "trusted_proxies"),
            (Builder::new("/", true).proxy_protocol(true), "proxy_protocol"),
            (Builder::new("/", true).allow_eio3(true).parser(Form::MessagePack), "allow_eio3"),
        ];
        for (builder, option) in builders {
            let error = builder.settings().err().unwrap().to_string();
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn options_of_an_engine_server_make_no_socket_io_server() {
        let error = crate::engine::Server::builder().build().err().unwrap().to_string();
        assert!(error.contains("engine::Server::build"), "{error}");
    }

    #[test]
    fn a_missing_client_bundle_is_named_with_its_folder_and_remedy() {
        let builder = Builder::new("/", true).client_folder("no/such/folder");
        let error = builder.settings().err().unwrap().to_string();
        assert!(error.contains("no/such/folder") && error.contains("npm install"), "{error}");
    }
}
