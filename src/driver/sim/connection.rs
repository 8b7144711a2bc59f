//! One connection of a driver as the fake kernel keeps it, and what can happen to it next.

use super::network::{SocketId, World};
use crate::base::clock::Time;
use crate::base::frame::Frame;

#[derive(Debug)]
pub(super) struct Connection {
    pub socket: SocketId,
    pub state: State,
    pub receiving: Receiving,
    /// A receive that found no buffer is tried again then.
    pub retry: Time,
    /// That it waits for a buffer was counted.
    pub starved: bool,
    /// Its end was reported.
    pub ended: bool,
    pub send: Option<SendInFlight>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Leaves the driver then.
    Detaching(Time),
    /// The shard knows nothing of it any more; the kernel is done then, and gives a buffer back
    /// that it had picked for a receive.
    Closing(Time, Option<u16>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    No,
    Yes,
    /// Cancelled, but until then the kernel does not notice.
    Until(Time),
}

#[derive(Debug)]
pub(super) struct SendInFlight {
    pub due: Time,
    pub frames: Vec<Frame>,
    pub skip: usize,
    /// What the frames held when the send was asked for.
    pub bytes: Vec<u8>,
}

/// What can happen to a connection next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Receive,
    Send,
    Leave,
}

impl Connection {
    /// Open and idle.
    pub fn new(socket: SocketId) -> Connection {
        Connection {
            socket,
            state: State::Open,
            receiving: Receiving::No,
            retry: Time::ZERO,
            starved: false,
            ended: false,
            send: None,
        }
    }

    /// Whether bytes that arrive then are received.
    pub fn receives_at(&self, time: Time) -> bool {
        match self.receiving {
            Receiving::No => false,
            Receiving::Yes => true,
            Receiving::Until(end) => time < end,
        }
    }

    /// When the kernel is done with it, if it is closed.
    pub fn closes(&self) -> Option<Time> {
        match self.state {
            State::Closing(due, _) => Some(due),
            State::Open | State::Detaching(_) => None,
        }
    }

    /// Operations in flight.
    pub fn operations(&self, now: Time) -> usize {
        usize::from(self.receives_at(now)) + usize::from(self.send.is_some())
    }

    /// Bytes wait for a buffer, or would if there were none.
    pub fn wants_buffer(&self, world: &World) -> bool {
        let open = !matches!(self.state, State::Closing(..));
        let arrived_bytes = world.socket(self.socket).up.arrived_bytes();
        open && !self.ended && self.receives_at(world.now) && arrived_bytes > 0
    }

    /// What can happen, and when at the earliest.
    pub fn steps(&self, world: &World, buffers: bool) -> impl Iterator<Item = (Time, Step)> {
        let socket = world.socket(self.socket);
        let leave = match self.state {
            State::Open => None,
            State::Detaching(due) | State::Closing(due, _) => Some((due, Step::Leave)),
        };
        let open = !matches!(self.state, State::Closing(..));
        let retry = self.retry.max(world.now);
        let receive = open
            && !self.ended
            && self.receives_at(retry)
            && socket.has_input()
            && (buffers || socket.up.arrived_bytes() == 0);
        let can_end = socket.broken || socket.down.finished || world.room_bytes(self.socket) > 0;
        let send =
            self.send.as_ref().filter(|_| open && can_end).map(|send| (send.due, Step::Send));
        [receive.then_some((retry, Step::Receive)), send, leave].into_iter().flatten()
    }
}
