//! MessagePack, one value's head at a time.
//!
//! Lengths and counts that a message declares are held against what it has before anything is done
//! with them, and nothing is ever allocated for them.

use super::DecodeError;

/// A value; of an array or a map only what it begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Nothing.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// An integer below 0.
    Negative(i64),
    /// A number with a fraction, or that is none.
    Float(f64),
    /// A string, unchecked.
    Text(&'a [u8]),
    /// Bytes. An `ArrayBuffer` of JavaScript, which notepack 2 writes as an extension, is that too.
    Binary(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs of values follow.
    Map(usize),
    /// notepack's extension for what JavaScript knows beside `null`.
    Undefined,
    /// notepack's extension for a `Date`: milliseconds since 1970.
    Date(i64),
    /// Any other extension: its type, and its data.
    Extension(i8, &'a [u8]),
}

/// Reads values from a message.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Reads the next value whole, unless it is an array or a map: their elements follow.
    ///
    /// # Errors
    /// The peer's message ends within the value, declares more elements than it can have, or has
    /// a byte that begins no value.
    pub(super) fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let head = self.unsigned(1)? as u8;
        // Lengths and numbers have one, two, four or eight bytes, in the order of their heads.
        let width = |first: u8| 1_usize << (head - first);
        Ok(match head {
            0x00..=0x7f => Token::Unsigned(head.into()),
            0x80..=0x8f => self.map(usize::from(head & 0x0f))?,
            0x90..=0x9f => self.array(usize::from(head & 0x0f))?,
            0xa0..=0xbf => Token::Text(self.take(usize::from(head & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(DecodeError::UnusedByte),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => Token::Binary(self.counted(width(0xc4))?),
            0xc7..=0xc9 => self.extension(width(0xc7))?,
            0xca => Token::Float(f32::from_bits(self.unsigned(4)? as u32).into()),
            0xcb => Token::Float(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Token::Unsigned(self.unsigned(width(0xcc))?),
            0xd0..=0xd3 => self.signed(width(0xd0))?,
            0xd4..=0xd8 => self.fixed_extension(width(0xd4))?,
            0xd9..=0xdb => Token::Text(self.counted(width(0xd9))?),
            0xdc | 0xdd => {
                let count = self.length(2 * width(0xdc))?;
                self.array(count)?
            }
            0xde | 0xdf => {
                let count = self.length(2 * width(0xde))?;
                self.map(count)?
            }
            0xe0..=0xff => Token::Negative((head as i8).into()),
        })
    }

    /// Reads a value to its end, and gives its bytes. Only lengths are looked at.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub(super) fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.position;
        let mut values = 1_usize;
        while values > 0 {
            let inside = match self.token()? {
                Token::Array(count) => count,
                // That there is a byte for each of them was made sure of.
                Token::Map(count) => 2 * count,
                _ => 0,
            };
            values = (values - 1).checked_add(inside).ok_or(DecodeError::Truncated)?;
        }
        Ok(&self.bytes[start..self.position])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.position.checked_add(length).ok_or(DecodeError::Truncated)?;
        let taken = self.bytes.get(self.position..end).ok_or(DecodeError::Truncated)?;
        self.position = end;
        Ok(taken)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<Token<'a>, DecodeError> {
        let unused_bits = 64 - 8 * width;
        // To the top and back, which repeats the sign.
        let value = ((self.unsigned(width)? << unused_bits) as i64) >> unused_bits;
        Ok(u64::try_from(value).map_or(Token::Negative(value), Token::Unsigned))
    }

    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        usize::try_from(self.unsigned(width)?).map_err(|_| DecodeError::Truncated)
    }

    fn counted(&mut self, width: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.length(width)?;
        self.take(length)
    }

    fn array(&self, count: usize) -> Result<Token<'a>, DecodeError> {
        // A value takes a byte at least.
        if count <= self.left() { Ok(Token::Array(count)) } else { Err(DecodeError::Truncated) }
    }

    fn map(&self, count: usize) -> Result<Token<'a>, DecodeError> {
        if count <= self.left() / 2 { Ok(Token::Map(count)) } else { Err(DecodeError::Truncated) }
    }

    fn extension(&mut self, width: usize) -> Result<Token<'a>, DecodeError> {
        let length = self.length(width)?;
        let kind = self.unsigned(1)? as i8;
        let data = self.take(length)?;
        Ok(if kind == 0 { Token::Binary(data) } else { Token::Extension(kind, data) })
    }

    fn fixed_extension(&mut self, length: usize) -> Result<Token<'a>, DecodeError> {
        let kind = self.unsigned(1)? as i8;
        let data = self.take(length)?;
        Ok(match (kind, length) {
            (0, 1) => Token::Undefined,
            (0, 8) => Token::Date(Reader::new(data).unsigned(8)? as i64),
            _ => Token::Extension(kind, data),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8]) -> Result<Token<'_>, DecodeError> {
        Reader::new(bytes).token()
    }

    #[test]
    fn every_head_is_a_value_but_one() {
        for head in 0..=u8::MAX {
            let bytes = [&[head][..], &[1; 600]].concat();
            match head {
                0xc1 => assert_eq!(token(&bytes), Err(DecodeError::UnusedByte)),
                // Their lengths of 2^24 and more are not there.
                0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => {
                    assert_eq!(token(&bytes), Err(DecodeError::Truncated), "{head:x}");
                }
                _ => assert!(token(&bytes).is_ok(), "{head:x}"),
            }
        }
    }

    #[test]
    fn integers_of_every_width_are_read() {
        for (bytes, meant) in [
            (&b"\x7f"[..], Token::Unsigned(127)),
            (b"\xcc\xff", Token::Unsigned(255)),
            (b"\xcd\xff\xfe", Token::Unsigned(65_534)),
            (b"\xce\xff\xff\xff\xfe", Token::Unsigned(4_294_967_294)),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Token::Unsigned(u64::MAX)),
            (b"\xe0", Token::Negative(-32)),
            (b"\xff", Token::Negative(-1)),
            (b"\xd0\x80", Token::Negative(-128)),
            (b"\xd0\x7f", Token::Unsigned(127)),
            (b"\xd1\x80\x00", Token::Negative(-32_768)),
            (b"\xd1\x00\x80", Token::Unsigned(128)),
            (b"\xd2\x80\x00\x00\x00", Token::Negative(-2_147_483_648)),
            (b"\xd2\x7f\xff\xff\xff", Token::Unsigned(2_147_483_647)),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", Token::Negative(i64::MIN)),
            (b"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", Token::Unsigned(i64::MAX as u64)),
            (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", Token::Negative(-1)),
        ] {
            assert_eq!(token(bytes), Ok(meant), "{bytes:x?}");
        }
    }

    #[test]
    fn a_value_that_does_not_end_is_refused_wherever_it_is_cut() {
        for bytes in [
            &b"\xa3abc"[..],
            b"\xd9\x03abc",
            b"\xda\x00\x03abc",
            b"\xdb\x00\x00\x00\x03abc",
            b"\xc4\x03abc",
            b"\xc5\x00\x03abc",
            b"\xc6\x00\x00\x00\x03abc",
            b"\xc7\x03\x05abc",
            b"\xc8\x00\x03\x05abc",
            b"\xc9\x00\x00\x00\x03\x05abc",
            b"\xca\x00\x00\x00\x00",
            b"\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\xcc\x01",
            b"\xd3\x00\x00\x00\x00\x00\x00\x00\x01",
            b"\xd4\x00\x00",
            b"\xd8\x050123456789abcdef",
            b"\x92\x01\x02",
            b"\xdc\x00\x02\x01\x02",
            b"\xdd\x00\x00\x00\x02\x01\x02",
            b"\x82\x01\x02\x03\x04",
            b"\xde\x00\x02\x01\x02\x03\x04",
            b"\xdf\x00\x00\x00\x02\x01\x02\x03\x04",
        ] {
            assert_eq!(Reader::new(bytes).skip(), Ok(bytes));
            for end in 0..bytes.len() {
                let cut = Reader::new(&bytes[..end]).skip();
                assert_eq!(cut, Err(DecodeError::Truncated), "{bytes:x?} cut at {end}");
            }
        }
    }

    // security.md §1.1, "never allocate from a declared count or length"
    #[test]
    fn a_count_that_cannot_be_true_is_refused_before_it_is_used() {
        for bytes in [
            &b"\xdd\xff\xff\xff\xff\x01"[..],
            b"\xdf\xff\xff\xff\xff\x01\x01",
            b"\xdb\x20\x00\x00\x00a",
            b"\xc6\x20\x00\x00\x00a",
            b"\xc9\x20\x00\x00\x00\x05a",
            b"\x82\x01\x01\x01",
        ] {
            assert_eq!(token(bytes), Err(DecodeError::Truncated), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_skipped_may_be_of_any_depth() {
        let deep = [vec![0x91; 1_000_000], vec![0xc0]].concat();
        assert_eq!(Reader::new(&deep).skip(), Ok(&deep[..]));
        assert_eq!(Reader::new(&deep[..1_000_000]).skip(), Err(DecodeError::Truncated));
        let mut reader = Reader::new(b"\x92\x81\x01\x90\xc0\x05");
        assert_eq!(reader.skip(), Ok(&b"\x92\x81\x01\x90\xc0"[..]));
        assert_eq!((reader.position(), reader.left()), (5, 1));
    }
}
