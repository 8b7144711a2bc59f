//! Ciphertext on its way to the peer, in the order in which it was encrypted.

use std::collections::VecDeque;

use crate::base::frame::{Encoded, Frame, Gather};
use crate::base::slab::Key;
use crate::driver::{Driver, Sent};

/// What of one connection the driver has not taken yet.
#[derive(Default)]
pub struct Output {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that were taken.
    skip: usize,
    is_in_flight: bool,
    /// Why nothing can be sent any more: what follows something missing cannot be decrypted.
    failure: Option<i32>,
}

/// Makes frames, and uses the memory of one again that was taken at once.
#[derive(Default)]
pub struct Frames {
    spare: Option<Frame>,
}

/// The most memory of a spare frame: that of a record.
const SPARE_BYTES: usize = 20 << 10;

impl Frames {
    fn make(&mut self, bytes: &[u8]) -> Frame {
        match self.spare.take() {
            Some(mut frame) => {
                frame.fill(Encoded::raw(bytes));
                frame
            }
            None => Frame::raw(bytes),
        }
    }

    fn keep(&mut self, frame: Frame) {
        self.spare = frame.emptied(SPARE_BYTES);
    }

    /// Gives its memory back.
    pub fn discard(&mut self) {
        self.spare = None;
    }
}

impl Output {
    /// What waits to be sent on a connection of which something could not be sent before, if so.
    pub fn after(failure: Option<i32>) -> Output {
        Output { failure, ..Output::default() }
    }

    /// Why nothing can be sent any more.
    pub fn failure(&self) -> Option<i32> {
        self.failure
    }

    /// Whether the driver has taken everything.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends bytes behind what waits. `is_last`: the end of the connection is close behind.
    ///
    /// # Errors
    /// The error number of the kernel: nothing of what waited will arrive.
    pub fn send<D: Driver>(
        &mut self,
        (driver, key): (&mut D, Key),
        bytes: &[u8],
        frames: &mut Frames,
        is_last: bool,
    ) -> Result<(), i32> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        if !bytes.is_empty() {
            let frame = frames.make(bytes);
            if !self.is_empty() {
                self.frames.push_back(frame);
            } else if let Some(left) = self.send_first((driver, key), frame, is_last)? {
                frames.keep(left);
            }
        }
        self.flush((driver, key), frames, is_last)
    }

    /// Sends a frame that nothing waits in front of, and gives it back if all of it was taken.
    fn send_first<D: Driver>(
        &mut self,
        (driver, key): (&mut D, Key),
        frame: Frame,
        is_last: bool,
    ) -> Result<Option<Frame>, i32> {
        let gather = Gather { head: std::slice::from_ref(&frame), tail: &[], skip: 0 };
        match send(driver, key, gather, is_last) {
            Sent::Now(count) if count == frame.bytes().len() => return Ok(Some(frame)),
            Sent::Now(count) => self.skip = count,
            Sent::Later => self.is_in_flight = true,
            Sent::Failed(error) => return Err(self.fail(error)),
        }
        self.frames.push_back(frame);
        Ok(None)
    }

    /// Sends what waits, as far as the driver takes it at once.
    fn flush<D: Driver>(
        &mut self,
        (driver, key): (&mut D, Key),
        frames: &mut Frames,
        is_last: bool,
    ) -> Result<(), i32> {
        while !self.is_in_flight && !self.frames.is_empty() {
            let (head, tail) = self.frames.as_slices();
            let gather = Gather { head, tail, skip: self.skip };
            match send(driver, key, gather, is_last) {
                Sent::Now(count) => self.advance(count, frames),
                Sent::Later => self.is_in_flight = true,
                Sent::Failed(error) => return Err(self.fail(error)),
            }
        }
        Ok(())
    }

    /// Goes on after a send that was in flight has ended.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn sent<D: Driver>(
        &mut self,
        (driver, key): (&mut D, Key),
        result: Result<usize, i32>,
        frames: &mut Frames,
    ) -> Result<(), i32> {
        self.is_in_flight = false;
        match result {
            Ok(count) => {
                self.advance(count, frames);
                self.flush((driver, key), frames, false)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Nothing of what waits will arrive, and nothing behind it.
    fn fail(&mut self, error: i32) -> i32 {
        *self = Output::after(Some(error));
        error
    }

    fn advance(&mut self, count: usize, frames: &mut Frames) {
        self.skip += count;
        while let Some(first) = self.frames.front() {
            let length = first.bytes().len();
            if self.skip < length {
                return;
            }
            self.skip -= length;
            self.frames.pop_front().into_iter().for_each(|frame| frames.keep(frame));
        }
        // Connections are idle most of the time.
        self.frames = VecDeque::new();
    }
}

fn send<D: Driver>(driver: &mut D, key: Key, gather: Gather<'_>, is_last: bool) -> Sent {
    match is_last {
        false => driver.send(key, gather),
        true => driver.send_last(key, gather),
    }
}
