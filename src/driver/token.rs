//! What names an operation, or what is waited for, to the kernel.

use crate::base::slab::{Key, Slab};

/// The kinds of operations; what the eight highest bits of a [`Token`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Connections are accepted; the key is a listener's.
    Accept,
    /// Bytes are received.
    Receive,
    /// A message is sent.
    Send,
    /// An accept shall end. Reports only that it found none to end.
    CancelAccept,
    /// A receive shall end. Reports only that it found none to end.
    CancelReceive,
    /// A send shall end. Reports only that it found none to end.
    CancelSend,
    /// The waker was used; there is no key.
    Wake,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Accept,
        Kind::Receive,
        Kind::Send,
        Kind::CancelAccept,
        Kind::CancelReceive,
        Kind::CancelSend,
        Kind::Wake,
    ];
}

/// Names an operation to the kernel, which hands it back with every completion: the kind in 8
/// bits, the generation of a key in 24, its index in 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

const GENERATION_MASK: u32 = (1 << 24) - 1;

impl Token {
    /// Names the operation of that kind on what `key` names.
    pub fn new(kind: Kind, key: Key) -> Token {
        let generation = u64::from(key.generation & GENERATION_MASK);
        Token((kind as u64) << 56 | generation << 32 | u64::from(key.index))
    }

    /// The token of the one operation that concerns no key.
    pub fn wake() -> Token {
        Token((Kind::Wake as u64) << 56)
    }

    /// The kind of operation; `None` for a number that no operation was given.
    pub fn kind(self) -> Option<Kind> {
        Kind::ALL.get((self.0 >> 56) as usize).copied()
    }

    /// The key of the value that the operation was for, unless that was taken out of the slab.
    ///
    /// A slot is not reused before its operations have ended, so that the generation only confirms
    /// what counting has established; its 24 bits need not be unique for ever.
    pub fn key_in<T>(self, slab: &Slab<T>) -> Option<Key> {
        let generation = (self.0 >> 32) as u32 & GENERATION_MASK;
        slab.key_at(self.0 as u32).filter(|key| key.generation & GENERATION_MASK == generation)
    }

    /// The number that the kernel is given.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// The token whose number the kernel gave back.
    pub fn from_raw(raw: u64) -> Token {
        Token(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_kind_and_key_until_the_generation_is_another() {
        let mut slab = Slab::new();
        slab.insert(());
        let old = slab.insert(());
        for kind in Kind::ALL {
            let token = Token::from_raw(Token::new(kind, old).to_raw());
            assert_eq!(token.kind(), Some(kind));
            assert_eq!(token.key_in(&slab), Some(old));
        }
        let token = Token::new(Kind::Send, old);
        slab.remove(old);
        assert_eq!(token.key_in(&slab), None);
        slab.insert(());
        assert_eq!(token.key_in(&slab), None);
        assert_eq!(Token::wake().kind(), Some(Kind::Wake));
        assert_eq!(Token::from_raw(u64::MAX).kind(), None);
    }
}
