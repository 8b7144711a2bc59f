//! Another implementation of deflate, as clients have it.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::inflate::{decompress_to_vec, decompress_to_vec_zlib};
use miniz_oxide::{DataFormat, MZFlush, deflate};

/// What ends every message, and is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A client that reads compressed messages, each of which may refer to those before it.
pub struct Reader(Box<InflateState>);

impl Reader {
    pub fn new() -> Reader {
        Reader(InflateState::new_boxed(DataFormat::Raw))
    }

    /// The message of a payload.
    pub fn read(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &TAIL].concat();
        let (mut message, mut rest) = (Vec::new(), &input[..]);
        loop {
            let mut room = vec![0; 64 * 1024];
            let result = inflate(&mut self.0, rest, &mut room, MZFlush::Sync);
            rest = &rest[result.bytes_consumed..];
            message.extend_from_slice(&room[..result.bytes_written]);
            if rest.is_empty() && result.bytes_written < room.len() {
                return message;
            }
            assert!(result.bytes_consumed + result.bytes_written > 0, "{:?}", result.status);
        }
    }
}

/// The message of a payload that refers to nothing before it.
pub fn read(payload: &[u8]) -> Vec<u8> {
    Reader::new().read(payload)
}

/// The payload of a message, as one block that ends its stream (RFC 7692 §7.2.3.4).
pub fn compressed(message: &[u8]) -> Vec<u8> {
    let mut payload = deflate::compress_to_vec(message, 6);
    payload.push(0);
    payload
}

/// What a body of this coding is.
pub fn decoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    match encoding {
        "deflate" => decompress_to_vec_zlib(body).expect("a zlib stream"),
        "gzip" => {
            assert_eq!(body[..4], [0x1f, 0x8b, 8, 0], "a header of gzip without extras");
            let (stream, trailer) = body[10..].split_at(body.len() - 18);
            let decoded = decompress_to_vec(stream).expect("deflate");
            let length = u32::from_le_bytes(trailer[4..].try_into().unwrap());
            assert_eq!(length as usize, decoded.len());
            decoded
        }
        other => panic!("not known: {other}"),
    }
}
