//! The header of a frame, which may come in pieces, and what makes it legal.

use super::Assembly;
use crate::base::limits::Limits;
use crate::proto::websocket::deflate::payload_bytes_max;
use crate::proto::websocket::encode::COMPRESSED;
use crate::proto::websocket::{Fault, Opcode};

/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// The bits of a frame's first byte that mean nothing, unless an extension says so.
pub(super) const RESERVED: u8 = 0x70;

/// The first bytes of a header, fewer than make it complete.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    bytes: [u8; HEADER_BYTES_MAX],
    pub(super) length: usize,
}

impl Start {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// This start and as many of the bytes that came next as a header can have.
    pub(super) fn continued(mut self, bytes: &[u8]) -> Start {
        for (room, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *room = *byte;
        }
        self.length = HEADER_BYTES_MAX.min(self.length + bytes.len());
        self
    }
}

/// A complete header of a legal shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    fin: bool,
    opcode: Opcode,
    /// Whether it begins a compressed message.
    compressed: bool,
    /// As declared; 64 bits on any machine until it is known to be small.
    length: u64,
    mask: [u8; 4],
    /// How many bytes the header takes.
    pub(super) bytes: usize,
}

impl Header {
    /// The header at the start of `bytes`, or `None` while more of it must come. Each rule of
    /// RFC 6455 §5.2 is checked in the order of the bytes, so that a fault does not depend on how
    /// many of them are at hand. The bits in `reserved` must not be set.
    pub(super) fn parse(bytes: &[u8], reserved: u8) -> Result<Option<Header>, Fault> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & reserved != 0 {
            return Err(Fault::protocol("the client set a reserved bit"));
        }
        let Some(opcode) = Opcode::from_first_byte(first) else {
            return Err(Fault::protocol("the client used a reserved opcode"));
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Fault::protocol("the client fragmented a control frame"));
        }
        let compressed = first & COMPRESSED != 0;
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Fault::protocol("the client compressed what does not begin a message"));
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Fault::protocol("the client sent an unmasked frame"));
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(Fault::protocol("the client sent a control frame beyond 125 bytes"));
        }
        let Some((length, rest)) = parse_length(short, rest) else { return Ok(None) };
        if length >> 63 != 0 {
            return Err(Fault::protocol("the client set the top bit of a length"));
        }
        if (short == 126 && length < 126) || (short == 127 && length < 0x1_0000) {
            return Err(Fault::protocol("the client sent a length that is not the shortest form"));
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let bytes = bytes.len() - rest.len();
        Ok(Some(Header { fin, opcode, compressed, length, mask: *mask, bytes }))
    }

    /// The frame, if it may come now: behind these fragments, and within the limits.
    pub(super) fn admit(
        self,
        message: Option<&mut Assembly>,
        limits: &Limits,
    ) -> Result<Frame, Fault> {
        let (compressed, arrived) = match &message {
            Some(message) => (message.compressed, message.bytes.len()),
            None => (self.compressed, 0),
        };
        match (self.opcode, message) {
            (Opcode::Continuation, None) => {
                return Err(Fault::protocol(
                    "the client continued a message that it had not begun",
                ));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Fault::protocol("the client began a message inside another"));
            }
            // Empty frames carry nothing that the limit of bytes would count.
            (Opcode::Continuation, Some(message)) if self.length == 0 => {
                message.empty_fragments += 1;
                if message.empty_fragments > limits.empty_fragments {
                    return Err(Fault::policy("the client sent too many empty fragments"));
                }
            }
            _ => {}
        }
        let length = usize::try_from(self.length).ok();
        let total = length.and_then(|length| length.checked_add(arrived));
        let (Some(length), Some(total)) = (length, total) else {
            return Err(Fault::size("the client sent a message beyond any memory"));
        };
        let limit = match compressed {
            true => payload_bytes_max(limits.message_bytes),
            false => limits.message_bytes,
        };
        if total > limit && !self.opcode.is_control() {
            return Err(Fault::size("the client sent a message beyond the limit"));
        }
        let Header { fin, opcode, compressed, mask, .. } = self;
        Ok(Frame { fin, opcode, compressed, mask, length, remaining: length })
    }
}

/// The length that the second byte announces and what is behind it, once it is complete.
fn parse_length(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    match short {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((u64::from(u16::from_be_bytes(*length)), rest))
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((u64::from_be_bytes(*length), rest))
        }
        _ => Some((u64::from(short), rest)),
    }
}

/// A frame whose header was admitted.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Whether it begins a compressed message.
    pub(super) compressed: bool,
    /// Turned so that its first byte is due to the first byte that remains.
    pub(super) mask: [u8; 4],
    pub(super) length: usize,
    /// Bytes of the payload that have not come.
    pub(super) remaining: usize,
}
