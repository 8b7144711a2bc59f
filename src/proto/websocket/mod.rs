//! WebSocket frames (RFC 6455), as a server sees them: the client masks, the server does not.
//!
//! ```text
//!            ┌─ whole message in one frame, at hand ──▶ unmasked in place, borrowed
//! bytes ─▶ header ─▶ payload
//!            └─ fragments, or several reads ──▶ one growing buffer ──▶ moved out
//! ```
//!
//! A [`Decoder`] is a state of one pointer: an idle client holds nothing. Faults are found in
//! the first byte that proves them, so the same bytes give the same messages and the same fault
//! however the network cut them (`exercise` checks that). The one extension that is spoken is
//! permessage-deflate ([`negotiate`]): with it, an [`Inflater`] stands in front of the growing
//! buffer. Keeping only one pending pong, limiting the rate of control frames and ignoring what
//! follows a close frame are the session's affair.

mod decode;
mod deflate;
mod encode;
mod exercise;
mod extension;
mod mask;
mod utf8;

use std::borrow::Cow;
use std::fmt;

pub use decode::Decoder;
#[doc(hidden)]
pub use deflate::exercise_deflate;
pub use deflate::{Deflater, InflateFault, Inflater};
pub use encode::{
    frames, header_bytes, write_binary, write_close, write_header, write_masked, write_pong,
    write_text,
};
pub use exercise::exercise;
#[doc(hidden)]
pub use extension::exercise_extensions;
pub use extension::{Agreement, Context, DeflateOptions, OfferFault, WindowBits, negotiate};

/// Longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame carries (RFC 6455 §5.2). The reserved values have no name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The end of the conversation.
    Close = 0x8,
    /// A question that a pong answers.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life without one.
    Pong = 0xa,
}

impl Opcode {
    /// The opcode in the low four bits of a frame's first byte, unless it is a reserved one.
    fn from_first_byte(byte: u8) -> Option<Opcode> {
        match byte & 0x0f {
            0x0 => Some(Opcode::Continuation),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xa => Some(Opcode::Pong),
            _ => None,
        }
    }

    /// Whether such a frame is short, never fragmented, and may stand between fragments.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// Why a connection is closed: a code that may stand in a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server shuts down, or the page is left.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the frames are not RFC 6455.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1007: a text is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: what the peer does is well-formed but not accepted.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: a message is larger than accepted.
    pub const TOO_BIG: CloseCode = CloseCode(1009);

    /// The code of that number, if an endpoint may send it: 1000 to 1003 and 1007 to 1014 of the
    /// IANA registry, 3000 to 3999 for libraries and 4000 to 4999 for applications (RFC 6455
    /// §7.4). The rest is reserved or, as 1005, means that there was no code.
    pub fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// Its number.
    pub fn value(self) -> u16 {
        self.0
    }
}

/// What the client did that ends the connection, and the code it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the close frame says.
    pub code: CloseCode,
    /// For logs and counters: a fixed sentence that quotes nothing of the client's.
    pub message: &'static str,
}

impl Fault {
    fn protocol(message: &'static str) -> Fault {
        Fault { code: CloseCode::PROTOCOL_ERROR, message }
    }

    fn text(message: &'static str) -> Fault {
        Fault { code: CloseCode::INVALID_PAYLOAD, message }
    }

    fn policy(message: &'static str) -> Fault {
        Fault { code: CloseCode::POLICY_VIOLATION, message }
    }

    fn size(message: &'static str) -> Fault {
        Fault { code: CloseCode::TOO_BIG, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.code.value())
    }
}

impl std::error::Error for Fault {}

/// What a client said. It is borrowed from the input of [`Decoder::decode`] when it came whole,
/// and owned when it had to be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text: these bytes are valid UTF-8. They stay bytes because what reads them, the packet
    /// decoder, works on bytes.
    Text(Cow<'a, [u8]>),
    /// Anything, of at most `message_bytes` as a text.
    Binary(Cow<'a, [u8]>),
    /// To be answered with a pong of the same payload, [`CONTROL_BYTES_MAX`] at most.
    Ping(Cow<'a, [u8]>),
    /// Needs no answer.
    Pong(Cow<'a, [u8]>),
    /// The last message: the client's code and reason, if it gave any. The session echoes the
    /// code and does not decode what follows.
    Close(Option<(CloseCode, Cow<'a, str>)>),
}

impl Message<'_> {
    /// The same message, free of the input; it copies what was borrowed.
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Message::Text(bytes) => Message::Text(Cow::Owned(bytes.into_owned())),
            Message::Binary(bytes) => Message::Binary(Cow::Owned(bytes.into_owned())),
            Message::Ping(bytes) => Message::Ping(Cow::Owned(bytes.into_owned())),
            Message::Pong(bytes) => Message::Pong(Cow::Owned(bytes.into_owned())),
            Message::Close(body) => {
                Message::Close(body.map(|(code, reason)| (code, Cow::Owned(reason.into_owned()))))
            }
        }
    }
}

/// What one call of [`Decoder::decode`] has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes at the start of the input that need not be shown again: all of them when there is no
    /// message.
    pub consumed: usize,
    /// The first message that these bytes completed.
    pub message: Option<Message<'a>>,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::base::limits::Limits;

    #[test]
    fn the_close_codes_that_may_be_sent_are_those_of_the_rfc() {
        // 1004 is reserved; 1005, 1006 and 1015 are never on the wire.
        const REGISTERED: [u16; 12] =
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for code in 0..=5001 {
            let expected = REGISTERED.contains(&code) || code / 1000 == 3 || code / 1000 == 4;
            assert_eq!(CloseCode::new(code).is_some(), expected, "{code}");
        }
        assert_eq!(CloseCode::new(u16::MAX), None);
    }

    #[test]
    fn every_opcode_is_read_as_it_is_written_and_the_reserved_ones_are_not_read() {
        let known = (0..16).filter_map(Opcode::from_first_byte).map(|opcode| opcode as u8);
        assert_eq!(known.collect::<Vec<u8>>(), [0, 1, 2, 8, 9, 10]);
    }

    /// A connection in memory: what the peer reads, and what it has written.
    struct Pipe {
        incoming: io::Cursor<Vec<u8>>,
        outgoing: Vec<u8>,
    }

    impl io::Read for Pipe {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.incoming.read(out)
        }
    }

    impl io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.outgoing.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn peer(incoming: Vec<u8>) -> tungstenite::WebSocket<Pipe> {
        let pipe = Pipe { incoming: io::Cursor::new(incoming), outgoing: Vec::new() };
        tungstenite::WebSocket::from_raw_socket(pipe, tungstenite::protocol::Role::Client, None)
    }

    #[test]
    fn an_independent_client_reads_what_is_written() {
        let long = "é".repeat(40_000);
        let mut out = Vec::new();
        write_text(&mut out, b"0{}");
        write_text(&mut out, long.as_bytes());
        write_binary(&mut out, &[7; 300]);
        write_pong(&mut out, b"pong");
        write_close(&mut out, Some((CloseCode::GOING_AWAY, "restart")));
        let mut client = peer(out);
        let mut next = || client.read().unwrap();
        assert_eq!(next(), tungstenite::Message::text("0{}"));
        assert_eq!(next(), tungstenite::Message::text(long));
        assert_eq!(next(), tungstenite::Message::binary(vec![7; 300]));
        assert_eq!(next(), tungstenite::Message::Pong("pong".into()));
        let tungstenite::Message::Close(Some(body)) = next() else { panic!("it was closed") };
        assert_eq!((u16::from(body.code), body.reason.as_str()), (1001, "restart"));
    }

    #[test]
    fn what_an_independent_client_writes_is_read() {
        let long = vec![9; 70_000];
        let mut client = peer(Vec::new());
        client.send(tungstenite::Message::text("42[\"é\"]")).unwrap();
        client.send(tungstenite::Message::binary(long.clone())).unwrap();
        client.send(tungstenite::Message::Ping("ping".into())).unwrap();
        client.close(None).unwrap();
        let wire = &client.get_ref().outgoing;
        let expected = [
            Message::Text("42[\"é\"]".as_bytes().into()),
            Message::Binary(long.into()),
            Message::Ping(b"ping".into()),
            Message::Close(None),
        ];
        for piece in [1, 1000, wire.len()] {
            let meaning = exercise::meaning(wire.chunks(piece), &Limits::default());
            assert_eq!(meaning.fault, None);
            assert_eq!(meaning.messages, expected);
        }
    }

    #[test]
    fn a_fault_says_who_did_what_and_the_code() {
        let fault = Fault::protocol("the client sent an unmasked frame");
        assert_eq!(fault.to_string(), "the client sent an unmasked frame (1002)");
    }
}
