//! Frames that many clients wait for, side by side.

use crate::base::frame::{Frame, Gather};

/// Beyond this size a copy costs more than the slices that it saves.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// One copy of the frames of a gathered send. The members of a room wait for the same frames: what
/// is joined for the first of them is one slice, instead of many, for all the others.
#[derive(Debug, Default)]
pub struct Joined {
    members: Vec<Frame>,
    bytes: Option<Frame>,
}

impl Joined {
    /// The same bytes as `gather`, in fewer slices if that pays.
    pub fn join<'a>(&'a mut self, gather: Gather<'a>) -> Gather<'a> {
        if !self.is_of(&gather) && !self.make(&gather) {
            return gather;
        }
        Gather { head: self.bytes.as_slice(), tail: &[], skip: gather.skip }
    }

    /// Forgets the frames.
    pub fn clear(&mut self) {
        self.members.clear();
        self.bytes = None;
    }

    fn is_of(&self, gather: &Gather<'_>) -> bool {
        let mut members = self.members.iter();
        !self.members.is_empty()
            && gather.frames().all(|frame| members.next().is_some_and(|member| member.is(frame)))
            && members.next().is_none()
    }

    fn make(&mut self, gather: &Gather<'_>) -> bool {
        let mut frames = gather.frames();
        let (Some(first), Some(_)) = (frames.next(), frames.next()) else { return false };
        let length: usize = gather.frames().map(|frame| frame.bytes().len()).sum();
        if !first.is_shared() || length > JOINED_BYTES_MAX {
            return false;
        }
        self.members.clear();
        self.members.extend(gather.frames().cloned());
        let mut bytes = Vec::with_capacity(length);
        self.members.iter().for_each(|frame| bytes.extend_from_slice(frame.bytes()));
        self.bytes = Some(Frame::own(bytes.into()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(gather: &Gather<'_>) -> Vec<u8> {
        gather.slices().collect::<Vec<_>>().concat()
    }

    #[test]
    fn frames_that_others_wait_for_are_one_slice_with_the_same_bytes() {
        let frames = [Frame::raw(b"one"), Frame::raw(b"two")];
        let of_others = frames.clone();
        let mut joined = Joined::default();
        for skip in [0, 2] {
            let gather = Gather { head: &frames[..1], tail: &frames[1..], skip };
            let fewer = joined.join(gather);
            assert_eq!(fewer.slices().count(), 1);
            assert_eq!(bytes(&fewer), bytes(&gather));
        }
        drop(of_others);
    }

    #[test]
    fn another_list_of_frames_is_not_taken_for_the_one_before() {
        let frames = [Frame::raw(b"a"), Frame::raw(b"b"), Frame::raw(b"c")];
        let of_others = frames.clone();
        let mut joined = Joined::default();
        let lists = [&frames[..2], &frames[..3], &frames[1..], &frames[..1], &frames[..2]];
        for head in lists {
            let gather = Gather { head, tail: &[], skip: 0 };
            assert_eq!(bytes(&joined.join(gather)), bytes(&gather));
        }
        drop(of_others);
    }

    #[test]
    fn what_nobody_else_waits_for_and_what_is_large_is_not_copied() {
        let mut joined = Joined::default();
        let own = [Frame::raw(b"a"), Frame::raw(b"b")];
        let gather = Gather { head: &own, tail: &[], skip: 0 };
        assert_eq!(joined.join(gather).slices().count(), 2);
        let large = vec![Frame::raw(&vec![0; JOINED_BYTES_MAX / 2 + 1]); 2];
        let gather = Gather { head: &large, tail: &[], skip: 0 };
        assert_eq!(joined.join(gather).slices().count(), 2);
    }
}
