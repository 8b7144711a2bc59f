//! Packets that clients send.

use bytes::Bytes;

use super::DecodeError;
use super::read::{Reader, Token};
use super::to_json::ToJson;
use crate::base::limits::Limits;
use crate::proto::socket::{Body, ID_MAX, Kind, Packet};

/// notepack's `undefined`. Its clients send fields that they have nothing for with it.
const UNDEFINED: &[u8] = b"\xd4\x00\x00";

/// Reads a binary Engine.IO message as a packet, and the binary values in it.
///
/// `text` is overwritten with the packet's payload as JSON, which the packet then refers to. With
/// attachments an event is a [`Kind::BinaryEvent`], an acknowledgement a [`Kind::BinaryAck`];
/// other packets may have them as well. They are copied out of the message, together.
///
/// The leniencies of the reference are kept: fields come in any order, unknown ones are skipped, of
/// repeated ones the last counts as it does in JavaScript, and an event of no elements, not even a
/// name, means nothing. Stricter than the reference, as for packets of text: reserved events are
/// refused, and so are ids below 0 and names of events that are neither strings nor numbers.
///
/// # Errors
/// The peer sent something that is no packet, or is beyond one of `limits`: the length of the
/// namespace, the depth of JSON. How large a message may be is for the caller to check; how many
/// attachments there may be follows from that, since there is no more than eight times the message,
/// and 64 KiB, for the text and a handle on each.
pub fn decode<'a>(
    message: &'a [u8],
    text: &'a mut Vec<u8>,
    limits: &Limits,
) -> Result<(Packet<'a>, Vec<Bytes>), DecodeError> {
    let fields = Fields::read(message)?;
    let kind = fields.kind()?;
    let namespace = fields.namespace(limits.namespace_bytes)?;
    let id = fields.id()?;
    text.clear();
    let mut json = ToJson::new(text, limits.json_depth);
    let mut event = None;
    match (kind, fields.data) {
        (Kind::Connect | Kind::Disconnect, None) => {}
        (Kind::Connect, Some(auth)) => json.object(auth)?,
        (Kind::Event, Some(list)) => event = json.event(list)?,
        (Kind::Ack, Some(list)) => json.list(list)?,
        (Kind::ConnectError, Some(reason)) => check_reason(reason)?,
        _ => return Err(DecodeError::IllegalPayload),
    }
    let attachments = json.attachments()?;
    let args: &'a [u8] = text;
    let body = match (kind, event) {
        (Kind::Connect, _) if args.is_empty() => Body::Connect(b"{}"),
        (Kind::Connect, _) => Body::Connect(args),
        (Kind::Event, Some(name)) => Body::Event { name, args },
        (Kind::Ack, _) => Body::Ack { args },
        (Kind::ConnectError, _) => Body::Error,
        _ => Body::None,
    };
    let (kind, id) = match kind {
        Kind::Event if !attachments.is_empty() => (Kind::BinaryEvent, id),
        Kind::Ack if !attachments.is_empty() => (Kind::BinaryAck, id),
        Kind::Event | Kind::Ack => (kind, id),
        _ => (kind, None),
    };
    Ok((Packet { kind, attachments: attachments.len(), namespace, id, body }, attachments))
}

/// The fields of a packet, each as the bytes of its value; `None` where it is missing.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    namespace: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(message: &'a [u8]) -> Result<Fields<'a>, DecodeError> {
        let mut reader = Reader::new(message);
        let Token::Map(count) = reader.token()? else { return Err(DecodeError::NotMap) };
        let mut fields = Fields::default();
        for _ in 0..count {
            let key = Reader::new(reader.skip()?).token()?;
            let value = Some(reader.skip()?).filter(|value| *value != UNDEFINED);
            match key {
                Token::Text(b"type") => fields.kind = value,
                Token::Text(b"nsp") => fields.namespace = value,
                Token::Text(b"id") => fields.id = value,
                Token::Text(b"data") => fields.data = value,
                _ => {}
            }
        }
        if reader.left() == 0 { Ok(fields) } else { Err(DecodeError::TrailingBytes) }
    }

    fn kind(&self) -> Result<Kind, DecodeError> {
        Ok(match self.kind.and_then(integer) {
            Some(0) => Kind::Connect,
            Some(1) => Kind::Disconnect,
            Some(2) => Kind::Event,
            Some(3) => Kind::Ack,
            Some(4) => Kind::ConnectError,
            _ => return Err(DecodeError::UnknownKind),
        })
    }

    fn namespace(&self, length_max: usize) -> Result<&'a str, DecodeError> {
        let value = self.namespace.ok_or(DecodeError::IllegalNamespace)?;
        match Reader::new(value).token()? {
            Token::Text(name) if name.len() > length_max => Err(DecodeError::NamespaceTooLong),
            Token::Text(name) => std::str::from_utf8(name).map_err(|_| DecodeError::NotUtf8),
            _ => Err(DecodeError::IllegalNamespace),
        }
    }

    fn id(&self) -> Result<Option<u64>, DecodeError> {
        let Some(value) = self.id else { return Ok(None) };
        integer(value).map(Some).ok_or(DecodeError::IllegalId)
    }
}

/// An exact integer from 0 on. What is written as a float is one, too, if it has no fraction.
fn integer(value: &[u8]) -> Option<u64> {
    match Reader::new(value).token().ok()? {
        Token::Unsigned(value) if value <= ID_MAX => Some(value),
        Token::Float(value) if value.fract() == 0.0 && (0.0..=ID_MAX as f64).contains(&value) => {
            Some(value as u64)
        }
        _ => None,
    }
}

/// Of what refuses a namespace, which a server has no use for, only the kind is looked at.
fn check_reason(reason: &[u8]) -> Result<(), DecodeError> {
    match Reader::new(reason).token()? {
        Token::Map(_) | Token::Text(_) => Ok(()),
        _ => Err(DecodeError::IllegalPayload),
    }
}
