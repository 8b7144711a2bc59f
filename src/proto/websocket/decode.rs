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
mod tests {
    use proptest::prelude::*;

    use super::super::exercise::{Meaning, meaning};
    use super::super::write_masked;
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn limits() -> Limits {
        Limits::default()
    }

    fn wire(frames: &[(bool, Opcode, &[u8])]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (fin, opcode, payload) in frames {
            write_masked(&mut wire, *fin, *opcode, KEY, payload);
        }
        wire
    }

    /// What bytes mean that arrive at once; that other cuts change nothing is checked, too.
    fn at_once(wire: &[u8], limits: &Limits) -> Meaning {
        let whole = meaning([wire].into_iter(), limits);
        for at in 0..wire.len().min(300) {
            let (head, tail) = wire.split_at(at);
            assert_eq!(meaning([head, tail].into_iter(), limits), whole, "cut at {at}");
        }
        assert_eq!(meaning(wire.chunks(1), limits), whole, "one by one");
        whole
    }

    fn messages(wire: &[u8]) -> Vec<Message<'static>> {
        let meaning = at_once(wire, &limits());
        assert_eq!(meaning.fault, None);
        meaning.messages
    }

    fn fault(wire: &[u8]) -> Option<u16> {
        let meaning = at_once(wire, &limits());
        assert_eq!(meaning.messages, [], "the fault comes first");
        meaning.fault.map(CloseCode::value)
    }

    fn text(text: &str) -> Message<'static> {
        Message::Text(Cow::Owned(text.as_bytes().to_vec()))
    }

    fn binary(bytes: &[u8]) -> Message<'static> {
        Message::Binary(Cow::Owned(bytes.to_vec()))
    }

    /// How many bytes of `wire`, one by one, are taken before the fault, and its code.
    fn first_wrong_byte(wire: &[u8]) -> Option<(usize, u16)> {
        let mut decoder = Decoder::default();
        for (position, byte) in wire.iter().enumerate() {
            if let Err(fault) = decoder.decode(&mut [*byte], &limits()) {
                return Some((position, fault.code.value()));
            }
        }
        None
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(messages(hello), [text("Hello")]);
        let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(messages(pong), [Message::Pong(b"Hello".into())]);
        let fragmented =
            wire(&[(false, Opcode::Text, b"Hel"), (true, Opcode::Continuation, b"lo")]);
        assert_eq!(messages(&fragmented), [text("Hello")]);
    }

    #[test]
    fn a_whole_message_is_borrowed_and_allocates_nothing() {
        let mut input = wire(&[(true, Opcode::Text, b"2"), (true, Opcode::Ping, b"")]);
        let place = input.as_ptr_range();
        let mut decoder = Decoder::default();
        let decoded = decoder.decode(&mut input, &limits()).unwrap();
        assert_eq!(decoded.consumed, 7);
        let Some(Message::Text(Cow::Borrowed(text))) = decoded.message else {
            panic!("a text in one piece is borrowed")
        };
        assert!(place.contains(&text.as_ptr()));
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn a_payload_that_comes_whole_behind_its_header_is_borrowed_too() {
        let mut input = wire(&[(true, Opcode::Binary, b"abc")]);
        let (header, payload) = input.split_at_mut(6);
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(header, &limits()).unwrap().message, None);
        let decoded = decoder.decode(payload, &limits()).unwrap();
        assert!(matches!(decoded.message, Some(Message::Binary(Cow::Borrowed(b"abc")))));
    }

    #[test]
    fn an_idle_client_holds_nothing_after_any_message() {
        let wire = wire(&[
            (false, Opcode::Text, b"a"),
            (true, Opcode::Ping, b"p"),
            (true, Opcode::Continuation, b"b"),
            (true, Opcode::Pong, b""),
        ]);
        let mut decoder = Decoder::default();
        let mut held = Vec::new();
        for byte in wire {
            decoder.decode(&mut [byte], &limits()).unwrap();
            held.push(decoder.held_bytes());
        }
        assert_eq!(held.iter().filter(|bytes| **bytes == 0).count(), 2, "after b and the pong");
        assert_eq!(held.last(), Some(&0));
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let wire = wire(&[
            (false, Opcode::Binary, b"one "),
            (true, Opcode::Ping, b"ping"),
            (false, Opcode::Continuation, b""),
            (true, Opcode::Pong, b"pong"),
            (true, Opcode::Continuation, b"two"),
            (true, Opcode::Text, b""),
            (true, Opcode::Close, b""),
        ]);
        let expected = [
            Message::Ping(b"ping".into()),
            Message::Pong(b"pong".into()),
            binary(b"one two"),
            text(""),
            Message::Close(None),
        ];
        assert_eq!(messages(&wire), expected);
    }

    #[test]
    fn the_framing_faults_end_with_1002() {
        let masked = |first: u8| [first, 0x80, 0, 0, 0, 0];
        for first in [0xc1, 0xa1, 0x91, 0xf1, 0x83, 0x87, 0x8b, 0x8f] {
            assert_eq!(fault(&masked(first)), Some(1002), "{first:x}");
        }
        for first in [0x08, 0x09, 0x0a] {
            assert_eq!(fault(&masked(first)), Some(1002), "a fragmented control frame");
        }
        assert_eq!(fault(b"\x81\x01a"), Some(1002), "unmasked");
        assert_eq!(fault(&wire(&[(true, Opcode::Ping, &[0; 126])])), Some(1002));
        assert_eq!(messages(&wire(&[(true, Opcode::Ping, &[0; 125])])).len(), 1);
        assert_eq!(fault(&wire(&[(true, Opcode::Continuation, b"a")])), Some(1002));
        for opcode in [Opcode::Text, Opcode::Binary] {
            let interleaved = wire(&[(false, Opcode::Text, b"a"), (true, opcode, b"b")]);
            assert_eq!(fault(&interleaved), Some(1002));
        }
    }

    #[test]
    fn a_length_that_is_not_the_shortest_form_ends_with_1002() {
        for length in 0..=u16::MAX {
            let mut header = vec![0x82, 0xfe];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&KEY);
            let outcome = Header::parse(&header);
            assert_eq!(outcome.is_err(), length < 126, "{length}");
        }
        for (length, refused) in [(0_u64, true), (125, true), (0xffff, true), (0x1_0000, false)] {
            let mut header = vec![0x82, 0xff];
            header.extend_from_slice(&length.to_be_bytes());
            assert_eq!(fault(&header), refused.then_some(1002), "{length}");
        }
    }

    #[test]
    fn cve_2026_27889_a_length_with_the_top_bit_set_ends_with_1002() {
        for length in [1_u64 << 63, (1 << 63) + 5, u64::MAX] {
            let mut header = vec![0x82, 0xff];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&KEY);
            assert_eq!(fault(&header), Some(1002));
        }
    }

    #[test]
    fn cve_2016_10542_a_declared_length_beyond_the_limit_ends_with_1009_from_the_header() {
        let limit = limits().message_bytes as u64;
        for length in [limit + 1, 256 << 20, 1 << 53, (1 << 63) - 1] {
            let mut header = vec![0x82, 0xff];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&KEY);
            assert_eq!(first_wrong_byte(&header), Some((13, 1009)), "{length}");
        }
    }

    #[test]
    fn a_message_of_exactly_the_limit_is_accepted() {
        let limit = limits().message_bytes;
        let payload = vec![b'a'; limit];
        let one = wire(&[(true, Opcode::Text, &payload)]);
        for piece in [one.len(), 8192, 1000] {
            let meaning = meaning(one.chunks(piece), &limits());
            assert_eq!(meaning.fault, None);
            assert_eq!(meaning.messages, [Message::Text(payload.as_slice().into())]);
        }
        let (head, tail) = payload.split_at(limit / 2);
        let two = wire(&[(false, Opcode::Text, head), (true, Opcode::Continuation, tail)]);
        assert_eq!(meaning(two.chunks(8192), &limits()).messages.len(), 1);
    }

    #[test]
    fn cve_2020_27813_and_cve_2026_1528_the_sum_of_fragments_can_not_overflow() {
        for length in [u64::MAX >> 1, limits().message_bytes as u64] {
            let mut bytes = wire(&[(false, Opcode::Binary, b"abc")]);
            bytes.extend_from_slice(b"\x80\xff");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&KEY);
            assert_eq!(fault(&bytes), Some(1009));
        }
        let unlimited = Limits { message_bytes: usize::MAX, ..limits() };
        let mut bytes = wire(&[(false, Opcode::Binary, b"abc")]);
        bytes.extend_from_slice(b"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0payload");
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut bytes, &unlimited).unwrap().message, None);
        assert!(decoder.held_bytes() < 4096, "the declared length is not allocated");
    }

    #[test]
    fn rustsec_2022_0035_a_stalled_payload_holds_what_arrived() {
        let mut bytes = wire(&[(true, Opcode::Binary, &[7; 900_000])]);
        let mut decoder = Decoder::default();
        let mut arrived = 0;
        for piece in bytes.chunks_mut(100).take(2_000) {
            arrived += piece.len();
            decoder.decode(piece, &limits()).unwrap();
            assert!(decoder.held_bytes() <= 2 * arrived + 4096);
        }
    }

    #[test]
    fn a_message_of_known_length_is_given_away_without_spare_room() {
        let bytes = wire(&[(true, Opcode::Binary, &[7; 100_000])]);
        let mut decoder = Decoder::default();
        for piece in bytes.chunks(8192) {
            let mut piece = piece.to_vec();
            if let Some(message) = decoder.decode(&mut piece, &limits()).unwrap().message {
                let Message::Binary(Cow::Owned(bytes)) = message else {
                    panic!("it is put together")
                };
                assert_eq!((bytes.len(), bytes.capacity()), (100_000, 100_000));
                return;
            }
        }
        panic!("the message is complete");
    }

    #[test]
    fn cve_2026_48779_one_byte_fragments_hold_no_more_than_twice_their_payload() {
        let mut decoder = Decoder::default();
        for count in 0..65_536 {
            let opcode = if count == 0 { Opcode::Text } else { Opcode::Continuation };
            let mut frame = wire(&[(count == 65_535, opcode, b"a")]);
            let decoded = decoder.decode(&mut frame, &limits()).unwrap();
            if count == 65_535 {
                let Some(Message::Text(text)) = decoded.message else {
                    panic!("no cap on fragments")
                };
                assert_eq!(text.len(), 65_536);
            }
            assert!(decoder.held_bytes() <= 2 * (count + 1) + 4096, "{count}");
        }
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn ws_2331_empty_continuations_beyond_the_limit_end_with_1008() {
        let limit = limits().empty_fragments;
        let mut bytes = wire(&[(false, Opcode::Text, b"")]);
        for _ in 0..limit {
            write_masked(&mut bytes, false, Opcode::Continuation, KEY, b"");
        }
        let mut accepted = bytes.clone();
        write_masked(&mut accepted, true, Opcode::Continuation, KEY, b"a");
        assert_eq!(messages(&accepted), [text("a")]);
        write_masked(&mut bytes, false, Opcode::Continuation, KEY, b"");
        assert_eq!(fault(&bytes), Some(1008));
    }

    #[test]
    fn ws_pending_pongs_a_flood_of_pings_holds_nothing() {
        let bytes = wire(&[(true, Opcode::Ping, &[0; 125])]);
        let mut decoder = Decoder::default();
        for _ in 0..10_000 {
            let mut bytes = bytes.clone();
            assert!(decoder.decode(&mut bytes, &limits()).unwrap().message.is_some());
            assert_eq!(decoder.held_bytes(), 0);
        }
    }

    #[test]
    fn every_close_code_is_taken_or_refused_as_the_rfc_says() {
        for code in 0..=5001_u16 {
            let meaning = at_once(&wire(&[(true, Opcode::Close, &code.to_be_bytes())]), &limits());
            match CloseCode::new(code) {
                Some(code) => {
                    assert_eq!(meaning.messages, [Message::Close(Some((code, "".into())))]);
                }
                None => assert_eq!(meaning.fault, Some(CloseCode::PROTOCOL_ERROR), "{code}"),
            }
        }
    }

    #[test]
    fn nats_2026_the_body_of_a_close_frame_is_nothing_or_a_code_and_a_text() {
        let close = |body: &[u8]| wire(&[(true, Opcode::Close, body)]);
        assert_eq!(messages(&close(b"")), [Message::Close(None)]);
        assert_eq!(fault(&close(b"\x03")), Some(1002));
        let normal = [&b"\x03\xe8"[..], "bis später".as_bytes()].concat();
        let expected = Message::Close(Some((CloseCode::NORMAL, "bis später".into())));
        assert_eq!(messages(&close(&normal)), [expected]);
        assert_eq!(fault(&close(b"\x03\xe8\xc3")), Some(1007), "cut inside a character");
        assert_eq!(fault(&close(b"\x03\xed\xff")), Some(1002), "the code comes first");
        let wrong = close(b"\x03\xe8ab\xed\xa0cdef");
        assert_eq!(first_wrong_byte(&wrong), Some((6 + 2 + 3, 1007)));
    }

    /// Texts that are not UTF-8: overlong, surrogates, beyond U+10FFFF, bytes that never occur,
    /// continuations without a start, starts without a continuation.
    const WRONG_TEXTS: [&[u8]; 22] = [
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\x80",
        b"\xbf\xbf",
        b"\xc3a",
        b"\xe2\x82a",
        b"\xf0\x9f\x98a",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64",
    ];

    /// The position of the first byte behind which no text could go on.
    fn wrong_at(text: &[u8]) -> usize {
        let wrong = |end: &usize| {
            std::str::from_utf8(&text[..*end]).is_err_and(|error| error.error_len().is_some())
        };
        (1..=text.len()).find(wrong).unwrap() - 1
    }

    #[test]
    fn a_wrong_text_ends_with_1007_at_its_first_wrong_byte_inside_the_frame() {
        for wrong in WRONG_TEXTS {
            let payload = [b"Hello \xc2\xb5 ", wrong, b" and much more"].concat();
            let bytes = wire(&[(true, Opcode::Text, &payload)]);
            assert_eq!(fault(&bytes), Some(1007), "{wrong:x?}");
            let position = 6 + wrong_at(&payload);
            assert_eq!(first_wrong_byte(&bytes), Some((position, 1007)), "{wrong:x?}");
        }
    }

    #[test]
    fn a_wrong_text_in_fragments_cut_anywhere_ends_with_1007_at_its_first_wrong_byte() {
        for wrong in WRONG_TEXTS {
            let payload = [b"\xf0\x9f\x98\x80", wrong, b"."].concat();
            for cut in 0..=payload.len() {
                let (head, tail) = payload.split_at(cut);
                let bytes = wire(&[
                    (false, Opcode::Text, head),
                    (true, Opcode::Ping, b""),
                    (true, Opcode::Continuation, tail),
                ]);
                let position = wrong_at(&payload);
                let headers = if position < cut { 6 } else { 6 + 6 + 6 };
                let expected = Some((headers + position, 1007));
                assert_eq!(first_wrong_byte(&bytes), expected, "{wrong:x?} cut at {cut}");
                assert_eq!(at_once(&bytes, &limits()).fault, Some(CloseCode::INVALID_PAYLOAD));
            }
        }
    }

    #[test]
    fn a_text_that_ends_inside_a_character_ends_with_1007() {
        for cut in [&b"\xc2"[..], b"\xe2\x82", b"a\xf0\x9f\x98"] {
            assert_eq!(fault(&wire(&[(true, Opcode::Text, cut)])), Some(1007));
            let fragments = wire(&[(false, Opcode::Text, cut), (true, Opcode::Continuation, b"")]);
            assert_eq!(fault(&fragments), Some(1007));
        }
    }

    #[test]
    fn a_character_may_be_cut_by_fragments_and_reads() {
        let payload = "κόσμε 😀 \u{10ffff} \u{fffe} \0".as_bytes();
        let fragments: Vec<(bool, Opcode, &[u8])> = payload
            .chunks(1)
            .enumerate()
            .map(|(position, byte)| match position {
                0 => (false, Opcode::Text, byte),
                _ => (position + 1 == payload.len(), Opcode::Continuation, byte),
            })
            .collect();
        assert_eq!(messages(&wire(&fragments)), [Message::Text(payload.into())]);
    }

    fn client_message() -> impl Strategy<Value = (Message<'static>, Vec<u8>)> {
        let body = prop_oneof![
            "\\PC{0,30}".prop_map(|text| Message::Text(Cow::Owned(text.into_bytes()))),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| Message::Binary(Cow::Owned(bytes))),
            prop::collection::vec(any::<u8>(), 0..126)
                .prop_map(|payload| Message::Ping(Cow::Owned(payload))),
            prop::collection::vec(any::<u8>(), 0..126)
                .prop_map(|payload| Message::Pong(Cow::Owned(payload))),
        ];
        (body, prop::collection::vec(any::<u8>(), 0..4))
    }

    /// Sends a data message in fragments of about these sizes.
    fn send(wire: &mut Vec<u8>, key: [u8; 4], message: &Message<'_>, cuts: &[u8]) {
        let (first, mut rest) = match message {
            Message::Text(text) => (Opcode::Text, &text[..]),
            Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            Message::Ping(payload) => return write_masked(wire, true, Opcode::Ping, key, payload),
            Message::Pong(payload) => return write_masked(wire, true, Opcode::Pong, key, payload),
            Message::Close(_) => unreachable!("not generated"),
        };
        let mut opcode = first;
        for cut in cuts {
            let (fragment, behind) = rest.split_at(usize::from(*cut).min(rest.len()));
            write_masked(wire, false, opcode, key, fragment);
            opcode = Opcode::Continuation;
            rest = behind;
        }
        write_masked(wire, true, opcode, key, rest);
    }

    proptest! {
        #[test]
        fn what_a_client_encodes_is_decoded_whatever_the_fragments_and_cuts(
            sent in prop::collection::vec(client_message(), 0..6),
            key in any::<[u8; 4]>(),
            pieces in 1_usize..400,
        ) {
            let mut wire = Vec::new();
            for (message, cuts) in &sent {
                send(&mut wire, key, message, cuts);
            }
            let expected: Vec<Message<'_>> = sent.into_iter().map(|(message, _)| message).collect();
            let whole = at_once(&wire, &limits());
            prop_assert_eq!(&whole.messages, &expected);
            prop_assert_eq!(whole.fault, None);
            prop_assert_eq!(meaning(wire.chunks(pieces), &limits()), whole);
        }

        #[test]
        fn a_text_is_accepted_exactly_when_the_standard_library_accepts_it(
            start in "\\PC{0,20}",
            noise in prop::collection::vec(0x7f_u8.., 0..4),
            end in "\\PC{0,20}",
        ) {
            let payload = [start.as_bytes(), &noise, end.as_bytes()].concat();
            let meaning = at_once(&wire(&[(true, Opcode::Text, &payload)]), &limits());
            prop_assert_eq!(meaning.fault.is_none(), std::str::from_utf8(&payload).is_ok());
        }
    }
}
