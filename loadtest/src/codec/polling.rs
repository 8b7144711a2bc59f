//! HTTP long-polling of Engine.IO 4: requests out, responses in, several packets to a body.

use std::borrow::Cow;
use std::io::Write;

/// Stands between two packets of a body.
const SEPARATOR: u8 = 0x1e;

/// A head that has not ended by then is not one of a server that is measured here.
const HEAD_LENGTH_MAX: usize = 16 * 1024;

/// Why bytes are not an HTTP response that is understood here.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    Head,
    Chunk,
}

/// One response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    pub status: u16,
    pub body: Cow<'a, [u8]>,
    /// The server ends the connection behind it.
    pub closes: bool,
    /// Its bytes with its head.
    pub length: usize,
}

/// Asks for what there is, or for a session when there is none yet.
pub fn poll(session: Option<&str>, host: &str, out: &mut Vec<u8>) {
    head("GET", session, host, out);
    out.extend_from_slice(b"\r\n");
}

/// Brings packets, which `add` has put into one body.
pub fn post(session: &str, host: &str, body: &[u8], out: &mut Vec<u8>) {
    head("POST", Some(session), host, out);
    let _ = write!(
        out,
        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(body);
}

fn head(method: &str, session: Option<&str>, host: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} /socket.io/?EIO=4&transport=polling");
    if let Some(session) = session {
        let _ = write!(out, "&sid={session}");
    }
    let _ = write!(out, " HTTP/1.1\r\nHost: {host}\r\n");
}

/// Puts a packet into a body.
pub fn add(packet: &[u8], body: &mut Vec<u8>) {
    if !body.is_empty() {
        body.push(SEPARATOR);
    }
    body.extend_from_slice(packet);
}

/// The packets of a body.
pub fn packets(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&byte| byte == SEPARATOR)
}

/// The response at the front, once it is whole.
pub fn decode(bytes: &[u8]) -> Result<Option<Response<'_>>, Fault> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_LENGTH_MAX { Err(Fault::Head) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Fault::Head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)?.parse().ok()).ok_or(Fault::Head)?;
    let (mut content_length, mut closes, mut is_chunked) = (0, false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            content_length = value.parse::<u32>().map_err(|_| Fault::Head)? as usize;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
        }
    }
    let begin = end + 4;
    let body = match is_chunked {
        true => chunks(&bytes[begin..])?,
        false => {
            let body = bytes[begin..].get(..content_length);
            body.map(|body| Body(body.into(), content_length))
        }
    };
    Ok(body.map(|Body(body, length)| Response { status, body, closes, length: begin + length }))
}

/// A body, and how long it was with what stands between its chunks.
struct Body<'a>(Cow<'a, [u8]>, usize);

fn chunks(bytes: &[u8]) -> Result<Option<Body<'_>>, Fault> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&rest[..line]).map_err(|_| Fault::Chunk)?;
        let digits = digits.split(';').next().unwrap_or_default().trim();
        let length = u32::from_str_radix(digits, 16).map_err(|_| Fault::Chunk)? as usize;
        let Some(chunk) = rest[line + 2..].get(..length + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(Fault::Chunk);
        }
        body.extend_from_slice(&chunk[..length]);
        at += line + 2 + length + 2;
        if length == 0 {
            return Ok(Some(Body(body.into(), at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_read(text: &str, status: u16, body: &str, closes: bool) {
        let bytes = format!("{text}HTTP/1.1 200 OK");
        let response = decode(bytes.as_bytes()).unwrap().unwrap();
        assert_eq!((response.status, response.closes), (status, closes));
        assert_eq!(response.body, body.as_bytes());
        assert_eq!(response.length, text.len());
        for length in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn responses_end_where_they_say() {
        is_read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false);
        is_read("HTTP/1.1 200 OK\r\ncontent-length:0\r\nConnection: close\r\n\r\n", 200, "", true);
        is_read("HTTP/1.1 400 Bad Request\r\n\r\n", 400, "", false);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        is_read(chunked, 200, "abc0123456789", false);
    }

    #[test]
    fn what_is_no_response_is_a_fault() {
        assert_eq!(decode(b"HTTP/1.0 200 OK\r\n\r\n"), Err(Fault::Head));
        assert_eq!(decode(b"HTTP/1.1 abc\r\n\r\n"), Err(Fault::Head));
        assert_eq!(decode(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(Fault::Head));
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc";
        assert_eq!(decode(chunk), Err(Fault::Chunk));
        assert_eq!(decode(&[b'a'; HEAD_LENGTH_MAX + 1]), Err(Fault::Head));
    }

    #[test]
    fn packets_share_a_body() {
        let mut body = Vec::new();
        add(b"40", &mut body);
        add(b"3", &mut body);
        assert_eq!(body, b"40\x1e3");
        assert_eq!(packets(&body).collect::<Vec<_>>(), [&b"40"[..], b"3"]);
    }

    #[test]
    fn requests_name_their_session() {
        let mut out = Vec::new();
        poll(None, "h", &mut out);
        assert_eq!(out, b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n");
        out.clear();
        post("s", "h", b"40", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("POST /socket.io/?EIO=4&transport=polling&sid=s HTTP/1.1\r\n"));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n40"));
    }
}
