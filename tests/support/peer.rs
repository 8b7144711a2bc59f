//! Socket.IO clients that are no more than a TCP stream: thousands of them fit into one test.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything takes on a busy machine: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// A Socket.IO client over WebSocket.
pub struct WebSocket {
    stream: TcpStream,
    /// What has arrived and was not taken.
    input: Vec<u8>,
}

impl WebSocket {
    /// Connects, and asks for a WebSocket and for the namespace `/` in one go: the answers are not
    /// waited for.
    pub fn ask(address: SocketAddr) -> WebSocket {
        let mut stream = connect(address);
        let mut request = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n\
            Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        request.extend(masked("40"));
        stream.write_all(&request).unwrap();
        WebSocket { stream, input: Vec::new() }
    }

    /// Waits for the answers to [`WebSocket::ask`].
    pub fn join(&mut self) {
        let head_end = loop {
            if let Some(at) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.wait();
        };
        assert!(self.input.starts_with(b"HTTP/1.1 101 "), "{}", self.input.escape_ascii());
        self.input.drain(..head_end);
        let open = self.message();
        assert!(open.starts_with("0{\"sid\":"), "{open}");
        let connected = self.message();
        assert!(connected.starts_with("40{\"sid\":"), "{connected}");
    }

    /// Sends an Engine.IO packet.
    pub fn send(&mut self, packet: &str) {
        self.stream.write_all(&masked(packet)).unwrap();
    }

    /// Waits for the next Engine.IO packet.
    pub fn message(&mut self) -> String {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.wait();
        }
    }

    /// Throws away what has arrived, without waiting; gives its length.
    pub fn discard(&mut self) -> usize {
        let mut buffer = [0; 4_096];
        self.stream.set_nonblocking(true).unwrap();
        let mut discarded = self.input.len();
        self.input.clear();
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server has closed the connection"),
                Ok(length) => discarded += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        discarded
    }

    fn take(&mut self) -> Option<String> {
        let &[first, second, ..] = self.input.as_slice() else { return None };
        assert_eq!(first, 0x81, "a whole text, not {}", self.input.escape_ascii());
        let (start, length) = match second {
            126 => (4, u16::from_be_bytes(self.input.get(2..4)?.try_into().unwrap()).into()),
            length => (2, usize::from(length)),
        };
        let text = self.input.get(start..start + length)?.to_vec();
        self.input.drain(..start + length);
        Some(String::from_utf8(text).unwrap())
    }

    fn wait(&mut self) {
        let mut buffer = [0; 4_096];
        let length = self.stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the server has closed the connection");
        self.input.extend_from_slice(&buffer[..length]);
    }
}

/// A Socket.IO client over long-polling. Every request has a connection of its own.
pub struct Polling {
    address: SocketAddr,
    query: String,
    /// Packets that have arrived and were not taken, the first one last.
    packets: Vec<String>,
}

impl Polling {
    /// Opens a session and joins the namespace `/`.
    pub fn join(address: SocketAddr) -> Polling {
        let query = "/socket.io/?EIO=4&transport=polling".to_owned();
        let mut client = Polling { address, query, packets: Vec::new() };
        let open = client.message();
        let id = open.strip_prefix("0{\"sid\":\"").and_then(|rest| rest.split('"').next());
        client.query.push_str("&sid=");
        client.query.push_str(id.unwrap());
        assert_eq!(client.request("POST", "40"), "ok");
        let connected = client.message();
        assert!(connected.starts_with("40{\"sid\":"), "{connected}");
        client
    }

    /// Waits for the next Engine.IO packet.
    pub fn message(&mut self) -> String {
        while self.packets.is_empty() {
            let payload = self.request("GET", "");
            self.packets.extend(payload.split('\x1e').rev().map(str::to_owned));
        }
        self.packets.pop().unwrap()
    }

    fn request(&self, method: &str, body: &str) -> String {
        let mut stream = connect(self.address);
        let (query, length) = (&self.query, body.len());
        let fields = "Host: a\r\nConnection: close";
        write!(stream, "{method} {query} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n")
            .unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{response}");
        body.to_owned()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A short text as a client sends it.
fn masked(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    assert!(text.len() < 126);
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
