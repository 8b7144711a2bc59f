//! Compressed messages: RFC 7692 §7.2, on the deflate of `zlib-rs`.
//!
//! ```text
//! payload of a message ─▶ Inflater ─▶ message, up to the limit
//! message ─▶ Deflater ─▶ payload of one frame
//! ```
//!
//! What is inflated is taken in steps, each with little more room than its input is likely to
//! need, so a bomb costs the message limit in memory and in time. Without context, one inflater
//! and one compressor serve all clients, each from a clean start, and what was compressed can be
//! read by every client whose window is as large: a broadcast is compressed once.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::encode;
use super::extension::{Context, DeflateOptions, WindowBits};
use crate::proto::zlib;

/// What ends a flush, and is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The payload of a message of no bytes: a block of no bytes, less the tail.
const EMPTY: u8 = 0;

/// The smallest window that there is in zlib. It keeps 262 bytes of a window free, so it looks
/// back 250 bytes, which a client with a window of 256 bytes can follow.
const COMPRESSOR_BITS_MIN: u8 = 9;

/// Windows of clients are always taken for the largest: its memory is needed anyway, and a window
/// that is too small would be missed or not as the bytes were cut.
const INFLATER_BITS: u8 = 15;

/// What `zlib-rs` allocates for an [`Inflate`], about: a window of 32 KiB, and tables.
const INFLATER_BYTES: usize = 48 * 1024;

/// What it allocates for a [`Deflate`] beside its window and what the memory level says: a table.
const DEFLATER_TABLE_BYTES: usize = 128 * 1024;

/// Room for output in one step.
const STEP_BYTES_MIN: usize = 64;
const STEP_BYTES_MAX: usize = 16 * 1024;

/// Why a compressed message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateFault {
    /// The client sent bytes that are not deflate (RFC 1951).
    NotDeflate,
    /// The client sent a message beyond the limit.
    TooLong,
}

impl fmt::Display for InflateFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InflateFault::NotDeflate => "the client sent bytes that are not deflate",
            InflateFault::TooLong => "the client sent a message beyond the limit",
        })
    }
}

impl Error for InflateFault {}

/// Bytes that the payload of a message may have while it is compressed. What does not get shorter
/// gets a little longer, most of all in blocks of a few bytes; but blocks of no bytes can not go
/// on for ever.
pub(super) fn payload_bytes_max(message_bytes: usize) -> usize {
    message_bytes.saturating_add(message_bytes / 4).saturating_add(1024)
}

/// Reads compressed messages: of one client, or of any number of them that keep no context. It
/// takes [`Inflater::BYTES`] from the first one on.
pub struct Inflater {
    context: Context,
    stream: Option<Inflate>,
    /// Whether the client has ended its stream with this message, so that the next one begins
    /// another.
    is_ended: bool,
}

impl Inflater {
    /// Memory in use, in bytes, about.
    pub const BYTES: usize = INFLATER_BYTES;

    /// For a client, or clients, of which that was agreed on.
    pub fn new(client: Context) -> Inflater {
        Inflater { context: client, stream: None, is_ended: false }
    }

    /// What the payload of a message is inflated to: nothing if it has no bytes, which some send
    /// for a message of none.
    ///
    /// # Errors
    /// The client can not be understood any more. Nothing of it is left in the inflater.
    pub fn message(&mut self, payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateFault> {
        let mut message = Vec::new();
        if payload.is_empty() {
            return Ok(message);
        }
        let read = self.inflate(payload, &mut message, limit);
        let outcome = read.and_then(|()| self.finish(&mut message, limit));
        if outcome.is_err() {
            *self = Inflater::new(self.context);
        }
        outcome.map(|()| message)
    }

    /// Appends to `message` what these bytes of its payload are inflated to.
    ///
    /// # Errors
    /// `message` then holds what came before the fault: `limit` bytes and one more if it is
    /// [`InflateFault::TooLong`]. The client can not be understood any more.
    fn inflate(
        &mut self,
        mut payload: &[u8],
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateFault> {
        let stream = self.stream.get_or_insert_with(|| Inflate::new(false, INFLATER_BITS));
        let step = payload.len().saturating_mul(4).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        let most = limit.saturating_add(1);
        let mut written = message.len();
        loop {
            if written == message.len() {
                make_room(message, step, most);
            }
            let (taken, given) = (stream.total_in(), stream.total_out());
            let outcome =
                stream.decompress(payload, &mut message[written..], InflateFlush::NoFlush);
            let consumed = (stream.total_in() - taken) as usize;
            let produced = (stream.total_out() - given) as usize;
            payload = payload.get(consumed..).unwrap_or_default();
            written += produced;
            let verdict = match outcome {
                // Before anything else, since the bytes that prove another fault may come later.
                _ if written > limit => Some(Err(InflateFault::TooLong)),
                Err(_) => Some(Err(InflateFault::NotDeflate)),
                Ok(Status::StreamEnd) => {
                    stream.reset(false);
                    self.is_ended = true;
                    payload.is_empty().then_some(Ok(()))
                }
                // Room that is left over says that nothing is kept back.
                Ok(_) if payload.is_empty() && written < message.len() => Some(Ok(())),
                Ok(_) if consumed == 0 && produced == 0 => Some(Err(InflateFault::NotDeflate)),
                Ok(_) => None,
            };
            if let Some(verdict) = verdict {
                message.truncate(written);
                return verdict;
            }
        }
    }

    /// Appends to `message` what is missing behind the last byte of its payload. A payload that
    /// is cut inside of a block can not be told from a whole one.
    ///
    /// # Errors
    /// As [`Inflater::inflate`].
    fn finish(&mut self, message: &mut Vec<u8>, limit: usize) -> Result<(), InflateFault> {
        self.inflate(&TAIL, message, limit)?;
        if self.is_ended || self.context == Context::Dropped {
            self.is_ended = false;
            self.stream.iter_mut().for_each(|stream| stream.reset(false));
        }
        Ok(())
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Lengthens a message that has fewer than `most` bytes by `step`, or up to `most`. Its memory is
/// doubled, so that bytes are moved once on average, but never beyond `most`.
fn make_room(message: &mut Vec<u8>, step: usize, most: usize) {
    let needed = message.len().saturating_add(step).min(most).max(message.len());
    if needed > message.capacity() {
        let generous = needed.saturating_mul(2).min(most);
        message.reserve_exact(generous - message.len());
    }
    message.resize(needed, 0);
}

/// Compresses messages, for one client or, without context, for many. It takes 128 KiB, four times
/// the window and what [`DeflateOptions::memory_level`] says: 368 KiB by default.
pub struct Deflater {
    context: Context,
    stream: Deflate,
}

impl Deflater {
    /// The memory that such a compressor takes, in bytes, about.
    pub fn bytes(options: &DeflateOptions, window_bits: WindowBits) -> usize {
        let window_bytes = 1 << window_bits.value().max(COMPRESSOR_BITS_MIN);
        DEFLATER_TABLE_BYTES + 4 * window_bytes + (448 << options.memory_level.clamp(1, 9))
    }

    /// A compressor of the options' level and memory level.
    pub fn new(options: &DeflateOptions, window_bits: WindowBits, context: Context) -> Deflater {
        let stream = Deflate::new_with_config(DeflateConfig {
            // Below 0, zlib writes no header.
            window_bits: -i32::from(window_bits.value().max(COMPRESSOR_BITS_MIN)),
            level: i32::from(options.level.min(9)),
            mem_level: i32::from(options.memory_level.clamp(1, 9)),
            ..DeflateConfig::default()
        });
        Deflater { context, stream }
    }

    /// Appends the payload of a compressed frame that is the whole message.
    pub fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if message.is_empty() {
            return out.push(EMPTY);
        }
        zlib::compress(&mut self.stream, message, DeflateFlush::SyncFlush, out);
        assert!(out.ends_with(&TAIL), "a flush ends with a block of no bytes");
        out.truncate(out.len() - TAIL.len());
        if self.context == Context::Dropped {
            self.stream.reset();
        }
    }

    /// Drops the context: to be called when the client was sent a compressed message by another
    /// compressor, which has gone through its window.
    pub fn forget(&mut self) {
        self.stream.reset();
    }

    /// Appends the same frames as `plain`, which the functions of this module have written, with
    /// every message compressed whose length is in `lengths`. Without context, one that does not
    /// get shorter is left as it is.
    pub fn write_frames(
        &mut self,
        out: &mut Vec<u8>,
        plain: &[u8],
        lengths: RangeInclusive<usize>,
    ) {
        let mut deflated = Vec::new();
        for (opcode, payload) in encode::frames(plain) {
            if opcode.is_control() || !lengths.contains(&payload.len()) {
                encode::write_frame(out, opcode, payload);
                continue;
            }
            deflated.clear();
            self.deflate(payload, &mut deflated);
            // With context the client has to follow, even where nothing is gained.
            match self.context {
                Context::Dropped if deflated.len() >= payload.len() => {
                    encode::write_frame(out, opcode, payload);
                }
                _ => encode::write_compressed(out, opcode, &deflated),
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deflater").field("context", &self.context).finish_non_exhaustive()
    }
}

/// What payloads are inflated to, and where it ends, when each arrives in pieces of `step` bytes.
/// Those of no bytes are left out.
fn inflated(
    payloads: &[&[u8]],
    step: usize,
    context: Context,
    limit: usize,
) -> (Vec<Vec<u8>>, Option<InflateFault>) {
    let mut inflater = Inflater::new(context);
    let mut messages = Vec::new();
    for payload in payloads.iter().filter(|payload| !payload.is_empty()) {
        let mut message = Vec::new();
        let mut pieces = payload.chunks(step);
        let outcome = pieces
            .try_for_each(|piece| inflater.inflate(piece, &mut message, limit))
            .and_then(|()| inflater.finish(&mut message, limit));
        let room = limit.saturating_add(STEP_BYTES_MAX);
        assert!(message.capacity() <= room, "memory follows the limit");
        messages.push(message);
        if let Err(fault) = outcome {
            return (messages, Some(fault));
        }
    }
    (messages, None)
}

/// The door for fuzzing: reads `bytes` as the payloads of two messages, and as two messages to
/// send.
///
/// # Panics
/// When what is inflated depends on how it arrives, or when what was compressed is inflated to
/// something else.
#[doc(hidden)]
pub fn exercise_deflate(bytes: &[u8]) {
    const LIMIT: usize = 4096;
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let context = if choice & 1 == 0 { Context::Kept } else { Context::Dropped };
    let (first, second) = bytes.split_at(bytes.len() * usize::from(choice >> 4) / 16);
    let halves = [first, second];
    let whole = inflated(&halves, usize::MAX, context, LIMIT);
    for step in [1, 2 + usize::from(choice >> 1) % 7] {
        assert_eq!(inflated(&halves, step, context, LIMIT), whole, "{step} bytes at a time");
    }
    let options = DeflateOptions {
        level: choice >> 1 & 7,
        memory_level: 1 + (choice >> 5),
        ..DeflateOptions::default()
    };
    let window_bits = WindowBits::new(8 + choice % 8).unwrap_or(WindowBits::MAX);
    let mut deflater = Deflater::new(&options, window_bits, context);
    let payloads = halves.map(|message| {
        let mut payload = Vec::new();
        deflater.deflate(message, &mut payload);
        payload
    });
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let (messages, fault) = inflated(&payloads, 1000, context, bytes.len());
    assert_eq!(fault, None);
    assert!(messages.iter().eq(&halves), "what was compressed is inflated");
}

#[cfg(test)]
mod tests;
