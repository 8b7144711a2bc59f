//! How a client's Engine.IO packets get to the server and back: over a WebSocket or by polling.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::driver::sim::{Client, Network, Random};
use crate::proto::engine::{self, Packet};
use crate::proto::websocket::{Opcode, frames, header_bytes, write_masked};
use crate::session::handshake::Transport;

/// What a client asks for when it connects.
#[derive(Clone)]
pub(super) struct Dial {
    pub network: Network,
    pub address: SocketAddr,
    pub transport: Transport,
    /// The path and the query, up to where the transport is named.
    pub target: String,
    /// More lines of the heads of requests.
    pub headers: String,
}

/// A message of an Engine.IO session.
pub(super) enum Message {
    /// A whole packet, with its type.
    Text(Vec<u8>),
    /// An attachment.
    Binary(Bytes),
}

/// What has come of a session.
pub(super) enum News {
    /// It is open; the text of the open packet.
    Open(Vec<u8>),
    /// The server asks whether the client is there.
    Ping,
    /// A Socket.IO packet.
    Packet(Vec<u8>),
    /// An attachment.
    Binary(Bytes),
    /// The server does not open a session: status and body.
    Refused(u16, String),
    /// It has ended.
    Ended,
}

/// One transport of one client.
pub(super) struct Carrier {
    dial: Dial,
    random: Random,
    /// The session, once polling knows it.
    session: Option<String>,
    /// The WebSocket, or the poll that waits.
    down: Option<Link>,
    /// The POST that waits for its answer.
    up: Option<Link>,
    /// Messages that wait for the end of a POST.
    outbox: Vec<Message>,
    is_websocket_open: bool,
    has_ended: bool,
}

/// A connection of the client.
struct Link {
    client: Client,
    buffer: Vec<u8>,
}

struct Response {
    status: u16,
    body: Vec<u8>,
}

impl Link {
    fn open(dial: &Dial, first: &[u8]) -> Link {
        let mut client = dial.network.connect(dial.address);
        client.write(first);
        Link { client, buffer: Vec::new() }
    }

    /// Reads what has arrived.
    fn pull(&mut self) {
        self.buffer.append(&mut self.client.read());
    }

    fn is_over(&self) -> bool {
        self.client.end().is_some() && self.client.readable_bytes() == 0
    }

    /// Takes a whole response off the front of what was read; frames may follow one that opens a
    /// WebSocket.
    fn take_response(&mut self) -> Option<Response> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(begin)) = head.parse(&self.buffer) else { return None };
        let length =
            head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
        let (status, end) = (head.code?, begin + length.unwrap_or(0));
        if self.buffer.len() < end {
            return None;
        }
        let body = self.buffer[begin..end].to_vec();
        self.buffer.drain(..end);
        Some(Response { status, body })
    }
}

impl Carrier {
    /// Connects.
    pub fn open(dial: Dial, random: Random) -> Carrier {
        let mut carrier = Carrier {
            dial,
            random,
            session: None,
            down: None,
            up: None,
            outbox: Vec::new(),
            is_websocket_open: false,
            has_ended: false,
        };
        let first = match carrier.dial.transport {
            Transport::WebSocket => carrier.head(
                "GET",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            ),
            Transport::Polling => carrier.head("GET", ""),
        };
        carrier.down = Some(Link::open(&carrier.dial, first.as_bytes()));
        carrier
    }

    fn head(&self, method: &str, more: &str) -> String {
        let Dial { target, headers, transport, .. } = &self.dial;
        let transport = transport.name();
        let session = self.session.as_ref().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        format!(
            "{method} {target}&transport={transport}{session} HTTP/1.1\r\nHost: localhost\r\n\
             {headers}{more}\r\n"
        )
    }

    /// Sends messages, in order.
    pub fn send(&mut self, messages: Vec<Message>) {
        self.outbox.extend(messages);
    }

    /// Sends what it can, and takes what has come; answers whether there was anything of either.
    pub fn step(&mut self, news: &mut Vec<News>) -> bool {
        let before = news.len();
        let has_sent = match self.dial.transport {
            Transport::WebSocket => {
                self.read_websocket(news);
                self.write_websocket()
            }
            Transport::Polling => {
                self.read_post(news);
                self.read_poll(news);
                self.post()
            }
        };
        has_sent || news.len() > before
    }

    /// The client ends the session, as a page that is left.
    pub fn close(&mut self) {
        match self.dial.transport {
            Transport::WebSocket => {
                self.write_websocket();
                self.frame(Opcode::Close, &1000u16.to_be_bytes());
                self.down = None;
            }
            Transport::Polling => {
                self.outbox.push(Message::Text(engine::CLOSE.to_vec()));
                self.post();
            }
        }
        self.has_ended = true;
    }

    /// Its connections are cut, without a word.
    pub fn cut(&mut self) {
        (self.down, self.up, self.has_ended) = (None, None, true);
    }

    fn end(&mut self, news: &mut Vec<News>) {
        if !self.has_ended {
            news.push(News::Ended);
        }
        self.cut();
    }

    fn read_websocket(&mut self, news: &mut Vec<News>) {
        let Some(link) = &mut self.down else { return };
        link.pull();
        if !self.is_websocket_open
            && let Some(response) = link.take_response()
        {
            if response.status != 101 {
                return self.refused(&response, news);
            }
            self.is_websocket_open = true;
        }
        let (mut taken, mut is_closed) = (0, link.is_over());
        if self.is_websocket_open {
            for (opcode, payload) in frames(&link.buffer) {
                taken += header_bytes(payload.len()) + payload.len();
                match opcode {
                    Opcode::Text => read_packet(payload, news),
                    Opcode::Binary => news.push(News::Binary(Bytes::copy_from_slice(payload))),
                    Opcode::Close => is_closed = true,
                    Opcode::Ping | Opcode::Pong | Opcode::Continuation => {}
                }
            }
            link.buffer.drain(..taken);
        }
        if is_closed {
            self.end(news);
        }
    }

    fn write_websocket(&mut self) -> bool {
        let has_any = self.is_websocket_open && !self.outbox.is_empty();
        if has_any {
            for message in std::mem::take(&mut self.outbox) {
                match message {
                    Message::Text(text) => self.frame(Opcode::Text, &text),
                    Message::Binary(bytes) => self.frame(Opcode::Binary, &bytes),
                }
            }
        }
        has_any
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let Some(link) = &mut self.down else { return };
        let mut key = [0; 4];
        self.random.fill(&mut key);
        let mut frame = Vec::new();
        write_masked(&mut frame, true, opcode, key, payload);
        link.client.write(&frame);
    }

    fn read_poll(&mut self, news: &mut Vec<News>) {
        let Some(link) = &mut self.down else { return };
        link.pull();
        match link.take_response() {
            Some(response) if response.status == 200 => {
                self.down = None;
                for packet in engine::packets(&response.body) {
                    read_packet(packet, news);
                }
                if let Some(News::Open(open)) = news.last() {
                    let open: Option<serde_json::Value> = serde_json::from_slice(open).ok();
                    self.session = open.and_then(|open| Some(open["sid"].as_str()?.to_owned()));
                }
                let is_over = news.iter().any(|news| matches!(news, News::Ended));
                if !self.has_ended && !is_over {
                    let head = self.head("GET", "");
                    self.down = Some(Link::open(&self.dial, head.as_bytes()));
                }
            }
            Some(response) if self.session.is_none() => self.refused(&response, news),
            Some(_) => self.end(news),
            None if link.is_over() => self.end(news),
            None => {}
        }
    }

    fn read_post(&mut self, news: &mut Vec<News>) {
        let Some(link) = &mut self.up else { return };
        link.pull();
        match link.take_response() {
            Some(response) if response.status == 200 => self.up = None,
            Some(_) => self.end(news),
            None if link.is_over() => self.end(news),
            None => {}
        }
    }

    /// Sends what waits as the body of one POST.
    fn post(&mut self) -> bool {
        if self.session.is_none() || self.up.is_some() || self.outbox.is_empty() {
            return false;
        }
        let mut body = Vec::new();
        for message in std::mem::take(&mut self.outbox) {
            if !body.is_empty() {
                body.push(engine::RECORD_SEPARATOR);
            }
            match message {
                Message::Text(text) => body.extend_from_slice(&text),
                Message::Binary(bytes) => engine::write_base64(&mut body, &bytes),
            }
        }
        let mut request = self.head("POST", &format!("Content-Length: {}\r\n", body.len()));
        request.push_str(std::str::from_utf8(&body).unwrap_or_default());
        self.up = Some(Link::open(&self.dial, request.as_bytes()));
        true
    }

    fn refused(&mut self, response: &Response, news: &mut Vec<News>) {
        let body = String::from_utf8_lossy(&response.body).into_owned();
        news.push(News::Refused(response.status, body));
        self.cut();
    }
}

/// Reads an Engine.IO packet of the server.
fn read_packet(text: &[u8], news: &mut Vec<News>) {
    news.push(match engine::decode(text) {
        Ok(Packet::Open) => News::Open(text[1..].to_vec()),
        Ok(Packet::Close) => News::Ended,
        Ok(Packet::Ping(_)) => News::Ping,
        Ok(Packet::Message(packet)) => News::Packet(packet.to_vec()),
        Ok(Packet::Binary(bytes)) => News::Binary(bytes.into()),
        Ok(Packet::Noop) => return,
        Ok(Packet::Pong(_) | Packet::Upgrade) | Err(_) => {
            panic!("the server sent {:?}", String::from_utf8_lossy(text))
        }
    });
}
