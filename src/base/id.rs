//! Ids that name their shard and slot, so that a lookup is an index and not a hash map.
//!
//! A **session id** is a bearer secret: shard, slot and 128 random bits. A **socket id** is public
//! and 20 characters long, as the reference's: shard, slot and 72 bits that no other socket has.
//! Both are written in the URL-safe base64 alphabet.
//!
//! Clients of Socket.IO before version 3 take the id of their session for that of their socket, so
//! theirs is one of 20 characters that is both.

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Names an Engine.IO session to its client: 32 characters, or the 20 of the id of a socket. It
/// never appears in logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; SessionId::BYTES]);

impl SessionId {
    const BYTES: usize = 24;
    const CHARACTERS: usize = 32;
    /// Stands before the secret.
    const OWN: [u8; 2] = [0, 0];
    /// The same, where the secret is the rest of a socket's id.
    const OF_SOCKET: [u8; 2] = [0xff, 0xff];
    /// Random bytes that an id is made from.
    pub const SECRET_BYTES: usize = 16;

    /// The id of the session at `index` of `shard`, with 128 bits from a good random source.
    pub fn new(shard: u16, index: u32, secret: [u8; Self::SECRET_BYTES]) -> SessionId {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&shard.to_be_bytes());
        bytes[2..6].copy_from_slice(&index.to_be_bytes());
        bytes[6..8].copy_from_slice(&Self::OWN);
        bytes[8..].copy_from_slice(&secret);
        SessionId(bytes)
    }

    /// The id of a session whose client takes it for that of a socket. 64 of its bits are random.
    pub fn of_socket(socket: SocketId) -> SessionId {
        let mut bytes = [0; Self::BYTES];
        bytes[..6].copy_from_slice(&socket.0[..6]);
        bytes[6..8].copy_from_slice(&Self::OF_SOCKET);
        bytes[8..16].copy_from_slice(&socket.nonce().to_be_bytes());
        SessionId(bytes)
    }

    /// Reads the text of an id; `None` when it cannot be one.
    pub fn parse(text: &[u8]) -> Option<SessionId> {
        if text.len() == SocketId::CHARACTERS {
            return SocketId::parse(text).map(SessionId::of_socket);
        }
        let bytes = decode::<{ Self::BYTES }>(text)?;
        (bytes[6..8] == Self::OWN).then_some(SessionId(bytes))
    }

    /// The socket whose id it is, too, for a client that takes the one for the other.
    pub fn socket(&self) -> Option<SocketId> {
        let is_one = self.0[6..8] == Self::OF_SOCKET;
        let nonce = self.0[8..16].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        is_one.then(|| SocketId::new(self.shard(), self.index(), nonce))
    }

    /// The shard that owns the session.
    pub fn shard(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Where the shard keeps the session, or the socket whose id it is, too.
    pub fn index(&self) -> u32 {
        u32::from_be_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// Whether both ids are the same, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &SessionId) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0, |difference, (left, right)| difference | (left ^ right)) == 0
    }

    /// The text of the id.
    pub fn text(&self) -> Vec<u8> {
        match self.socket() {
            Some(socket) => socket.text().to_vec(),
            None => encode::<{ Self::CHARACTERS }>(&self.0).to_vec(),
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionId(shard {}, index {}, …)", self.shard(), self.index())
    }
}

/// Names a Socket.IO socket to everybody: 20 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId([u8; SocketId::BYTES]);

impl SocketId {
    const BYTES: usize = 15;
    /// Length of its text, the length of the reference's ids.
    pub const CHARACTERS: usize = 20;

    /// The id of the socket at `index` of `shard`; `nonce` differs for every socket of the server.
    pub fn new(shard: u16, index: u32, nonce: u64) -> SocketId {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&shard.to_be_bytes());
        bytes[2..6].copy_from_slice(&index.to_be_bytes());
        bytes[6..14].copy_from_slice(&nonce.to_be_bytes());
        bytes[14] = bytes[..14].iter().fold(0x5a, |sum: u8, byte| sum.rotate_left(3) ^ byte);
        SocketId(bytes)
    }

    /// Reads the text of an id; `None` when it cannot be one.
    pub fn parse(text: &[u8]) -> Option<SocketId> {
        let bytes = decode::<{ Self::BYTES }>(text)?;
        let id = SocketId(bytes);
        (SocketId::new(id.shard(), id.index(), id.nonce()) == id).then_some(id)
    }

    /// The shard that owns the socket.
    pub fn shard(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Where the shard keeps the socket.
    pub fn index(&self) -> u32 {
        u32::from_be_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// What no other socket of the server has.
    pub fn nonce(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[6..14]);
        u64::from_be_bytes(bytes)
    }

    /// The text of the id.
    pub fn text(&self) -> [u8; Self::CHARACTERS] {
        encode(&self.0)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        formatter.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SocketId({self})")
    }
}

/// Lets the client of a socket have its state back (`pid`): 20 characters. A bearer secret, which
/// never appears in logs: shard, slot and 72 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrivateId([u8; PrivateId::BYTES]);

impl PrivateId {
    const BYTES: usize = 15;
    /// Length of its text, the length of the reference's ids.
    pub const CHARACTERS: usize = 20;
    /// Random bytes that an id is made from.
    pub const SECRET_BYTES: usize = 9;

    /// The id of the socket at `index` of `shard`, with 72 bits from a good random source.
    pub fn new(shard: u16, index: u32, secret: [u8; Self::SECRET_BYTES]) -> PrivateId {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&shard.to_be_bytes());
        bytes[2..6].copy_from_slice(&index.to_be_bytes());
        bytes[6..].copy_from_slice(&secret);
        PrivateId(bytes)
    }

    /// Reads the text of an id; `None` when it cannot be one.
    pub fn parse(text: &[u8]) -> Option<PrivateId> {
        decode(text).map(PrivateId)
    }

    /// The shard that has given it out.
    pub fn shard(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Where that shard keeps the socket, as long as it is connected.
    pub fn index(&self) -> u32 {
        u32::from_be_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// Whether both ids are the same, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &PrivateId) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0, |difference, (left, right)| difference | (left ^ right)) == 0
    }

    /// The text of the id.
    pub fn text(&self) -> [u8; Self::CHARACTERS] {
        encode(&self.0)
    }
}

impl fmt::Debug for PrivateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateId(shard {}, index {}, …)", self.shard(), self.index())
    }
}

/// The URL-safe base64 of bytes whose number three divides.
pub(super) fn encode<const CHARACTERS: usize>(bytes: &[u8]) -> [u8; CHARACTERS] {
    assert_eq!(bytes.len() * 4, CHARACTERS * 3, "three bytes make four characters");
    let mut text = [0; CHARACTERS];
    for (group, out) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
        let word = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for (position, character) in out.iter_mut().enumerate() {
            *character = ALPHABET[(word >> (18 - 6 * position)) as usize & 63];
        }
    }
    text
}

/// Reads what [`encode`] has written.
pub(super) fn decode<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() * 3 != BYTES * 4 {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (group, out) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut word = 0;
        for &character in group {
            word = word << 6 | sextet(character)?;
        }
        out.copy_from_slice(&word.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_the_text_of_a_session_id_gives_the_id(
            shard: u16, index: u32, secret: [u8; 16],
        ) {
            let id = SessionId::new(shard, index, secret);
            prop_assert_eq!(SessionId::parse(&id.text()), Some(id));
            prop_assert_eq!((id.shard(), id.index()), (shard, index));
            prop_assert!(id.matches(&id));
        }

        #[test]
        fn reading_the_text_of_a_socket_id_gives_the_id(shard: u16, index: u32, nonce: u64) {
            let id = SocketId::new(shard, index, nonce);
            prop_assert_eq!(SocketId::parse(&id.text()), Some(id));
            prop_assert_eq!((id.shard(), id.index(), id.nonce()), (shard, index, nonce));
        }

        #[test]
        fn reading_the_text_of_a_private_id_gives_the_id(
            shard: u16, index: u32, secret: [u8; 9], other: [u8; 9],
        ) {
            let id = PrivateId::new(shard, index, secret);
            prop_assert_eq!(PrivateId::parse(&id.text()), Some(id));
            prop_assert_eq!((id.shard(), id.index()), (shard, index));
            prop_assert_eq!(id.matches(&PrivateId::new(shard, index, other)), secret == other);
        }

        #[test]
        fn no_text_breaks_the_reader(text: Vec<u8>) {
            let _ = (SessionId::parse(&text), SocketId::parse(&text), PrivateId::parse(&text));
        }
    }

    #[test]
    fn names_that_javascript_knows_are_no_ids() {
        for name in ["", "__proto__", "constructor", "hasOwnProperty", "toString", "xyzzy"] {
            assert_eq!(SessionId::parse(name.as_bytes()), None);
            assert_eq!(SocketId::parse(name.as_bytes()), None);
            assert_eq!(PrivateId::parse(name.as_bytes()), None);
        }
    }

    #[test]
    fn b35_1_the_id_of_a_session_may_be_that_of_a_socket() {
        let socket = SocketId::new(3, 7, 0x0123_4567_89ab_cdef);
        let session = SessionId::of_socket(socket);
        assert_eq!(session.text(), socket.text());
        assert_eq!(SessionId::parse(&socket.text()), Some(session));
        assert_eq!((session.shard(), session.socket()), (3, Some(socket)));
        assert_eq!(SessionId::new(3, 7, [0xff; 16]).socket(), None);
        // Nobody gets there by the longer form.
        let forged = encode::<{ SessionId::CHARACTERS }>(&session.0);
        assert_eq!(SessionId::parse(&forged), None);
    }

    #[test]
    fn a_session_id_does_not_show_its_secret_when_printed() {
        let id = SessionId::new(3, 7, [0xab; 16]);
        assert_eq!(format!("{id:?}"), "SessionId(shard 3, index 7, …)");
    }

    #[test]
    fn a_socket_id_has_the_length_that_cluster_adapters_look_for() {
        assert_eq!(SocketId::new(1, 2, 3).to_string().len(), 20);
    }
}
