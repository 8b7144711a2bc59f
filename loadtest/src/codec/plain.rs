//! The plain WebSocket application: the first byte of a message says what it is.

use super::Heard;

pub fn decode(message: &[u8]) -> Heard<'_> {
    match message.split_first() {
        Some((b'B', payload)) => Heard::Broadcast(payload),
        Some((b'E', payload)) => Heard::Reply { id: None, payload },
        Some((b'J', [])) => Heard::Joined,
        _ => Heard::Unknown,
    }
}

pub fn echo(payload: &[u8], out: &mut Vec<u8>) {
    out.push(b'E');
    out.extend_from_slice(payload);
}

pub fn join(room: &str, out: &mut Vec<u8>) {
    out.push(b'J');
    out.extend_from_slice(room.as_bytes());
}

pub fn publish(room: Option<&str>, payload: &[u8], out: &mut Vec<u8>) {
    if let Some(room) = room {
        out.push(b'R');
        out.extend_from_slice(room.as_bytes());
        out.push(b'\n');
    } else {
        out.push(b'P');
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_by_their_first_byte() {
        assert_eq!(decode(b"Babc"), Heard::Broadcast(b"abc"));
        assert_eq!(decode(b"Eabc"), Heard::Reply { id: None, payload: b"abc" });
        assert_eq!(decode(b"J"), Heard::Joined);
        assert_eq!(decode(b"Jroom"), Heard::Unknown);
        assert_eq!(decode(b"xabc"), Heard::Unknown);
        assert_eq!(decode(b""), Heard::Unknown);
    }

    #[test]
    fn messages_are_written_as_the_server_reads_them() {
        let mut out = Vec::new();
        echo(b"a", &mut out);
        join("r", &mut out);
        publish(None, b"b", &mut out);
        publish(Some("r"), b"c", &mut out);
        assert_eq!(out, b"EaJrPbRr\nc");
    }
}
