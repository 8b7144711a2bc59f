//! One packet, encoded once: the bytes that every recipient of every shard is sent.
//!
//! A packet is one WebSocket text frame, followed by one binary frame for each attachment. They lie
//! side by side in one allocation, so nothing can come between them. Long-polling takes the text of
//! the frame where it lies, and needs bytes of its own only for attachments (base64).

use bytes::Bytes;

use crate::base::frame::Encoded;
use crate::proto::websocket::{self, Opcode};
use crate::proto::{engine, socket};

/// Room in front of a text for the longest frame header of a server: 2 bytes and a 64-bit length.
const HEADER_ROOM: usize = 10;

/// Encodes packets, each in the buffer of the one before.
#[derive(Debug, Default)]
pub struct Encoder {
    scratch: Vec<u8>,
}

impl Encoder {
    /// An event, as `args_json` and `attachments` hold its arguments.
    pub fn event(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        event: &str,
        args_json: &[u8],
        attachments: &[Bytes],
    ) -> Encoded<'_> {
        self.packet(attachments, |out| {
            socket::write_event(out, namespace, id, event, args_json, attachments.len());
        })
    }

    /// An acknowledgement.
    pub fn ack(
        &mut self,
        namespace: &str,
        id: u64,
        args_json: &[u8],
        attachments: &[Bytes],
    ) -> Encoded<'_> {
        self.packet(attachments, |out| {
            socket::write_ack(out, namespace, id, args_json, attachments.len());
        })
    }

    /// A Socket.IO packet, as `write` puts it down, with its attachments.
    pub fn packet(
        &mut self,
        attachments: &[Bytes],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Encoded<'_> {
        self.message(attachments, |out| {
            out.push(b'4');
            write(out);
        })
    }

    /// An Engine.IO message of text.
    pub fn text(&mut self, text: &[u8]) -> Encoded<'_> {
        self.message(&[], |out| {
            out.push(b'4');
            out.extend_from_slice(text);
        })
    }

    /// An Engine.IO packet that is no message: its type and data.
    pub fn control(&mut self, packet: &[u8]) -> Encoded<'_> {
        self.message(&[], |out| out.extend_from_slice(packet))
    }

    /// An Engine.IO message of bytes.
    pub fn binary(&mut self, data: &[u8]) -> Encoded<'_> {
        self.scratch.clear();
        websocket::write_binary(&mut self.scratch, data);
        Encoded::raw(&self.scratch)
    }

    fn message(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) -> Encoded<'_> {
        let scratch = &mut self.scratch;
        scratch.clear();
        scratch.resize(HEADER_ROOM, 0);
        write(scratch);
        let length = scratch.len() - HEADER_ROOM;
        // The header's length depends on the text's: put it down right in front of the text.
        let offset = websocket::header_bytes(length);
        let (start, end) = (HEADER_ROOM - offset, scratch.len());
        websocket::write_header(scratch, Opcode::Text, length);
        scratch.copy_within(end.., start);
        scratch.truncate(end);
        for attachment in attachments {
            websocket::write_binary(scratch, attachment);
        }
        match attachments {
            [] => Encoded::text_frame(&scratch[start..], offset),
            _ => Encoded::raw(&scratch[start..]),
        }
    }
}

/// What a polling client is sent for a wire of frames: the packets, with record separators between.
pub fn polling_variant(frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.len() + frames.len() / 3);
    for (opcode, payload) in websocket::frames(frames) {
        if !out.is_empty() {
            out.push(engine::RECORD_SEPARATOR);
        }
        match opcode {
            Opcode::Binary => engine::write_base64(&mut out, payload),
            _ => out.extend_from_slice(payload),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::frame::Wire;

    #[test]
    fn a_text_event_is_one_frame_whose_text_polling_shares() {
        let mut encoder = Encoder::default();
        let wire = Wire::from(encoder.event("/", None, "hi", br#","you""#, &[]));
        assert_eq!(wire.bytes(), b"\x81\x0e42[\"hi\",\"you\"]");
        assert_eq!(wire.polling(polling_variant), br#"42["hi","you"]"#);
    }

    #[test]
    fn b19_1_attachments_follow_their_header_in_the_same_bytes() {
        let attachments = [Bytes::from_static(b"\x01\x02"), Bytes::new()];
        let mut encoder = Encoder::default();
        let wire = Wire::from(encoder.event("/a", Some(3), "hi", b",1", &attachments));
        assert_eq!(wire.bytes(), b"\x81\x10452-/a,3[\"hi\",1]\x82\x02\x01\x02\x82\x00");
        let polling = wire.polling(polling_variant);
        assert_eq!(polling, b"452-/a,3[\"hi\",1]\x1ebAQI=\x1eb");
    }

    #[test]
    fn longer_texts_have_longer_headers() {
        let mut encoder = Encoder::default();
        for (length, offset) in [(124, 2), (125, 4), (65_534, 4), (65_535, 10)] {
            let wire = Wire::from(encoder.text(&vec![b'x'; length]));
            assert_eq!(wire.bytes().len(), offset + 1 + length);
            assert_eq!(wire.polling(polling_variant).len(), 1 + length);
        }
    }
}
