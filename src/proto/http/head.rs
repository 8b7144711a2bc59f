//! The head of a request: where it ends, and what it says.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, Request};
use memchr::memchr;

use super::{Fault, elements, is_token};
use crate::base::limits::{HEADERS_MAX, Limits};

const NO_METHOD: Fault = Fault::new(400, "A request begins with the name of a method");
const BARE_LINE_FEED: Fault = Fault::new(400, "A line of the request head ends without CRLF");
const INCOMPLETE: Fault = Fault::new(400, "The request head is not one whole head");
const MALFORMED: Fault = Fault::new(400, "The request head is malformed");
const UNKNOWN_METHOD: Fault = Fault::new(400, "The method is unknown");
const BAD_TARGET: Fault = Fault::new(400, "The request target is not a path of plain ASCII");
const BAD_HOST: Fault = Fault::new(400, "A request has one valid Host header");
const BAD_LENGTH: Fault = Fault::new(400, "Content-Length is not one plain number");
const BAD_CODING: Fault = Fault::new(400, "Transfer-Encoding is not one plain coding");
const TWO_LENGTHS: Fault =
    Fault::new(400, "Content-Length and Transfer-Encoding exclude each other");
const CODING_ON_1_0: Fault = Fault::new(400, "HTTP/1.0 has no Transfer-Encoding");
const TARGET_TOO_LONG: Fault = Fault::new(414, "The request target is too long");
const EXPECTATION: Fault = Fault::new(417, "The only expectation that is met is 100-continue");
const HEAD_TOO_LARGE: Fault = Fault::new(431, "The request head is too large");
const TOO_MANY_HEADERS: Fault = Fault::new(431, "The request has too many headers");
const UNKNOWN_CODING: Fault = Fault::new(501, "The only transfer coding is chunked");
const OTHER_VERSION: Fault = Fault::new(505, "The server speaks HTTP/1.1 and HTTP/1.0");

/// What a request line holds around the longest target: the longest method, two spaces, the
/// version and the line end.
const REQUEST_LINE_BYTES: usize = "OPTIONS".len() + 2 + "HTTP/1.1".len() + 2;

/// Most digits of a `Content-Length`: every number of 19 digits fits an `u64`.
const LENGTH_DIGITS_MAX: usize = 19;

/// Finds the end of one request head in bytes that arrive piece by piece.
///
/// It remembers how far it has looked, so a head that comes one byte at a time costs no more than
/// one that comes at once. A new request takes a new scanner.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    /// No line feed before this position is still to be looked at.
    scanned: usize,
    /// Where the current line begins; 0 in the request line only.
    line: usize,
}

impl HeadScanner {
    /// The length of the head at the start of `bytes`, or `None` when more is needed. `bytes` is
    /// what the last call was given, and what has arrived since.
    ///
    /// # Errors
    /// As soon as it can be told, and the same for every way in which the bytes may be split:
    /// 400 for a first byte that begins no method (an empty line, a TLS hello) and for a bare line
    /// feed; 414 for a request line and 431 for a head beyond the limits.
    pub fn end(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Fault> {
        assert!(self.scanned <= bytes.len(), "the bytes of one request only grow");
        // RFC 9112 2.2 would have empty lines skipped; refusing them is what keeps a line end that
        // another parser counted to the body before from being lost here.
        if bytes.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            return Err(NO_METHOD);
        }
        let request_line = limits.target_bytes.saturating_add(REQUEST_LINE_BYTES);
        loop {
            // Bytes behind a limit are not looked at, or else the answer would depend on how many
            // of them came with the ones before.
            let (window, beyond) = match self.line {
                0 if request_line < limits.head_bytes => (request_line, TARGET_TOO_LONG),
                _ => (limits.head_bytes, HEAD_TOO_LARGE),
            };
            let seen = &bytes[..bytes.len().min(window)];
            let unseen = seen.get(self.scanned..).unwrap_or_default();
            let Some(offset) = memchr(b'\n', unseen) else {
                self.scanned = seen.len();
                return if seen.len() == window { Err(beyond) } else { Ok(None) };
            };
            let feed = self.scanned + offset;
            if !bytes[..feed].ends_with(b"\r") {
                return Err(BARE_LINE_FEED);
            }
            // The request line is not empty, for its first byte begins a method.
            if self.line == feed - 1 {
                return Ok(Some(feed + 1));
            }
            self.scanned = feed + 1;
            self.line = feed + 1;
        }
    }
}

/// The methods that a request may have. Only GET, POST and OPTIONS are of use to Socket.IO; the
/// others are told apart so that they get the answers of protocol.md §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Receive: a handshake, a poll or an upgrade.
    Get,
    /// Send.
    Post,
    /// A CORS preflight.
    Options,
    /// Answered without a body.
    Head,
    /// Of no use here.
    Put,
    /// Of no use here.
    Patch,
    /// Of no use here.
    Delete,
}

impl Method {
    /// Reads a name, which is case-sensitive; `None` for one that is not in the list.
    pub fn parse(name: &str) -> Option<Method> {
        Some(match name {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "OPTIONS" => Method::Options,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => return None,
        })
    }

    /// The name, as requests have it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Options => "OPTIONS",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// The versions that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: the connection ends after the answer unless the client asks otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a request's body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// There is no body.
    None,
    /// So many bytes, as declared by the peer: not yet compared with any limit.
    Length(u64),
    /// Chunks, up to one of size 0.
    Chunked,
}

impl BodyKind {
    /// Whether the next request begins right behind the head.
    pub fn is_empty(self) -> bool {
        matches!(self, BodyKind::None | BodyKind::Length(0))
    }
}

/// A request head that has passed every rule on framing. It borrows from the bytes it was read
/// from.
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The request target as sent: a path that begins with `/`, and maybe a query, in printable
    /// ASCII without `#`. It may hold a session id, which must not be logged.
    pub target: &'a str,
    /// The version.
    pub version: Version,
    /// What follows the head.
    pub body: BodyKind,
    /// Whether the client will use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends the body.
    pub expect_continue: bool,
    /// Whether the client wants to speak another protocol. When it is refused, the connection must
    /// be closed: what follows may be of that protocol already (CVE-2026-2833).
    pub upgrade: bool,
    headers: Vec<Header<'a>>,
}

impl<'a> Head<'a> {
    /// Reads a whole head, as [`HeadScanner::end`] delimits it.
    ///
    /// # Errors
    /// Those of the scanner; 400 for what is malformed, ambiguous or not of use to a server of one
    /// site; 417 for an expectation other than `100-continue`; 431 for more headers than
    /// `limits.headers` or [`HEADERS_MAX`]; 501 for a transfer coding other than `chunked`; 505
    /// for another version of HTTP.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Head<'a>, Fault> {
        if HeadScanner::default().end(bytes, limits)? != Some(bytes.len()) {
            return Err(INCOMPLETE);
        }
        // Not initialised: 3 KiB of stores would cost more than to read what most clients send.
        let mut places = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let places = &mut places[..limits.headers.min(HEADERS_MAX)];
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, places) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => (),
            Ok(_) => return Err(MALFORMED),
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_MANY_HEADERS),
            Err(httparse::Error::Version) => return Err(version_fault(bytes)),
            Err(_) => return Err(MALFORMED),
        }
        let method = request.method.and_then(Method::parse).ok_or(UNKNOWN_METHOD)?;
        let target = checked_target(request.path.unwrap_or_default(), limits)?;
        let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
        let fields = &*request.headers;
        check_host(fields, version)?;
        let body = body_kind(fields, version)?;
        let expect_continue = expects_continue(fields, version)? && !body.is_empty();
        let connection = Connection::of(fields);
        let persistent = version == Version::Http11 || connection.keep_alive;
        Ok(Head {
            method,
            target,
            version,
            body,
            keep_alive: persistent && !connection.close,
            expect_continue,
            upgrade: connection.upgrade && values(fields, "upgrade").next().is_some(),
            headers: fields.to_vec(),
        })
    }

    /// All headers in the order in which they were sent: names as sent, values without the blanks
    /// around them. A value may hold bytes from 0x80 on, and no control character but TAB.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The value of the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The values of all headers of this name, whatever its case, in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.headers, name)
    }
}

/// Without the target and the headers: both hold secrets.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Head")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("body", &self.body)
            .field("keep_alive", &self.keep_alive)
            .field("upgrade", &self.upgrade)
            .finish_non_exhaustive()
    }
}

fn values<'a>(headers: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

/// The value of a header that may be sent once.
fn single<'a>(
    headers: &[Header<'a>],
    name: &str,
    repeated: Fault,
) -> Result<Option<&'a [u8]>, Fault> {
    let mut values = values(headers, name);
    let first = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(first) }
}

/// A well-formed version that is not spoken is told so; anything else is no HTTP.
fn version_fault(bytes: &[u8]) -> Fault {
    let line = memchr(b'\r', bytes).map_or(bytes, |end| &bytes[..end]);
    match line.last_chunk::<9>() {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let spoken = *major == b'1' && *minor <= b'1';
            if spoken { MALFORMED } else { OTHER_VERSION }
        }
        _ => MALFORMED,
    }
}

/// Origin-form (RFC 9112 3.2.1) only: the server is neither a proxy nor the target of one.
/// Characters that a URI should escape but browsers do not, such as `{`, are let through.
fn checked_target<'a>(target: &'a str, limits: &Limits) -> Result<&'a str, Fault> {
    if target.len() > limits.target_bytes {
        return Err(TARGET_TOO_LONG);
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    let origin_form = target.starts_with('/') && target.bytes().all(plain);
    if origin_form { Ok(target) } else { Err(BAD_TARGET) }
}

/// RFC 9112 3.2: exactly one Host on HTTP/1.1, at most one before, of the characters of
/// `uri-host [":" port]`. The comma of a `reg-name` is refused: it is how two hosts are merged.
fn check_host(headers: &[Header<'_>], version: Version) -> Result<(), Fault> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    match single(headers, "host", BAD_HOST)? {
        Some(host) if host.iter().all(part) => Ok(()),
        None if version == Version::Http10 => Ok(()),
        _ => Err(BAD_HOST),
    }
}

/// RFC 9112 6.3, less everything that it lets a recipient repair: lists of equal lengths, a length
/// next to a coding, codings other than one `chunked`.
fn body_kind(headers: &[Header<'_>], version: Version) -> Result<BodyKind, Fault> {
    let length = single(headers, "content-length", BAD_LENGTH)?;
    let coding = single(headers, "transfer-encoding", BAD_CODING)?;
    match (length, coding) {
        (None, None) => Ok(BodyKind::None),
        (Some(length), None) => content_length(length).map(BodyKind::Length).ok_or(BAD_LENGTH),
        (Some(_), Some(_)) => Err(TWO_LENGTHS),
        (None, Some(_)) if version == Version::Http10 => Err(CODING_ON_1_0),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyKind::Chunked),
        (None, Some(coding)) if elements(coding).all(is_token) => Err(UNKNOWN_CODING),
        (None, Some(_)) => Err(BAD_CODING),
    }
}

/// Digits only. A leading zero is refused as well, because some parsers take it for octal.
fn content_length(value: &[u8]) -> Option<u64> {
    let canonical = value == b"0" || !value.starts_with(b"0");
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX || !canonical {
        return None;
    }
    value.iter().try_fold(0, |length: u64, digit| {
        digit.is_ascii_digit().then(|| length * 10 + u64::from(digit - b'0'))
    })
}

/// RFC 9110 10.1.1: an expectation means nothing on HTTP/1.0.
fn expects_continue(headers: &[Header<'_>], version: Version) -> Result<bool, Fault> {
    if version == Version::Http10 {
        return Ok(false);
    }
    match single(headers, "expect", EXPECTATION)? {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(EXPECTATION),
    }
}

/// The tokens of the Connection headers that mean something here (RFC 9110 7.6.1).
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Connection {
    fn of(headers: &[Header<'_>]) -> Connection {
        let mut connection = Connection::default();
        for token in values(headers, "connection").flat_map(elements) {
            connection.close |= token.eq_ignore_ascii_case(b"close");
            connection.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            connection.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Head<'_>, Fault> {
        Head::parse(bytes, &Limits::default())
    }

    fn with(version: &str, lines: &str) -> Vec<u8> {
        format!("POST /socket.io/?EIO=4 HTTP/{version}\r\nHost: a\r\n{lines}\r\n").into_bytes()
    }

    #[test]
    fn a_head_is_read_as_sent() {
        let bytes = with("1.1", "X-One:\t 1 2 \t\r\nx-TWO:\r\ncookie: caf\u{e9}\r\n");
        let head = parse(&bytes).unwrap();
        assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
        assert_eq!(head.target, "/socket.io/?EIO=4");
        assert_eq!(head.header("x-one"), Some(&b"1 2"[..]));
        assert_eq!(head.header("X-Two"), Some(&b""[..]));
        assert_eq!(head.header("COOKIE"), Some("caf\u{e9}".as_bytes()));
        assert_eq!(head.header("x-three"), None);
        let names: Vec<&str> = head.headers().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-One", "x-TWO", "cookie"]);
    }

    #[test]
    fn cve_2023_43669_the_scanner_looks_at_each_byte_once() {
        let limits = Limits::default();
        let bytes = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'\r'; 16_000]].concat();
        let mut scanner = HeadScanner::default();
        for end in 0..bytes.len() {
            assert_eq!(scanner.end(&bytes[..end], &limits), Ok(None));
            assert_eq!(scanner.scanned, end);
        }
    }

    #[test]
    fn the_scanner_gives_the_first_head_of_several_and_gives_it_again() {
        let limits = Limits::default();
        let one = with("1.1", "");
        let both = [one.as_slice(), &one].concat();
        let mut scanner = HeadScanner::default();
        assert_eq!(scanner.end(&both, &limits), Ok(Some(one.len())));
        assert_eq!(scanner.end(&both, &limits), Ok(Some(one.len())));
    }

    #[test]
    fn a_head_is_exactly_the_bytes_it_is_read_from() {
        let bytes = with("1.1", "");
        let more = [bytes.as_slice(), b"x"].concat();
        assert_eq!(parse(&more).unwrap_err(), INCOMPLETE);
        assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap_err(), INCOMPLETE);
        assert_eq!(parse(b"").unwrap_err(), INCOMPLETE);
    }

    #[test]
    fn a_connection_is_kept_unless_the_version_or_a_token_says_otherwise() {
        let kept = |version, lines| parse(&with(version, lines)).unwrap().keep_alive;
        assert!(kept("1.1", ""));
        assert!(kept("1.1", "Connection: keep-alive\r\n"));
        assert!(kept("1.1", "Connection: x-close\r\n"));
        assert!(!kept("1.1", "Connection: CLOSE\r\n"));
        assert!(!kept("1.1", "Connection: keep-alive\r\nConnection: a ,\tclose ,\r\n"));
        assert!(!kept("1.0", ""));
        assert!(kept("1.0", "Connection: Keep-Alive\r\n"));
        assert!(!kept("1.0", "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn an_upgrade_takes_both_the_token_and_the_header() {
        let upgrade = |lines| parse(&with("1.1", lines)).unwrap().upgrade;
        assert!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(!upgrade("Connection: upgrade\r\n"));
        assert!(!upgrade("Upgrade: websocket\r\n"));
        assert!(!upgrade("Connection: upgraded\r\nUpgrade: websocket\r\n"));
    }

    #[test]
    fn only_a_body_on_http_1_1_is_waited_for_with_continue() {
        let expects = |version, lines: &str| {
            let lines = format!("Expect: 100-Continue\r\n{lines}");
            parse(&with(version, &lines)).unwrap().expect_continue
        };
        assert!(expects("1.1", "Content-Length: 5\r\n"));
        assert!(expects("1.1", "Transfer-Encoding: chunked\r\n"));
        assert!(!expects("1.1", ""));
        assert!(!expects("1.1", "Content-Length: 0\r\n"));
        assert!(!expects("1.0", "Content-Length: 5\r\n"));
    }

    #[test]
    fn the_longest_length_of_19_digits_is_a_length() {
        assert_eq!(content_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"10"), Some(10));
        assert_eq!(content_length(b"00"), None);
    }

    #[test]
    fn every_method_is_read_by_its_name() {
        use Method::{Delete, Get, Head, Options, Patch, Post, Put};
        for method in [Get, Post, Options, Head, Put, Patch, Delete] {
            assert_eq!(Method::parse(method.name()), Some(method));
            assert_eq!(Method::parse(&method.name().to_lowercase()), None);
        }
        assert_eq!(Method::parse("CONNECT"), None);
    }

    #[test]
    fn a_head_that_is_printed_shows_no_secret() {
        let bytes = with("1.1", "Cookie: secret\r\n");
        let text = format!("{:?}", parse(&bytes).unwrap());
        assert!(!text.contains("secret") && !text.contains("EIO"), "{text}");
    }
}
