//! The plain WebSocket application, without any I/O: it is told which bytes came from which socket,
//! and says at the end of a turn which bytes are due to whom. All servers here are this and a way
//! to move bytes; an idle socket costs it one byte.

use std::collections::HashMap;
use std::ops::Range;

use crate::rooms::Rooms;
use crate::turn::{Deliveries, Turn};
use crate::wire::{self, Opcode, Violation};

/// How far a socket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody is connected.
    #[default]
    Free,
    /// Its request is awaited.
    Connecting,
    /// The response is among what this turn will send: nothing else may overtake it.
    Answered,
    /// It gets what everybody gets.
    Open,
    /// It gets what is already due to it, and nothing more.
    Ending,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More bytes are welcome.
    GoOn,
    /// To be closed when what this turn has for it was sent.
    End,
}

/// The state of all connections.
#[derive(Debug, Default)]
pub struct Application {
    stages: Vec<Stage>,
    /// The beginnings of requests and frames.
    partial: HashMap<u32, Vec<u8>>,
    /// Who is open from the end of the turn on.
    answered: Vec<u32>,
    rooms: Rooms,
    turn: Turn,
}

impl Application {
    /// A connection was accepted. The number is any that no other connection has; small ones are
    /// best.
    pub fn opened(&mut self, socket: u32) {
        let index = socket as usize;
        if index >= self.stages.len() {
            self.stages.resize(index + 1, Stage::Free);
        }
        self.stages[index] = Stage::Connecting;
    }

    /// A connection is gone, and its number free for another one.
    pub fn closed(&mut self, socket: u32) {
        self.stages[socket as usize] = Stage::Free;
        self.partial.remove(&socket);
        self.rooms.leave(socket);
    }

    /// Bytes have come; they are changed in place.
    pub fn received(&mut self, socket: u32, bytes: &mut [u8]) -> Verdict {
        let result = match self.partial.remove(&socket) {
            None => self.consume(socket, bytes).map(|used| bytes[used..].to_vec()),
            Some(mut all) => {
                all.extend_from_slice(bytes);
                self.consume(socket, &mut all).map(|used| all.split_off(used))
            }
        };
        match result {
            Ok(rest) if rest.is_empty() => Verdict::GoOn,
            Ok(rest) => {
                self.partial.insert(socket, rest);
                Verdict::GoOn
            }
            Err(Violation) => {
                self.stages[socket as usize] = Stage::Ending;
                self.rooms.leave(socket);
                Verdict::End
            }
        }
    }

    /// Works off what is complete, and says how many bytes that were.
    fn consume(&mut self, socket: u32, bytes: &mut [u8]) -> Result<usize, Violation> {
        let mut used = 0;
        match self.stages[socket as usize] {
            Stage::Connecting => match self.connect(socket, bytes)? {
                Some(length) => used = length,
                None => return Ok(0),
            },
            Stage::Answered | Stage::Open => {}
            Stage::Free | Stage::Ending => return Ok(bytes.len()),
        }
        while let Some(frame) = wire::frame(&mut bytes[used..])? {
            used += frame.length;
            self.act(socket, frame.opcode, frame.payload)?;
        }
        Ok(used)
    }

    fn connect(&mut self, socket: u32, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        match wire::handshake(bytes) {
            Ok(Some((length, response))) => {
                self.reply(socket, |out| out.extend_from_slice(&response));
                self.stages[socket as usize] = Stage::Answered;
                self.answered.push(socket);
                Ok(Some(length))
            }
            Ok(None) => Ok(None),
            Err(Violation) => {
                self.reply(socket, |out| out.extend_from_slice(wire::REFUSAL));
                Err(Violation)
            }
        }
    }

    fn act(&mut self, socket: u32, opcode: Opcode, payload: &[u8]) -> Result<(), Violation> {
        match (opcode, payload) {
            (Opcode::Text, [b'E', ..]) => self.reply_frame(socket, Opcode::Text, payload),
            (Opcode::Text, [b'P', message @ ..]) => {
                let piece = self.turn.encode(|out| broadcast(out, message));
                self.turn.give_all(piece);
            }
            (Opcode::Text, [b'J', room @ ..]) => {
                self.rooms.join(socket, room);
                self.reply_frame(socket, Opcode::Text, b"J");
            }
            (Opcode::Text, [b'R', rest @ ..]) => {
                let end = rest.iter().position(|&byte| byte == b'\n').ok_or(Violation)?;
                let (room, message) = (&rest[..end], &rest[end + 1..]);
                let piece = self.turn.encode(|out| broadcast(out, message));
                for &member in self.rooms.members(room) {
                    self.turn.give_one(member, piece.clone());
                }
            }
            (Opcode::Ping, _) => self.reply_frame(socket, Opcode::Pong, payload),
            (Opcode::Pong, _) => {}
            (Opcode::Close, _) => {
                self.reply_frame(socket, Opcode::Close, payload);
                return Err(Violation);
            }
            (Opcode::Text, _) => return Err(Violation),
        }
        Ok(())
    }

    fn reply_frame(&mut self, socket: u32, opcode: Opcode, payload: &[u8]) {
        self.reply(socket, |out| wire::write_frame(out, opcode, &[], payload));
    }

    fn reply(&mut self, socket: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let piece = self.turn.encode(write);
        self.turn.give_one(socket, piece);
    }

    /// Ends the turn: the bytes that are to be sent, and what [`Application::each`] needs to say to
    /// whom. `None`: nobody gets anything.
    pub fn end_turn(&mut self) -> Option<(Vec<u8>, Deliveries)> {
        if self.turn.is_empty() {
            return None;
        }
        let stages = &self.stages;
        let result = self.turn.finish(|socket| stages[socket as usize] == Stage::Open);
        for socket in self.answered.drain(..) {
            let stage = &mut self.stages[socket as usize];
            if *stage == Stage::Answered {
                *stage = Stage::Open;
            }
        }
        Some(result)
    }

    /// Calls `send` once for each socket that something is due to.
    pub fn each(&self, deliveries: &Deliveries, mut send: impl FnMut(u32, Range<usize>)) {
        if deliveries.everybody.is_empty() {
            deliveries.own.iter().for_each(|(socket, range)| send(*socket, range.clone()));
            return;
        }
        let mut own = deliveries.own.iter().peekable();
        for (socket, stage) in (0..).zip(&self.stages) {
            match own.next_if(|(each, _)| *each == socket) {
                Some((_, range)) => send(socket, range.clone()),
                None if *stage == Stage::Open => send(socket, deliveries.everybody.clone()),
                None => {}
            }
        }
    }

    /// Gives the bytes of a turn back when all are sent.
    pub fn reuse(&mut self, bytes: Vec<u8>) {
        self.turn.reuse(bytes);
    }
}

fn broadcast(out: &mut Vec<u8>, message: &[u8]) {
    wire::write_frame(out, Opcode::Text, b"B", message);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn message(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::write_frame(&mut bytes, Opcode::Text, &[], text.as_bytes());
        bytes[1] |= 0x80;
        // A mask of zeros changes nothing.
        let start = bytes.len() - text.len();
        bytes.splice(start..start, [0; 4]);
        bytes
    }

    fn says(application: &mut Application, socket: u32, text: &str) -> Verdict {
        application.received(socket, &mut message(text))
    }

    fn connect(application: &mut Application, socket: u32) {
        application.opened(socket);
        assert_eq!(application.received(socket, &mut REQUEST.as_bytes().to_vec()), Verdict::GoOn);
    }

    /// Who gets which texts at the end of the turn; responses and headers of frames left out.
    fn due(application: &mut Application) -> Vec<(u32, String)> {
        let Some((bytes, deliveries)) = application.end_turn() else { return Vec::new() };
        let mut due = Vec::new();
        application.each(&deliveries, |socket, range| {
            let text = String::from_utf8_lossy(&bytes[range]).into_owned();
            let frames = text.rsplit("\r\n\r\n").next().unwrap();
            let is_text = |byte: &char| byte.is_ascii_graphic();
            due.push((socket, frames.chars().filter(is_text).collect()));
        });
        due
    }

    fn with_three() -> Application {
        let mut application = Application::default();
        (0..3).for_each(|socket| connect(&mut application, socket));
        due(&mut application);
        application
    }

    fn to(due: &[(u32, &str)]) -> Vec<(u32, String)> {
        due.iter().map(|&(socket, text)| (socket, text.to_owned())).collect()
    }

    #[test]
    fn an_echo_goes_to_its_sender_a_publish_to_all_a_room_to_its_members() {
        let mut application = with_three();
        says(&mut application, 1, "Ea");
        assert_eq!(due(&mut application), to(&[(1, "Ea")]));
        says(&mut application, 1, "Pb");
        assert_eq!(due(&mut application), to(&[(0, "Bb"), (1, "Bb"), (2, "Bb")]));
        says(&mut application, 0, "Jroom");
        says(&mut application, 2, "Jroom");
        assert_eq!(due(&mut application), to(&[(0, "J"), (2, "J")]));
        says(&mut application, 1, "Rroom\nc");
        assert_eq!(due(&mut application), to(&[(0, "Bc"), (2, "Bc")]));
        says(&mut application, 1, "Relsewhere\nc");
        assert_eq!(due(&mut application), to(&[]));
    }

    #[test]
    fn nothing_overtakes_the_response_to_the_request() {
        let mut application = with_three();
        says(&mut application, 0, "Pbefore");
        connect(&mut application, 3);
        says(&mut application, 0, "Pafter");
        let due_first = due(&mut application);
        assert_eq!(due_first[2..], to(&[(2, "BbeforeBafter"), (3, "")]));
        says(&mut application, 0, "Pnext");
        assert_eq!(due(&mut application)[3], (3, "Bnext".into()));
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let mut application = Application::default();
        application.opened(0);
        let bytes = [REQUEST.as_bytes(), &message("Ea"), &message("Pb"), &message("Ec")].concat();
        for byte in bytes {
            assert_eq!(application.received(0, &mut [byte]), Verdict::GoOn);
        }
        assert!(application.partial.is_empty());
        assert_eq!(due(&mut application), to(&[(0, "EaEc")]), "not open before the turn's end");
    }

    #[test]
    fn a_connection_that_ends_gets_what_is_due_and_nothing_more() {
        let mut application = with_three();
        says(&mut application, 1, "Ea");
        assert_eq!(says(&mut application, 1, "unknown"), Verdict::End);
        says(&mut application, 0, "Pb");
        assert_eq!(due(&mut application), to(&[(0, "Bb"), (1, "Ea"), (2, "Bb")]));
        application.closed(1);
        says(&mut application, 0, "Pc");
        assert_eq!(due(&mut application), to(&[(0, "Bc"), (2, "Bc")]));
        connect(&mut application, 1);
        assert_eq!(due(&mut application), to(&[(1, "")]));
    }

    #[test]
    fn a_ping_is_answered_and_a_close_too() {
        let mut application = with_three();
        assert_eq!(application.received(0, &mut [0x89, 0x81, 0, 0, 0, 0, b'x']), Verdict::GoOn);
        assert_eq!(application.end_turn().unwrap().0, b"\x8a\x01x");
        let mut close = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
        assert_eq!(application.received(0, &mut close), Verdict::End);
        assert_eq!(application.end_turn().unwrap().0, b"\x88\x02\x03\xe8");
    }

    #[test]
    fn something_else_than_a_handshake_is_refused() {
        let mut application = Application::default();
        application.opened(0);
        let mut request = b"GET /other HTTP/1.1\r\n\r\n".to_vec();
        assert_eq!(application.received(0, &mut request), Verdict::End);
        assert_eq!(application.end_turn().unwrap().0, wire::REFUSAL);
    }
}
