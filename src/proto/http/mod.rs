//! HTTP/1.1 as a server of Socket.IO needs it: RFC 9110, 9112 and the handshake of RFC 6455.
//!
//! ```text
//! bytes ─▶ HeadScanner ─▶ Head ─▶ Query
//!                          ├────▶ BodyReader ─▶ body
//!                          ├────▶ Accept ─▶ write_switching_protocols
//!                          └────▶ Cors ─▶ Field
//! write_response ◀─ ResponseHead, Field ◀─ Cookie
//! ```
//!
//! The codec is stricter than RFC 9112 asks for, and than `httparse`, which finds the fields: what
//! two parsers on one path could understand differently is refused, never repaired. A line ends
//! with CRLF and nothing else, a length is one plain number, the only transfer coding is `chunked`
//! without extensions and trailers, and a head over a limit is a fault, never a shorter head.
//!
//! Every fault is the peer's. After one, the connection is answered and closed: what follows the
//! faulty bytes has no known beginning.

mod body;
mod cookie;
mod cors;
mod encoding;
mod forwarded;
mod fuzz;
mod handshake;
mod head;
mod origin;
mod query;
mod response;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;

use super::token::is_token;

pub use body::{BodyReader, Progress};
pub use cookie::{Cookie, CookieOptions, CookiePriority, SameSite};
pub use cors::{Cors, CorsOptions, CorsOrigin};
#[doc(hidden)]
pub use encoding::exercise_encoding;
pub use encoding::{Compressor, Encoding, FOR_ANSWERS, FOR_FILES};
#[doc(hidden)]
pub use forwarded::client_address;
pub use fuzz::exercise;
pub use handshake::{Accept, HandshakeFault, write_switching_protocols};
pub use head::{BodyKind, Head, HeadScanner, Method, Version};
pub use query::Query;
pub use response::{
    CONTINUE, Field, FieldBuf, InvalidField, InvalidOption, ResponseHead, write_response,
};

/// What a peer did wrong, and how it is told before its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the answer, 400 to 599.
    pub status: u16,
    /// One sentence for people. It holds nothing that the peer sent.
    pub message: &'static str,
}

impl Fault {
    const fn new(status: u16, message: &'static str) -> Fault {
        assert!(status >= 400 && status < 600, "a fault is answered with an error status");
        Fault { status, message }
    }

    /// Writes the whole answer: the message as plain text, and `Connection: close`.
    pub fn respond(&self, out: &mut Vec<u8>) {
        // What a server cannot do now it may soon, or another one behind the same balancer.
        const FIELDS: &[Field<'static>] =
            &[Field::known("Content-Type", "text/plain"), Field::known("Retry-After", "1")];
        let fields = if self.status == 503 { FIELDS } else { &FIELDS[..1] };
        write_response(out, &ResponseHead::closing(self.status, fields), self.message.as_bytes());
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the client's request is refused with {}: {}", self.status, self.message)
    }
}

impl Error for Fault {}

/// The elements of a comma-separated header value, without the blanks around them (RFC 9110
/// 5.6.1). An empty element is kept: who asks decides whether it is a fault.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Without leading and trailing spaces and tabs; no other byte is blank in HTTP.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
