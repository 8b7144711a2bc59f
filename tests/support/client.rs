//! Socket.IO clients that show every packet and hide nothing: one over WebSocket, by an independent
//! implementation, and one over long-polling, by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

/// How long a client waits for anything before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What has come on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Text(String),
    Binary(Vec<u8>),
    /// A close frame, with its code if it had one.
    Closed(Option<u16>),
    /// The connection has ended without one.
    Lost,
}

/// A client over WebSocket. Pings of the server are answered and not shown.
pub struct Client {
    socket: WebSocket<TcpStream>,
    /// The id of its session.
    pub session: String,
    pub answers_pings: bool,
}

impl Client {
    /// Opens a session; joins nothing.
    pub fn open(address: SocketAddr) -> Client {
        Client::open_with(address, "", &[])
    }

    /// Opens a session with more of a query, such as `&a=b`, and more headers.
    pub fn open_with(address: SocketAddr, query: &str, headers: &[(&'static str, &str)]) -> Client {
        let mut client = Client::upgrade(address, query, headers);
        let open = client.text();
        let rest = open.strip_prefix("0{\"sid\":\"");
        let session = rest.and_then(|rest| rest.split('"').next());
        client.session = session.unwrap_or_else(|| panic!("no open packet: {open}")).to_owned();
        client
    }

    /// Opens a session, of which nothing is read yet; `query` may be that of an older client.
    pub fn begin(address: SocketAddr, query: &str) -> Client {
        Client::upgrade(address, query, &[])
    }

    /// Begins the upgrade of a polling session; `query` names it.
    pub fn probe(address: SocketAddr, query: &str) -> Client {
        let mut client = Client::upgrade(address, query, &[]);
        client.send("2probe");
        client
    }

    fn upgrade(address: SocketAddr, query: &str, headers: &[(&'static str, &str)]) -> Client {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
        let mut request = url.into_client_request().expect("a request");
        for &(name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header");
            request.headers_mut().insert(name, value);
        }
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let (socket, _) = tungstenite::client(request, stream).expect("101");
        Client { socket, session: String::new(), answers_pings: true }
    }

    /// Opens a session and joins `/`.
    pub fn joined(address: SocketAddr) -> Client {
        let mut client = Client::open(address);
        client.join("/");
        client
    }

    /// Joins a namespace; gives the id of the socket.
    pub fn join(&mut self, namespace: &str) -> String {
        let prefix = match namespace {
            "/" => String::new(),
            other => format!("{other},"),
        };
        self.send(&format!("40{prefix}"));
        let reply = self.text();
        socket_id(&reply, &prefix)
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server takes it");
    }

    pub fn send_binary(&mut self, data: &[u8]) {
        self.socket.send(Message::binary(data.to_vec())).expect("the server takes it");
    }

    /// Sends several messages at once, whatever the server thinks of the first ones.
    pub fn send_all(&mut self, texts: &[&str]) {
        for text in texts {
            // It may have closed by now; what came before that still arrives.
            drop(self.socket.write(Message::text(*text)));
        }
        drop(self.socket.flush());
    }

    /// The next thing that comes.
    pub fn receive(&mut self) -> Received {
        loop {
            return match self.socket.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => {
                    if self.answers_pings {
                        self.send("3");
                    }
                    continue;
                }
                Ok(Message::Text(text)) => Received::Text(text.as_str().to_owned()),
                Ok(Message::Binary(data)) => Received::Binary(data.to_vec()),
                Ok(Message::Close(frame)) => {
                    Received::Closed(frame.map(|frame| u16::from(frame.code)))
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing came within {DEADLINE:?}")
                }
                Err(_) => Received::Lost,
            };
        }
    }

    /// The next message, which must be a text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.receive() {
            Received::Text(text) => text,
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// The next messages must be these texts.
    #[track_caller]
    pub fn expect(&mut self, texts: &[&str]) {
        for text in texts {
            assert_eq!(self.text(), *text);
        }
    }

    /// The next message must be this binary one.
    #[track_caller]
    pub fn expect_binary(&mut self, data: &[u8]) {
        assert_eq!(self.receive(), Received::Binary(data.to_vec()));
    }

    /// The server must close now, with a close frame without a code, and send nothing before it.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert_eq!(self.receive(), Received::Closed(None));
    }

    /// Nothing must have been sent, and the session be open: a question to the server is answered
    /// before anything else comes.
    #[track_caller]
    pub fn expect_quiet(&mut self) {
        self.send("40/is-quiet,");
        self.expect(&[r#"44/is-quiet,{"message":"Invalid namespace"}"#]);
    }

    /// Starts the closing handshake.
    pub fn close(&mut self) {
        self.socket.close(None).expect("open until now");
    }

    /// Starts it with a code.
    #[allow(dead_code, reason = "not every suite closes with a code")]
    pub fn close_with(&mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        self.socket.close(Some(frame)).expect("open until now");
    }

    /// The port of this end, as the server sees it.
    pub fn port(&self) -> u16 {
        self.socket.get_ref().local_addr().expect("a socket").port()
    }

    /// The stream below.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}

/// The id in the reply to a CONNECT.
#[track_caller]
pub fn socket_id(reply: &str, prefix: &str) -> String {
    let id = reply.strip_prefix(&format!("40{prefix}{{\"sid\":\""));
    let id = id.and_then(|rest| rest.strip_suffix("\"}"));
    id.unwrap_or_else(|| panic!("not joined: {reply}")).to_owned()
}

/// A client over long-polling. Every request is a connection of its own.
pub struct Polling {
    address: SocketAddr,
    pub sid: String,
    /// The revision of Engine.IO.
    pub protocol: &'static str,
}

/// A request that was sent.
pub struct Request(TcpStream);

impl Request {
    /// The status and the body of the answer.
    #[track_caller]
    pub fn finish(self) -> (u16, String) {
        let (status, body) = self.finish_bytes();
        (status, String::from_utf8(body).expect("UTF-8"))
    }

    /// The same, where the body need not be text.
    #[track_caller]
    pub fn finish_bytes(mut self) -> (u16, Vec<u8>) {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).expect("an answer in time");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body)
    }
}

impl Polling {
    /// Opens a session; joins nothing.
    pub fn open(address: SocketAddr) -> Polling {
        Polling::open_with(address, "4", "")
    }

    /// Opens a session of an older client with more of a query.
    pub fn open_old(address: SocketAddr, query: &str) -> Polling {
        Polling::open_with(address, "3", query)
    }

    fn open_with(address: SocketAddr, protocol: &'static str, query: &str) -> Polling {
        let mut polling = Polling { address, sid: String::new(), protocol };
        let (status, body) = polling.send("GET", query, "").finish();
        assert_eq!(status, 200, "{body}");
        let sid = body.split_once("0{\"sid\":\"").and_then(|(_, rest)| rest.split('"').next());
        polling.sid = sid.expect("an open packet").to_owned();
        polling
    }

    /// Opens a session and joins `/`.
    pub fn joined(address: SocketAddr) -> Polling {
        let polling = Polling::open(address);
        polling.post("40");
        socket_id(&polling.get(), "");
        polling
    }

    /// Sends a GET without waiting for its answer.
    pub fn start_get(&self) -> Request {
        self.request("GET", "")
    }

    /// The body of the answer to a GET.
    #[track_caller]
    pub fn get(&self) -> String {
        let (status, body) = self.start_get().finish();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Sends packets, which must be taken.
    #[track_caller]
    pub fn post(&self, body: &str) {
        assert_eq!(self.request("POST", body).finish(), (200, "ok".to_owned()));
    }

    pub fn request(&self, method: &str, body: &str) -> Request {
        self.send(method, "", body)
    }

    fn send(&self, method: &str, query: &str, body: &str) -> Request {
        let protocol = self.protocol;
        let sid = match self.sid.as_str() {
            "" => String::new(),
            sid => format!("&sid={sid}"),
        };
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let head = format!(
            "{method} /socket.io/?EIO={protocol}&transport=polling{sid}{query} HTTP/1.1\r\n\
             Host: test\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("the server takes it");
        Request(stream)
    }
}
