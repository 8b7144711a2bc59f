//! The body of a request, of a declared length or in chunks.

use super::{BodyKind, Fault};
use crate::base::limits::Limits;

const TOO_LARGE: Fault = Fault::new(413, "The request body is too large");
const BAD_CHUNK_SIZE: Fault = Fault::new(400, "The size of a chunk is not a plain number");
const BAD_CHUNK_END: Fault = Fault::new(400, "A chunk does not end where its size says");
const TRAILER: Fault = Fault::new(400, "The last chunk is followed by trailers or garbage");

/// Most digits of a chunk size: 60 bits, so that reading one cannot overflow.
const CHUNK_DIGITS_MAX: u8 = 15;

/// What one [`BodyReader::read`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the body and its framing. All of them, unless complete.
    pub consumed: usize,
    /// Whether the body has ended; what was not consumed is the next request.
    pub complete: bool,
}

/// Takes the body out of the bytes behind a head, piece by piece.
///
/// Chunks are read as `1*15HEXDIG CRLF data CRLF`, without extensions and without trailers: no
/// client of Socket.IO sends either, and parsers disagree about both.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    /// Bytes of the body that may still come.
    allowance: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a body of declared length are missing.
    Length { missing: u64 },
    /// In the digits of a chunk size.
    Size { size: u64, digits: u8 },
    /// Behind the CR of a size line.
    SizeFeed { size: u64 },
    /// So many bytes of a chunk are missing, at least 1.
    Chunk { missing: u64 },
    /// Behind the data of a chunk.
    ChunkReturn,
    /// Behind the CR after the data of a chunk.
    ChunkFeed,
    /// Behind the size line of the last chunk.
    LastReturn,
    /// Behind the CR after the last chunk.
    LastFeed,
    /// Behind the body.
    Complete,
}

impl BodyReader {
    /// A reader for what a head announces.
    ///
    /// # Errors
    /// 413 for a declared length over `limits.message_bytes`, before any byte of it is kept; a
    /// body of exactly that size is taken, as by the reference (protocol.md §5.2).
    pub fn new(kind: BodyKind, limits: &Limits) -> Result<BodyReader, Fault> {
        let limit = u64::try_from(limits.message_bytes).unwrap_or(u64::MAX);
        let (state, allowance) = match kind {
            BodyKind::None | BodyKind::Length(0) => (State::Complete, 0),
            BodyKind::Length(length) => {
                let allowance = limit.checked_sub(length).ok_or(TOO_LARGE)?;
                (State::Length { missing: length }, allowance)
            }
            BodyKind::Chunked => (State::Size { size: 0, digits: 0 }, limit),
        };
        Ok(BodyReader { state, allowance })
    }

    /// Whether the body has ended.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Appends to `body` what `input` holds of it. The caller passes on only what it has not
    /// passed before, and may empty `body` in between to drain one that it does not want.
    ///
    /// # Errors
    /// 400 for malformed chunks, 413 when the sizes of the chunks, as declared, exceed
    /// `limits.message_bytes`. The reader is of no use after that.
    pub fn read(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<Progress, Fault> {
        let mut rest = input;
        while self.state != State::Complete && !rest.is_empty() {
            rest = match self.state {
                State::Length { missing } => {
                    let (missing, rest) = take(missing, rest, body);
                    let done = missing == 0;
                    self.state = if done { State::Complete } else { State::Length { missing } };
                    rest
                }
                State::Chunk { missing } => {
                    let (missing, rest) = take(missing, rest, body);
                    let done = missing == 0;
                    self.state = if done { State::ChunkReturn } else { State::Chunk { missing } };
                    rest
                }
                _ => {
                    self.state = self.after(rest[0])?;
                    &rest[1..]
                }
            };
        }
        Ok(Progress { consumed: input.len() - rest.len(), complete: self.is_complete() })
    }

    /// The state behind one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeFeed { size }),
            (State::Size { size, digits: digits @ ..CHUNK_DIGITS_MAX }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BAD_CHUNK_SIZE)?;
                Ok(State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 })
            }
            (State::SizeFeed { size: 0 }, b'\n') => Ok(State::LastReturn),
            (State::SizeFeed { size }, b'\n') => {
                self.allowance = self.allowance.checked_sub(size).ok_or(TOO_LARGE)?;
                Ok(State::Chunk { missing: size })
            }
            (State::ChunkReturn, b'\r') => Ok(State::ChunkFeed),
            (State::ChunkFeed, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::LastReturn, b'\r') => Ok(State::LastFeed),
            (State::LastFeed, b'\n') => Ok(State::Complete),
            (State::Size { .. } | State::SizeFeed { .. }, _) => Err(BAD_CHUNK_SIZE),
            (State::LastReturn | State::LastFeed, _) => Err(TRAILER),
            _ => Err(BAD_CHUNK_END),
        }
    }
}

/// Moves up to `missing` bytes to `body`; gives what is still missing and what is left.
fn take<'i>(missing: u64, input: &'i [u8], body: &mut Vec<u8>) -> (u64, &'i [u8]) {
    let count = usize::try_from(missing).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(count);
    body.extend_from_slice(data);
    (missing - count as u64, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(message_bytes: usize) -> Limits {
        Limits { message_bytes, ..Limits::default() }
    }

    /// Reads `input` in pieces of `step` bytes: the body, and what follows it when complete.
    fn read(
        kind: BodyKind,
        input: &[u8],
        step: usize,
        limit: usize,
    ) -> Result<(Vec<u8>, Option<usize>), Fault> {
        let mut reader = BodyReader::new(kind, &limits(limit))?;
        let mut body = Vec::new();
        let mut consumed = 0;
        for piece in input.chunks(step) {
            let progress = reader.read(piece, &mut body)?;
            consumed += progress.consumed;
            if progress.complete {
                assert!(reader.is_complete());
                return Ok((body, Some(input.len() - consumed)));
            }
            assert_eq!(progress.consumed, piece.len());
        }
        Ok((body, reader.is_complete().then_some(input.len())))
    }

    fn chunked(input: &[u8]) -> Result<(Vec<u8>, Option<usize>), Fault> {
        let whole = read(BodyKind::Chunked, input, input.len().max(1), 100);
        for step in 1..input.len() {
            assert_eq!(read(BodyKind::Chunked, input, step, 100), whole, "in steps of {step}");
        }
        whole
    }

    #[test]
    fn a_body_ends_at_its_length_and_the_next_request_follows() {
        let (body, left) = read(BodyKind::Length(3), b"abcGET /", 2, 100).unwrap();
        assert_eq!((body.as_slice(), left), (b"abc".as_slice(), Some(5)));
        let (body, left) = read(BodyKind::Length(3), b"ab", 2, 100).unwrap();
        assert_eq!((body.as_slice(), left), (b"ab".as_slice(), None));
    }

    #[test]
    fn a_request_without_body_takes_no_byte() {
        for kind in [BodyKind::None, BodyKind::Length(0)] {
            assert_eq!(read(kind, b"GET /", 5, 0), Ok((Vec::new(), Some(5))));
            assert!(BodyReader::new(kind, &limits(0)).unwrap().is_complete());
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_the_body() {
        for length in [101, 1 << 40, u64::MAX] {
            let fault = BodyReader::new(BodyKind::Length(length), &limits(100)).unwrap_err();
            assert_eq!(fault.status, 413);
        }
        assert!(BodyReader::new(BodyKind::Length(100), &limits(100)).is_ok());
    }

    #[test]
    fn no_memory_is_reserved_for_declared_bytes() {
        let mut body = Vec::new();
        let limits = limits(1_000_000);
        let mut declared = BodyReader::new(BodyKind::Length(1_000_000), &limits).unwrap();
        declared.read(b"a", &mut body).unwrap();
        let mut chunks = BodyReader::new(BodyKind::Chunked, &limits).unwrap();
        chunks.read(b"f4240\r\na", &mut body).unwrap();
        assert!(body.capacity() < 64, "{} bytes for two", body.capacity());
    }

    #[test]
    fn chunks_are_joined() {
        let input = b"3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\nGET /";
        assert_eq!(chunked(input), Ok((b"abc0123456789".to_vec(), Some(5))));
        assert_eq!(chunked(b"000000000000000\r\n\r\n"), Ok((Vec::new(), Some(0))));
        assert_eq!(chunked(b"A\r\n01234"), Ok((b"01234".to_vec(), None)));
    }

    #[test]
    fn chunks_are_counted_before_they_arrive() {
        let sizes: [&[u8]; 4] =
            [b"65\r\n", b"64\r\n", b"fffffffffffffff\r\n", b"5\r\nabcde\r\n60\r\n"];
        let refused = sizes.map(|input| chunked(input).is_err_and(|fault| fault.status == 413));
        assert_eq!(refused, [true, false, true, true]);
    }

    proptest! {
        #[test]
        fn whatever_the_chunks_and_the_pieces_the_body_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            step in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nnext");
            let (body, left) = read(BodyKind::Chunked, &wire, step, 1_000).unwrap();
            prop_assert_eq!(body, chunks.concat());
            // Pieces behind the end are never passed on, so only the piece of the end is split.
            prop_assert_eq!(left, Some(4));
        }
    }
}
