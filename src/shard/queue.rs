//! What waits to be sent on one connection.
//!
//! What many clients are sent lies in a frame that they share, and is queued by a count. What one
//! client is sent is copied to the end of its queue, into memory that the queues of a shard hand
//! around: sixteen answers of a turn are one piece of memory, and one slice of one send.

#![expect(clippy::box_collection, clippy::vec_box, reason = "an idle queue is 24 bytes, not 48")]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::frame::{Encoded, Frame, Gather, Wire};
use crate::base::limits::SLICES_PER_SEND;
use crate::base::shed::{self, CoalesceKey, FRAME_CHARGE, Oldest};
use crate::fanout;
use crate::proto::engine::Protocol;

/// Frames in order, and how much of the first one has been taken. One frame, the usual case of a
/// broadcast, needs no allocation; more of them lie in a box that goes back when they are sent.
#[derive(Debug, Default)]
pub struct Queue {
    frames: Frames,
    skip: u32,
    bytes: u32,
}

#[derive(Debug, Default)]
enum Frames {
    #[default]
    None,
    One(Frame),
    Many(Box<VecDeque<Frame>>),
}

/// A packet on its way to a queue.
#[derive(Debug)]
pub enum Outgoing<'a> {
    /// One that others may be sent, too.
    Shared(Frame),
    /// One that nobody else is sent.
    Own(Encoded<'a>),
}

impl Outgoing<'_> {
    /// What the WebSocket of a client is sent for it.
    pub fn on_websocket(self, protocol: Protocol) -> Self {
        let Protocol::V3(attachments) = protocol else { return self };
        match self {
            Outgoing::Shared(frame) => Outgoing::Shared(fanout::websocket_frame(frame, protocol)),
            Outgoing::Own(encoded) if encoded.is_text() => self,
            Outgoing::Own(encoded) => {
                match fanout::v3_websocket_variant(encoded.bytes(), attachments) {
                    Some(variant) => {
                        let variant = Wire::from(variant).droppable(encoded.may_drop());
                        Outgoing::Shared(Frame::own(variant))
                    }
                    None => self,
                }
            }
        }
    }

    /// The packet, which no client goes without if it has none of its own to go without.
    pub fn kept(self) -> Self {
        match self {
            Outgoing::Shared(_) => self,
            Outgoing::Own(encoded) => Outgoing::Own(encoded.droppable(false)),
        }
    }

    /// What it is the latest of.
    pub fn key(&self) -> Option<&Arc<CoalesceKey>> {
        match self {
            Outgoing::Shared(frame) => frame.wire().key(),
            Outgoing::Own(_) => None,
        }
    }

    /// The packet once more, in memory that outlives the turn.
    pub fn frame(&self) -> Frame {
        match self {
            Outgoing::Shared(frame) => frame.clone(),
            Outgoing::Own(encoded) => Frame::own((*encoded).into()),
        }
    }

    /// The packet in memory that outlives the turn.
    pub fn into_frame(self) -> Frame {
        match self {
            Outgoing::Shared(frame) => frame,
            Outgoing::Own(encoded) => Frame::own(encoded.into()),
        }
    }
}

/// A packet beyond this size is not copied behind another one.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// A frame that has grown to this size is not appended to.
const APPENDED_BYTES_MAX: usize = 16 * 1024;

/// What queues have given back, for the next queue that needs it.
#[derive(Debug, Default)]
pub struct Spare {
    boxes: Vec<Box<VecDeque<Frame>>>,
    /// Empty ones.
    frames: Vec<Frame>,
}

impl Spare {
    /// A broadcast to many clients that are behind needs as many boxes at once; beyond this number
    /// they go back to the allocator, so that a shard does not keep the memory of its worst moment.
    const KEPT_MAX: usize = 256;
    /// A deque that has grown beyond this many frames is not kept.
    const FRAMES_MAX: usize = 64;

    /// Gives all of it to the allocator.
    pub fn clear(&mut self) {
        *self = Spare::default();
    }

    fn take(&mut self) -> Box<VecDeque<Frame>> {
        self.boxes.pop().unwrap_or_default()
    }

    fn give(&mut self, frames: Box<VecDeque<Frame>>) {
        if self.boxes.len() < Self::KEPT_MAX && frames.capacity() <= Self::FRAMES_MAX {
            self.boxes.push(frames);
        }
    }

    /// A frame of a packet, which others may be appended to.
    fn frame(&mut self, packet: Encoded<'_>) -> Frame {
        match self.frames.pop() {
            Some(mut frame) => {
                frame.fill(packet);
                frame
            }
            None => Frame::own(Encoded::raw(packet.bytes()).droppable(packet.may_drop()).into()),
        }
    }

    fn give_frame(&mut self, frame: Frame) {
        if !frame.is_shared()
            && self.frames.len() < Self::KEPT_MAX
            && let Some(frame) = frame.emptied(COPIED_BYTES_MAX)
        {
            self.frames.push(frame);
        }
    }
}

impl Queue {
    /// Adds a packet at the end.
    pub fn add(&mut self, packet: Outgoing<'_>, spare: &mut Spare) {
        match packet {
            Outgoing::Shared(frame) => self.push(frame, spare),
            Outgoing::Own(encoded) if encoded.bytes().len() > COPIED_BYTES_MAX => {
                self.push(Frame::own(encoded.into()), spare);
            }
            Outgoing::Own(encoded) => {
                let bytes = encoded.bytes();
                let last = match &mut self.frames {
                    Frames::None => None,
                    Frames::One(frame) => Some(frame),
                    Frames::Many(frames) => frames.back_mut(),
                };
                let has_room =
                    |frame: &&mut Frame| frame.bytes().len() + bytes.len() <= APPENDED_BYTES_MAX;
                match last.filter(has_room).is_some_and(|frame| frame.append(encoded)) {
                    true => self.bytes = self.bytes.saturating_add(bytes.len() as u32),
                    false => self.push(spare.frame(encoded), spare),
                }
            }
        }
    }

    /// Adds a frame at the end.
    pub fn push(&mut self, frame: Frame, spare: &mut Spare) {
        self.bytes =
            self.bytes.saturating_add(u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX));
        self.frames = match std::mem::take(&mut self.frames) {
            Frames::None => Frames::One(frame),
            Frames::One(first) => {
                let mut frames = spare.take();
                frames.extend([first, frame]);
                Frames::Many(frames)
            }
            Frames::Many(mut frames) => {
                frames.push_back(frame);
                Frames::Many(frames)
            }
        };
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// What the client is charged for what waits: the bytes, and what it takes to hold them.
    pub fn charge(&self) -> usize {
        self.bytes() + self.frames() * FRAME_CHARGE
    }

    fn frames(&self) -> usize {
        match &self.frames {
            Frames::None => 0,
            Frames::One(_) => 1,
            Frames::Many(frames) => frames.len(),
        }
    }

    /// Frames that must stay as they are: those that the driver is sending, or one of which a part
    /// was sent.
    fn fixed(&self, in_flight: u8) -> usize {
        usize::from(in_flight).max(usize::from(self.skip > 0))
    }

    /// Drops the oldest events, until what is left is charged so much. Gives them, each with how
    /// many bytes were in front of it.
    pub fn drop_oldest(&mut self, most: usize, in_flight: u8) -> Vec<(usize, Frame)> {
        let (fixed, excess) = (self.fixed(in_flight), self.charge().saturating_sub(most));
        // The newest one stays, so that there is nothing to drop of one.
        let Frames::Many(frames) = &mut self.frames else { return Vec::new() };
        let mut oldest = Oldest::new(frames.len(), fixed, excess);
        frames.retain(|frame| oldest.keeps(frame));
        let bytes = u32::try_from(oldest.dropped_bytes()).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_sub(bytes);
        // What was sent of the first one, which stays, is not in front of the others any more.
        let skip = self.skip as usize;
        oldest.dropped.iter_mut().for_each(|(offset, _)| *offset = offset.saturating_sub(skip));
        oldest.dropped
    }

    /// Takes out the packet of a key that waits, and is not being sent. Gives it, with how many
    /// bytes were in front of it.
    pub fn take_keyed(
        &mut self,
        key: &Arc<CoalesceKey>,
        in_flight: u8,
        spare: &mut Spare,
    ) -> Option<(usize, Frame)> {
        let fixed = self.fixed(in_flight);
        let (position, frame, offset) = match &mut self.frames {
            Frames::None => return None,
            Frames::One(frame) => {
                let position = shed::latest(std::iter::once(&*frame), fixed, key)?;
                (position, frame.clone(), 0)
            }
            Frames::Many(frames) => {
                let position = shed::latest(frames.iter(), fixed, key)?;
                let offset: usize = frames.range(..position).map(|frame| frame.bytes().len()).sum();
                (position, frames.remove(position)?, offset - self.skip as usize)
            }
        };
        let length = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_sub(length);
        match &self.frames {
            Frames::Many(frames) if !frames.is_empty() => {}
            _ => self.clear(spare),
        }
        debug_assert!(position >= fixed);
        Some((offset, frame))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self.frames, Frames::None)
    }

    /// How many frames the next send may take.
    pub fn next_frames(&self) -> u8 {
        u8::try_from(self.frames().min(SLICES_PER_SEND)).unwrap_or(u8::MAX)
    }

    /// What the next send may take.
    pub fn gather(&self) -> Gather<'_> {
        let (head, tail) = match &self.frames {
            Frames::None => (&[][..], &[][..]),
            Frames::One(frame) => (std::slice::from_ref(frame), &[][..]),
            Frames::Many(frames) => frames.as_slices(),
        };
        Gather { head, tail, skip: self.skip as usize }
    }

    /// The first `bytes` have been taken.
    pub fn advance(&mut self, bytes: usize, spare: &mut Spare) {
        if bytes == self.bytes() {
            // Everything, as nearly always.
            return self.clear(spare);
        }
        self.bytes = self.bytes.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        let mut left = bytes + self.skip as usize;
        loop {
            let first = match &self.frames {
                Frames::None => break left = 0,
                Frames::One(frame) => frame,
                // A box holds a frame: it is given back with the last one.
                Frames::Many(frames) => &frames[0],
            };
            let length = first.bytes().len();
            if left < length {
                break;
            }
            left -= length;
            self.pop(spare);
        }
        self.skip = left as u32;
    }

    /// Drops everything.
    pub fn clear(&mut self, spare: &mut Spare) {
        match std::mem::take(&mut self.frames) {
            Frames::None => {}
            Frames::One(frame) => spare.give_frame(frame),
            Frames::Many(mut frames) => {
                frames.drain(..).for_each(|frame| spare.give_frame(frame));
                spare.give(frames);
            }
        }
        self.skip = 0;
        self.bytes = 0;
    }

    fn pop(&mut self, spare: &mut Spare) {
        self.frames = match std::mem::take(&mut self.frames) {
            Frames::Many(mut frames) => {
                frames.pop_front().into_iter().for_each(|frame| spare.give_frame(frame));
                if frames.is_empty() {
                    spare.give(frames);
                    Frames::None
                } else {
                    Frames::Many(frames)
                }
            }
            Frames::One(frame) => {
                spare.give_frame(frame);
                Frames::None
            }
            Frames::None => Frames::None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_pushed_comes_out_once_in_order_whatever_each_send_takes(
            frames in vec(vec(any::<u8>(), 1..9), 0..30),
            takes in vec(1..20usize, 1..40),
        ) {
            let (mut queue, mut spare, mut out) = (Queue::default(), Spare::default(), Vec::new());
            let mut takes = takes.into_iter().cycle();
            for (index, frame) in frames.iter().enumerate() {
                queue.push(Frame::raw(frame), &mut spare);
                if index % 3 == 0 {
                    send(&mut queue, &mut spare, takes.next().unwrap_or(1), &mut out);
                }
            }
            while !queue.is_empty() {
                send(&mut queue, &mut spare, takes.next().unwrap_or(1), &mut out);
            }
            prop_assert_eq!(out, frames.concat());
            prop_assert_eq!(queue.bytes(), 0);
        }
    }

    fn send(queue: &mut Queue, spare: &mut Spare, most: usize, out: &mut Vec<u8>) {
        let all: Vec<u8> = queue.gather().slices().flatten().copied().collect();
        let taken = most.min(all.len());
        out.extend_from_slice(&all[..taken]);
        queue.advance(taken, spare);
    }

    #[test]
    fn what_is_being_sent_is_neither_dropped_nor_replaced_and_the_count_stays_right() {
        let keyed = |name: &str| {
            let key = CoalesceKey::new(0, Some(name.into()));
            Frame::own(Wire::from(name.as_bytes().to_vec()).droppable(true).coalesced(key))
        };
        let key = |name: &str| CoalesceKey::new(0, Some(name.into())).unwrap();
        let (mut queue, mut spare) = (Queue::default(), Spare::default());
        queue.push(keyed("one"), &mut spare);
        assert!(queue.take_keyed(&key("one"), 1, &mut spare).is_none(), "it is being sent");
        queue.advance(1, &mut spare);
        assert!(queue.take_keyed(&key("one"), 0, &mut spare).is_none(), "a part was sent");
        queue.push(keyed("two"), &mut spare);
        queue.push(keyed("three"), &mut spare);
        let (offset, _) = queue.take_keyed(&key("two"), 1, &mut spare).unwrap();
        assert_eq!((offset, queue.bytes()), (2, 2 + 5));
        queue.push(keyed("four"), &mut spare);
        assert_eq!(queue.drop_oldest(0, 3).len(), 0);
        let dropped = queue.drop_oldest(0, 0);
        let offsets: Vec<_> = dropped.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [2], "neither the first, of which two bytes are left, nor the newest");
        let mut out = Vec::new();
        send(&mut queue, &mut spare, 100, &mut out);
        assert_eq!((out.as_slice(), queue.bytes(), queue.charge()), (&b"nefour"[..], 0, 0));
        queue.push(keyed("five"), &mut spare);
        assert!(queue.take_keyed(&key("five"), 0, &mut spare).is_some() && queue.is_empty());
    }

    #[test]
    fn an_idle_queue_is_small() {
        assert!(size_of::<Queue>() <= 24);
    }
}
