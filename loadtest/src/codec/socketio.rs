//! Engine.IO 4 and Socket.IO 5, as much of them as these clients hear and say. They use the
//! namespace `/` alone, and strings that need no escape.

use serde::Deserialize;

use super::Heard;

/// Enters the namespace.
pub const CONNECT: &[u8] = b"40";
/// Leaves it.
pub const DISCONNECT: &[u8] = b"41";
/// Answers a heartbeat.
pub const PONG: &[u8] = b"3";
/// Ends the session, by polling.
pub const CLOSE: &[u8] = b"1";

/// The number that the one question `join` of a session is asked under.
const JOIN_ID: u32 = 0;

/// What an open packet says of the session; the rest of it matters to nobody here.
#[derive(Deserialize)]
struct Open {
    sid: String,
}

pub fn decode(packet: &[u8]) -> Heard<'_> {
    match packet {
        [b'4', b'2', event @ ..] => broadcast(event).map_or(Heard::Unknown, Heard::Broadcast),
        [b'4', b'3', acknowledgement @ ..] => {
            acknowledged(acknowledgement).unwrap_or(Heard::Unknown)
        }
        b"2" => Heard::Ping,
        [b'4', b'0', ..] => Heard::Connected,
        [b'4', b'1' | b'4', ..] => Heard::Refused,
        [b'0', open @ ..] => match serde_json::from_slice::<Open>(open) {
            Ok(open) => Heard::Open { session: Some(open.sid) },
            Err(_) => Heard::Unknown,
        },
        b"1" => Heard::Closed,
        b"6" => Heard::Nothing,
        _ => Heard::Unknown,
    }
}

pub fn echo(id: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"42");
    number(id, out);
    event("echo", &[payload], out);
}

pub fn join(room: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"42");
    number(JOIN_ID, out);
    event("join", &[room.as_bytes()], out);
}

pub fn publish(room: Option<&str>, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"42");
    match room {
        Some(room) => event("publish_room", &[room.as_bytes(), payload], out),
        None => event("publish", &[payload], out),
    }
}

fn event(name: &str, arguments: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(name.as_bytes());
    for argument in arguments {
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(argument);
    }
    out.extend_from_slice(b"\"]");
}

fn number(value: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// The argument of `["broadcast","…"]`.
fn broadcast(json: &[u8]) -> Option<&[u8]> {
    let rest = after(json, b"[")?;
    let (name, rest) = string(rest)?;
    let (payload, rest) = string(after(rest, b",")?)?;
    (name == b"broadcast" && is_end(rest)).then_some(payload)
}

/// `17["…"]`, or `0[]` and `0[null]`, which acknowledge without an argument.
fn acknowledged(packet: &[u8]) -> Option<Heard<'_>> {
    let digits = packet.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, json) = packet.split_at(digits);
    let id: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let rest = after(json, b"[")?;
    if let Some((payload, rest)) = string(rest) {
        return is_end(rest).then_some(Heard::Reply { id: Some(id), payload });
    }
    let rest = after(rest, b"null").unwrap_or(rest);
    (is_end(rest) && id == JOIN_ID).then_some(Heard::Joined)
}

/// A string without escapes, and what follows it.
fn string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = after(json, b"\"")?;
    let end = inside.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
    (inside[end] == b'"').then(|| (&inside[..end], &inside[end + 1..]))
}

/// What follows a token. Some servers write spaces between tokens.
fn after<'a>(json: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    json.trim_ascii_start().strip_prefix(token)
}

fn is_end(json: &[u8]) -> bool {
    after(json, b"]").is_some_and(|rest| rest.trim_ascii_start().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_packet_names_the_session() {
        let open = br#"0{"sid":"abc","upgrades":[],"pingInterval":25000}"#;
        assert_eq!(decode(open), Heard::Open { session: Some("abc".into()) });
        assert_eq!(decode(b"0{}"), Heard::Unknown);
    }

    #[test]
    fn a_namespace_lets_in_or_not() {
        assert_eq!(decode(br#"40{"sid":"x"}"#), Heard::Connected);
        assert_eq!(decode(br#"44{"message":"no"}"#), Heard::Refused);
        assert_eq!(decode(b"41"), Heard::Refused);
    }

    #[test]
    fn heartbeats_and_ends_are_heard() {
        assert_eq!(decode(b"2"), Heard::Ping);
        assert_eq!(decode(b"1"), Heard::Closed);
        assert_eq!(decode(b"6"), Heard::Nothing);
        assert_eq!(decode(b"2probe"), Heard::Unknown);
        assert_eq!(decode(b""), Heard::Unknown);
    }

    #[test]
    fn a_broadcast_gives_its_payload() {
        assert_eq!(decode(br#"42["broadcast","abc"]"#), Heard::Broadcast(b"abc"));
        assert_eq!(decode(br#"42["broadcast", "abc"]"#), Heard::Broadcast(b"abc"));
        assert_eq!(decode(br#"42[ "broadcast" , "" ] "#), Heard::Broadcast(b""));
    }

    #[test]
    fn another_event_is_unknown() {
        for packet in [
            r#"42["other","abc"]"#,
            r#"42["broadcast"]"#,
            r#"42["broadcast","abc","more"]"#,
            r#"42["broadcast","abc"]x"#,
            r#"42["broadcast","a\"bc"]"#,
            r#"42["broadcast","abc"#,
            r#"421["broadcast","abc"]"#,
        ] {
            assert_eq!(decode(packet.as_bytes()), Heard::Unknown, "{packet}");
        }
    }

    #[test]
    fn a_reply_carries_the_number_of_its_question() {
        assert_eq!(decode(br#"4317["abc"]"#), Heard::Reply { id: Some(17), payload: b"abc" });
        assert_eq!(decode(br#"43["abc"]"#), Heard::Unknown);
        assert_eq!(decode(br#"4399999999999["abc"]"#), Heard::Unknown);
    }

    #[test]
    fn a_join_is_acknowledged_without_an_argument() {
        assert_eq!(decode(b"430[]"), Heard::Joined);
        assert_eq!(decode(b"430[null]"), Heard::Joined);
        assert_eq!(decode(b"431[]"), Heard::Unknown);
        assert_eq!(decode(b"430[}"), Heard::Unknown);
    }

    #[test]
    fn packets_are_written_as_the_protocol_says() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&|out| echo(0, b"abc", out)), r#"420["echo","abc"]"#);
        assert_eq!(written(&|out| echo(1205, b"abc", out)), r#"421205["echo","abc"]"#);
        assert_eq!(written(&|out| echo(u32::MAX, b"", out)), r#"424294967295["echo",""]"#);
        assert_eq!(written(&|out| join("r", out)), r#"420["join","r"]"#);
        assert_eq!(written(&|out| publish(None, b"abc", out)), r#"42["publish","abc"]"#);
        let to_room = written(&|out| publish(Some("r"), b"abc", out));
        assert_eq!(to_room, r#"42["publish_room","r","abc"]"#);
    }
}
