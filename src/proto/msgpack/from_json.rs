//! JSON text into MessagePack values, each in its smallest form, in one pass.
//!
//! What an array or a map begins with says how many elements it has, which is known at its end. So
//! each gets one byte first, enough for fifteen elements; those that turn out to have more are
//! remembered, and room is made for all of them at once when everything is written.

use std::borrow::Cow;

use bytes::Bytes;

use super::EncodeError;
use crate::base::limits::JSON_DEPTH_MAX;
use crate::proto::json;

/// Bytes of attachments that placeholders may repeat: each attachment is written once in any case,
/// but a relayed text of some kilobytes could name a large one thousands of times.
const REPEATED_BYTES_MAX: usize = 1024 * 1024;

/// What maps begin with: up to 15 members, whose number is in it, and then with the number in two
/// bytes and in four.
const MAP: [u8; 3] = [0x80, 0xde, 0xdf];

/// The same of arrays.
const ARRAY: [u8; 3] = [0x90, 0xdc, 0xdd];

/// Elements of an array or map that are counted in the byte it begins with.
const SHORT_MAX: usize = 15;

/// What a map of at most 15 members begins with.
pub(super) fn map_head(members: u8) -> u8 {
    debug_assert!(usize::from(members) <= SHORT_MAX);
    MAP[0] | members
}

/// Writes JSON values as MessagePack.
pub(super) struct FromJson<'a> {
    out: &'a mut Vec<u8>,
    attachments: &'a [Bytes],
    /// Bytes of attachments that may still be written.
    allowance: usize,
    wide: Vec<Wide>,
}

/// An array or a map with more elements than the byte at its beginning has room for.
struct Wide {
    position: usize,
    count: u32,
    heads: [u8; 3],
}

impl Wide {
    /// What it has to begin with, and how long that is.
    fn head(&self) -> ([u8; 5], usize) {
        let [_, two, four] = self.heads;
        let [a, b, c, d] = self.count.to_be_bytes();
        match (a, b) {
            (0, 0) => ([two, c, d, 0, 0], 3),
            _ => ([four, a, b, c, d], 5),
        }
    }
}

impl<'a> FromJson<'a> {
    /// Appends to `out`. Without attachments a placeholder is ordinary data.
    pub(super) fn new(out: &'a mut Vec<u8>, attachments: &'a [Bytes]) -> FromJson<'a> {
        let once = attachments.iter().fold(0, |sum: usize, each| sum.saturating_add(each.len()));
        let allowance = once.saturating_add(REPEATED_BYTES_MAX);
        FromJson { out, attachments, allowance, wide: Vec::new() }
    }

    /// Writes the one value that a text is, inside of `depth` arrays and maps.
    pub(super) fn value(&mut self, json: &[u8], depth: usize) -> Result<(), EncodeError> {
        let mut text = Text::new(json);
        self.any(&mut text, depth)?;
        if text.peek().is_none() { Ok(()) } else { Err(EncodeError::Malformed) }
    }

    /// Writes an array: the name of an event, if there is one, and arguments, each of which has a
    /// comma before it.
    pub(super) fn list(&mut self, name: Option<&str>, args: &[u8]) -> Result<(), EncodeError> {
        let mut text = Text::new(args);
        let (start, mut count) = (self.begin(0)?, 0);
        if let Some(name) = name {
            write_text(self.out, name.as_bytes())?;
            count += 1;
        }
        while text.peek().is_some() {
            text.expect(b',')?;
            self.any(&mut text, 1)?;
            count += 1;
        }
        self.end(start, count, ARRAY)
    }

    /// Gives arrays and maps that need it the room for their counts; from the last to the first,
    /// so that every byte is moved once.
    pub(super) fn finish(mut self) {
        self.wide.sort_unstable_by_key(|wide| wide.position);
        let growth: usize = self.wide.iter().map(|wide| wide.head().1 - 1).sum();
        let mut from = self.out.len();
        let mut to = from + growth;
        self.out.resize(to, 0);
        for wide in self.wide.iter().rev() {
            let inside = wide.position + 1..from;
            from = wide.position;
            to -= inside.len();
            self.out.copy_within(inside, to);
            let (head, length) = wide.head();
            to -= length;
            self.out[to..to + length].copy_from_slice(&head[..length]);
        }
        debug_assert_eq!(from, to, "all of the room is used");
    }

    /// Writes the next value, which is inside of `depth` arrays and maps.
    fn any(&mut self, text: &mut Text<'_>, depth: usize) -> Result<(), EncodeError> {
        match text.peek() {
            Some(b'"') => write_text(self.out, text.string()?.as_bytes()),
            Some(b'[') => self.array(text, depth),
            Some(b'{') => self.map(text, depth),
            Some(b'-' | b'0'..=b'9') => write_number(self.out, text.number()),
            Some(b'n') => text.literal(b"null").map(|()| self.out.push(0xc0)),
            Some(b'f') => text.literal(b"false").map(|()| self.out.push(0xc2)),
            Some(b't') => text.literal(b"true").map(|()| self.out.push(0xc3)),
            _ => Err(EncodeError::Malformed),
        }
    }

    fn array(&mut self, text: &mut Text<'_>, depth: usize) -> Result<(), EncodeError> {
        let (start, mut count) = (self.begin(depth)?, 0);
        text.expect(b'[')?;
        let mut more = !text.accept(b']');
        while more {
            self.any(text, depth + 1)?;
            count += 1;
            more = text.goes_on(b']')?;
        }
        self.end(start, count, ARRAY)
    }

    fn map(&mut self, text: &mut Text<'_>, depth: usize) -> Result<(), EncodeError> {
        let (start, mut count) = (self.begin(depth)?, 0);
        let (mut is_marked, mut number) = (false, None);
        text.expect(b'{')?;
        let mut more = !text.accept(b'}');
        while more {
            let key = text.string()?;
            write_text(self.out, key.as_bytes())?;
            text.expect(b':')?;
            text.peek();
            let value_start = text.position;
            self.any(text, depth + 1)?;
            let value = text.since(value_start);
            match &*key {
                "_placeholder" => is_marked = value == b"true",
                "num" => number = json::integer(value, u64::MAX),
                _ => {}
            }
            count += 1;
            more = text.goes_on(b'}')?;
        }
        let index = number.filter(|_| is_marked).and_then(|number| usize::try_from(number).ok());
        let attachments = self.attachments;
        match index.and_then(|index| attachments.get(index)) {
            Some(attachment) => self.replace(start, attachment),
            None => self.end(start, count, MAP),
        }
    }

    /// Begins an array or a map inside of `depth` others, and tells where.
    fn begin(&mut self, depth: usize) -> Result<usize, EncodeError> {
        if depth >= JSON_DEPTH_MAX {
            return Err(EncodeError::Depth);
        }
        self.out.push(0);
        Ok(self.out.len() - 1)
    }

    fn end(&mut self, position: usize, count: usize, heads: [u8; 3]) -> Result<(), EncodeError> {
        let count_u32 = u32::try_from(count).map_err(|_| EncodeError::TooLarge)?;
        match count {
            0..=SHORT_MAX => self.out[position] = heads[0] | count as u8,
            _ => self.wide.push(Wide { position, count: count_u32, heads }),
        }
        Ok(())
    }

    /// Writes an attachment in the place of the map that began at `position`, its placeholder.
    fn replace(&mut self, position: usize, attachment: &Bytes) -> Result<(), EncodeError> {
        self.out.truncate(position);
        while self.wide.pop_if(|wide| wide.position > position).is_some() {}
        self.allowance =
            self.allowance.checked_sub(attachment.len()).ok_or(EncodeError::TooLarge)?;
        write_length(self.out, [0xc4, 0xc5, 0xc6], attachment.len())?;
        self.out.extend_from_slice(attachment);
        Ok(())
    }
}

/// Writes a string, which must be UTF-8.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), EncodeError> {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length => write_length(out, [0xd9, 0xda, 0xdb], length)?,
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Writes an integer.
pub(super) fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => write_wide(out, 0xcc, &bytes[7..]),
        0x100..=0xffff => write_wide(out, 0xcd, &bytes[6..]),
        0x1_0000..=0xffff_ffff => write_wide(out, 0xce, &bytes[4..]),
        _ => write_wide(out, 0xcf, &bytes),
    }
}

fn write_signed(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_be_bytes();
    match value {
        0.. => write_unsigned(out, value.unsigned_abs()),
        -0x20..=-1 => out.push(value as u8),
        -0x80..=-0x21 => write_wide(out, 0xd0, &bytes[7..]),
        -0x8000..=-0x81 => write_wide(out, 0xd1, &bytes[6..]),
        -0x8000_0000..=-0x8001 => write_wide(out, 0xd2, &bytes[4..]),
        _ => write_wide(out, 0xd3, &bytes),
    }
}

/// Writes a number of JSON. What has no fraction is an integer, however it is written.
fn write_number(out: &mut Vec<u8>, digits: &str) -> Result<(), EncodeError> {
    if let Ok(value) = digits.parse() {
        write_unsigned(out, value);
        return Ok(());
    }
    if let Ok(value) = digits.parse() {
        write_signed(out, value);
        return Ok(());
    }
    let value: f64 = digits.parse().map_err(|_| EncodeError::Malformed)?;
    let is_whole = value.fract() == 0.0;
    // As floats the ends are 2^64 and -2^63: what is between them is exact as an integer.
    if is_whole && (0.0..u64::MAX as f64).contains(&value) {
        write_unsigned(out, value as u64);
    } else if is_whole && (i64::MIN as f64..0.0).contains(&value) {
        write_signed(out, value as i64);
    } else {
        write_wide(out, 0xcb, &value.to_be_bytes());
    }
    Ok(())
}

/// Writes a length of up to four bytes in as few as it takes, behind the head that says how many.
fn write_length(out: &mut Vec<u8>, heads: [u8; 3], length: usize) -> Result<(), EncodeError> {
    let bytes = u32::try_from(length).map_err(|_| EncodeError::TooLarge)?.to_be_bytes();
    match length {
        0..=0xff => write_wide(out, heads[0], &bytes[3..]),
        0x100..=0xffff => write_wide(out, heads[1], &bytes[2..]),
        _ => write_wide(out, heads[2], &bytes),
    }
    Ok(())
}

fn write_wide(out: &mut Vec<u8>, head: u8, bytes: &[u8]) {
    out.push(head);
    out.extend_from_slice(bytes);
}

/// JSON text that somebody is reading. It was written or checked by this crate, or by a type of the
/// application: what is no JSON is found where it matters here, and not everywhere.
struct Text<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Text<'a> {
        Text { bytes, position: 0 }
    }

    /// Goes to the next byte that is no space, and looks at it.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.position).copied() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.position += 1,
                other => return other,
            }
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.position += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), EncodeError> {
        if self.accept(byte) { Ok(()) } else { Err(EncodeError::Malformed) }
    }

    /// Behind an element: whether there is another one, or else the end.
    fn goes_on(&mut self, end: u8) -> Result<bool, EncodeError> {
        if self.accept(b',') {
            return Ok(true);
        }
        self.expect(end).map(|()| false)
    }

    /// What was read since the text was at `start`.
    fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.position]
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), EncodeError> {
        if !self.rest().starts_with(word) {
            return Err(EncodeError::Malformed);
        }
        self.position += word.len();
        Ok(())
    }

    /// Reads everything that may belong to a number.
    fn number(&mut self) -> &'a str {
        let rest = self.rest();
        let belongs = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(belongs).count();
        self.position += length;
        // It is ASCII.
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }

    /// Reads a string, unescaped.
    fn string(&mut self) -> Result<Cow<'a, str>, EncodeError> {
        self.expect(b'"')?;
        let start = self.position;
        loop {
            let rest = self.rest();
            let at = memchr::memchr2(b'"', b'\\', rest).ok_or(EncodeError::Malformed)?;
            self.position += at;
            if rest[at] == b'"' {
                break;
            }
            // With what is escaped, which may be a quote.
            self.position += 2;
        }
        let token = String::from_utf8_lossy(self.since(start));
        self.position += 1;
        Ok(match token {
            Cow::Borrowed(token) => json::unescape(token),
            Cow::Owned(token) => Cow::Owned(json::unescape(&token).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: &str, attachments: &[Bytes]) -> Result<Vec<u8>, EncodeError> {
        let mut out = b"kept".to_vec();
        let mut values = FromJson::new(&mut out, attachments);
        values.value(json.as_bytes(), 0)?;
        values.finish();
        assert!(out.starts_with(b"kept"));
        Ok(out.split_off(4))
    }

    fn value(json: &str) -> Vec<u8> {
        convert(json, &[]).unwrap()
    }

    #[test]
    fn numbers_have_the_smallest_form_that_holds_them() {
        for (json, meant) in [
            ("0", &b"\x00"[..]),
            ("127", b"\x7f"),
            ("128", b"\xcc\x80"),
            ("255", b"\xcc\xff"),
            ("256", b"\xcd\x01\x00"),
            ("65535", b"\xcd\xff\xff"),
            ("65536", b"\xce\x00\x01\x00\x00"),
            ("4294967295", b"\xce\xff\xff\xff\xff"),
            ("4294967296", b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
            ("9007199254740993", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01"),
            ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("-1", b"\xff"),
            ("-32", b"\xe0"),
            ("-33", b"\xd0\xdf"),
            ("-128", b"\xd0\x80"),
            ("-129", b"\xd1\xff\x7f"),
            ("-32768", b"\xd1\x80\x00"),
            ("-32769", b"\xd2\xff\xff\x7f\xff"),
            ("-2147483648", b"\xd2\x80\x00\x00\x00"),
            ("-2147483649", b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
            ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
            ("0.5", b"\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"),
            ("1.1", b"\xcb\x3f\xf1\x99\x99\x99\x99\x99\x9a"),
            ("-1.5e-9", b"\xcb\xbe\x19\xc5\x11\xdc\x3a\x41\xdf"),
        ] {
            assert_eq!(value(json), meant, "{json}");
        }
    }

    #[test]
    fn what_javascript_reads_as_an_integer_is_one() {
        for (json, meant) in [
            ("1.0", &b"\x01"[..]),
            ("1e3", b"\xcd\x03\xe8"),
            ("-2.5E+1", b"\xe7"),
            ("-0", b"\x00"),
            ("-0.0", b"\x00"),
            ("1e19", b"\xcf\x8a\xc7\x23\x04\x89\xe8\x00\x00"),
            ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
            ("1e20", b"\xcb\x44\x15\xaf\x1d\x78\xb5\x8c\x40"),
            ("1e400", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
            ("-1e400", b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00"),
        ] {
            assert_eq!(value(json), meant, "{json}");
        }
        assert_eq!(value(&"9".repeat(1_000_000)), value("1e400"));
    }

    #[test]
    fn strings_are_unescaped_and_have_the_smallest_form() {
        assert_eq!(value("\"\""), b"\xa0");
        assert_eq!(value("\"a\\n\\\"\\u00e9\\\\\""), b"\xa6a\n\"\xc3\xa9\\");
        assert_eq!(value("\"\\ud83d\\ude00\""), b"\xa4\xf0\x9f\x98\x80");
        assert_eq!(value("\"\\ud800\""), b"\xa3\xef\xbf\xbd");
        for (length, head) in [
            (31, &b"\xbf"[..]),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\x00"),
            (65_535, b"\xda\xff\xff"),
            (65_536, b"\xdb\x00\x01\x00\x00"),
        ] {
            let text = "a".repeat(length);
            assert_eq!(value(&format!("\"{text}\"")), [head, text.as_bytes()].concat());
        }
    }

    #[test]
    fn arrays_and_maps_have_the_smallest_form_wherever_they_stand() {
        assert_eq!(value(" [ ] "), b"\x90");
        assert_eq!(value("{ }"), b"\x80");
        assert_eq!(value("[null, true ,false,[1]]"), b"\x94\xc0\xc3\xc2\x91\x01");
        assert_eq!(value("{\"a\" : 1,\"\":{}}"), b"\x82\xa1a\x01\xa0\x80");
        for (count, array, map) in [
            (15, &b"\x9f"[..], &b"\x8f"[..]),
            (16, b"\xdc\x00\x10", b"\xde\x00\x10"),
            (65_535, b"\xdc\xff\xff", b"\xde\xff\xff"),
            (65_536, b"\xdd\x00\x01\x00\x00", b"\xdf\x00\x01\x00\x00"),
        ] {
            let list = format!("[{}]", vec!["7"; count].join(","));
            let object = format!("{{{}}}", vec!["\"k\":7"; count].join(","));
            let list_meant = [array, &b"\x07".repeat(count)].concat();
            let object_meant = [map, &b"\xa1k\x07".repeat(count)].concat();
            assert_eq!(value(&list), list_meant);
            assert_eq!(value(&object), object_meant);
            let nested = format!("[1,{list},{{\"a\":{object},\"b\":[{list}]}},2]");
            let parts = [
                &b"\x94\x01"[..],
                &list_meant,
                b"\x82\xa1a",
                &object_meant,
                b"\xa1b\x91",
                &list_meant,
                b"\x02",
            ];
            assert_eq!(value(&nested), parts.concat());
        }
        let sixteen = |inside: &str| format!("[{inside}{}]", ",0".repeat(15));
        let meant = |inside: &[u8]| [&b"\xdc\x00\x10"[..], inside, &[0; 15]].concat();
        assert_eq!(value(&sixteen(&sixteen(&sixteen("1")))), meant(&meant(&meant(b"\x01"))));
    }

    fn place(num: &str) -> String {
        format!("{{\"_placeholder\":true,\"num\":{num}}}")
    }

    // protocol.md §14.3
    #[test]
    fn a_placeholder_becomes_the_attachment_that_it_names() {
        let attachments = ["a", "", "cc"].map(Bytes::from);
        let bin = |json: &str| convert(json, &attachments).unwrap();
        assert_eq!(bin(&place("0")), b"\xc4\x01a");
        assert_eq!(bin(&place("1")), b"\xc4\x00");
        let list = format!("[{},{{\"k\":{}}},{}]", place("2"), place("0"), place("2"));
        assert_eq!(bin(&list), b"\x93\xc4\x02cc\x81\xa1k\xc4\x01a\xc4\x02cc");
        for json in [
            "{\"num\" : 0 , \"_placeholder\" : true }",
            "{\"x\":[1,{}],\"num\":9,\"num\":0,\"_placeholder\":false,\"_placeholder\":true}",
            "{\"\\u005fplaceholder\":true,\"n\\u0075m\":0}",
        ] {
            assert_eq!(bin(json), b"\xc4\x01a", "{json}");
        }
        let many = format!("{{\"x\":[1{}],\"num\":0,\"_placeholder\":true}}", ",1".repeat(20));
        let after = format!("[{many},[1{}]]", ",1".repeat(15));
        let meant = [&b"\x92\xc4\x01a\xdc\x00\x10"[..], &[1; 16]].concat();
        assert_eq!(bin(&after), meant, "what was in a placeholder is forgotten");
    }

    #[test]
    fn what_names_no_attachment_is_ordinary_data() {
        let attachments = [Bytes::from_static(b"a")];
        for number in ["1", "-1", "-0", "0.0", "\"0\"", "null", "[0]", "18446744073709551616"] {
            let json = place(number);
            let found = convert(&json, &attachments).unwrap();
            assert_eq!(found, value(&json), "{json}");
            assert!(found.starts_with(b"\x82\xac_placeholder\xc3\xa3num"));
        }
        assert_eq!(value(&place("0")), b"\x82\xac_placeholder\xc3\xa3num\x00");
    }

    #[test]
    fn attachments_have_the_smallest_form() {
        for (length, head) in [
            (255, &b"\xc4\xff"[..]),
            (256, b"\xc5\x01\x00"),
            (65_535, b"\xc5\xff\xff"),
            (65_536, b"\xc6\x00\x01\x00\x00"),
        ] {
            let attachment = Bytes::from(vec![b'x'; length]);
            let found = convert(&place("0"), std::slice::from_ref(&attachment)).unwrap();
            assert_eq!(found, [head, &attachment].concat());
        }
    }

    // security.md §0.3: a text of some kilobytes must not become gigabytes.
    #[test]
    fn an_attachment_can_be_repeated_a_little_but_not_without_end() {
        let attachments = [Bytes::from(vec![0; REPEATED_BYTES_MAX / 4])];
        let times = |count| format!("[{}]", vec![place("0"); count].join(","));
        assert!(convert(&times(5), &attachments).is_ok());
        assert_eq!(convert(&times(6), &attachments), Err(EncodeError::TooLarge));
        let mut nested = place("0");
        for _ in 0..5 {
            nested = format!("{{\"x\":{nested},\"_placeholder\":true,\"num\":0}}");
        }
        assert_eq!(convert(&nested, &attachments), Err(EncodeError::TooLarge));
    }

    #[test]
    fn what_is_too_deep_to_be_received_is_not_sent() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(value(&nested(128)).len(), 128);
        assert_eq!(convert(&nested(129), &[]), Err(EncodeError::Depth));
        assert_eq!(convert(&nested(1_000_000), &[]), Err(EncodeError::Depth));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for json in [
            "",
            " ",
            "[",
            "[1",
            "[1,",
            "[,]",
            "[1 2]",
            "[1}",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{a:1}",
            "{1:2}",
            "\"",
            "\"\\",
            "\"\\\"",
            "-",
            "1-1",
            "nul",
            "tru",
            "fals",
            "x",
            "1 1",
            "[]]",
            "undefined",
        ] {
            assert_eq!(convert(json, &[]), Err(EncodeError::Malformed), "{json}");
        }
    }
}
