//! One packet, encoded once: the bytes that every recipient of every shard is sent.
//!
//! A packet is one WebSocket text frame, followed by one binary frame for each attachment. In a
//! [`Form`] that is not the default it is one binary frame, or what the application's parser makes
//! of it. The frames lie side by side in one allocation, so nothing can come between them.
//! Long-polling takes the text of a frame where it lies, and needs bytes of its own only for binary
//! frames (base64). What clients of Engine.IO v3 are sent is derived from the frames when the first
//! of them needs it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::base::frame::{Encoded, Frame};
use crate::base::id::{PrivateId, SocketId};
use crate::proto::engine::Protocol;
use crate::proto::engine_v3::{self, Attachments};
use crate::proto::parser::{self, Form, Kind, Message, Packet, Parser};
use crate::proto::websocket::{self, Opcode};
use crate::proto::{engine, msgpack, socket, socket_v4};

/// Room in front of a text for the longest frame header of a server: 2 bytes and a 64-bit length.
const HEADER_ROOM: usize = 10;

/// The parser of the server cannot express a packet: the application is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexpressible;

/// What became of a packet of the application.
pub type Encoding<'a> = Result<Encoded<'a>, Inexpressible>;

/// Encodes packets, each in the buffer of the one before.
#[derive(Debug, Default)]
pub struct Encoder {
    scratch: Vec<u8>,
}

/// Encodes the packets of one namespace, in the form that the clients of the server speak.
#[derive(Debug)]
pub struct Packets<'a, 'f> {
    encoder: &'a mut Encoder,
    form: &'f Form,
    namespace: &'f str,
}

impl<'a> Packets<'a, '_> {
    /// An event, as `args_json` and `attachments` hold its arguments.
    pub fn event(
        self,
        id: Option<u64>,
        event: &str,
        args_json: &[u8],
        attachments: &[Bytes],
    ) -> Encoding<'a> {
        let name = self.namespace;
        let packet = match self.form {
            Form::Json => Ok(self.encoder.event(name, id, event, args_json, attachments)),
            Form::MessagePack => self.encoder.message_pack(|out| {
                msgpack::write_event(out, name, id, event, args_json, attachments)
            }),
            Form::Own(parser) => self.own(&**parser, Kind::Event, id, attachments, |out| {
                socket::write_event_payload(out, event, args_json);
            }),
        };
        // Whoever wants an answer is to get one.
        packet.map(|packet| packet.droppable(id.is_none()))
    }

    /// An acknowledgement.
    pub fn ack(self, id: u64, args_json: &[u8], attachments: &[Bytes]) -> Encoding<'a> {
        let name = self.namespace;
        match self.form {
            Form::Json => Ok(self.encoder.ack(name, id, args_json, attachments)),
            Form::MessagePack => self
                .encoder
                .message_pack(|out| msgpack::write_ack(out, name, id, args_json, attachments)),
            Form::Own(parser) => self.own(&**parser, Kind::Ack, Some(id), attachments, |out| {
                socket::write_ack_payload(out, args_json);
            }),
        }
    }

    /// The answer to a client that has joined.
    pub fn connect(self, sid: SocketId, pid: Option<PrivateId>) -> Encoding<'a> {
        let name = self.namespace;
        match self.form {
            Form::Json => {
                Ok(self.encoder.packet(&[], |out| socket::write_connect(out, name, sid, pid)))
            }
            Form::MessagePack => {
                self.encoder.message_pack(|out| msgpack::write_connect(out, name, sid, pid))
            }
            Form::Own(parser) => self.own(&**parser, Kind::Connect, None, &[], |out| {
                socket::write_connect_payload(out, sid, pid);
            }),
        }
    }

    /// The answer to a client that may not join.
    pub fn connect_error(self, message: &str, data_json: Option<&[u8]>) -> Encoding<'a> {
        let name = self.namespace;
        match self.form {
            Form::Json => Ok(self.encoder.packet(&[], |out| {
                socket::write_connect_error(out, name, message, data_json);
            })),
            // Whatever is wrong with the data, the client must hear that it was refused.
            Form::MessagePack => self.encoder.message_pack(|out| {
                msgpack::write_connect_error(out, name, message, data_json)
                    .or_else(|_| msgpack::write_connect_error(out, name, message, None))
            }),
            Form::Own(parser) => self.own(&**parser, Kind::ConnectError, None, &[], |out| {
                socket::write_error_payload(out, message, data_json);
            }),
        }
    }

    /// The answer to a client of Socket.IO before version 3 that has joined. The clients of these
    /// know no other form than the default one.
    pub fn connect_v4(self) -> Encoding<'a> {
        let name = self.namespace;
        Ok(self.encoder.packet(&[], |out| socket_v4::write_connect(out, name)))
    }

    /// The answer to such a client that may not join.
    pub fn error_v4(self, message: &str, data_json: Option<&[u8]>) -> Encoding<'a> {
        let name = self.namespace;
        Ok(self.encoder.packet(&[], |out| socket_v4::write_error(out, name, message, data_json)))
    }

    /// What tells a client that the server has removed it.
    pub fn disconnect(self) -> Encoding<'a> {
        let name = self.namespace;
        match self.form {
            Form::Json => Ok(self.encoder.packet(&[], |out| socket::write_disconnect(out, name))),
            Form::MessagePack => {
                self.encoder.message_pack(|out| msgpack::write_disconnect(out, name))
            }
            Form::Own(parser) => self.own(&**parser, Kind::Disconnect, None, &[], |_| {}),
        }
    }

    fn own(
        self,
        own: &dyn Parser,
        kind: Kind,
        id: Option<u64>,
        attachments: &[Bytes],
        write_payload: impl FnOnce(&mut Vec<u8>),
    ) -> Encoding<'a> {
        let mut payload = Vec::new();
        write_payload(&mut payload);
        let payload = String::from_utf8(payload).map_err(|_| Inexpressible)?;
        let packet = Packet {
            kind,
            namespace: Cow::Borrowed(self.namespace),
            id,
            data: (!payload.is_empty()).then_some(Cow::Owned(payload)),
            attachments: attachments.to_vec(),
        };
        match parser::isolated(|| own.encode(&packet)) {
            Ok(messages) if !messages.is_empty() => Ok(self.encoder.messages(&messages)),
            _ => Err(Inexpressible),
        }
    }
}

impl Encoder {
    /// Encodes packets of a namespace in a form.
    pub fn packets<'f>(&mut self, form: &'f Form, namespace: &'f str) -> Packets<'_, 'f> {
        Packets { encoder: self, form, namespace }
    }

    /// An event as text, as `args_json` and `attachments` hold its arguments.
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

    /// An acknowledgement as text.
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
    fn packet(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) -> Encoded<'_> {
        self.text_message(attachments, |out| {
            out.push(engine::MESSAGE);
            write(out);
        })
    }

    /// An Engine.IO message of text.
    pub fn text(&mut self, text: &[u8]) -> Encoded<'_> {
        self.text_message(&[], |out| {
            out.push(engine::MESSAGE);
            out.extend_from_slice(text);
        })
    }

    /// An Engine.IO packet that is no message: its type and data. It is never compressed.
    pub fn control(&mut self, packet: &[u8]) -> Encoded<'_> {
        self.text_message(&[], |out| out.extend_from_slice(packet)).compress(false)
    }

    /// An Engine.IO message of bytes.
    pub fn binary(&mut self, data: &[u8]) -> Encoded<'_> {
        self.scratch.clear();
        websocket::write_binary(&mut self.scratch, data);
        Encoded::raw(&self.scratch)
    }

    /// Engine.IO messages that go out together.
    fn messages(&mut self, messages: &[Message]) -> Encoded<'_> {
        if let [Message::Text(text)] = messages {
            return self.text(text.as_bytes());
        }
        self.scratch.clear();
        for message in messages {
            match message {
                Message::Text(text) => {
                    websocket::write_header(&mut self.scratch, Opcode::Text, 1 + text.len());
                    self.scratch.push(engine::MESSAGE);
                    self.scratch.extend_from_slice(text.as_bytes());
                }
                Message::Binary(data) => websocket::write_binary(&mut self.scratch, data),
            }
        }
        Encoded::raw(&self.scratch)
    }

    /// A binary message that `write` puts down.
    fn message_pack(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), msgpack::EncodeError>,
    ) -> Encoding<'_> {
        self.begin();
        write(&mut self.scratch).map_err(|_| Inexpressible)?;
        let (start, _) = self.put_header(Opcode::Binary);
        Ok(Encoded::raw(&self.scratch[start..]))
    }

    fn text_message(
        &mut self,
        attachments: &[Bytes],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Encoded<'_> {
        self.begin();
        write(&mut self.scratch);
        let (start, offset) = self.put_header(Opcode::Text);
        for attachment in attachments {
            websocket::write_binary(&mut self.scratch, attachment);
        }
        match attachments {
            [] => Encoded::text_frame(&self.scratch[start..], offset),
            _ => Encoded::raw(&self.scratch[start..]),
        }
    }

    fn begin(&mut self) {
        self.scratch.clear();
        self.scratch.resize(HEADER_ROOM, 0);
    }

    /// Puts the header of a frame down right in front of its payload, whose length it depends on.
    /// Gives where the frame begins, and the length of the header.
    fn put_header(&mut self, opcode: Opcode) -> (usize, usize) {
        let scratch = &mut self.scratch;
        let length = scratch.len() - HEADER_ROOM;
        let offset = websocket::header_bytes(length);
        let (start, end) = (HEADER_ROOM - offset, scratch.len());
        websocket::write_header(scratch, opcode, length);
        scratch.copy_within(end.., start);
        scratch.truncate(end);
        (start, offset)
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

/// The payload of a poll that is answered with these packets, and its form; there is but one in v4.
pub fn payload(frames: &[Frame], protocol: Protocol) -> (Vec<u8>, engine_v3::Form) {
    let mut out = Vec::with_capacity(frames.iter().map(|frame| frame.bytes().len()).sum());
    let Protocol::V3(attachments) = protocol else {
        for frame in frames {
            if !out.is_empty() {
                out.push(engine::RECORD_SEPARATOR);
            }
            out.extend_from_slice(frame.wire().polling(polling_variant));
        }
        return (out, engine_v3::Form::Text);
    };
    let form = engine_v3::Form::of_frames(frames.iter().map(Frame::bytes), attachments);
    let piece = |frames: &[u8]| {
        let mut piece = Vec::with_capacity(frames.len() + 8);
        engine_v3::write_payload(&mut piece, form, frames);
        piece
    };
    for frame in frames {
        out.extend_from_slice(match form {
            engine_v3::Form::Text => frame.wire().v3_text(piece),
            engine_v3::Form::Binary => frame.wire().v3_binary(piece),
        });
    }
    (out, form)
}

/// What the WebSocket of a client is sent for a frame that others may be sent, too.
pub fn websocket_frame(frame: Frame, protocol: Protocol) -> Frame {
    match protocol {
        Protocol::V4 => frame,
        Protocol::V3(Attachments::Raw) => {
            frame.v3_websocket(|frames| v3_websocket_variant(frames, Attachments::Raw))
        }
        // Only who asks for it with `b64` is sent base64 on a WebSocket: it is not kept.
        Protocol::V3(Attachments::Base64) => {
            match v3_websocket_variant(frame.bytes(), Attachments::Base64) {
                Some(variant) => Frame::own(variant.into()),
                None => frame,
            }
        }
    }
}

/// What a WebSocket of v3 is sent for these frames, if it is something else.
pub fn v3_websocket_variant(frames: &[u8], attachments: Attachments) -> Option<Vec<u8>> {
    let differs = engine_v3::has_attachments(frames);
    differs.then(|| engine_v3::websocket_variant(frames, attachments))
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

    fn frames() -> [Frame; 2] {
        let mut encoder = Encoder::default();
        let text = Frame::own(encoder.event("/", None, "\u{20ac}\u{1f600}", b"", &[]).into());
        let attachments = [Bytes::from_static(b"\x07\x07\x07")];
        [text, Frame::own(encoder.event("/", None, "b", b"", &attachments).into())]
    }

    #[test]
    fn b18_1_b18_3_packets_of_every_type_are_read_as_they_were_written() {
        let mut encoder = Encoder::default();
        let controls = [&b"0{}"[..], engine::CLOSE, engine::PING, b"3probe", b"5", engine::NOOP];
        let mut frames: Vec<Frame> =
            controls.iter().map(|packet| Frame::own(encoder.control(packet).into())).collect();
        frames.push(Frame::own(encoder.text("test \u{20ac}".as_bytes()).into()));
        frames.push(Frame::own(encoder.text(b"").into()));
        frames.push(Frame::own(encoder.binary(&[1, 2, 3, 0xff]).into()));
        let (payload, _) = payload(&frames, Protocol::V4);
        let read: Vec<_> = engine::packets(&payload).map(engine::decode).collect();
        use engine::Packet;
        let meant = [
            Packet::Open,
            Packet::Close,
            Packet::Ping(b""),
            Packet::Pong(b"probe"),
            Packet::Upgrade,
            Packet::Noop,
            Packet::Message("test \u{20ac}".as_bytes()),
            Packet::Message(b""),
            Packet::Binary(vec![1, 2, 3, 0xff]),
        ];
        assert_eq!(read, meant.map(Ok));
    }

    #[test]
    fn a_poll_of_v4_has_separators_between_its_packets() {
        let (payload, form) = payload(&frames(), Protocol::V4);
        let meant = "42[\"\u{20ac}\u{1f600}\"]\x1e451-[\"b\"]\x1ebBwcH";
        assert_eq!(
            (String::from_utf8(payload).unwrap(), form),
            (meant.to_owned(), engine_v3::Form::Text)
        );
    }

    #[test]
    fn b16_1_a_poll_of_v3_is_in_binary_form_when_an_attachment_may_be_sent_so() {
        let [text, binary] = frames();
        let meant = "9:42[\"\u{20ac}\u{1f600}\"]";
        for attachments in [Attachments::Raw, Attachments::Base64] {
            let (payload, form) = payload(std::slice::from_ref(&text), Protocol::V3(attachments));
            assert_eq!((&payload[..], form), (meant.as_bytes(), engine_v3::Form::Text));
        }
        let both = [text, binary];
        let (as_text, form) = payload(&both, Protocol::V3(Attachments::Base64));
        let meant = format!("{meant}9:451-[\"b\"]6:b4BwcH");
        assert_eq!((String::from_utf8(as_text).unwrap(), form), (meant, engine_v3::Form::Text));
        let (as_binary, form) = payload(&both, Protocol::V3(Attachments::Raw));
        let meant = [
            b"\x00\x01\x03\xff42[\"\xe2\x82\xac\xf0\x9f\x98\x80\"]".as_slice(),
            b"\x00\x09\xff451-[\"b\"]",
            b"\x01\x04\xff\x04\x07\x07\x07",
        ];
        assert_eq!((as_binary, form), (meant.concat(), engine_v3::Form::Binary));
    }

    #[test]
    fn a_websocket_of_v3_is_sent_other_frames_only_for_attachments() {
        let [text, binary] = frames();
        for protocol in [Attachments::Raw, Attachments::Base64].map(Protocol::V3) {
            assert!(websocket_frame(text.clone(), protocol).is(&text));
        }
        assert!(websocket_frame(binary.clone(), Protocol::V4).is(&binary));
        let raw = websocket_frame(binary.clone(), Protocol::V3(Attachments::Raw));
        assert_eq!(raw.bytes(), b"\x81\x09451-[\"b\"]\x82\x04\x04\x07\x07\x07");
        let base64 = websocket_frame(binary, Protocol::V3(Attachments::Base64));
        assert_eq!(base64.bytes(), b"\x81\x09451-[\"b\"]\x81\x06b4BwcH");
    }
}
