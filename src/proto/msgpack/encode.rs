//! Packets as the server sends them. Each is one whole message, to be sent as binary; what goes
//! wrong leaves nothing of a packet behind.

use bytes::Bytes;

use super::EncodeError;
use super::from_json::{FromJson, map_head, write_text, write_unsigned};
use crate::base::id::{PrivateId, SocketId};
use crate::proto::socket::Kind;

/// Appends the answer to a client that has joined `namespace`. With a `pid`, its private id, it may
/// later be recovered (`protocol.md` §15).
///
/// # Errors
/// The application's namespace is longer than 4 GiB, which is longer than any it can join.
pub fn write_connect(
    out: &mut Vec<u8>,
    namespace: &str,
    sid: SocketId,
    pid: Option<PrivateId>,
) -> Result<(), EncodeError> {
    whole(out, |out| {
        begin(out, Kind::Connect, namespace, 1)?;
        key(out, "data");
        out.push(map_head(1 + u8::from(pid.is_some())));
        key(out, "sid");
        write_text(out, &sid.text())?;
        let Some(pid) = pid else { return Ok(()) };
        key(out, "pid");
        write_text(out, &pid.text())
    })
}

/// Appends the answer to a client that may not join `namespace`. `data_json`, if the refusal
/// carries something, is JSON text.
///
/// # Errors
/// The application's data is no JSON, or is beyond what a packet can hold.
pub fn write_connect_error(
    out: &mut Vec<u8>,
    namespace: &str,
    message: &str,
    data_json: Option<&[u8]>,
) -> Result<(), EncodeError> {
    whole(out, |out| {
        begin(out, Kind::ConnectError, namespace, 1)?;
        key(out, "data");
        out.push(map_head(1 + u8::from(data_json.is_some())));
        key(out, "message");
        write_text(out, message.as_bytes())?;
        let Some(data) = data_json else { return Ok(()) };
        key(out, "data");
        let mut values = FromJson::new(out, &[]);
        values.value(data, 1)?;
        values.finish();
        Ok(())
    })
}

/// Appends what tells a client that the server has removed it from `namespace`.
///
/// # Errors
/// The application's namespace is longer than 4 GiB, which is longer than any it can join.
pub fn write_disconnect(out: &mut Vec<u8>, namespace: &str) -> Result<(), EncodeError> {
    whole(out, |out| begin(out, Kind::Disconnect, namespace, 0))
}

/// Appends an event. `args_json` is what [`Arguments::write`] gives: each argument with a comma
/// before it; its placeholders become the `attachments` that they name. With an `id` the client is
/// asked for an acknowledgement.
///
/// # Errors
/// The application's arguments are no JSON, or are beyond what a packet can hold.
///
/// [`Arguments::write`]: crate::proto::json::Arguments::write
pub fn write_event(
    out: &mut Vec<u8>,
    namespace: &str,
    id: Option<u64>,
    event: &str,
    args_json: &[u8],
    attachments: &[Bytes],
) -> Result<(), EncodeError> {
    whole(out, |out| {
        begin(out, Kind::Event, namespace, 1 + u8::from(id.is_some()))?;
        if let Some(id) = id {
            key(out, "id");
            write_unsigned(out, id);
        }
        key(out, "data");
        list(out, Some(event), args_json, attachments)
    })
}

/// Appends an acknowledgement. `args_json` is what [`Arguments::write`] gives: each argument with
/// a comma before it; its placeholders become the `attachments` that they name.
///
/// # Errors
/// The application's arguments are no JSON, or are beyond what a packet can hold.
///
/// [`Arguments::write`]: crate::proto::json::Arguments::write
pub fn write_ack(
    out: &mut Vec<u8>,
    namespace: &str,
    id: u64,
    args_json: &[u8],
    attachments: &[Bytes],
) -> Result<(), EncodeError> {
    whole(out, |out| {
        begin(out, Kind::Ack, namespace, 2)?;
        key(out, "id");
        write_unsigned(out, id);
        key(out, "data");
        list(out, None, args_json, attachments)
    })
}

/// Writes all of a packet or nothing.
fn whole(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let length = out.len();
    let written = write(out);
    if written.is_err() {
        out.truncate(length);
    }
    written
}

/// Writes the two fields that every packet has, of a map that has `more` behind them.
fn begin(out: &mut Vec<u8>, kind: Kind, namespace: &str, more: u8) -> Result<(), EncodeError> {
    out.push(map_head(2 + more));
    key(out, "type");
    // The types are declared in the order of their numbers.
    out.push(kind as u8);
    key(out, "nsp");
    write_text(out, namespace.as_bytes())
}

/// Writes a key of ours, all of which are short.
fn key(out: &mut Vec<u8>, name: &'static str) {
    let written = write_text(out, name.as_bytes());
    debug_assert!(written.is_ok(), "a key is shorter than 4 GiB");
}

fn list(
    out: &mut Vec<u8>,
    name: Option<&str>,
    args_json: &[u8],
    attachments: &[Bytes],
) -> Result<(), EncodeError> {
    let mut values = FromJson::new(out, attachments);
    values.list(name, args_json)?;
    values.finish();
    Ok(())
}
