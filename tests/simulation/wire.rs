//! What a client writes and reads, byte by byte: strict, and independent of the server's codecs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare::driver::sim::Random;
use serde_json::Value;

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

/// A WebSocket frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Close(Vec<u8>),
}

/// A Socket.IO event or acknowledgement, with its attachments behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of the event; `None` for an acknowledgement.
    pub name: Option<String>,
    /// The packet id, if it has one.
    pub id: Option<u64>,
    pub args: Vec<Value>,
    pub attachments: Vec<Vec<u8>>,
    /// Attachments that have not come yet.
    pub missing: usize,
}

/// A request for a path below `/socket.io/`, with a body if it is a POST.
pub fn request(method: &str, query: &str, body: Option<&str>) -> Vec<u8> {
    request_of(4, method, query, body)
}

/// The same of a version of Engine.IO.
pub fn request_of(version: u8, method: &str, query: &str, body: Option<&str>) -> Vec<u8> {
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
    let (length, body) = (length.unwrap_or_default(), body.unwrap_or_default());
    let target = format!("/socket.io/?EIO={version}&{query}");
    format!("{method} {target} HTTP/1.1\r\nHost: sim\r\n{length}\r\n{body}").into_bytes()
}

/// The request that opens a WebSocket.
pub fn handshake(query: &str) -> Vec<u8> {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: sim\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Takes a whole response off the front of what was read.
pub fn take_response(buffer: &mut Vec<u8>) -> Option<Response> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..end]).expect("a head is text").to_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("a head has a first line");
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status: u16 = status.and_then(|status| status.parse().ok()).expect("a status line");
    let mut length = 0;
    let mut keep_alive = true;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a header has a colon");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "connection" => keep_alive = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if buffer.len() < end + length {
        return None;
    }
    let rest = buffer.split_off(end + length);
    let body = std::mem::replace(buffer, rest).split_off(end);
    Some(Response { status, body, keep_alive })
}

/// Takes a whole frame off the front of what was read.
pub fn take_frame(buffer: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "a frame of the server is whole and has no extension bits");
    assert!(second < 0x80, "a frame of the server is not masked");
    let (start, length) = match second {
        126 => (4, u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    assert!(start == 2 || length > 125, "a length is written as short as possible");
    assert!(start < 10 || length > 65_535, "a length is written as short as possible");
    let end = start + usize::try_from(length).expect("a frame fits into memory");
    if buffer.len() < end {
        return None;
    }
    let rest = buffer.split_off(end);
    let payload = std::mem::replace(buffer, rest).split_off(start);
    Some(match first & 0x0f {
        1 => Frame::Text(String::from_utf8(payload).expect("text frames hold UTF-8")),
        2 => Frame::Binary(payload),
        8 => Frame::Close(payload),
        other => panic!("the server sent a frame with opcode {other}"),
    })
}

/// A masked frame of a client.
pub fn frame(random: &mut Random, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        short @ ..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(long).expect("clients of a test are brief").to_be_bytes());
        }
    }
    let key = (random.word() as u32).to_be_bytes();
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The bytes of a base64 packet, without its `b`.
pub fn attachment(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).expect("a binary packet is base64")
}

/// Reads an event or an acknowledgement of the namespace `/`: what follows the Engine.IO `4`.
pub fn event(packet: &str) -> Event {
    let (kind, mut rest) = packet.split_at(1);
    let mut missing = 0;
    if matches!(kind, "5" | "6") {
        let (count, behind) = rest.split_once('-').expect("a binary packet counts");
        missing = count.parse().expect("a count");
        rest = behind;
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let id = rest[..digits].parse().ok();
    let mut args: Vec<Value> = serde_json::from_str(&rest[digits..]).expect("an array");
    let name = match kind {
        "2" | "5" => Some(args.remove(0).as_str().expect("an event has a name").to_owned()),
        "3" | "6" => None,
        _ => panic!("the server sent {packet:?}"),
    };
    Event { name, id, args, attachments: Vec::new(), missing }
}

/// Takes the head of the answer to a WebSocket handshake off the front; frames follow it. A refusal
/// has a body, which stays.
pub fn take_response_head(buffer: &mut Vec<u8>) -> Option<u16> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let rest = buffer.split_off(end);
    let head = String::from_utf8(std::mem::replace(buffer, rest)).expect("a head is text");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok())
}
