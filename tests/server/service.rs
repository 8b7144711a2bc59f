//! The server as a part of an application of axum, which has the port: with the feature `tower`.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::thread;

use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::routing::{get, post};
use bytes::Bytes;
use fanfare::{Ack, Builder, Data, DisconnectReason, Raw, Running, Server, Socket};
use tokio::runtime::Runtime;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::raw::{Client, DEADLINE, WEBSOCKET_HEADERS, request};
use crate::site::sid_of;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

/// An application with a part of its own.
struct Site {
    io: Server,
    running: Option<Running>,
    address: SocketAddr,
    runtime: Runtime,
}

/// Runs a test with one shard, and with two.
fn each(test: impl Fn(Builder)) {
    for shards in [1, 2] {
        test(Server::builder().shards(shards).pin_shards(false).serve_client(false));
    }
}

impl Site {
    fn new(options: Builder, prepare: impl FnOnce(&Server)) -> Site {
        let io = options.build().unwrap();
        prepare(&io);
        let running = Some(io.start().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .build()
            .unwrap();
        let service = io.service().client_address(|extensions| {
            extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
        });
        let app = axum::Router::new()
            .route("/", get(async || "the application"))
            .route("/upload", post(async |body: Bytes| body.len().to_string()))
            .route("/upgrade", get(async || http::StatusCode::IM_A_TEAPOT))
            .fallback_service(service)
            .layer(DefaultBodyLimit::disable())
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Site { io, running, address, runtime }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// How many requests have reached a shard.
    fn accepted(&self) -> u64 {
        let stats = self.runtime.block_on(self.io.stats());
        stats.iter().map(|stats| stats.connections_accepted).sum()
    }

    /// A session by polling that has joined `/`: its target.
    fn polling(&self) -> String {
        let mut client = self.client();
        let target = format!("{OPEN}&sid={}", sid_of(client.get(OPEN).text()));
        assert_eq!(client.post(&target, "40").text(), "ok");
        assert!(client.get(&target).text().starts_with("40{"));
        target
    }

    /// A WebSocket, by an independent implementation.
    fn websocket(&self, query: &str) -> Peer {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket{query}", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-custom", "value".parse().unwrap());
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Peer(tungstenite::client(request, stream).unwrap().0)
    }

    /// One that has joined `/`.
    fn joined(&self) -> Peer {
        let mut peer = self.websocket("");
        assert!(peer.next().starts_with("0{"));
        peer.say("40");
        assert!(peer.next().starts_with("40{"));
        peer
    }
}

struct Peer(WebSocket<TcpStream>);

impl Peer {
    fn say(&mut self, text: &str) {
        self.0.send(text.into()).unwrap();
    }

    fn next(&mut self) -> String {
        self.0.read().unwrap().into_text().unwrap().as_str().to_owned()
    }
}

fn echo(io: &Server) {
    io.of("/").on("echo", async |socket: Socket, arguments: Raw| {
        socket.emit("echo", arguments);
    });
    io.of("/").on("ask", async |Data(text): Data<String>, ack: Ack| ack.send(text));
}

#[test]
fn b14_7_b14_8_long_polling_goes_through_an_application() {
    each(|options| {
        let site = Site::new(options, echo);
        let (target, mut client) = (site.polling(), site.client());
        assert_eq!(client.post(&target, "42[\"echo\",\"ä\"]\u{1e}421[\"ask\",\"x\"]").text(), "ok");
        assert_eq!(client.get(&target).text(), "42[\"echo\",\"ä\"]\u{1e}431[\"x\"]");
    });
}

#[test]
fn one_connection_carries_requests_for_both() {
    each(|options| {
        let site = Site::new(options, echo);
        let mut client = site.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "the application");
            let open = client.get(OPEN);
            assert_eq!(open.header("content-type"), Some("text/plain; charset=UTF-8"));
            assert_eq!(open.header("cache-control"), Some("no-store"));
            assert_eq!(open.header("connection"), None, "{}", open.head);
            assert!(open.text().starts_with("0{\"sid\":\""), "{open:?}");
        }
    });
}

#[test]
fn websockets_go_through_an_application() {
    each(|options| {
        let site = Site::new(options.max_http_buffer_size(4_000_000), echo);
        let mut peer = site.joined();
        let message = format!("42[\"echo\",\"{}\"]", "x".repeat(2_000_000));
        for _ in 0..3 {
            peer.say(&message);
            assert!(peer.next() == message);
        }
    });
}

#[test]
fn a_polling_session_is_upgraded_through_an_application() {
    each(|options| {
        let site = Site::new(options, echo);
        let target = site.polling();
        let (_, sid) = target.split_once("&sid=").unwrap();
        let mut peer = site.websocket(&format!("&sid={sid}"));
        peer.say("2probe");
        assert_eq!(peer.next(), "3probe");
        peer.say("5");
        peer.say("42[\"echo\",1]");
        assert_eq!(peer.next(), "42[\"echo\",1]");
    });
}

#[test]
fn what_follows_the_request_of_an_upgrade_reaches_the_session() {
    each(|options| {
        let site = Site::new(options, echo);
        let line = "GET /socket.io/?EIO=4&transport=websocket";
        let head = request(line, WEBSOCKET_HEADERS);
        let mut client = site.client();
        client.send([head.as_bytes(), &crate::raw::text("40")].concat());
        assert_eq!(client.response().status, 101);
        assert!(client.text().starts_with("0{"));
        assert!(client.text().starts_with("40{"));
    });
}

#[test]
fn b14_10_b14_12_b14_13_what_the_application_answers_is_left_to_it() {
    each(|options| {
        let site = Site::new(options, echo);
        let response = site.client().ask(request("GET /upgrade", WEBSOCKET_HEADERS));
        assert_eq!(response.status, 418);
        let mut client = site.client();
        assert_eq!(client.post("/upload", vec![b'x'; 3_000_000]).text(), "3000000");
        assert_eq!(client.get("/none").status, 404);
    });
}

#[test]
fn a_refusal_is_that_of_the_server() {
    each(|options| {
        let site = Site::new(options, echo);
        let response = site.client().get("/socket.io/?EIO=4&transport=none");
        let body = r#"{"code":0,"message":"Transport unknown"}"#;
        assert_eq!((response.status, response.text()), (400, body));
        assert_eq!(response.header("content-type"), Some("application/json"));
        let line = "GET /socket.io/?EIO=4&transport=websocket&sid=none";
        let response = site.client().ask(request(line, WEBSOCKET_HEADERS));
        assert_eq!((response.status, response.text()), (400, "Session ID unknown"));
        // Without the option `Upgrade` of `Connection`, the header `Upgrade` means nothing.
        let line = "GET /socket.io/?EIO=4&transport=websocket";
        let response = site.client().ask(request(line, "Upgrade: websocket\r\n"));
        let body = r#"{"code":3,"message":"Bad request"}"#;
        assert_eq!((response.status, response.text()), (400, body));
    });
}

#[test]
fn a_body_without_a_length_is_taken_and_one_that_is_too_long_refused() {
    each(|options| {
        let site = Site::new(options.max_http_buffer_size(100_000), echo);
        let (target, mut client) = (site.polling(), site.client());
        let head = request(&format!("POST {target}"), "Transfer-Encoding: chunked\r\n");
        let body = "1\r\n4\r\nb\r\n2[\"echo\",1]\r\n0\r\n\r\n";
        let response = client.ask(format!("{head}{body}"));
        assert_eq!((response.status, response.text()), (200, "ok"));
        assert_eq!(client.get(&target).text(), "42[\"echo\",1]");
        assert_eq!(site.client().post(&target, vec![b'x'; 100_001]).status, 413);
    });
}

#[test]
fn a_client_that_goes_is_gone_for_the_server_too() {
    each(|options| {
        let (gone, reasons) = channel();
        let site = Site::new(options, |io| {
            io.of("/").on_disconnect(async move |reason: DisconnectReason| {
                gone.send(reason).unwrap();
            });
        });
        let target = site.polling();
        let (before, mut holding) = (site.accepted(), site.client());
        holding.send(request(&format!("GET {target}"), ""));
        // A client that goes before its request is looked at was never there.
        while site.accepted() == before {
            thread::yield_now();
        }
        drop(holding);
        assert_eq!(reasons.recv_timeout(DEADLINE).unwrap(), DisconnectReason::TransportError);
        drop(site.joined());
        assert_eq!(reasons.recv_timeout(DEADLINE).unwrap(), DisconnectReason::TransportClose);
    });
}

#[test]
fn a_handshake_tells_the_address_that_the_application_has_found() {
    each(|options| {
        let (seen, shakes) = channel();
        let site = Site::new(options, |io| {
            io.of("/").on_connect(async move |socket: Socket| {
                let shake = socket.handshake().unwrap();
                seen.send((shake.address(), shake.header("x-custom"))).unwrap();
            });
        });
        let peer = site.joined();
        let (address, header) = shakes.recv().unwrap();
        assert_eq!(address, Some(peer.0.get_ref().local_addr().unwrap()));
        assert_eq!(header.as_deref(), Some("value"));
    });
}

#[test]
fn clients_are_told_of_a_close_and_then_there_is_nobody() {
    each(|options| {
        let mut site = Site::new(options, echo);
        let mut peer = site.joined();
        site.io.close();
        assert!(matches!(peer.0.read(), Ok(Message::Close(_))));
        peer.0.flush().unwrap();
        site.running.take().unwrap().join().unwrap();
        assert_eq!(site.client().get(OPEN).status, 503);
        assert_eq!(site.client().get("/").text(), "the application");
    });
}
