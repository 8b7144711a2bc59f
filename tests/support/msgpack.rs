//! As much MessagePack as the tests speak, apart from the server's own: values are those of JSON,
//! and a text that begins with `bin:` is binary.

use serde_json::{Map, Number, Value};

/// Writes a value. Texts, lists and maps are short.
pub fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(small @ 0..=127) => out.push(small as u8),
            Some(whole) => {
                out.push(0xd3);
                out.extend(whole.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::String(text) => match text.strip_prefix("bin:") {
            Some(bytes) => {
                out.extend([0xc4, u8::try_from(bytes.len()).unwrap()]);
                out.extend(bytes.bytes());
            }
            None => {
                out.extend([0xd9, u8::try_from(text.len()).unwrap()]);
                out.extend(text.bytes());
            }
        },
        Value::Array(list) => {
            out.push(0xdc);
            out.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
            list.iter().for_each(|value| write(out, value));
        }
        Value::Object(map) => {
            out.push(0xde);
            out.extend(u16::try_from(map.len()).unwrap().to_be_bytes());
            for (key, value) in map {
                write(out, &Value::String(key.clone()));
                write(out, value);
            }
        }
    }
}

/// Reads one value, which must be all there is.
#[track_caller]
pub fn unpack(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = read(&mut rest);
    assert!(rest.is_empty(), "more behind {value}: {}", rest.escape_ascii());
    value
}

#[track_caller]
fn read(rest: &mut &[u8]) -> Value {
    let head = number(rest, 1) as u8;
    match head {
        0x00..=0x7f => head.into(),
        0x80..=0x8f => map(rest, u64::from(head & 0x0f)),
        0x90..=0x9f => list(rest, u64::from(head & 0x0f)),
        0xa0..=0xbf => text(rest, u64::from(head & 0x1f)),
        0xc0 => Value::Null,
        0xc2 | 0xc3 => (head == 0xc3).into(),
        0xc4..=0xc6 => {
            let length = number(rest, 1 << (head - 0xc4));
            format!("bin:{}", take(rest, length).escape_ascii()).into()
        }
        0xcb => Number::from_f64(f64::from_bits(number(rest, 8))).unwrap().into(),
        0xcc..=0xcf => number(rest, 1 << (head - 0xcc)).into(),
        0xd0..=0xd3 => {
            let unused_bits = 64 - (8 << (head - 0xd0));
            ((number(rest, 1 << (head - 0xd0)) << unused_bits) as i64 >> unused_bits).into()
        }
        0xd9..=0xdb => {
            let length = number(rest, 1 << (head - 0xd9));
            text(rest, length)
        }
        0xdc | 0xdd => {
            let count = number(rest, 2 << (head - 0xdc));
            list(rest, count)
        }
        0xde | 0xdf => {
            let count = number(rest, 2 << (head - 0xde));
            map(rest, count)
        }
        0xe0..=0xff => (head as i8).into(),
        _ => panic!("a server does not send {head:x}"),
    }
}

#[track_caller]
fn take<'a>(rest: &mut &'a [u8], length: u64) -> &'a [u8] {
    let (taken, left) = rest.split_at(usize::try_from(length).unwrap());
    *rest = left;
    taken
}

#[track_caller]
fn number(rest: &mut &[u8], width: u64) -> u64 {
    take(rest, width).iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[track_caller]
fn text(rest: &mut &[u8], length: u64) -> Value {
    std::str::from_utf8(take(rest, length)).unwrap().into()
}

#[track_caller]
fn list(rest: &mut &[u8], count: u64) -> Value {
    (0..count).map(|_| read(rest)).collect::<Vec<_>>().into()
}

#[track_caller]
fn map(rest: &mut &[u8], count: u64) -> Value {
    let mut members = Map::new();
    for _ in 0..count {
        let Value::String(key) = read(rest) else { panic!("a key is text") };
        assert!(members.insert(key, read(rest)).is_none(), "a key is there once");
    }
    members.into()
}
