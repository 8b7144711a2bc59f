//! Offsets of connection state recovery: what a client says it has received last.
//!
//! An offset names one event of one emitter, and is the same for every recipient on every shard, so
//! that the event is still encoded once. To clients it is a text that they give back.

use std::num::NonZeroU64;

use super::id::{decode, encode};

/// Who counts the events that it emits, and whom they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emitter {
    /// Events that every shard is told of, from the shard of this number, or from the threads that
    /// are no shard's, which count together behind the last shard.
    ToMany(u16),
    /// Events for one socket, which only its shard is told of, from the same ones.
    ToOne(u16),
}

/// Names one event that can be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset(NonZeroU64);

impl Offset {
    /// Length of its text.
    pub const CHARACTERS: usize = 12;
    const BYTES: usize = 9;
    const SEQUENCE_BITS: u32 = 48;
    const TO_ONE: u16 = 1 << 15;

    /// The event of this number; an emitter counts from 1.
    pub fn new(emitter: Emitter, sequence: u64) -> Offset {
        let number = match emitter {
            Emitter::ToMany(number) => number,
            Emitter::ToOne(number) => number | Self::TO_ONE,
        };
        let sequence = sequence & ((1 << Self::SEQUENCE_BITS) - 1);
        let value = u64::from(number) << Self::SEQUENCE_BITS | sequence.max(1);
        Offset(NonZeroU64::new(value).unwrap_or(NonZeroU64::MIN))
    }

    /// Reads the text of an offset; `None` when it cannot be one.
    pub fn parse(text: &[u8]) -> Option<Offset> {
        let [0, rest @ ..] = decode::<{ Self::BYTES }>(text)? else { return None };
        let offset = Offset(NonZeroU64::new(u64::from_be_bytes(rest))?);
        (offset.sequence() > 0).then_some(offset)
    }

    /// Who has emitted it.
    pub fn emitter(self) -> Emitter {
        let number = (self.0.get() >> Self::SEQUENCE_BITS) as u16;
        match number & Self::TO_ONE {
            0 => Emitter::ToMany(number),
            _ => Emitter::ToOne(number & !Self::TO_ONE),
        }
    }

    /// Its number among the events of its emitter.
    pub fn sequence(self) -> u64 {
        self.0.get() & ((1 << Self::SEQUENCE_BITS) - 1)
    }

    /// The text of the offset.
    pub fn text(self) -> [u8; Self::CHARACTERS] {
        let mut bytes = [0; Self::BYTES];
        bytes[1..].copy_from_slice(&self.0.get().to_be_bytes());
        encode(&bytes)
    }

    /// Appends it to the arguments of an event, each of which has a comma before it.
    pub fn append_to(self, args_json: &mut Vec<u8>) {
        args_json.extend_from_slice(b",\"");
        args_json.extend_from_slice(&self.text());
        args_json.push(b'"');
    }
}

impl std::fmt::Debug for Offset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Offset({:?}, {})", self.emitter(), self.sequence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_the_text_of_an_offset_gives_the_offset(
            number in 0_u16..1 << 15, to_one: bool, sequence in 1_u64..1 << 48,
        ) {
            let emitter = if to_one { Emitter::ToOne(number) } else { Emitter::ToMany(number) };
            let offset = Offset::new(emitter, sequence);
            prop_assert_eq!(Offset::parse(&offset.text()), Some(offset));
            prop_assert_eq!((offset.emitter(), offset.sequence()), (emitter, sequence));
        }

        #[test]
        fn no_text_breaks_the_reader(text: Vec<u8>) {
            let _ = Offset::parse(&text);
        }
    }

    #[test]
    fn what_no_emitter_has_given_out_is_no_offset() {
        for text in ["", "__proto__", "AAAAAAAAAAAA", "_AAAAAAAAAAB", "Q81YsRv"] {
            assert_eq!(Offset::parse(text.as_bytes()), None, "{text}");
        }
    }
}
