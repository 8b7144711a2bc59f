//! What one turn of a server's loop has to send: every message encoded once, in one buffer, and at
//! the end of the turn one range of that buffer for each socket that anything is due to.

use std::mem;
use std::ops::Range;

/// The outgoing bytes of a turn, and for whom they are.
#[derive(Debug, Default)]
pub struct Turn {
    bytes: Vec<u8>,
    /// Pieces for everybody, in order; those that touch are one.
    to_all: Vec<Range<usize>>,
    /// Pieces for one socket, in order.
    to_one: Vec<(u32, Range<usize>)>,
}

/// Who gets what at the end of a turn: ranges of its bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// For every open socket that is not in `own`; empty if there is nothing for everybody.
    pub everybody: Range<usize>,
    /// For single sockets, each at most once, in ascending order.
    pub own: Vec<(u32, Range<usize>)>,
}

impl Turn {
    /// Lets `write` append a message, and says where it lies.
    pub fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }

    /// Everybody shall get these bytes.
    pub fn give_all(&mut self, piece: Range<usize>) {
        push_piece(&mut self.to_all, piece);
    }

    /// One socket shall get these bytes.
    pub fn give_one(&mut self, socket: u32, piece: Range<usize>) {
        self.to_one.push((socket, piece));
    }

    /// Whether nobody gets anything.
    pub fn is_empty(&self) -> bool {
        self.to_all.is_empty() && self.to_one.is_empty()
    }

    /// Ends the turn. What is due to a socket becomes one range: where its pieces do not lie side
    /// by side they are copied to the end of the bytes. `is_open` says who belongs to everybody.
    pub fn finish(&mut self, is_open: impl Fn(u32) -> bool) -> (Vec<u8>, Deliveries) {
        let everybody = join(&mut self.bytes, &self.to_all);
        // A stable sort: the pieces of one socket stay in their order.
        self.to_one.sort_by_key(|(socket, _)| *socket);
        let mut own = Vec::new();
        let mut pieces = Vec::new();
        for group in self.to_one.chunk_by(|(left, _), (right, _)| left == right) {
            let socket = group[0].0;
            let to_all = if is_open(socket) { self.to_all.as_slice() } else { &[] };
            merge(&mut pieces, to_all, group.iter().map(|(_, piece)| piece));
            own.push((socket, join(&mut self.bytes, &pieces)));
        }
        self.to_all.clear();
        self.to_one.clear();
        (mem::take(&mut self.bytes), Deliveries { everybody, own })
    }

    /// Gives the bytes of a turn that have been sent back, so that the next one need not allocate.
    pub fn reuse(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        if self.bytes.capacity() == 0 {
            self.bytes = bytes;
        }
    }
}

/// Appends a piece to a list, to its last one if the two touch.
fn push_piece(pieces: &mut Vec<Range<usize>>, piece: Range<usize>) {
    match pieces.last_mut() {
        Some(last) if last.end == piece.start => last.end = piece.end,
        _ => pieces.push(piece),
    }
}

/// Merges two lists into `out` by where their pieces begin, which is when they were encoded.
fn merge<'a>(
    out: &mut Vec<Range<usize>>,
    to_all: &[Range<usize>],
    to_one: impl Iterator<Item = &'a Range<usize>>,
) {
    out.clear();
    let mut to_all = to_all.iter().peekable();
    for piece in to_one {
        while let Some(earlier) = to_all.next_if(|each| each.start < piece.start) {
            push_piece(out, earlier.clone());
        }
        push_piece(out, piece.clone());
    }
    to_all.for_each(|piece| push_piece(out, piece.clone()));
}

/// One range that has the bytes of all pieces.
fn join(bytes: &mut Vec<u8>, pieces: &[Range<usize>]) -> Range<usize> {
    match pieces {
        [] => 0..0,
        [piece] => piece.clone(),
        _ => {
            let start = bytes.len();
            for piece in pieces {
                bytes.extend_from_within(piece.clone());
            }
            start..bytes.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(turn: &mut Turn, text: &str) -> Range<usize> {
        turn.encode(|out| out.extend_from_slice(text.as_bytes()))
    }

    /// What each of three sockets gets, of which the last is not open.
    fn delivered(turn: &mut Turn) -> [String; 3] {
        let (bytes, deliveries) = turn.finish(|socket| socket < 2);
        let text = |range: &Range<usize>| str::from_utf8(&bytes[range.clone()]).unwrap().to_owned();
        [0, 1, 2].map(|socket| match deliveries.own.iter().find(|(each, _)| *each == socket) {
            Some((_, range)) => text(range),
            None if socket < 2 => text(&deliveries.everybody),
            None => String::new(),
        })
    }

    #[test]
    fn messages_to_all_in_a_row_are_one_range_of_what_was_encoded_once() {
        let mut turn = Turn::default();
        for text in ["a", "b", "c"] {
            let piece = encode(&mut turn, text);
            turn.give_all(piece);
        }
        let (bytes, deliveries) = turn.finish(|_| true);
        assert_eq!(bytes, b"abc");
        assert_eq!(deliveries, Deliveries { everybody: 0..3, own: Vec::new() });
        assert!(turn.is_empty());
    }

    #[test]
    fn each_socket_gets_what_is_for_it_and_for_all_in_the_order_of_encoding() {
        let mut turn = Turn::default();
        for (text, socket) in
            [("a", Some(1)), ("b", None), ("c", Some(1)), ("d", Some(2)), ("e", None)]
        {
            let piece = encode(&mut turn, text);
            match socket {
                Some(socket) => turn.give_one(socket, piece),
                None => turn.give_all(piece),
            }
        }
        assert_eq!(delivered(&mut turn), ["be", "abce", "d"]);
        assert_eq!(delivered(&mut turn), ["", "", ""]);
    }

    #[test]
    fn one_message_may_go_to_many_and_then_lies_there_once() {
        let mut turn = Turn::default();
        let piece = encode(&mut turn, "x");
        for socket in [2, 0] {
            turn.give_one(socket, piece.clone());
        }
        let (bytes, deliveries) = turn.finish(|_| true);
        assert_eq!(bytes, b"x");
        assert_eq!(deliveries.own, [(0, 0..1), (2, 0..1)]);
    }
}
