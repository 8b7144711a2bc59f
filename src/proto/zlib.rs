//! The loop around a compressor, for messages and for HTTP bodies.

use zlib_rs::{Deflate, DeflateFlush, Status};

/// Room for output in one step: small for a short input, and never so large that a long input
/// takes much more than its output.
const ROOM_BYTES_MIN: usize = 64;
const ROOM_BYTES_MAX: usize = 16 * 1024;

/// Appends to `out` what `input` is compressed to, up to the point that `flush` asks for.
pub(super) fn compress(
    stream: &mut Deflate,
    mut input: &[u8],
    flush: DeflateFlush,
    out: &mut Vec<u8>,
) {
    let mut written = out.len();
    loop {
        if written == out.len() {
            let room = (input.len() / 2).clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
            out.resize(written + room, 0);
        }
        let (taken, given) = (stream.total_in(), stream.total_out());
        let Ok(status) = stream.compress(input, &mut out[written..], flush) else {
            unreachable!("a compressor that is not finished takes any bytes")
        };
        input = &input[(stream.total_in() - taken) as usize..];
        written += (stream.total_out() - given) as usize;
        // Room that is left over says that nothing is kept back.
        let is_drained = written < out.len() || status == Status::StreamEnd;
        if input.is_empty() && is_drained {
            break;
        }
    }
    out.truncate(written);
}
