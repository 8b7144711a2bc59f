//! Frames as a client sends them: masked, maybe fragmented, cut by the network anywhere.

mod header;

use std::borrow::Cow;
use std::mem;

use super::deflate::{InflateFault, Inflater};
use super::encode::COMPRESSED;
use super::{CloseCode, Decoded, Fault, Message, Opcode, mask, utf8};
use crate::base::limits::Limits;
use header::{Frame, Header, RESERVED, Start};

/// The first room of a message that is put together. Small, because a client may stop anywhere.
const ASSEMBLY_BYTES_MIN: usize = 64;

/// The state between two reads of one client: nothing while no frame or message is begun.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() == size_of::<usize>(), "an idle client holds nothing");

/// What is begun, and what is kept. At least one of its fields is in use.
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
        self.decode_with(input, limits, None)
    }

    /// The same for a client that may compress its messages (RFC 7692), which are inflated when
    /// they are complete. Without context, one `inflater` may read them all, whoever sent them.
    ///
    /// # Errors
    /// Those of [`Decoder::decode`]; and with the last byte of a compressed message 1007 when it is
    /// not deflate, and 1009 when it is inflated to more than [`Limits::message_bytes`].
    pub fn decode_compressed<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Decoded<'a>, Fault> {
        self.decode_with(input, limits, Some(inflater))
    }

    /// Heap memory in use, in bytes: 0 between messages.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            let message = partial.message.as_ref().map_or(0, |message| message.bytes.capacity());
            size_of::<Partial>() + partial.control.capacity() + message
        })
    }

    fn decode_with<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflater: Option<&mut Inflater>,
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
        let outcome = self.advance(input, limits, inflater);
        if outcome.is_err() {
            self.partial = None;
        }
        outcome
    }

    fn advance<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &Limits,
        mut inflater: Option<&mut Inflater>,
    ) -> Result<Decoded<'a>, Fault> {
        // The bits of a first byte that the client must not set.
        let reserved = if inflater.is_some() { RESERVED & !COMPRESSED } else { RESERVED };
        let arrived = input.len();
        let mut rest = input;
        while !rest.is_empty() {
            let Some((frame, used)) = self.next_frame(rest, reserved, limits)? else { break };
            let end = used + frame.remaining.min(rest.len() - used);
            let (taken, behind) = rest.split_at_mut(end);
            rest = behind;
            let inflater = inflater.as_deref_mut();
            if let Some(message) = self.absorb(frame, &mut taken[used..], limits, inflater)? {
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
        reserved: u8,
        limits: &Limits,
    ) -> Result<Option<(Frame, usize)>, Fault> {
        let frame = self.partial.as_mut().and_then(|partial| partial.frame.take());
        if let Some(frame) = frame {
            return Ok(Some((frame, 0)));
        }
        let start = self.partial.as_ref().map_or_else(Start::default, |partial| partial.start);
        let parsed = match start.length {
            0 => Header::parse(bytes, reserved)?,
            _ => Header::parse(start.continued(bytes).bytes(), reserved)?,
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
        limits: &Limits,
        inflater: Option<&mut Inflater>,
    ) -> Result<Option<Message<'a>>, Fault> {
        mask::apply(payload, frame.mask);
        let whole = payload.len() == frame.length;
        frame.mask = mask::rotated(frame.mask, payload.len());
        frame.remaining -= payload.len();
        let message = match payload {
            // Only the header has come. Whatever follows may still be borrowed.
            [] if frame.remaining > 0 => None,
            _ if frame.opcode.is_control() => self.absorb_control(&frame, payload, whole)?,
            _ => self.absorb_data(&frame, payload, whole, limits, inflater)?,
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
        limits: &Limits,
        inflater: Option<&mut Inflater>,
    ) -> Result<Option<Message<'a>>, Fault> {
        // Only with an inflater a frame may say that it is compressed.
        let inflater = |compressed: bool| inflater.filter(|_| compressed);
        if whole && frame.fin && frame.opcode != Opcode::Continuation {
            return match inflater(frame.compressed) {
                Some(inflater) => inflated_message(frame.opcode, payload, inflater, limits),
                None => whole_message(frame.opcode, payload),
            }
            .map(Some);
        }
        let message = &mut self.partial.get_or_insert_default().message;
        // A continuation has been admitted only behind the start of its message, so the opcode
        // that begins an assembly is a text's or a binary message's.
        let assembly = message.get_or_insert_with(|| Assembly::new(frame));
        assembly.append(payload, frame.fin.then_some(frame.remaining))?;
        if !frame.fin || frame.remaining > 0 {
            return Ok(None);
        }
        let finish = |assembly: Assembly| match inflater(assembly.compressed) {
            Some(inflater) => inflated_message(assembly.opcode, &assembly.bytes, inflater, limits),
            None => assembly.finish(),
        };
        message.take().map(finish).transpose()
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

/// A message that comes in fragments or in several reads.
#[derive(Debug)]
struct Assembly {
    opcode: Opcode,
    /// Whether it is to be inflated when it is complete.
    compressed: bool,
    bytes: Vec<u8>,
    /// Of a text that is not compressed: bytes that are whole characters. At most 3 follow them.
    checked: usize,
    empty_fragments: usize,
}

impl Assembly {
    fn new(first: &Frame) -> Assembly {
        let Frame { opcode, compressed, .. } = *first;
        debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
        Assembly { opcode, compressed, bytes: Vec::new(), checked: 0, empty_fragments: 0 }
    }

    /// Appends unmasked bytes. `remaining` is what the message will have behind them, if known.
    fn append(&mut self, payload: &[u8], remaining: Option<usize>) -> Result<(), Fault> {
        self.make_room(payload.len(), remaining);
        self.bytes.extend_from_slice(payload);
        if self.opcode == Opcode::Text && !self.compressed {
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

/// The message that a compressed payload is inflated to.
fn inflated_message(
    opcode: Opcode,
    payload: &[u8],
    inflater: &mut Inflater,
    limits: &Limits,
) -> Result<Message<'static>, Fault> {
    let message = inflater.message(payload, limits.message_bytes).map_err(|fault| match fault {
        InflateFault::NotDeflate => Fault::text("the client sent bytes that are not deflate"),
        InflateFault::TooLong => Fault::size("the client sent a message beyond the limit"),
    })?;
    whole_message(opcode, &message)?;
    Ok(match opcode {
        Opcode::Text => Message::Text(Cow::Owned(message)),
        _ => Message::Binary(Cow::Owned(message)),
    })
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
