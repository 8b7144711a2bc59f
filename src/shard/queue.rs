//! What waits to be sent on one connection.
//!
//! What many clients are sent lies in a frame that they share, and is queued by a count. What one
//! client is sent is copied to the end of its queue, into memory that the queues of a shard hand
//! around: sixteen answers of a turn are one piece of memory, and one slice of one send.

#![expect(clippy::box_collection, clippy::vec_box, reason = "an idle queue is 24 bytes, not 48")]

use std::collections::VecDeque;

use crate::base::frame::{Encoded, Frame, Gather};
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
                    Some(variant) => Outgoing::Shared(Frame::own(variant.into())),
                    None => self,
                }
            }
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

    /// A frame of these bytes.
    fn frame(&mut self, bytes: &[u8]) -> Frame {
        match self.frames.pop() {
            Some(mut frame) => {
                frame.append(bytes);
                frame
            }
            None => Frame::raw(bytes),
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
                match last.filter(has_room).is_some_and(|frame| frame.append(bytes)) {
                    true => self.bytes = self.bytes.saturating_add(bytes.len() as u32),
                    false => self.push(spare.frame(bytes), spare),
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

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self.frames, Frames::None)
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
    fn an_idle_queue_is_small() {
        assert!(size_of::<Queue>() <= 24);
    }
}
