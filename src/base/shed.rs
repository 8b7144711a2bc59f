//! Which packets a queue gives up for a client that does not take them as fast as they come.

use std::sync::Arc;

use super::frame::Frame;

/// What becomes of what is queued for a client that does not take it as fast as it comes
/// ([`Builder::send_queue_policy`](crate::Builder::send_queue_policy)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendQueuePolicy {
    /// All of it waits, up to [`Limits::send_queue_bytes`](crate::Limits); beyond that the client
    /// is disconnected, and may come back and be told what it has missed. The default.
    #[default]
    Disconnect,
    /// The oldest events go when there is more than
    /// [`Limits::send_queue_soft_bytes`](crate::Limits). Never those that the client is to
    /// acknowledge, acknowledgements, or what the protocols themselves have to say: a client with
    /// too much of these is disconnected as above. Events that were dropped are not sent again by
    /// [`connection_state_recovery`](crate::Builder::connection_state_recovery).
    DropOldest,
}

/// What a packet is the latest of: of several with one key only the last one matters.
#[derive(Debug, PartialEq, Eq)]
pub struct CoalesceKey {
    /// The namespace.
    pub namespace: u16,
    /// What the application calls it.
    pub name: Arc<str>,
}

impl CoalesceKey {
    /// The key of a name in a namespace, if there is a name.
    pub fn new(namespace: u16, name: Option<Arc<str>>) -> Option<Arc<CoalesceKey>> {
        name.map(|name| Arc::new(CoalesceKey { namespace, name }))
    }
}

/// What a frame costs beside its bytes: its place in the queue, and what allocators add. Without it
/// a flood of tiny packets would be charged a fraction of what it holds.
pub const FRAME_CHARGE: usize = 32;

/// As many of the latest frames of a queue are searched for an older packet of a key.
pub const COALESCE_REACH: usize = 256;

/// Where the latest packet of a key waits, among those behind the first `fixed` ones.
pub fn latest<'a>(
    frames: impl DoubleEndedIterator<Item = &'a Frame> + ExactSizeIterator,
    fixed: usize,
    key: &Arc<CoalesceKey>,
) -> Option<usize> {
    let searched = frames.enumerate().skip(fixed).rev().take(COALESCE_REACH);
    let is_of_key = |frame: &Frame| frame.wire().key().is_some_and(|other| other == key);
    let mut found = searched.filter(|(_, frame)| is_of_key(frame)).map(|(position, _)| position);
    found.next()
}

/// Chooses the oldest packets that may be dropped, in one pass over a queue of frames.
#[derive(Debug)]
pub struct Oldest {
    /// Frames that were looked at.
    position: usize,
    /// As many of the first ones are being sent.
    fixed: usize,
    /// The newest one stays: it is what the client is to have.
    last: usize,
    /// What is still to be got rid of.
    excess: usize,
    /// Bytes in front of the frame that comes next.
    offset: usize,
    /// What was dropped, and how many bytes were in front of it.
    pub dropped: Vec<(usize, Frame)>,
}

impl Oldest {
    /// Drops from a queue of so many frames, of which the first `fixed` are being sent, until it is
    /// charged `excess` less.
    pub fn new(frames: usize, fixed: usize, excess: usize) -> Oldest {
        let last = frames.saturating_sub(1);
        Oldest { position: 0, fixed, last, excess, offset: 0, dropped: Vec::new() }
    }

    /// Bytes of what was dropped.
    pub fn dropped_bytes(&self) -> usize {
        self.dropped.iter().map(|(_, frame)| frame.bytes().len()).sum()
    }

    /// Whether the next frame stays. To be asked about each of them, in order.
    pub fn keeps(&mut self, frame: &Frame) -> bool {
        let length = frame.bytes().len();
        let is_dropped = self.excess > 0
            && (self.fixed..self.last).contains(&self.position)
            && frame.wire().may_drop();
        if is_dropped {
            self.excess = self.excess.saturating_sub(length + FRAME_CHARGE);
            self.dropped.push((self.offset, frame.clone()));
        } else {
            self.offset += length;
        }
        self.position += 1;
        !is_dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::frame::{Encoded, Wire};

    fn event(bytes: &[u8]) -> Frame {
        Frame::own(Encoded::raw(bytes).droppable(true).into())
    }

    fn keyed(name: &str) -> Frame {
        let key = Arc::new(CoalesceKey { namespace: 0, name: name.into() });
        Frame::own(Wire::from(name.as_bytes().to_vec()).coalesced(Some(key)))
    }

    #[test]
    fn the_oldest_events_go_until_it_is_enough_and_what_must_arrive_stays() {
        let mut frames =
            vec![event(b"sending"), event(b"1"), Frame::raw(b"ack"), event(b"22"), event(b"3")];
        frames.push(event(b"newest"));
        let mut oldest = Oldest::new(frames.len(), 1, 2 * FRAME_CHARGE + 2);
        frames.retain(|frame| oldest.keeps(frame));
        let left: Vec<_> = frames.iter().map(Frame::bytes).collect();
        assert_eq!(left, [&b"sending"[..], b"ack", b"3", b"newest"]);
        let offsets: Vec<_> = oldest.dropped.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [7, 10], "in front of each of them, as they were left");
        let mut all = Oldest::new(frames.len(), 0, usize::MAX);
        frames.retain(|frame| all.keeps(frame));
        let left: Vec<_> = frames.iter().map(Frame::bytes).collect();
        assert_eq!(left, [&b"ack"[..], b"newest"]);
    }

    #[test]
    fn the_latest_of_a_key_is_found_unless_it_is_being_sent_or_too_far_back() {
        let frames = [keyed("a"), keyed("b"), keyed("a"), Frame::raw(b"a")];
        let key = |name: &str| Arc::new(CoalesceKey { namespace: 0, name: name.into() });
        assert_eq!(latest(frames.iter(), 0, &key("a")), Some(2));
        assert_eq!(latest(frames.iter(), 2, &key("b")), None);
        assert_eq!(latest(frames.iter(), 0, &key("c")), None);
        let other = Arc::new(CoalesceKey { namespace: 1, name: "a".into() });
        assert_eq!(latest(frames.iter(), 0, &other), None);
        let many: Vec<Frame> =
            std::iter::once(keyed("a")).chain(vec![event(b""); COALESCE_REACH]).collect();
        assert_eq!(latest(many.iter(), 0, &key("a")), None);
        assert_eq!(latest(many[..COALESCE_REACH].iter(), 0, &key("a")), Some(0));
    }
}
