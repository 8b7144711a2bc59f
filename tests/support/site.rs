//! A server in this process, with handlers that tell a test what they see.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fanfare::base::id::SessionId;
use fanfare::engine::{self, Connection, Message};
use fanfare::{Builder, Data, DisconnectReason, Emitted, Engine, Raw, Running, Server, Socket};

use crate::raw::{Client, DEADLINE, Response, WEBSOCKET_HEADERS, post, request, text};

/// What bystanders may wait: on a machine that has much else to do it is more than the 100 ms that
/// are promised, and less than any limit that ends a client which keeps the server busy.
const SOON: Duration = Duration::from_secs(5);

/// A running server.
pub struct Site {
    pub address: SocketAddr,
    pub path: &'static str,
    handle: Handle,
    running: Option<Running>,
    reasons: Receiver<String>,
    shards: u16,
}

/// What closes the server.
enum Handle {
    Engine(engine::Server),
    Io(Server),
}

/// A server that does not wait long for the polls of sessions that a test has left behind.
fn hurried(builder: Builder) -> Builder {
    builder.limits(|limits| limits.farewell_timeout = Duration::from_millis(20))
}

/// Runs a test against an engine server of one shard, and against one of two.
pub fn on_engine(test: impl Fn(&mut Site)) {
    on_engine_with(|builder| builder, test);
}

/// The same, with options.
pub fn on_engine_with(options: impl Fn(Builder) -> Builder, test: impl Fn(&mut Site)) {
    for shards in [1, 2] {
        println!("shards: {shards}");
        test(&mut Site::engine(options(hurried(engine::Server::builder())), shards));
    }
}

/// Runs a test against a Socket.IO server of one shard, and against one of two.
pub fn on_io_with(options: impl Fn(Builder) -> Builder, test: impl Fn(&mut Site)) {
    for shards in [1, 2] {
        println!("shards: {shards}");
        test(&mut Site::io(options(hurried(Server::builder())), shards));
    }
}

impl Site {
    /// An engine server that echoes messages, but for a few that are commands.
    pub fn engine(builder: Builder, shards: u16) -> Site {
        let builder = builder.shards(usize::from(shards)).pin_shards(false);
        let server = engine::Server::build(builder).unwrap();
        let (reason, reasons) = channel();
        server.on_message(obey);
        server.on_close(async move |gone: DisconnectReason| tell(&reason, gone));
        let running = server.spawn("127.0.0.1:0").unwrap();
        Site::new("/engine.io/", Handle::Engine(server), running, reasons, shards)
    }

    /// A Socket.IO server with an `echo` event, and one that disconnects its sender.
    pub fn io(builder: Builder, shards: u16) -> Site {
        let server = builder.shards(usize::from(shards)).pin_shards(false).build().unwrap();
        let (reason, reasons) = channel();
        let space = server.of("/");
        space.on("echo", async |socket: Socket, arguments: Raw| {
            socket.emit("echo", arguments);
        });
        space.on("leave", async |socket: Socket, Data(close): Data<bool>| {
            socket.emit("bye", 1);
            socket.disconnect(close);
        });
        space.on_disconnect(async move |gone: DisconnectReason| tell(&reason, gone));
        let running = server.spawn("127.0.0.1:0").unwrap();
        Site::new("/socket.io/", Handle::Io(server), running, reasons, shards)
    }

    fn new(
        path: &'static str,
        handle: Handle,
        running: Running,
        reasons: Receiver<String>,
        shards: u16,
    ) -> Site {
        let address = running.address().unwrap();
        Site { address, path, handle, running: Some(running), reasons, shards }
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        match &self.handle {
            Handle::Io(server) => server,
            Handle::Engine(_) => panic!("an engine server has no namespaces"),
        }
    }

    /// What is done with its requests.
    pub fn engine_handle(&self) -> Engine {
        match &self.handle {
            Handle::Engine(server) => server.engine(),
            Handle::Io(server) => server.engine(),
        }
    }

    /// Begins to close the server.
    pub fn close(&self) {
        match &self.handle {
            Handle::Engine(server) => server.close(),
            Handle::Io(server) => server.close(),
        }
    }

    /// Waits for the end of a server that is being closed.
    pub fn join(&mut self) {
        self.running.take().expect("joined once").join().expect("no shard has failed");
    }

    /// Why the next client has gone.
    pub fn reason(&self) -> String {
        self.reasons.recv_timeout(DEADLINE).expect("a client goes")
    }

    /// Asserts that the server has seen no client go. What must be seen first was waited for.
    pub fn none_gone(&self) {
        assert_eq!(self.reasons.try_recv().ok(), None, "a client has gone");
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The target of a new session.
    pub fn open_target(&self, transport: &str) -> String {
        format!("{}?EIO=4&transport={transport}", self.path)
    }

    /// The target of a session.
    pub fn target(&self, transport: &str, sid: &str) -> String {
        format!("{}&sid={sid}", self.open_target(transport))
    }

    /// Opens a session by polling.
    pub fn polling(&self) -> Polling<'_> {
        let mut client = self.client();
        let open = client.get(&self.open_target("polling"));
        assert_eq!(open.status, 200);
        let sid = sid_of(open.text());
        let target = self.target("polling", &sid);
        Polling { site: self, client, sid, target }
    }

    /// Opens a session by WebSocket.
    pub fn websocket(&self) -> (Client, String) {
        let mut client = self.handshake(&self.open_target("websocket"));
        let sid = sid_of(&client.text());
        (client, sid)
    }

    /// A WebSocket at a target, which the server must accept.
    pub fn handshake(&self, target: &str) -> Client {
        let mut client = self.client();
        let response = client.ask(request(&format!("GET {target}"), WEBSOCKET_HEADERS));
        assert_eq!(response.status, 101, "{}", response.head);
        client
    }

    /// Clients that nothing a test does may affect, one of each shard.
    pub fn bystanders(&self) -> Bystanders {
        let mut clients: Vec<Option<Client>> = (0..self.shards).map(|_| None).collect();
        let is_io = matches!(self.handle, Handle::Io(_));
        // The kernel spreads connections by their ports; a shard is missed with odds of 2^-200.
        for _ in 0..200 {
            let (client, sid) = self.websocket();
            match &mut clients[usize::from(shard_of(&sid))] {
                vacant @ None => *vacant = Some(client),
                Some(_) => {
                    drop(client);
                    // Without a namespace it has no disconnect handler.
                    (!is_io).then(|| self.reason());
                }
            }
            if clients.iter().all(Option::is_some) {
                break;
            }
        }
        let mut bystanders = Bystanders { clients: clients.into_iter().flatten().collect(), is_io };
        assert_eq!(bystanders.clients.len(), usize::from(self.shards));
        bystanders.join();
        bystanders
    }
}

/// Polls, and returns when the server has the request: it comes in one segment behind a POST of
/// `noop`, and the server, which answers at the end of a turn, has seen both when it answers one.
pub fn hold(client: &mut Client, target: &str, noop: &str) {
    let poll = request(&format!("GET {target}"), "");
    client.send([post(target, noop.as_bytes()), poll.into_bytes()].concat());
    assert_eq!(client.response().text(), "ok");
}

/// A session by polling, and a connection of it that is kept alive.
pub struct Polling<'a> {
    site: &'a Site,
    pub client: Client,
    pub sid: String,
    pub target: String,
}

impl Polling<'_> {
    /// Polls, and waits for packets.
    pub fn poll(&mut self) -> String {
        let response = self.client.get(&self.target);
        assert_eq!(response.status, 200, "{}", response.head);
        response.text().to_owned()
    }

    /// Polls on a connection of its own, and leaves the poll waiting.
    pub fn hold(&self) -> Client {
        let mut client = self.site.client();
        self.hold_on(&mut client);
        client
    }

    /// The same on a connection that is there.
    pub fn hold_on(&self, client: &mut Client) {
        hold(client, &self.target, "6");
    }

    pub fn post(&mut self, body: impl AsRef<[u8]>) -> Response {
        self.client.post(&self.target, body)
    }

    /// Posts packets, which must be taken.
    pub fn send(&mut self, packets: &str) {
        let response = self.post(packets);
        assert_eq!((response.status, response.text()), (200, "ok"));
    }

    /// Sends a message and polls for its echo.
    pub fn echo(&mut self) {
        self.send("4still here");
        assert_eq!(self.poll(), "4still here");
    }

    /// Asserts that the session is no more.
    pub fn expect_gone(&self) {
        let response = self.site.client().get(&self.target);
        let body = r#"{"code":1,"message":"Session ID unknown"}"#;
        assert_eq!((response.status, response.text()), (400, body));
    }

    /// Opens a WebSocket beside it.
    pub fn probe(&self) -> Client {
        self.site.handshake(&self.site.target("websocket", &self.sid))
    }
}

/// See [`Site::bystanders`].
pub struct Bystanders {
    clients: Vec<Client>,
    is_io: bool,
}

impl Bystanders {
    fn join(&mut self) {
        for client in self.clients.iter_mut().filter(|_| self.is_io) {
            client.say("40");
            assert!(client.text().starts_with("40{"));
        }
    }

    /// Asserts that every one is served, and soon.
    pub fn echo(&mut self) {
        let message = if self.is_io { r#"42["echo","bystander"]"# } else { "4bystander" };
        let begun = Instant::now();
        self.clients.iter_mut().for_each(|client| client.send(text(message)));
        self.clients.iter_mut().for_each(|client| assert_eq!(client.text(), message));
        assert!(begun.elapsed() < SOON, "bystanders have waited for {:?}", begun.elapsed());
    }
}

/// The session id of an open packet.
pub fn sid_of(open: &str) -> String {
    let open = open.strip_prefix('0').expect("an open packet comes first");
    let open: serde_json::Value = serde_json::from_str(open).expect("it is JSON");
    open["sid"].as_str().expect("it has a sid").to_owned()
}

/// The shard of a session.
pub fn shard_of(sid: &str) -> u16 {
    SessionId::parse(sid.as_bytes()).expect("a sid").shard()
}

fn tell(reason: &Sender<String>, gone: DisconnectReason) {
    // The test may be over.
    let _ = reason.send(gone.to_string());
}

/// Echoes, or does what it is told.
async fn obey(connection: Connection, message: Message) {
    let command = match &message {
        Message::Text(text) => text.split_once(':'),
        Message::Binary(_) => None,
    };
    let send = |text: &str| assert_eq!(connection.send_text(text), Emitted::Queued);
    match command {
        Some(("close", _)) => {
            connection.close();
        }
        Some(("send and close", _)) => {
            ["one", "two", "three"].into_iter().for_each(send);
            connection.close();
        }
        Some(("many", size)) => {
            let text = "x".repeat(size.parse().expect("a size"));
            (0..100).for_each(|_| send(&text));
        }
        _ => {
            connection.send(message);
        }
    }
}
