//! The scanner: checks JSON against its grammar (RFC 8259, as `JSON.parse` reads it) and cuts it,
//! without recursion and without allocation, in one pass.
//!
//! It takes what `JSON.parse` takes: escaped lone surrogates, numbers of any size, repeated keys.
//! Bytes from 0x80 on are passed inside strings as they are: that the text is UTF-8 is for the
//! transport to check, once for all.

use std::fmt;

use super::placeholder::{Observer, Placeholders, Unseen};
use crate::base::limits::JSON_DEPTH_MAX;

const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS as usize, "one bit of a u128 is one level");

/// What kind of value a JSON text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// Digits.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// The peer sent JSON that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text breaks the grammar at this byte.
    Syntax {
        /// Bytes before the fault.
        offset: usize,
    },
    /// Values are nested more deeply than the limit.
    Depth,
    /// A placeholder names no attachment of its packet.
    Placeholder,
    /// The value is well-formed and of the wrong kind.
    Kind,
}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax { offset } => {
                write!(formatter, "the peer's JSON breaks its grammar at byte {offset}")
            }
            JsonError::Depth => formatter.write_str("the peer's JSON is nested too deeply"),
            JsonError::Placeholder => {
                formatter.write_str("the peer's placeholder names no attachment of its packet")
            }
            JsonError::Kind => formatter.write_str("the peer's JSON is not of the right kind"),
        }
    }
}

impl std::error::Error for JsonError {}

/// What the name of an event is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A string.
    String,
    /// A number, which the reference takes for its text.
    Number,
}

/// The payload of an event, cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventParts<'a> {
    /// The name as it was sent: the inside of a string, escapes included, or a number.
    pub name: &'a [u8],
    /// What the name is.
    pub name_kind: NameKind,
    /// The arguments: what stands behind the first comma, without the bracket and outer spaces.
    pub args: &'a [u8],
}

/// Checks that `bytes` are exactly one JSON value, nested at most `depth_max` (and at most
/// [`JSON_DEPTH_MAX`]) deep, and tells which kind it is.
///
/// # Errors
/// The peer's text breaks the grammar, has something behind the value, or is too deep.
pub fn scan(bytes: &[u8], depth_max: usize) -> Result<Kind, JsonError> {
    let mut scanner = Scanner::new(bytes, depth_max);
    let kind = scanner.value(&mut Unseen)?;
    scanner.end()?;
    Ok(kind)
}

/// Checks one JSON array and gives what is between its brackets, without outer spaces. With
/// `attachments`, the count that a binary packet declares, every placeholder must name one.
///
/// # Errors
/// As [`scan`]; and the value is no array, or a placeholder names no attachment.
pub fn scan_array(
    bytes: &[u8],
    depth_max: usize,
    attachments: Option<usize>,
) -> Result<&[u8], JsonError> {
    let mut scanner = Scanner::new(bytes, depth_max);
    scanner.enter_array()?;
    if scanner.skip_space() == Some(b']') {
        scanner.position += 1;
        scanner.end()?;
        return Ok(b"");
    }
    scanner.elements(attachments)
}

/// Checks the payload of an event, an array that begins with a string or a number, and cuts it.
/// With `attachments`, the count that a binary packet declares, every placeholder must name one.
///
/// # Errors
/// As [`scan_array`]; and the first element is missing, or neither string nor number.
pub fn scan_event(
    bytes: &[u8],
    depth_max: usize,
    attachments: Option<usize>,
) -> Result<EventParts<'_>, JsonError> {
    let mut scanner = Scanner::new(bytes, depth_max);
    scanner.enter_array()?;
    let first = scanner.skip_space();
    let start = scanner.position;
    let (name, name_kind) = match first {
        Some(b'"') => {
            scanner.string()?;
            (&bytes[start + 1..scanner.position - 1], NameKind::String)
        }
        Some(b'-' | b'0'..=b'9') => {
            scanner.number()?;
            (&bytes[start..scanner.position], NameKind::Number)
        }
        Some(_) => return Err(JsonError::Kind),
        None => return Err(scanner.syntax()),
    };
    let args = match scanner.skip_space() {
        Some(b',') => {
            scanner.position += 1;
            scanner.elements(attachments)?
        }
        Some(b']') => {
            scanner.position += 1;
            scanner.end()?;
            b""
        }
        _ => return Err(scanner.syntax()),
    };
    Ok(EventParts { name, name_kind, args })
}

/// Cuts the first of `args`, which were scanned before, and gives it and the ones behind it.
/// `None` when there are no arguments.
pub(super) fn cut(args: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut scanner = Scanner::new(args, JSON_DEPTH_MAX);
    scanner.value(&mut Unseen).ok()?;
    let element = &args[..scanner.position];
    let rest = &args[scanner.position..];
    Some((element, memchr::memchr(b',', rest).map_or(b"", |comma| &rest[comma + 1..])))
}

/// Reads a run of digits as an integer of at most `maximum`, in a time that does not depend on how
/// much larger it is. No digits are 0.
pub(in crate::proto) fn integer(digits: &[u8], maximum: u64) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, digit| {
        let unit = digit.checked_sub(b'0').filter(|unit| *unit < 10)?;
        let value = value.checked_mul(10)?.checked_add(u64::from(unit))?;
        (value <= maximum).then_some(value)
    })
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    depth: usize,
    depth_max: usize,
    /// One bit a level, the innermost last: whether it is an object.
    objects: u128,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8], depth_max: usize) -> Scanner<'a> {
        let depth_max = depth_max.min(JSON_DEPTH_MAX);
        Scanner { bytes, position: 0, depth: 0, depth_max, objects: 0 }
    }

    /// Scans one value, and in it as many as there are, or goes on until the arrays and objects
    /// that were entered before have ended. Tells the kind of the first value.
    fn value(&mut self, observer: &mut impl Observer) -> Result<Kind, JsonError> {
        let mut first = None;
        loop {
            let byte = self.skip_space();
            let start = self.position;
            let kind = self.begin(byte)?;
            first.get_or_insert(kind);
            let opened = match kind {
                Kind::Object => {
                    observer.enter(self.depth);
                    let empty = self.skip_space() == Some(b'}');
                    if !empty {
                        self.key(observer)?;
                    }
                    !empty
                }
                Kind::Array => self.skip_space() != Some(b']'),
                _ => {
                    if self.in_object() {
                        observer.scalar(self.depth, &self.bytes[start..self.position]);
                    }
                    false
                }
            };
            if !opened && !self.close(observer)? {
                // `first` was set above, in the first round at the latest.
                return Ok(first.unwrap_or(kind));
            }
        }
    }

    /// Behind a value: leaves what ends here and goes to the next value. Tells whether there is
    /// one; if not, everything that was entered has ended.
    fn close(&mut self, observer: &mut impl Observer) -> Result<bool, JsonError> {
        while self.depth > 0 {
            match (self.skip_space(), self.in_object()) {
                (Some(b','), true) => {
                    self.position += 1;
                    self.key(observer)?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.position += 1;
                    return Ok(true);
                }
                (Some(b'}'), true) => {
                    observer.leave(self.depth)?;
                    self.leave();
                }
                (Some(b']'), false) => self.leave(),
                _ => return Err(self.syntax()),
            }
        }
        Ok(false)
    }

    /// Scans a scalar, or enters an object or an array.
    fn begin(&mut self, byte: Option<u8>) -> Result<Kind, JsonError> {
        match byte {
            Some(b'"') => self.string().map(|()| Kind::String),
            Some(b'{') => self.enter(true).map(|()| Kind::Object),
            Some(b'[') => self.enter(false).map(|()| Kind::Array),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Kind::Number),
            Some(b't') => self.literal(b"true").map(|()| Kind::Bool),
            Some(b'f') => self.literal(b"false").map(|()| Kind::Bool),
            Some(b'n') => self.literal(b"null").map(|()| Kind::Null),
            _ => Err(self.syntax()),
        }
    }

    /// Scans the values up to the end of an array that was entered, which must end the text, and
    /// gives their text.
    fn elements(&mut self, attachments: Option<usize>) -> Result<&'a [u8], JsonError> {
        self.skip_space();
        let start = self.position;
        match attachments {
            Some(count) => self.value(&mut Placeholders::new(count))?,
            None => self.value(&mut Unseen)?,
        };
        let inside = &self.bytes[start..self.position - 1];
        self.end()?;
        Ok(inside.trim_ascii_end())
    }

    fn enter_array(&mut self) -> Result<(), JsonError> {
        match self.skip_space() {
            Some(b'[') => self.enter(false),
            Some(b'{' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Err(JsonError::Kind),
            _ => Err(self.syntax()),
        }
    }

    fn enter(&mut self, object: bool) -> Result<(), JsonError> {
        if self.depth == self.depth_max {
            return Err(JsonError::Depth);
        }
        self.position += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        Ok(())
    }

    fn leave(&mut self) {
        self.position += 1;
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Scans the key of a member and its colon.
    fn key(&mut self, observer: &mut impl Observer) -> Result<(), JsonError> {
        if self.skip_space() != Some(b'"') {
            return Err(self.syntax());
        }
        let start = self.position + 1;
        self.string()?;
        observer.key(self.depth, &self.bytes[start..self.position - 1]);
        if self.skip_space() != Some(b':') {
            return Err(self.syntax());
        }
        self.position += 1;
        Ok(())
    }

    /// Scans a string whose quote is the next byte.
    fn string(&mut self) -> Result<(), JsonError> {
        self.position += 1;
        loop {
            self.position += plain(&self.bytes[self.position..]);
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                // A control character, or the end.
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.position += 1;
        let digits = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            Some(b'u') => 4,
            _ => return Err(self.syntax()),
        };
        self.position += 1;
        for _ in 0..digits {
            if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.syntax());
            }
            self.position += 1;
        }
        Ok(())
    }

    /// Scans a number whose sign or first digit is the next byte.
    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let run = self.bytes[self.position..].iter().take_while(|byte| byte.is_ascii_digit());
        let count = run.count();
        self.position += count;
        if count == 0 { Err(self.syntax()) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.bytes[self.position..].starts_with(word) {
            return Err(self.syntax());
        }
        self.position += word.len();
        Ok(())
    }

    fn end(&mut self) -> Result<(), JsonError> {
        if self.skip_space().is_some() { Err(self.syntax()) } else { Ok(()) }
    }

    /// Goes to the next byte that is no space, and looks at it.
    fn skip_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.position += 1,
                other => return other,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { offset: self.position }
    }
}

/// How many bytes there are before the first quote, backslash or control character. Many at a
/// time, because strings are most of what events carry.
fn plain(bytes: &[u8]) -> usize {
    let mut length = 0;
    if let Some(first) = bytes.first_chunk::<8>() {
        // Names, and most values, end here.
        let special = special(u64::from_le_bytes(*first));
        if special != 0 {
            return special.trailing_zeros() as usize / 8;
        }
        length = 8;
    }
    for block in bytes[length..].as_chunks::<16>().0 {
        // Without a way out of the middle: the compiler makes a few vector instructions of it.
        if block.iter().fold(false, |found, &byte| found | is_special(byte)) {
            break;
        }
        length += 16;
    }
    for chunk in bytes[length..].as_chunks::<8>().0 {
        let special = special(u64::from_le_bytes(*chunk));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let tail = bytes[length..].iter();
    length + tail.take_while(|&&byte| !is_special(byte)).count()
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// A word whose lowest bit that is set is the top bit of the first special byte; 0 without one.
/// A subtraction borrows only from bytes behind a special one, so that the first is always right.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) & (ONES * 0x80)
}

/// The door for fuzzing: within its depth the scanner takes what serde_json would skip, no less and
/// no more, and what it cuts can be cut into its elements.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let kind = scan(bytes, JSON_DEPTH_MAX);
    if kind != Err(JsonError::Depth) {
        let skipped = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
        assert_eq!(kind.is_ok(), skipped.is_ok(), "{kind:?}, {skipped:?}");
    }
    let event = scan_event(bytes, JSON_DEPTH_MAX, Some(2));
    let list = scan_array(bytes, JSON_DEPTH_MAX, Some(2));
    for args in [event.map(|event| event.args), list].into_iter().flatten() {
        assert_eq!(kind, Ok(Kind::Array));
        let mut rest = args;
        while let Some((element, behind)) = cut(rest) {
            assert!(scan(element, JSON_DEPTH_MAX).is_ok() && behind.len() < rest.len());
            rest = behind;
        }
        assert!(rest.is_empty(), "every argument is cut");
        let _ = super::from_args::<serde_json::Value>(args, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEPTH: usize = JSON_DEPTH_MAX;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    fn kind(text: &str) -> Option<Kind> {
        scan(text.as_bytes(), DEPTH).ok()
    }

    #[test]
    fn the_grammar_is_that_of_json_parse() {
        for (text, meant) in [
            (" {} ", Kind::Object),
            ("{\"a\":1,\"a\":[{},[],{\"b\":null}]}", Kind::Object),
            ("\t[ 1 , 2 ]\r\n", Kind::Array),
            ("[]", Kind::Array),
            ("\"\"", Kind::String),
            ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9é\u{2028}\u{7f}\"", Kind::String),
            ("0", Kind::Number),
            ("-0.0e-0", Kind::Number),
            ("12.5E+3", Kind::Number),
            ("1e400", Kind::Number),
            ("true", Kind::Bool),
            ("false", Kind::Bool),
            ("null", Kind::Null),
        ] {
            assert_eq!(kind(text), Some(meant), "{text}");
        }
    }

    #[test]
    fn what_json_parse_refuses_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1}",
            "{]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\0\"",
            "\"\u{1f}\"",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e1",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "Infinity",
            "tru",
            "True",
            "nulll",
            "null x",
            "[]]",
            "[1]junk",
            "'a'",
            "\u{feff}1",
            "\u{a0}1",
            "//\n1",
            "undefined",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    // security.md §4 row 36
    #[test]
    fn what_json_parse_takes_and_rust_has_no_type_for_passes() {
        for text in
            ["\"\\ud800\"", "\"\\udc00\\ud800\"", "1e400", "{\"__proto__\":1,\"\":2,\"\":3}"]
        {
            assert!(kind(text).is_some(), "{text}");
        }
        assert_eq!(scan(&vec![b'9'; 10_000_000], DEPTH), Ok(Kind::Number));
    }

    // security.md §1.1, "relay of deep JSON"
    #[test]
    fn a_depth_of_128_passes_and_129_does_not() {
        assert_eq!(scan(&nested(128), DEPTH), Ok(Kind::Array));
        assert_eq!(scan(&nested(129), DEPTH), Err(JsonError::Depth));
        assert_eq!(scan(&nested(129), 1_000), Err(JsonError::Depth), "128 is what the bits hold");
        assert_eq!(scan(&vec![b'['; 1_000_000], DEPTH), Err(JsonError::Depth));
        assert_eq!(scan(&nested(3), 2), Err(JsonError::Depth));
        let objects = |depth| ["{\"a\":".repeat(depth), "1".into(), "}".repeat(depth)].concat();
        assert_eq!(scan(objects(128).as_bytes(), DEPTH), Ok(Kind::Object));
        assert_eq!(scan(objects(129).as_bytes(), DEPTH), Err(JsonError::Depth));
    }

    #[test]
    fn the_array_around_the_arguments_is_one_level() {
        let event = |depth| [b"[\"a\",", &nested(depth)[..], b"]"].concat();
        for attachments in [None, Some(1)] {
            assert_eq!(scan_event(&event(127), DEPTH, attachments).unwrap().args, nested(127));
            let deep = event(128);
            assert_eq!(scan_event(&deep, DEPTH, attachments), Err(JsonError::Depth));
            assert_eq!(scan_array(&nested(128), DEPTH, attachments).unwrap(), nested(127));
            assert_eq!(scan_array(&nested(129), DEPTH, attachments), Err(JsonError::Depth));
        }
    }

    #[test]
    fn an_event_is_cut_into_its_name_and_the_text_of_its_arguments() {
        let parts = |text: &'static str| {
            let event = scan_event(text.as_bytes(), DEPTH, None).unwrap();
            (std::str::from_utf8(event.name).unwrap(), event.name_kind, event.args)
        };
        let (string, number) = (NameKind::String, NameKind::Number);
        assert_eq!(parts("[\"a\"]"), ("a", string, &b""[..]));
        assert_eq!(parts(" [ \"a\" ] "), ("a", string, &b""[..]));
        assert_eq!(parts("[\"\",1]"), ("", string, &b"1"[..]));
        assert_eq!(
            parts("[ \"a\" , {\"b\": [ ] } , 2 ] "),
            ("a", string, &b"{\"b\": [ ] } , 2"[..])
        );
        assert_eq!(parts("[\"\\u0061\",null]"), ("\\u0061", string, &b"null"[..]));
        assert_eq!(parts("[1,2]"), ("1", number, &b"2"[..]));
        assert_eq!(parts("[-1.5e3]"), ("-1.5e3", number, &b""[..]));
    }

    #[test]
    fn a_payload_of_another_kind_is_told_from_a_broken_one() {
        for text in ["{}", "\"a\"", "1", "null", "true", "[]", "[null]", "[[]]", "[{}]", "[true]"] {
            let refused = scan_event(text.as_bytes(), DEPTH, None);
            assert_eq!(refused, Err(JsonError::Kind), "{text}");
        }
        for (text, offset) in [
            ("", 0),
            ("x", 0),
            ("[", 1),
            ("[\"a", 3),
            ("[\"a\"", 4),
            ("[\"a\",", 5),
            ("[\"a\",]", 5),
            ("[\"a\"]]", 5),
            ("[\"a\"}", 4),
            ("[\"a\",1", 6),
            ("[\"a\",1]x", 7),
            ("[1 2]", 3),
        ] {
            let refused = scan_event(text.as_bytes(), DEPTH, None);
            assert_eq!(refused, Err(JsonError::Syntax { offset }), "{text}");
        }
        assert_eq!(scan_array(b" [ ] ", DEPTH, None), Ok(&b""[..]));
        assert_eq!(scan_array(b"[ null , 1 ]", DEPTH, None), Ok(&b"null , 1"[..]));
        assert_eq!(scan_array(b"{}", DEPTH, None), Err(JsonError::Kind));
        assert_eq!(scan_array(b"[]x", DEPTH, None), Err(JsonError::Syntax { offset: 2 }));
    }

    #[test]
    fn a_special_byte_is_found_at_any_place_among_any_others() {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for place in 0..40 {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    let mut bytes = [filler; 40];
                    assert_eq!(plain(&bytes), 40);
                    bytes[place..].fill(special);
                    assert_eq!(plain(&bytes), place, "{special} among {filler}");
                }
            }
        }
    }

    #[test]
    fn an_integer_is_refused_above_its_maximum_whatever_its_length() {
        assert_eq!(integer(b"", 5), Some(0));
        assert_eq!(integer(b"007", 7), Some(7));
        assert_eq!(integer(b"8", 7), None);
        assert_eq!(integer(b"18446744073709551615", u64::MAX), Some(u64::MAX));
        assert_eq!(integer(b"18446744073709551616", u64::MAX), None);
        for text in ["-1", "+1", "0.5", "1e3", " 1", "1/", "1:"] {
            assert_eq!(integer(text.as_bytes(), u64::MAX), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_judged_as_serde_json_judges_them(bytes: Vec<u8>) {
            exercise(&bytes);
        }

        #[test]
        fn what_looks_like_json_is_judged_as_serde_json_judges_it(
            text in "([\\[\\]{}:, ]|\"[a\\\\u0-9\"\n]{0,6}\"|-?[0-9.eE+-]{1,5}|true|null){0,12}",
        ) {
            exercise(text.as_bytes());
        }

        #[test]
        fn no_change_of_one_byte_makes_a_difference_to_serde_json(
            place: prop::sample::Index, byte: u8,
        ) {
            let text = br#"["a\u00e9",{"_placeholder":true,"num":0},[1.5e3,-0],"\ud83d\ude00"]"#;
            let mut bytes = text.to_vec();
            exercise(&bytes);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            exercise(&bytes);
            bytes.truncate(place);
            exercise(&bytes);
        }
    }
}
