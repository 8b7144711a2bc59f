//! The request that opened a session, as it is kept: in one piece, and read when it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;

/// The parts of a kept request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRequest<'a> {
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// Whether it came encrypted.
    pub is_encrypted: bool,
    /// The head.
    pub head: &'a [u8],
}

/// What the length of an address is marked with when the connection was encrypted.
const ENCRYPTED: u8 = 1 << 7;

impl<'a> KeptRequest<'a> {
    /// The length of the peer's address with the mark, the address, the head.
    pub fn to_bytes(self) -> Arc<[u8]> {
        let peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let length = u8::try_from(peer.len()).ok().filter(|length| *length < ENCRYPTED);
        let (peer, length) = length.map_or(("", 0), |length| (&*peer, length));
        let mark = if self.is_encrypted { ENCRYPTED } else { 0 };
        [&[length | mark], peer.as_bytes(), self.head].concat().into()
    }

    /// Reads it.
    pub fn of(bytes: &'a [u8]) -> KeptRequest<'a> {
        let (mark, rest) = bytes.split_first().unwrap_or((&0, bytes));
        let length = usize::from(mark & !ENCRYPTED);
        let (peer, head) = rest.split_at_checked(length).unwrap_or_default();
        let peer = std::str::from_utf8(peer).ok().and_then(|peer| peer.parse().ok());
        KeptRequest { peer, is_encrypted: mark & ENCRYPTED != 0, head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_kept() {
        let peers =
            [None, Some("192.0.2.1:9".parse().unwrap()), Some("[::1]:65535".parse().unwrap())];
        for peer in peers {
            for is_encrypted in [true, false] {
                let kept = KeptRequest { peer, is_encrypted, head: b"GET / HTTP/1.1" };
                assert_eq!(KeptRequest::of(&kept.to_bytes()), kept);
            }
        }
    }
}
