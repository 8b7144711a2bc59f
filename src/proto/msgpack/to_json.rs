//! MessagePack values into JSON text, with binary values set aside.

use std::borrow::Cow;

use bytes::Bytes;

use super::read::{Reader, Token};
use super::{DecodeError, date};
use crate::base::limits::JSON_DEPTH_MAX;
use crate::proto::json;
use crate::proto::socket::RESERVED_EVENTS;

/// How many bytes of text and of handles each byte of a message may become. Without binary values
/// no byte becomes more than seven, `false` as a key and as a value; but a binary value of one byte
/// takes three, and its placeholder and its handle more than sixty.
const EXPANSION_MAX: usize = 8;

/// What a message may become beyond that: more than a thousand of the smallest binary values.
pub(super) const EXPANSION_FREE_BYTES: usize = 64 * 1024;

/// Writes values as JSON text. Depth is counted as in the text: a binary value is an object there,
/// the placeholder, and an unknown extension an array around it.
pub(super) struct ToJson<'a, 'text> {
    text: &'text mut Vec<u8>,
    depth_max: usize,
    binaries: Vec<&'a [u8]>,
    /// Whether some map could be taken for a placeholder.
    is_marked: bool,
}

impl<'a, 'text> ToJson<'a, 'text> {
    /// Appends to `text`, and nests at most `depth_max` (and at most [`JSON_DEPTH_MAX`]) levels.
    pub(super) fn new(text: &'text mut Vec<u8>, depth_max: usize) -> ToJson<'a, 'text> {
        let depth_max = depth_max.min(JSON_DEPTH_MAX);
        ToJson { text, depth_max, binaries: Vec::new(), is_marked: false }
    }

    /// Writes a value that must be a map.
    pub(super) fn object(&mut self, value: &'a [u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(value);
        match reader.token()? {
            Token::Map(count) => self.map(count, &mut reader, 0),
            _ => Err(DecodeError::IllegalPayload),
        }
    }

    /// Writes the elements of a value that must be an array, with commas between.
    pub(super) fn list(&mut self, value: &'a [u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(value);
        match reader.token()? {
            Token::Array(count) => self.elements(count, &mut reader, 0),
            _ => Err(DecodeError::IllegalPayload),
        }
    }

    /// Writes the elements of a value that must be an array, but for the first one, the name of an
    /// event, which is given back. `None` when the array is empty.
    pub(super) fn event(&mut self, value: &'a [u8]) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let mut reader = Reader::new(value);
        let Token::Array(count) = reader.token()? else { return Err(DecodeError::IllegalPayload) };
        let Some(arguments) = count.checked_sub(1) else { return Ok(None) };
        let name = match reader.token()? {
            Token::Text(name) => Cow::Borrowed(utf8(name)?),
            other => Cow::Owned(numeral(other).ok_or(DecodeError::IllegalPayload)?),
        };
        if RESERVED_EVENTS.contains(&&*name) {
            return Err(DecodeError::ReservedEvent);
        }
        self.elements(arguments, &mut reader, 0)?;
        Ok(Some(name))
    }

    /// The binary values, copied once, into memory that they share.
    pub(super) fn attachments(self) -> Result<Vec<Bytes>, DecodeError> {
        if self.is_marked && !self.binaries.is_empty() {
            return Err(DecodeError::Placeholder);
        }
        let mut rest = Bytes::from(self.binaries.concat());
        Ok(self.binaries.iter().map(|bytes| rest.split_to(bytes.len())).collect())
    }

    /// Writes a value inside of `depth` arrays and maps.
    fn value(
        &mut self,
        value: Token<'a>,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        match value {
            Token::Nil | Token::Undefined => self.text.extend_from_slice(b"null"),
            Token::Bool(true) => self.text.extend_from_slice(b"true"),
            Token::Bool(false) => self.text.extend_from_slice(b"false"),
            Token::Unsigned(value) => json::write_integer(self.text, value),
            Token::Negative(value) => write_negative(self.text, value),
            Token::Float(value) => json::write_number(self.text, value),
            Token::Text(text) => json::write_string(self.text, utf8(text)?),
            Token::Date(since_1970_ms) => date::write(self.text, since_1970_ms),
            Token::Binary(bytes) => self.binary(bytes, reader, depth)?,
            Token::Array(count) => {
                self.text.push(b'[');
                self.elements(count, reader, depth)?;
                self.text.push(b']');
            }
            Token::Map(count) => self.map(count, reader, depth)?,
            // What notepack reads it as.
            Token::Extension(kind, bytes) => {
                self.enter(depth)?;
                self.text.extend_from_slice(format!("[{kind},").as_bytes());
                self.binary(bytes, reader, depth + 1)?;
                self.text.push(b']');
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        count: usize,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.enter(depth)?;
        for index in 0..count {
            if index > 0 {
                self.text.push(b',');
            }
            let element = reader.token()?;
            self.value(element, reader, depth + 1)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        count: usize,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.enter(depth)?;
        self.text.push(b'{');
        let start = self.text.len();
        for _ in 0..count {
            let before = self.text.len();
            if before > start {
                self.text.push(b',');
            }
            let key = reader.token()?;
            self.key(key)?;
            let value = reader.token()?;
            if value == Token::Undefined {
                self.text.truncate(before);
                continue;
            }
            self.is_marked |= key == Token::Text(b"_placeholder") && value == Token::Bool(true);
            self.value(value, reader, depth + 1)?;
        }
        self.text.push(b'}');
        Ok(())
    }

    /// Writes a key and its colon: what is no string becomes one, as in JavaScript.
    fn key(&mut self, key: Token<'a>) -> Result<(), DecodeError> {
        match key {
            Token::Text(text) => json::write_string(self.text, utf8(text)?),
            Token::Nil => self.text.extend_from_slice(b"\"null\""),
            Token::Bool(true) => self.text.extend_from_slice(b"\"true\""),
            Token::Bool(false) => self.text.extend_from_slice(b"\"false\""),
            other => {
                let numeral = numeral(other).ok_or(DecodeError::IllegalKey)?;
                json::write_string(self.text, &numeral);
            }
        }
        self.text.push(b':');
        Ok(())
    }

    fn binary(
        &mut self,
        bytes: &'a [u8],
        reader: &Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.enter(depth)?;
        self.text.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
        json::write_integer(self.text, self.binaries.len() as u64);
        self.text.push(b'}');
        self.binaries.push(bytes);
        let held = self.text.len() + self.binaries.len() * size_of::<Bytes>();
        if held > EXPANSION_MAX * reader.position() + EXPANSION_FREE_BYTES {
            return Err(DecodeError::TooManyAttachments);
        }
        Ok(())
    }

    /// Whether there may be another level inside of `depth` levels.
    fn enter(&self, depth: usize) -> Result<(), DecodeError> {
        if depth < self.depth_max { Ok(()) } else { Err(DecodeError::Depth) }
    }
}

fn utf8(text: &[u8]) -> Result<&str, DecodeError> {
    simdutf8::basic::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
}

fn write_negative(out: &mut Vec<u8>, value: i64) {
    out.push(b'-');
    json::write_integer(out, value.unsigned_abs());
}

/// What JavaScript's `String` makes of a number; `None` for what is none.
fn numeral(value: Token<'_>) -> Option<String> {
    Some(match value {
        Token::Unsigned(value) => value.to_string(),
        Token::Negative(value) => value.to_string(),
        Token::Float(value) if value.is_nan() => "NaN".into(),
        Token::Float(f64::INFINITY) => "Infinity".into(),
        Token::Float(f64::NEG_INFINITY) => "-Infinity".into(),
        Token::Float(value) => {
            let mut text = Vec::new();
            json::write_number(&mut text, value);
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: usize = JSON_DEPTH_MAX;

    fn place(num: usize) -> String {
        format!("{{\"_placeholder\":true,\"num\":{num}}}")
    }

    /// One value as text, and the binary values in it.
    fn convert(value: &[u8]) -> Result<(String, Vec<Bytes>), DecodeError> {
        convert_at_most(value, DEPTH)
    }

    fn convert_at_most(
        value: &[u8],
        depth_max: usize,
    ) -> Result<(String, Vec<Bytes>), DecodeError> {
        let mut text = Vec::new();
        let list = [b"\x91", value].concat();
        let mut json = ToJson::new(&mut text, depth_max);
        json.list(&list)?;
        let attachments = json.attachments()?;
        Ok((String::from_utf8(text).unwrap(), attachments))
    }

    fn text(value: &[u8]) -> String {
        convert(value).unwrap().0
    }

    #[test]
    fn values_of_every_form_are_written_as_json() {
        for (value, meant) in [
            (&b"\xc0"[..], "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\x00", "0"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01", "9007199254740993"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xe0", "-32"),
            (b"\xa0", "\"\""),
            (b"\xa2\xc3\xa9", "\"é\""),
            (b"\xa4\"\\\n\x00", "\"\\\"\\\\\\n\\u0000\""),
            (b"\xd9\x01a", "\"a\""),
            (b"\xda\x00\x01a", "\"a\""),
            (b"\xdb\x00\x00\x00\x01a", "\"a\""),
            (b"\x90", "[]"),
            (b"\x92\x01\x91\x02", "[1,[2]]"),
            (b"\xdc\x00\x02\x01\x02", "[1,2]"),
            (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
            (b"\x80", "{}"),
            (b"\x82\xa1a\x01\xa1b\x80", "{\"a\":1,\"b\":{}}"),
            (b"\xde\x00\x01\xa1a\x01", "{\"a\":1}"),
            (b"\xdf\x00\x00\x00\x01\xa1a\x90", "{\"a\":[]}"),
            (b"\xd7\x00\x00\x00\x00\xdf\xb7\x62\x9c\x00", "\"2000-06-13T00:00:00.000Z\""),
            (b"\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\"1969-12-31T23:59:59.999Z\""),
            (b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null"),
        ] {
            assert_eq!(text(value), meant, "{value:x?}");
        }
    }

    #[test]
    fn floats_are_written_as_javascript_prints_them() {
        for (value, meant) in [
            (&b"\xca\x3f\x00\x00\x00"[..], "0.5"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612"),
            (b"\xca\x7f\xc0\x00\x00", "null"),
            (b"\xcb\x3f\xf1\x99\x99\x99\x99\x99\x9a", "1.1"),
            (b"\xcb\x40\x08\x00\x00\x00\x00\x00\x00", "3"),
            (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "0"),
            (b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50", "1e+21"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
        ] {
            assert_eq!(text(value), meant, "{value:x?}");
        }
    }

    // behaviours.md 38.2
    #[test]
    fn bytes_of_every_form_are_set_aside_in_the_order_in_which_they_stand() {
        let value = [
            &b"\x98\xc4\x01a"[..],
            b"\xc5\x00\x01b",
            b"\xc6\x00\x00\x00\x01c",
            b"\x81\xa1k\xc7\x01\x00d",
            b"\xc8\x00\x01\x00e",
            b"\xc9\x00\x00\x00\x01\x00f",
            b"\xc4\x00",
            // An ArrayBuffer of eight bytes is no date.
            b"\xc7\x08\x0001234567",
        ]
        .concat();
        let (found, attachments) = convert(&value).unwrap();
        let [zero, one, two, three, four, five, six, seven] = [0, 1, 2, 3, 4, 5, 6, 7].map(place);
        let member = format!("{{\"k\":{three}}}");
        assert_eq!(found, format!("[{zero},{one},{two},{member},{four},{five},{six},{seven}]"));
        assert_eq!(attachments, ["a", "b", "c", "d", "e", "f", "", "01234567"]);
    }

    #[test]
    fn an_unknown_extension_is_its_type_and_its_bytes() {
        for (value, kind, bytes) in [
            (&b"\xd4\x05a"[..], 5, "a"),
            (b"\xd5\x00ab", 0, "ab"),
            (b"\xd6\xffabcd", -1, "abcd"),
            (b"\xd7\x7fabcdefgh", 127, "abcdefgh"),
            (b"\xd8\x80abcdefghijklmnop", -128, "abcdefghijklmnop"),
            (b"\xc7\x03\x05abc", 5, "abc"),
            (b"\xc8\x00\x03\x05abc", 5, "abc"),
            (b"\xc9\x00\x00\x00\x03\x05abc", 5, "abc"),
        ] {
            let (found, attachments) = convert(value).unwrap();
            assert_eq!(found, format!("[{kind},{}]", place(0)));
            assert_eq!(attachments, [bytes]);
        }
    }

    #[test]
    fn undefined_is_null_in_an_array_and_no_member_of_a_map() {
        assert_eq!(text(b"\x92\xd4\x00\x00\x01"), "[null,1]");
        let undefined = b"\xd4\x00\x00";
        for (value, meant) in [
            ([&b"\x81\xa1a"[..], undefined].concat(), "{}"),
            ([&b"\x82\xa1a"[..], undefined, b"\xa1b\x01"].concat(), "{\"b\":1}"),
            ([&b"\x82\xa1b\x01\xa1a"[..], undefined].concat(), "{\"b\":1}"),
        ] {
            assert_eq!(text(&value), meant);
        }
    }

    #[test]
    fn a_key_that_is_no_string_becomes_one_as_in_javascript() {
        let value = [
            &b"\x8a\xc0\x01\xc2\x01\xc3\x01\x05\x01\xff\x01"[..],
            b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\x01",
            b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01",
            b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00\x01",
            b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00\x01",
            b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00\x01",
        ]
        .concat();
        let names =
            ["null", "false", "true", "5", "-1", "1.5", "NaN", "Infinity", "-Infinity", "0"];
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        assert_eq!(text(&value), format!("{{{}}}", members.join(",")));
        for key in
            [&b"\x90"[..], b"\x80", b"\xc4\x01a", b"\xd4\x00\x00", b"\xd4\x05a", b"\xc7\x01\x00a"]
        {
            let value = [b"\x81", key, b"\x01"].concat();
            assert_eq!(convert(&value), Err(DecodeError::IllegalKey), "{key:x?}");
        }
    }

    // security.md §1.1, "prototype pollution"
    #[test]
    fn names_that_javascript_knows_are_names_like_others() {
        for name in ["__proto__", "constructor", "hasOwnProperty", "toString", "xyzzy"] {
            let value = [&[0x81, 0xa0 | name.len() as u8], name.as_bytes(), b"\x80"].concat();
            assert_eq!(text(&value), format!("{{\"{name}\":{{}}}}"));
        }
    }

    #[test]
    fn a_repeated_key_is_kept_so_that_its_last_value_counts() {
        assert_eq!(text(b"\x82\xa1a\x01\xa1a\x02"), "{\"a\":1,\"a\":2}");
    }

    #[test]
    fn a_string_that_is_not_utf8_is_refused() {
        for value in [&b"\xa1\xff"[..], b"\xa3\xed\xa0\x80", b"\xa2\xc0\x80", b"\x81\xa1\x80\x01"] {
            assert_eq!(convert(value), Err(DecodeError::NotUtf8), "{value:x?}");
        }
    }

    #[test]
    fn cve_2022_2421_a_map_is_never_taken_for_a_placeholder() {
        let marker = b"\x82\xac_placeholder\xc3\xa3num\x00";
        let beside = |value: &[u8]| [&b"\x92\xc4\x01a"[..], value].concat();
        let before = [&b"\x92"[..], marker, b"\xc4\x01a"].concat();
        for value in [
            beside(marker),
            beside(&[b"\x91", &marker[..]].concat()),
            beside(b"\x81\xac_placeholder\xc3"),
            beside(b"\x82\xac_placeholder\xc3\xac_placeholder\xc2"),
            before,
        ] {
            assert_eq!(convert(&value), Err(DecodeError::Placeholder), "{value:x?}");
        }
        // What is no placeholder in text either, and one where nothing is binary, is data.
        for value in [
            &b"\x82\xac_placeholder\xc2\xa3num\x00"[..],
            b"\x81\xac_placeholder\x01",
            b"\x81\xac_placeholder\xa4true",
            b"\x81\xad_placeholder \xc3",
            b"\x81\xa3num\xa6splice",
        ] {
            assert!(convert(&beside(value)).is_ok(), "{value:x?}");
        }
        assert_eq!(convert(marker), Ok((place(0), vec![])));
    }

    // security.md §1.1, "relay of deep JSON", and §4 row 69
    #[test]
    fn a_depth_of_128_passes_and_129_does_not() {
        let arrays = |depth: usize| [vec![0x91; depth - 1], vec![0xc0]].concat();
        assert_eq!(text(&arrays(128)), ["[".repeat(127), "null".into(), "]".repeat(127)].concat());
        assert_eq!(convert(&arrays(129)), Err(DecodeError::Depth));
        assert_eq!(convert(&arrays(10_000)), Err(DecodeError::Depth));
        let maps = |depth: usize| [b"\x81\xa1a".repeat(depth - 1), vec![0xc0]].concat();
        assert!(convert(&maps(128)).is_ok());
        assert_eq!(convert(&maps(129)), Err(DecodeError::Depth));
        assert_eq!(convert_at_most(&arrays(3), 2), Err(DecodeError::Depth));
        assert_eq!(convert_at_most(&arrays(129), 1_000), Err(DecodeError::Depth));
    }

    #[test]
    fn a_placeholder_is_as_deep_as_the_object_that_it_is() {
        let inside = |depth: usize, value: &[u8]| [vec![0x91; depth - 1], value.to_vec()].concat();
        for (value, levels) in [(&b"\xc4\x01a"[..], 1), (b"\xd4\x05a", 2)] {
            let (text, attachments) = convert(&inside(DEPTH - levels, value)).unwrap();
            let list = format!("[{text}]");
            assert!(json::scan_array(list.as_bytes(), DEPTH, Some(attachments.len())).is_ok());
            let deeper = convert(&inside(DEPTH - levels + 1, value));
            assert_eq!(deeper, Err(DecodeError::Depth));
        }
    }

    // security.md §0.3, "charge every retained object"
    #[test]
    fn small_binary_values_are_charged_for_what_they_become() {
        let binaries = |count: u16, each: &[u8]| {
            [&b"\xdc"[..], &count.to_be_bytes(), &each.repeat(count.into())].concat()
        };
        for (count, each) in [(1_000, &b"\xc4\x00"[..]), (1_400, b"\xc4\x01a"), (60_000, &SIXTEEN)]
        {
            let (_, attachments) = convert(&binaries(count, each)).unwrap();
            assert_eq!(attachments.len(), usize::from(count));
        }
        for each in [&b"\xc4\x00"[..], b"\xc4\x01a", b"\xd4\x05a", b"\xc7\x00\x05"] {
            let refused = convert(&binaries(10_000, each));
            assert_eq!(refused, Err(DecodeError::TooManyAttachments), "{each:x?}");
        }
    }

    /// A binary value of sixteen bytes, the length of a UUID.
    const SIXTEEN: [u8; 18] = *b"\xc4\x100123456789abcdef";

    #[test]
    fn no_other_value_grows_more_than_is_allowed() {
        let worst = [
            (&b"\xc2"[..], &b"\xc2"[..]),
            (b"\xc0", b"\xc2"),
            (b"\xe0", b"\xe0"),
            (b"\xa1\x00", b"\xa1\x00"),
            (b"\xca\x80\x7f\xff\xff", b"\xca\x80\x7f\xff\xff"),
        ];
        for (key, value) in worst {
            let pair = [key, value].concat();
            let map = [&b"\xde\x01\x00"[..], &pair.repeat(256)].concat();
            let list = [&b"\xdc\x01\x00"[..], &value.repeat(256)].concat();
            for message in [map, list] {
                let length = text(&message).len();
                assert!(length <= EXPANSION_MAX * message.len(), "{key:x?} {value:x?}");
            }
        }
    }
}
