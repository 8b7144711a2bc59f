//! Encoded packets: made once, shared by every recipient, dropped after the last one took them.
//!
//! A [`Wire`] is what leaves the process; an [`Arc`] of it crosses shards. A [`Frame`] is one
//! shard's reference to it, counted without atomics, so that a recipient costs a plain increment.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::limits::SLICES_PER_SEND;
use super::shed::CoalesceKey;

/// The bytes of one packet, in every variant that a recipient has needed so far.
#[derive(Debug)]
pub struct Wire {
    bytes: Vec<u8>,
    /// Where the text of the one WebSocket frame begins; 0 when `bytes` is not one text frame.
    text_offset: u8,
    is_compressible: bool,
    may_drop: bool,
    key: Option<Arc<CoalesceKey>>,
    variants: OnceLock<Box<Variants>>,
}

/// What recipients other than a plain WebSocket are sent, each made on its first need. Most packets
/// have none of it, and carry a pointer for all of them together.
#[derive(Debug, Default)]
struct Variants {
    polling: OnceLock<Box<[u8]>>,
    deflated: OnceLock<Arc<Wire>>,
    v3_text: OnceLock<Box<[u8]>>,
    v3_binary: OnceLock<Box<[u8]>>,
    /// `None` where the frames themselves are sent.
    v3_websocket: OnceLock<Option<Arc<Wire>>>,
}

/// A packet as it has just been encoded, in the buffer of whoever did it: a [`Wire`] that has no
/// memory of its own yet.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    bytes: &'a [u8],
    text_offset: u8,
    is_compressible: bool,
    may_drop: bool,
}

impl<'a> Encoded<'a> {
    /// Bytes that go out as they are: an HTTP response, or WebSocket frames.
    pub fn raw(bytes: &'a [u8]) -> Encoded<'a> {
        Encoded { bytes, text_offset: 0, is_compressible: true, may_drop: false }
    }

    /// One unmasked WebSocket text frame whose text begins at `offset`.
    pub fn text_frame(bytes: &'a [u8], offset: usize) -> Encoded<'a> {
        assert!(offset >= 2 && offset <= bytes.len(), "a frame header has 2 to 10 bytes");
        let text_offset = u8::try_from(offset).unwrap_or(u8::MAX);
        Encoded { bytes, text_offset, is_compressible: true, may_drop: false }
    }

    /// The same packet; unless `compress`, it is not to be compressed on any transport.
    pub fn compress(self, compress: bool) -> Encoded<'a> {
        Encoded { is_compressible: compress, ..self }
    }

    /// The same packet; whether a client that is behind may go without it.
    pub fn droppable(self, may_drop: bool) -> Encoded<'a> {
        Encoded { may_drop, ..self }
    }

    /// Whether it may be compressed.
    pub fn is_compressible(&self) -> bool {
        self.is_compressible
    }

    /// Whether a client that is behind may go without it.
    pub fn may_drop(&self) -> bool {
        self.may_drop
    }

    /// What a WebSocket (or, for raw bytes, any) connection is sent.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it is one text frame, and nothing else.
    pub fn is_text(&self) -> bool {
        self.text_offset != 0
    }
}

impl From<Encoded<'_>> for Wire {
    fn from(encoded: Encoded<'_>) -> Wire {
        Wire {
            text_offset: encoded.text_offset,
            is_compressible: encoded.is_compressible,
            may_drop: encoded.may_drop,
            ..Wire::from(encoded.bytes.to_vec())
        }
    }
}

impl From<Vec<u8>> for Wire {
    /// Bytes that go out as they are.
    fn from(bytes: Vec<u8>) -> Wire {
        Wire {
            bytes,
            text_offset: 0,
            is_compressible: true,
            may_drop: false,
            key: None,
            variants: OnceLock::new(),
        }
    }
}

impl Wire {
    /// The same packet; whether a client that is behind may go without it.
    pub fn droppable(self, may_drop: bool) -> Wire {
        Wire { may_drop, ..self }
    }

    /// The same packet; the one of its key that waits for a client makes room for it.
    pub fn coalesced(self, key: Option<Arc<CoalesceKey>>) -> Wire {
        Wire { key, ..self }
    }

    /// Whether a client that is behind may go without it.
    pub fn may_drop(&self) -> bool {
        self.may_drop
    }

    /// What it is the latest of.
    pub fn key(&self) -> Option<&Arc<CoalesceKey>> {
        self.key.as_ref()
    }

    /// The same packet in other bytes.
    pub fn variant(&self, bytes: Vec<u8>) -> Wire {
        Wire { may_drop: self.may_drop, key: self.key.clone(), ..Wire::from(bytes) }
    }

    /// What a WebSocket (or, for a raw wire, any) connection is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the text of the one WebSocket frame begins; 0 when it is something else.
    pub fn text_offset(&self) -> usize {
        usize::from(self.text_offset)
    }

    /// Whether it may be compressed.
    pub fn is_compressible(&self) -> bool {
        self.is_compressible
    }

    /// What a WebSocket that reads compressed messages is sent: `make` derives it from the frames,
    /// once for all shards.
    pub fn deflated(&self, make: impl FnOnce(&[u8]) -> Vec<u8>) -> Arc<Wire> {
        let variants = self.variants.get_or_init(Box::default);
        Arc::clone(variants.deflated.get_or_init(|| Arc::new(self.variant(make(&self.bytes)))))
    }

    /// What a long-polling client is sent, without the record separators around it. It is the text
    /// of a text frame; for anything else `make` derives it from the frames, once.
    pub fn polling(&self, make: impl FnOnce(&[u8]) -> Vec<u8>) -> &[u8] {
        match self.text_offset {
            0 => self.variants().polling.get_or_init(|| make(&self.bytes).into_boxed_slice()),
            offset => &self.bytes[usize::from(offset)..],
        }
    }

    /// What a long-polling client of Engine.IO v3 is sent in a payload of text form, as `make`
    /// derives it from the frames, once.
    pub fn v3_text(&self, make: impl FnOnce(&[u8]) -> Vec<u8>) -> &[u8] {
        self.variants().v3_text.get_or_init(|| make(&self.bytes).into_boxed_slice())
    }

    /// The same for a payload of binary form.
    pub fn v3_binary(&self, make: impl FnOnce(&[u8]) -> Vec<u8>) -> &[u8] {
        self.variants().v3_binary.get_or_init(|| make(&self.bytes).into_boxed_slice())
    }

    fn variants(&self) -> &Variants {
        self.variants.get_or_init(Box::default)
    }
}

/// One shard's reference to a [`Wire`].
#[derive(Clone, Debug)]
pub struct Frame(Rc<Owner>);

#[derive(Debug)]
enum Owner {
    Shard(Wire),
    Process(Arc<Wire>),
}

impl Frame {
    /// A frame that only this shard will send.
    pub fn own(wire: Wire) -> Frame {
        Frame(Rc::new(Owner::Shard(wire)))
    }

    /// A frame that other shards send too: one atomic count for this shard, whatever the number
    /// of its recipients.
    pub fn shared(wire: Arc<Wire>) -> Frame {
        Frame(Rc::new(Owner::Process(wire)))
    }

    /// Bytes that go out as they are.
    pub fn raw(bytes: &[u8]) -> Frame {
        Frame::own(Encoded::raw(bytes).into())
    }

    /// Whether it is this very frame, and not one of the same bytes.
    pub fn is(&self, other: &Frame) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether somebody else holds it, too.
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// Adds a packet that goes out right behind those of the frame. `false`, and nothing is done,
    /// when they are not this holder's alone, or one may be dropped without the other.
    pub fn append(&mut self, encoded: Encoded<'_>) -> bool {
        let Some(Owner::Shard(wire)) = Rc::get_mut(&mut self.0) else { return false };
        if wire.may_drop != encoded.may_drop || wire.key.is_some() {
            return false;
        }
        // It is several frames now: what polling is sent has to be derived from them.
        wire.text_offset = 0;
        wire.variants.take();
        wire.bytes.extend_from_slice(encoded.bytes);
        true
    }

    /// Empties the frame, so that its memory serves another one; `None` when it is somebody else's
    /// too, or holds more than `bytes_max`.
    pub fn emptied(mut self, bytes_max: usize) -> Option<Frame> {
        let Some(Owner::Shard(wire)) = Rc::get_mut(&mut self.0) else { return None };
        if wire.bytes.capacity() > bytes_max {
            return None;
        }
        wire.bytes.clear();
        wire.key = None;
        Some(self)
    }

    /// Puts a packet into a frame that was [emptied](Frame::emptied).
    pub fn fill(&mut self, encoded: Encoded<'_>) {
        if let Some(Owner::Shard(wire)) = Rc::get_mut(&mut self.0) {
            wire.may_drop = encoded.may_drop;
        }
        self.append(encoded);
    }

    /// The encoded packet.
    pub fn wire(&self) -> &Wire {
        match &*self.0 {
            Owner::Shard(wire) => wire,
            Owner::Process(wire) => wire,
        }
    }

    /// What a WebSocket (or, for a raw wire, any) connection is sent.
    pub fn bytes(&self) -> &[u8] {
        self.wire().bytes()
    }

    /// What a WebSocket of Engine.IO v3 is sent. It is this very frame when it is one of text, and
    /// where `make`, which is asked once, derives nothing else from the frames.
    pub fn v3_websocket(&self, make: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Frame {
        let wire = self.wire();
        if wire.text_offset != 0 {
            return self.clone();
        }
        let made = || make(&wire.bytes).map(|bytes| Arc::new(wire.variant(bytes)));
        match wire.variants().v3_websocket.get_or_init(made) {
            Some(variant) => Frame::shared(Arc::clone(variant)),
            None => self.clone(),
        }
    }
}

/// What is due to one connection: the frames of its queue, in order, less the bytes of the first
/// one that have already been taken.
#[derive(Clone, Copy, Debug)]
pub struct Gather<'a> {
    /// The first frames of the queue.
    pub head: &'a [Frame],
    /// The frames behind them.
    pub tail: &'a [Frame],
    /// Bytes of the very first frame that were sent before; less than its length.
    pub skip: usize,
}

impl<'a> Gather<'a> {
    /// The frames that one send may gather: the first [`SLICES_PER_SEND`].
    pub fn frames(&self) -> impl Iterator<Item = &'a Frame> + use<'a> {
        self.head.iter().chain(self.tail).take(SLICES_PER_SEND)
    }

    /// The slices of one send: those of [`Gather::frames`], without the bytes to skip.
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let skip = self.skip;
        self.frames().enumerate().map(move |(position, frame)| match position {
            0 => &frame.bytes()[skip..],
            _ => frame.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_frame_serves_polling_with_the_same_bytes() {
        let wire = Wire::from(Encoded::text_frame(b"\x81\x024a", 2));
        let text = wire.polling(|_| unreachable!("the text is already there"));
        assert_eq!(text, b"4a");
        assert!(wire.bytes().as_ptr_range().contains(&text.as_ptr()));
    }

    #[test]
    fn the_polling_variant_is_made_once() {
        let wire = Wire::from(Encoded::raw(b"\x82\x01\x07"));
        assert_eq!(wire.polling(|_| b"bBw==".to_vec()), b"bBw==");
        assert_eq!(wire.polling(|_| unreachable!("made before")), b"bBw==");
    }

    #[test]
    fn the_compressed_variant_is_made_once_for_all_shards() {
        let wire = Arc::new(Wire::from(Encoded::text_frame(b"\x81\x024a", 2)));
        let first = Frame::shared(wire.clone()).wire().deflated(|_| b"short".to_vec());
        let frame = Frame::shared(wire);
        let second = frame.wire().deflated(|_| unreachable!("made before"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((first.bytes(), frame.bytes()), (&b"short"[..], &b"\x81\x024a"[..]));
    }

    #[test]
    fn the_variants_of_the_older_revision_are_made_once_each() {
        let frame = Frame::raw(b"\x82\x01\x07");
        let wire = frame.wire();
        assert_eq!(wire.v3_text(|_| b"6:b4Bw==".to_vec()), b"6:b4Bw==");
        assert_eq!(wire.v3_text(|_| unreachable!("made before")), b"6:b4Bw==");
        assert_eq!(wire.v3_binary(|_| b"\x01\x02\xff\x04\x07".to_vec()).len(), 5);
        assert_eq!(wire.v3_binary(|_| unreachable!("made before")).len(), 5);
        let made = frame.v3_websocket(|_| Some(b"\x82\x02\x04\x07".to_vec()));
        let again = frame.v3_websocket(|_| unreachable!("made before"));
        assert!(std::ptr::eq(made.bytes(), again.bytes()), "the same bytes in memory");
        assert_eq!(again.bytes(), b"\x82\x02\x04\x07");
    }

    #[test]
    fn text_frames_are_the_same_for_a_websocket_of_either_revision() {
        let one = Frame::own(Encoded::text_frame(b"\x81\x024a", 2).into());
        assert!(one.v3_websocket(|_| unreachable!("it is text")).is(&one));
        let several = Frame::raw(b"\x81\x024a\x81\x024b");
        assert!(several.v3_websocket(|_| None).is(&several));
        assert!(several.v3_websocket(|_| unreachable!("asked before")).is(&several));
    }

    #[test]
    fn what_is_appended_goes_out_behind_on_either_transport() {
        let mut frame = Frame::own(Encoded::text_frame(b"\x81\x024a", 2).into());
        assert!(frame.append(Encoded::text_frame(b"\x81\x024b", 2)));
        assert_eq!(frame.bytes(), b"\x81\x024a\x81\x024b");
        let polling = frame.wire().polling(|frames| frames.to_vec());
        assert_eq!(polling, frame.bytes(), "derived from both frames");
    }

    #[test]
    fn nothing_is_appended_to_what_another_holds() {
        let mut frame = Frame::raw(b"a");
        let other = frame.clone();
        assert!(!frame.append(Encoded::raw(b"b")));
        assert!(frame.emptied(1024).is_none());
        assert_eq!(other.bytes(), b"a");
        let mut shared = Frame::shared(Arc::new(Encoded::raw(b"a").into()));
        assert!(!shared.append(Encoded::raw(b"b")));
    }

    #[test]
    fn what_may_be_dropped_is_not_put_into_one_frame_with_what_may_not() {
        let event = Encoded::raw(b"event").droppable(true);
        let mut frame = Frame::own(event.into());
        assert!(!frame.append(Encoded::raw(b"answer")) && frame.append(event));
        let mut again = frame.emptied(1024).unwrap();
        again.fill(Encoded::raw(b"answer"));
        assert!(!again.append(event) && !again.wire().may_drop());
        let key = CoalesceKey { namespace: 0, name: "price".into() };
        let mut keyed = Frame::own(Wire::from(event).coalesced(Some(Arc::new(key))));
        assert!(!keyed.append(event), "the next one of its key takes its place");
        assert!(keyed.wire().deflated(<[u8]>::to_vec).key().is_some());
    }

    #[test]
    fn a_gathered_send_skips_only_in_its_first_frame_and_is_bounded() {
        let frames = vec![Frame::raw(b"abc"); 100];
        let gather = Gather { head: &frames[..1], tail: &frames[1..], skip: 2 };
        let slices: Vec<&[u8]> = gather.slices().collect();
        assert_eq!(slices.len(), SLICES_PER_SEND);
        assert_eq!(slices[0], b"c");
        assert_eq!(slices[1], b"abc");
    }
}
