//! A client that says exactly the bytes it is told to, with a deadline on all it waits for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use fanfare::proto::websocket::{Opcode, write_masked};

/// What has not come by then does not come. Machines are slow: no test should take a tenth of it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The mask of every frame of this client.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The headers of a WebSocket handshake, with the key of RFC 6455.
pub const WEBSOCKET_HEADERS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// One TCP connection.
pub struct Client {
    stream: TcpStream,
    /// What has arrived and was not asked for yet.
    input: Vec<u8>,
}

/// A whole HTTP response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Status line and headers, with the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

/// A WebSocket frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Final bit and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.to_ascii_lowercase() == name).then(|| value.trim())
        })
    }
}

/// The head of a request with a Host, and these lines.
pub fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

/// A POST with a body of declared length.
pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("Content-Length: {}\r\n", body.len());
    let head = request(&format!("POST {target}"), &headers);
    [head.as_bytes(), body].concat()
}

/// A frame as a client sends it.
pub fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_masked(&mut bytes, fin, opcode, MASK, payload);
    bytes
}

/// A whole text message as a client sends it.
pub fn text(message: &str) -> Vec<u8> {
    frame(true, Opcode::Text, message.as_bytes())
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        Client::on(stream)
    }

    /// A client on a connection that there is already, of TCP or not.
    pub fn on(stream: impl Into<OwnedFd>) -> Client {
        let stream = TcpStream::from(stream.into());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { stream, input: Vec::new() }
    }

    /// Sends bytes; a server that has closed already does not matter here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Err(error) if is_end(error.kind()) => {}
            result => result.expect("the server takes what is sent"),
        }
    }

    /// Sends bytes in segments of one.
    pub fn trickle(&mut self, bytes: impl AsRef<[u8]>) {
        bytes.as_ref().iter().for_each(|byte| self.send([*byte]));
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // The peer may have ended the connection already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a RST.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is open while `self` lives, and the kernel reads the structure,
        // whose size is given, before the call returns.
        let result = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "a socket can be told to reset");
    }

    /// Waits for more; `false` when the server has ended the connection.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if is_end(error.kind()) => false,
            Err(error) => panic!("{error} with {} waiting", escaped(&self.input)),
        }
    }

    /// Whether anything arrives within this time; the end of the connection counts.
    pub fn arrives_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let is_late = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        !self.input.is_empty() || !peeked.is_err_and(|error| is_late(error.kind()))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            assert!(self.receive(), "ended {count} bytes early: {}", escaped(&self.input));
        }
        self.input.drain(..count).collect()
    }

    fn take_head(&mut self) -> String {
        loop {
            let end = self.input.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return String::from_utf8(self.take(end + 4)).expect("a head is text");
            }
            assert!(self.receive(), "ended in a head: {}", escaped(&self.input));
        }
    }

    /// The next response, whose request was not a HEAD.
    pub fn response(&mut self) -> Response {
        let mut response = self.head_response();
        let length = response.header("content-length").map(|value| value.parse().unwrap());
        if !matches!(response.status, 100 | 101 | 204 | 304) {
            response.body = self.take(length.expect("a response has a length"));
        }
        response
    }

    /// The head of the next response.
    pub fn head_response(&mut self) -> Response {
        let head = self.take_head();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("a status line: {head}"));
        Response { status, head, body: Vec::new() }
    }

    /// Sends a request and waits for its response.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes);
        self.response()
    }

    /// GETs a target.
    pub fn get(&mut self, target: &str) -> Response {
        self.ask(request(&format!("GET {target}"), ""))
    }

    /// POSTs to a target.
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.ask(post(target, body.as_ref()))
    }

    /// Everything up to the end of the connection, by which it must end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.input)
    }

    /// Waits for the end of the connection, before which nothing may come.
    pub fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came before the end: {}", escaped(&rest));
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        let head = self.take(2);
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.take(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.take(8).try_into().unwrap()),
            length => u64::from(length),
        };
        let payload = self.take(usize::try_from(length).unwrap());
        Frame { first: head[0], payload }
    }

    /// The next frame, which must be a text message.
    pub fn text(&mut self) -> String {
        let Frame { first, payload } = self.frame();
        assert_eq!(first, 0x81, "a text message: {}", escaped(&payload));
        String::from_utf8(payload).expect("a text message is UTF-8")
    }

    /// The next frame, which must be a close frame: its code, if it has one.
    pub fn close_code(&mut self) -> Option<u16> {
        let Frame { first, payload } = self.frame();
        assert_eq!(first, 0x88, "a close frame: {}", escaped(&payload));
        payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Sends a text message.
    pub fn say(&mut self, message: &str) {
        self.send(text(message));
    }

    /// Waits for a close frame with this code, answers it, and waits for the end.
    pub fn expect_close(&mut self, code: Option<u16>) {
        assert_eq!(self.close_code(), code);
        self.send(frame(true, Opcode::Close, b""));
        self.expect_end();
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
}

/// Bytes for people, and not too many of them.
pub fn escaped(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}
