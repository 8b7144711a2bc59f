//! Encoded packets: made once, shared by every recipient, dropped after the last one took them.
//!
//! A [`Wire`] is what leaves the process; an [`Arc`] of it crosses shards. A [`Frame`] is one
//! shard's reference to it, counted without atomics, so that a recipient costs a plain increment.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::limits::SLICES_PER_SEND;

/// The bytes of one packet, in every variant that a recipient has needed so far.
#[derive(Debug)]
pub struct Wire {
    bytes: Box<[u8]>,
    /// Where the text of the one WebSocket frame begins; 0 when `bytes` is not one text frame.
    text_offset: u8,
    polling: OnceLock<Box<[u8]>>,
}

impl Wire {
    /// Bytes that go out as they are: an HTTP response, or WebSocket frames.
    pub fn raw(bytes: &[u8]) -> Wire {
        Wire { bytes: bytes.into(), text_offset: 0, polling: OnceLock::new() }
    }

    /// One unmasked WebSocket text frame whose text begins at `offset`.
    pub fn text_frame(bytes: &[u8], offset: usize) -> Wire {
        assert!(offset >= 2 && offset <= bytes.len(), "a frame header has 2 to 10 bytes");
        let text_offset = u8::try_from(offset).unwrap_or(u8::MAX);
        Wire { bytes: bytes.into(), text_offset, polling: OnceLock::new() }
    }

    /// What a WebSocket (or, for a raw wire, any) connection is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a long-polling client is sent, without the record separators around it. It is the text
    /// of a text frame; for anything else `make` derives it from the frames, once.
    pub fn polling(&self, make: impl FnOnce(&[u8]) -> Vec<u8>) -> &[u8] {
        match self.text_offset {
            0 => self.polling.get_or_init(|| make(&self.bytes).into_boxed_slice()),
            offset => &self.bytes[usize::from(offset)..],
        }
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
        Frame::own(Wire::raw(bytes))
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
        let wire = Wire::text_frame(b"\x81\x024a", 2);
        let text = wire.polling(|_| unreachable!("the text is already there"));
        assert_eq!(text, b"4a");
        assert!(wire.bytes().as_ptr_range().contains(&text.as_ptr()));
    }

    #[test]
    fn the_polling_variant_is_made_once() {
        let wire = Wire::raw(b"\x82\x01\x07");
        assert_eq!(wire.polling(|_| b"bBw==".to_vec()), b"bBw==");
        assert_eq!(wire.polling(|_| unreachable!("made before")), b"bBw==");
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
