//! Clients that use a WebSocket: what comes is cut into frames.

use crate::codec::{Protocol, websocket};
use crate::failure::Failure;
use crate::modes::Mode;
use crate::sys;

use super::channel::Received;
use super::{Clients, Phase};

impl Clients<'_> {
    /// Bytes came, or the end.
    pub(super) fn receive_frames<M: Mode>(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        mode: &mut M,
    ) -> Result<(), Failure> {
        let client = &mut self.list[index];
        let held = client.main.restore(buffer, &mut self.buffers);
        let length = match client.main.receive(&mut buffer[held..]) {
            Received::Bytes(count) => held + count,
            Received::Nothing => held,
            Received::End(error) => return self.cut(index, &error, mode),
        };
        let now_ns = sys::now_ns();
        let generation = client.generation;
        let mut rest = &buffer[..length];
        if client.phase == Phase::Leaving {
            return Ok(());
        }
        while !rest.is_empty() {
            let taken = match self.take_frame(index, rest, now_ns, mode)? {
                0 => break,
                taken => taken,
            };
            rest = &rest[taken..];
            if self.list[index].generation != generation {
                return Ok(());
            }
        }
        self.list[index].main.keep(rest, &mut self.buffers);
        Ok(())
    }

    /// Takes one thing from the front of what came and says how long it was; nothing when it has
    /// not come whole.
    fn take_frame<M: Mode>(
        &mut self,
        index: usize,
        bytes: &[u8],
        now_ns: u64,
        mode: &mut M,
    ) -> Result<usize, Failure> {
        match self.list[index].phase {
            Phase::Live => {
                let length = mode.recognise(index, bytes, now_ns);
                if length > 0 {
                    return Ok(length);
                }
            }
            Phase::Upgrading => return self.upgraded(index, bytes, now_ns, mode),
            _ => {}
        }
        let frame = match websocket::decode(bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(0),
            Err(fault) => {
                self.end(index, &format!("not a frame: {fault:?}"), mode)?;
                return Ok(bytes.len());
            }
        };
        match frame.kind {
            websocket::Kind::Text => {
                self.hear(index, frame.payload, &bytes[..frame.length], now_ns, mode)?;
            }
            websocket::Kind::Ping => self.queue(index, websocket::Kind::Pong, frame.payload),
            websocket::Kind::Pong => {}
            websocket::Kind::Close => self.end(index, "the server sent a close frame", mode)?,
            websocket::Kind::Binary => self.end(index, "a binary message", mode)?,
        }
        Ok(frame.length)
    }

    fn upgraded<M: Mode>(
        &mut self,
        index: usize,
        bytes: &[u8],
        now_ns: u64,
        mode: &mut M,
    ) -> Result<usize, Failure> {
        match websocket::upgraded(bytes) {
            Ok(None) => return Ok(0),
            Ok(Some(length)) => {
                match self.plan.protocol {
                    Protocol::SocketIo => self.set_phase(index, Phase::Opening),
                    Protocol::Plain => self.enter(index, now_ns, mode)?,
                }
                return Ok(length);
            }
            Err(websocket::Fault::Refused(status)) => {
                self.end(index, &format!("the handshake was answered: {status}"), mode)?;
            }
            Err(fault) => self.end(index, &format!("not a handshake: {fault:?}"), mode)?,
        }
        Ok(bytes.len())
    }
}
