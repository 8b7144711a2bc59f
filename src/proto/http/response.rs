//! Responses, made of values that cannot break out of their line.

use std::error::Error;
use std::fmt;

use ::http::StatusCode;

use super::is_token;

/// What a client that expects it is sent before its body is read (RFC 9110 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Headers that say where a message ends or what the connection becomes. Only this module writes
/// them: one more of them, from an application, would split the response.
const OWN_NAMES: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One header of a response: a token as name, and a value without line ends and other control
/// characters. There is no other way to a response than through this check (RUSTSEC-2017-0002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a str,
    value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Checks a header. The value may hold TAB and bytes from 0x80 on, as those of a request may,
    /// so that one can be reflected.
    ///
    /// # Errors
    /// The caller gave something that is no header, or one that the server writes itself.
    pub const fn new(name: &'a str, value: &'a [u8]) -> Result<Field<'a>, InvalidField> {
        if !is_token(name.as_bytes()) {
            return Err(InvalidField::Name);
        }
        let mut position = 0;
        while position < OWN_NAMES.len() {
            if is_same_name(name.as_bytes(), OWN_NAMES[position].as_bytes()) {
                return Err(InvalidField::Reserved);
            }
            position += 1;
        }
        let mut position = 0;
        while position < value.len() {
            if value[position].is_ascii_control() && value[position] != b'\t' {
                return Err(InvalidField::Value);
            }
            position += 1;
        }
        Ok(Field { name, value })
    }

    /// A header that is part of the program: for constants, where a wrong one does not compile.
    ///
    /// # Panics
    /// Where [`Field::new`] gives an error.
    pub const fn known(name: &'static str, value: &'static str) -> Field<'static> {
        match Field::new(name, value.as_bytes()) {
            Ok(field) => field,
            Err(_) => panic!("a constant header must be valid"),
        }
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for part in [self.name.as_bytes(), b": ", self.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// A [`Field`] in memory of its own, for a response that is not made yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldBuf {
    name: Box<str>,
    value: Box<[u8]>,
}

impl FieldBuf {
    /// The field.
    pub fn as_field(&self) -> Field<'_> {
        Field { name: &self.name, value: &self.value }
    }

    /// Whether it has this name, whatever its case.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl From<Field<'_>> for FieldBuf {
    fn from(field: Field<'_>) -> FieldBuf {
        FieldBuf { name: field.name.into(), value: field.value.into() }
    }
}

/// `[u8]::eq_ignore_ascii_case`, in constants too.
const fn is_same_name(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut position = 0;
    while position < left.len() {
        if !left[position].eq_ignore_ascii_case(&right[position]) {
            return false;
        }
        position += 1;
    }
    true
}

/// Why a header that the application gave cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidField {
    /// The name is not a token (RFC 9110 5.6.2).
    Name,
    /// The value holds a control character.
    Value,
    /// The server writes this header itself.
    Reserved,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InvalidField::Name => "the application's header has a name that is not a token",
            InvalidField::Value => "the application's header has a control character in its value",
            InvalidField::Reserved => "the application's header is one that the server writes",
        })
    }
}

impl Error for InvalidField {}

/// An option of the application that responses cannot be made of, found when the server is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOption {
    /// Its name.
    pub option: &'static str,
    /// What is wrong with its value.
    pub reason: String,
}

impl fmt::Display for InvalidOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the application's option {}: {}", self.option, self.reason)
    }
}

impl Error for InvalidOption {}

/// What precedes the body of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status, 200 to 999: a final one.
    pub status: u16,
    /// Whether the client may use the connection again; else it must be closed behind the response.
    pub keep_alive: bool,
    /// Whether the request was a HEAD: the length of the body is told, the body is not sent.
    pub omit_body: bool,
    /// More headers, in this order.
    pub fields: &'a [Field<'a>],
}

impl<'a> ResponseHead<'a> {
    /// The head of a last response.
    pub fn closing(status: u16, fields: &'a [Field<'a>]) -> ResponseHead<'a> {
        ResponseHead { status, keep_alive: false, omit_body: false, fields }
    }
}

/// Appends a whole response to `out`. One of status 204 or 304 has no body and no Content-Length
/// (RFC 9110 8.6); everything else has both, so that no response ends with its connection.
///
/// # Panics
/// For a status that is not final: the caller's fault.
pub fn write_response(out: &mut Vec<u8>, response: &ResponseHead<'_>, body: &[u8]) {
    let has_body = !matches!(response.status, 204 | 304);
    write_head(out, response, has_body.then_some(body.len()));
    if has_body && !response.omit_body {
        out.extend_from_slice(body);
    }
}

/// Appends a response without a body that says so, whatever its status. For a preflight: some
/// browsers wait for the body of a 204 that has no Content-Length, so that `cors` sends one against
/// RFC 9110 8.6.
///
/// # Panics
/// As [`write_response`].
pub(super) fn write_empty_response(out: &mut Vec<u8>, response: &ResponseHead<'_>) {
    write_head(out, response, Some(0));
}

fn write_head(out: &mut Vec<u8>, response: &ResponseHead<'_>, body_bytes: Option<usize>) {
    assert!((200..1000).contains(&response.status), "{} is no final status", response.status);
    write_status_line(out, response.status);
    for field in response.fields {
        field.write(out);
    }
    if let Some(bytes) = body_bytes {
        out.extend_from_slice(b"Content-Length: ");
        write_number(out, bytes);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(match response.keep_alive {
        true => b"Connection: keep-alive\r\n\r\n",
        false => b"Connection: close\r\n\r\n",
    });
}

/// A status without a registered phrase gets an empty one (RFC 9112 4).
pub(super) fn write_status_line(out: &mut Vec<u8>, status: u16) {
    let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, usize::from(status));
    out.push(b' ');
    out.extend_from_slice(phrase.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, mut number: usize) {
    // An usize has 20 digits at most.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789"[number % 10];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(head: &ResponseHead<'_>, body: &[u8]) -> String {
        let mut out = Vec::new();
        write_response(&mut out, head, body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_poll_is_answered_with_its_length() {
        const FIELDS: &[Field<'static>] = &[
            Field::known("Content-Type", "text/plain; charset=UTF-8"),
            Field::known("cache-control", "no-store"),
        ];
        let head = ResponseHead { status: 200, keep_alive: true, omit_body: false, fields: FIELDS };
        assert_eq!(
            response(&head, b"2"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             cache-control: no-store\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n2"
        );
    }

    #[test]
    fn a_response_without_content_has_no_length() {
        for (status, phrase) in [(204, "No Content"), (304, "Not Modified")] {
            assert_eq!(
                response(&ResponseHead::closing(status, &[]), b"ignored"),
                format!("HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n\r\n")
            );
        }
    }

    #[test]
    fn an_empty_response_says_that_it_is_empty() {
        let mut out = Vec::new();
        write_empty_response(&mut out, &ResponseHead::closing(204, &[]));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn the_response_to_a_head_request_tells_the_length_only() {
        let head = ResponseHead { omit_body: true, ..ResponseHead::closing(400, &[]) };
        assert_eq!(
            response(&head, b"12345"),
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn every_status_that_is_used_has_its_phrase() {
        for (status, phrase) in [
            (403, "Forbidden"),
            (404, "Not Found"),
            (408, "Request Timeout"),
            (413, "Payload Too Large"),
            (414, "URI Too Long"),
            (417, "Expectation Failed"),
            (426, "Upgrade Required"),
            (431, "Request Header Fields Too Large"),
            (500, "Internal Server Error"),
            (501, "Not Implemented"),
            (503, "Service Unavailable"),
            (505, "HTTP Version Not Supported"),
            (599, ""),
        ] {
            let text = response(&ResponseHead::closing(status, &[]), b"");
            assert!(text.starts_with(&format!("HTTP/1.1 {status} {phrase}\r\n")), "{text}");
        }
    }

    #[test]
    fn rustsec_2017_0002_no_line_end_gets_into_a_response() {
        for value in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "\0", "\x7f", "a\u{b}"] {
            let refused = Field::new("X-Origin", value.as_bytes());
            assert_eq!(refused, Err(InvalidField::Value), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}", "a\t"] {
            assert_eq!(Field::new(name, b"x"), Err(InvalidField::Name), "{name:?}");
        }
    }

    #[test]
    fn an_application_cannot_change_the_framing() {
        for name in ["Content-Length", "TRANSFER-ENCODING", "connection", "Upgrade", "Trailer"] {
            assert_eq!(Field::new(name, b"5"), Err(InvalidField::Reserved), "{name}");
        }
        assert!(Field::new("Content-Lengths", b"5").is_ok());
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for number in [0, 9, 10, 200, 1_000_000, usize::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_response_has_the_lines_it_was_given(
            name in any::<String>(),
            value in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(field) = Field::new(&name, &value) {
                let mut out = Vec::new();
                write_response(&mut out, &ResponseHead::closing(200, &[field]), b"");
                prop_assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 5);
                prop_assert_eq!(memchr::memchr_iter(b'\r', &out).count(), 5);
            }
        }
    }
}
