//! Frames as a client sends them: masked, maybe fragmented, cut by the network anywhere.

use std::borrow::Cow;
use std::mem;

use super::{CloseCode, Decoded, Fault, Message, Opcode, mask, utf8};
use crate::base::limits::Limits;

/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// The first room of a message that is put together. Small, because a client may stop anywhere.
const ASSEMBLY_BYTES_MIN: usize = 64;

/// The state between two reads of one client: nothing while no frame or message is begun.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() == size_of::<usize>(), "an idle client holds nothing");

/// What is begun. At least one of its fields is in use.
#[derive(Debug, Default)]
struct Partial {
    /// A header that is not complete.
    start: Start,
    /// The frame whose payload is not complete.
    frame: Option<Frame>,
    /// What has come of that payload, if it is a control frame's: those stand between the
    /// fragments of a message and must not disturb it.
    control: Vec<u8>,
    /// The message that is not complete.
    message: Option<Assembly>,
}

impl Decoder {
    /// Takes the bytes that came next, unmasking them in place, up to the end of the first
    /// message. To be called again with what it has not consumed, until there is no message:
    /// then everything was consumed, and what is begun is kept in the decoder.
    ///
    /// A message is borrowed from `input` when it came in one frame and in one piece; otherwise
    /// its buffer is given away. That buffer follows what has arrived, not what a header
    /// declares: it has room for twice the payload received (at least 64 bytes), whatever the
    /// number of fragments.
    ///
    /// # Errors
    /// The client has broken RFC 6455 or passed a limit. It must be told [`Fault::code`] and not
    /// be decoded any further; what had been kept of it is freed. See [`Fault`] for the codes:
    /// 1002 of the framing, with lengths that are not in their shortest form (the reference takes
    /// them); 1007 at the first byte that can not be part of a text or of a close reason; 1008
    /// beyond [`Limits::empty_fragments`]; 1009 beyond [`Limits::message_bytes`], from the header
    /// and before any payload is kept.
    pub fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &Limits,
    ) -> Result<Decoded<'a>, Fault> {
        if self.partial.is_none()
            && let Some((opcode, end)) = short_message(input)
            && end - SHORT_HEADER_BYTES <= limits.message_bytes
        {
            let (header, payload) = input[..end].split_at_mut(SHORT_HEADER_BYTES);
            mask::apply(payload, [header[2], header[3], header[4], header[5]]);
            let message = whole_message(opcode, payload)?;
            return Ok(Decoded { consumed: end, message: Some(message) });
        }
        let outcome = self.advance(input, limits);
        if outcome.is_err() {
            self.partial = None;
        }
        outcome
    }

    /// Heap memory in use, in bytes: 0 between messages.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            let message = partial.message.as_ref().map_or(0, |message| message.bytes.capacity());
            size_of::<Partial>() + partial.control.capacity() + message
        })
    }

    fn advance<'a>(&mut self, input: &'a mut [u8], limits: &Limits) -> Result<Decoded<'a>, Fault> {
        let arrived = input.len();
        let mut rest = input;
        while !rest.is_empty() {
            let Some((frame, used)) = self.next_frame(rest, limits)? else { break };
            let end = used + frame.remaining.min(rest.len() - used);
            let (taken, behind) = rest.split_at_mut(end);
            rest = behind;
            if let Some(message) = self.absorb(frame, &mut taken[used..])? {
                let consumed = arrived - rest.len();
                return Ok(Decoded { consumed, message: Some(message) });
            }
        }
        Ok(Decoded { consumed: arrived, message: None })
    }

    /// The frame that `bytes` belong to, and how many of them are its header. Without one, all
    /// of them are the start of a header and are kept.
    fn next_frame(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<(Frame, usize)>, Fault> {
        let frame = self.partial.as_mut().and_then(|partial| partial.frame.take());
        if let Some(frame) = frame {
            return Ok(Some((frame, 0)));
        }
        let start = self.partial.as_ref().map_or(Start::default(), |partial| partial.start);
        let parsed = match start.length {
            0 => Header::parse(bytes)?,
            _ => Header::parse(start.continued(bytes).bytes())?,
        };
        let Some(header) = parsed else {
            self.partial.get_or_insert_default().start = start.continued(bytes);
            return Ok(None);
        };
        let mut message = None;
        if let Some(partial) = &mut self.partial {
            partial.start = Start::default();
            message = partial.message.as_mut();
        }
        // What was kept of the header was not all of it, or it would have been parsed before.
        let used = header.bytes - start.length;
        Ok(Some((header.admit(message, limits)?, used)))
    }

    /// Takes what is at hand of a frame's payload.
    fn absorb<'a>(
        &mut self,
        mut frame: Frame,
        payload: &'a mut [u8],
    ) -> Result<Option<Message<'a>>, Fault> {
        mask::apply(payload, frame.mask);
        let whole = payload.len() == frame.length;
        frame.mask = mask::rotated(frame.mask, payload.len());
        frame.remaining -= payload.len();
        let message = match payload {
            // Only the header has come. Whatever follows may still be borrowed.
            [] if frame.remaining > 0 => None,
            _ if frame.opcode.is_control() => self.absorb_control(&frame, payload, whole)?,
            _ => self.absorb_data(&frame, payload, whole)?,
        };
        if frame.remaining > 0 {
            self.partial.get_or_insert_default().frame = Some(frame);
        } else if self.partial.as_ref().is_some_and(|partial| partial.message.is_none()) {
            self.partial = None;
        }
        Ok(message)
    }

    fn absorb_control<'a>(
        &mut self,
        frame: &Frame,
        payload: &'a [u8],
        whole: bool,
    ) -> Result<Option<Message<'a>>, Fault> {
        if whole {
            return control_message(frame.opcode, Cow::Borrowed(payload)).map(Some);
        }
        let control = &mut self.partial.get_or_insert_default().control;
        control.extend_from_slice(payload);
        if frame.remaining == 0 {
            return control_message(frame.opcode, Cow::Owned(mem::take(control))).map(Some);
        }
        if frame.opcode == Opcode::Close {
            check_close(control)?;
        }
        Ok(None)
    }

    fn absorb_data<'a>(
        &mut self,
        frame: &Frame,
        payload: &'a [u8],
        whole: bool,
    ) -> Result<Option<Message<'a>>, Fault> {
        if whole && frame.fin && frame.opcode != Opcode::Continuation {
            return whole_message(frame.opcode, payload).map(Some);
        }
        let partial = self.partial.get_or_insert_default();
        // A continuation has been admitted only behind the start of its message, so the opcode
        // that begins an assembly is a text's or a binary message's.
        let message = partial.message.get_or_insert_with(|| Assembly::new(frame.opcode));
        message.append(payload, frame.fin.then_some(frame.remaining))?;
        if frame.remaining > 0 || !frame.fin {
            return Ok(None);
        }
        partial.message.take().map(Assembly::finish).transpose()
    }
}

/// Two bytes, and four of mask.
const SHORT_HEADER_BYTES: usize = 6;

/// Whether `input` begins with a whole message in one frame of the shortest form, as nearly all
/// that clients send do: what it is, and where it ends. Anything else, faults too, is for
/// [`Header::parse`].
fn short_message(input: &[u8]) -> Option<(Opcode, usize)> {
    let [first, second, _, _, _, _, ..] = *input else { return None };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        _ => return None,
    };
    let length = usize::from(second & 0x7f);
    let end = SHORT_HEADER_BYTES + length;
    (second & 0x80 != 0 && length < 126 && end <= input.len()).then_some((opcode, end))
}

/// The first bytes of a header, fewer than make it complete.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl Start {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// This start and as many of the bytes that came next as a header can have.
    fn continued(mut self, bytes: &[u8]) -> Start {
        for (room, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *room = *byte;
        }
        self.length = HEADER_BYTES_MAX.min(self.length + bytes.len());
        self
    }
}

/// A complete header of a legal shape.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    fin: bool,
    opcode: Opcode,
    /// As declared; 64 bits on any machine until it is known to be small.
    length: u64,
    mask: [u8; 4],
    /// How many bytes the header takes.
    bytes: usize,
}

impl Header {
    /// The header at the start of `bytes`, or `None` while more of it must come. Each rule of
    /// RFC 6455 §5.2 is checked in the order of the bytes, so that a fault does not depend on how
    /// many of them are at hand.
    fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::protocol("the client set a reserved bit"));
        }
        let Some(opcode) = Opcode::from_first_byte(first) else {
            return Err(Fault::protocol("the client used a reserved opcode"));
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Fault::protocol("the client fragmented a control frame"));
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
        Ok(Some(Header { fin, opcode, length, mask: *mask, bytes }))
    }

    /// The frame, if it may come now: behind these fragments, and within the limits.
    fn admit(self, message: Option<&mut Assembly>, limits: &Limits) -> Result<Frame, Fault> {
        let assembled = message.as_ref().map_or(0, |message| message.bytes.len());
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
        let total = length.and_then(|length| length.checked_add(assembled));
        let (Some(length), Some(total)) = (length, total) else {
            return Err(Fault::size("the client sent a message beyond any memory"));
        };
        if total > limits.message_bytes && !self.opcode.is_control() {
            return Err(Fault::size("the client sent a message beyond the limit"));
        }
        let Header { fin, opcode, mask, .. } = self;
        Ok(Frame { fin, opcode, mask, length, remaining: length })
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
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// Turned so that its first byte is due to the first byte that remains.
    mask: [u8; 4],
    length: usize,
    /// Bytes of the payload that have not come.
    remaining: usize,
}

/// A message that comes in fragments or in several reads.
#[derive(Debug)]
struct Assembly {
    opcode: Opcode,
    bytes: Vec<u8>,
    /// Of a text: bytes that are whole characters. At most 3 follow them.
    checked: usize,
    empty_fragments: usize,
}

impl Assembly {
    fn new(opcode: Opcode) -> Assembly {
        debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
        Assembly { opcode, bytes: Vec::new(), checked: 0, empty_fragments: 0 }
    }

    /// Appends unmasked bytes. `remaining` is what the message will have behind them, if known.
    fn append(&mut self, payload: &[u8], remaining: Option<usize>) -> Result<(), Fault> {
        self.make_room(payload.len(), remaining);
        self.bytes.extend_from_slice(payload);
        if self.opcode == Opcode::Text {
            match utf8::whole_characters(&self.bytes[self.checked..]) {
                Some(length) => self.checked += length,
                None => return Err(Fault::text(NOT_UTF8)),
            }
        }
        Ok(())
    }

    /// Doubles what is needed, so that bytes are moved once on average and the room stays within
    /// twice what has arrived; but not beyond the end of the message, where that is known.
    fn make_room(&mut self, arrived: usize, remaining: Option<usize>) {
        let needed = self.bytes.len() + arrived;
        if needed > self.bytes.capacity() {
            let generous = needed.saturating_mul(2).max(ASSEMBLY_BYTES_MIN);
            let end = remaining.map_or(usize::MAX, |remaining| needed.saturating_add(remaining));
            self.bytes.reserve_exact(generous.min(end) - self.bytes.len());
        }
    }

    fn finish(self) -> Result<Message<'static>, Fault> {
        match self.opcode {
            Opcode::Text if self.checked < self.bytes.len() => Err(Fault::text(NOT_UTF8)),
            Opcode::Text => Ok(Message::Text(Cow::Owned(self.bytes))),
            _ => Ok(Message::Binary(Cow::Owned(self.bytes))),
        }
    }
}

const NOT_UTF8: &str = "the client sent a text that is not UTF-8";
const REASON_NOT_UTF8: &str = "the client closed with a reason that is not UTF-8";

fn whole_message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Fault> {
    match opcode {
        Opcode::Text if simdutf8::basic::from_utf8(payload).is_err() => Err(Fault::text(NOT_UTF8)),
        Opcode::Text => Ok(Message::Text(Cow::Borrowed(payload))),
        _ => Ok(Message::Binary(Cow::Borrowed(payload))),
    }
}

fn control_message(opcode: Opcode, payload: Cow<'_, [u8]>) -> Result<Message<'_>, Fault> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong(payload)),
        _ => close_message(payload),
    }
}

/// RFC 6455 §5.5.1: nothing, or a code in two bytes and a reason in UTF-8.
fn close_message(body: Cow<'_, [u8]>) -> Result<Message<'_>, Fault> {
    if body.len() == 1 {
        return Err(Fault::protocol("the client closed with half a code"));
    }
    let Some(code) = check_close(&body)? else { return Ok(Message::Close(None)) };
    let reason = match body {
        Cow::Borrowed(body) => str_of(&body[2..]).map(Cow::Borrowed),
        Cow::Owned(body) => str_of(&body[2..]).map(|reason| Cow::Owned(reason.to_owned())),
    };
    Ok(Message::Close(Some((code, reason?))))
}

fn str_of(reason: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(reason).map_err(|_| Fault::text(REASON_NOT_UTF8))
}

/// Whether the start of a close frame's body, or all of it, can be right, and its code once that
/// is complete.
fn check_close(body: &[u8]) -> Result<Option<CloseCode>, Fault> {
    let Some((code, reason)) = body.split_first_chunk() else { return Ok(None) };
    let Some(code) = CloseCode::new(u16::from_be_bytes(*code)) else {
        return Err(Fault::protocol("the client closed with a code that must not be sent"));
    };
    match utf8::whole_characters(reason) {
        Some(_) => Ok(Some(code)),
        None => Err(Fault::text(REASON_NOT_UTF8)),
    }
}

#[cfg(test)]
mod tests;
