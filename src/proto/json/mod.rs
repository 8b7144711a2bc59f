//! JSON as events carry it: checked and cut without being parsed, and parsed only into the types
//! that a handler asks for.
//!
//! ```text
//! payload ─▶ scan_event ─▶ args (a slice) ─▶ relayed as they are, or from_args::<T>
//! T: Serialize ─▶ Arguments::write ─▶ args and attachments
//! ```
//!
//! *Arguments* are the text between the brackets of an event or acknowledgement, without the event
//! name: `"a",1`. Binary values stand beside them as attachments, each named by a placeholder
//! `{"_placeholder":true,"num":0}` (`protocol.md` §14.3).

mod decode;
mod encode;
mod placeholder;
mod scan;

use std::borrow::Cow;
use std::fmt;
use std::iter::Peekable;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::base::limits::JSON_DEPTH_MAX;

pub use decode::from_args;
pub use encode::Arguments;
pub(in crate::proto) use encode::write_number;
pub(in crate::proto) use scan::integer;
pub use scan::{EventParts, JsonError, Kind, NameKind, exercise, scan, scan_array, scan_event};

/// Why arguments could not be read or written.
#[derive(Debug)]
pub enum ArgsError {
    /// The peer's arguments are not what the handler asks for.
    Mismatch(serde_json::Error),
    /// The application's value has no form in JSON, or its own `Serialize` refused.
    Unserializable(serde_json::Error),
    /// The application writes raw arguments behind other binary values: their placeholders, which
    /// count from 0, would name the wrong attachments.
    RawBehindBinary,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgsError::Mismatch(error) => {
                write!(formatter, "the peer's arguments are not what was asked for: {error}")
            }
            ArgsError::Unserializable(error) => {
                write!(formatter, "the application's arguments have no JSON form: {error}")
            }
            ArgsError::RawBehindBinary => formatter
                .write_str("the application writes raw binary arguments behind binary values"),
        }
    }
}

impl std::error::Error for ArgsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ArgsError::Mismatch(error) | ArgsError::Unserializable(error) => Some(error),
            ArgsError::RawBehindBinary => None,
        }
    }
}

/// Arguments as they came in: JSON text that nobody has parsed, and attachments.
///
/// As [`Arguments`] they are copied byte for byte, so that what a handler relays costs no parsing
/// and keeps its numbers, escapes and order of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    args: Bytes,
    attachments: Vec<Bytes>,
}

impl Raw {
    /// Arguments from their text, `"a",1` or nothing, and the attachments that its placeholders
    /// name. Without attachments a placeholder is ordinary data.
    ///
    /// # Errors
    /// The caller's text is no list of JSON values, is nested too deeply to be sent, or names an
    /// attachment that is not there.
    pub fn new(args: impl Into<Bytes>, attachments: Vec<Bytes>) -> Result<Raw, JsonError> {
        let args = args.into();
        let list = [b"[", &args[..], b"]"].concat();
        let count = (!attachments.is_empty()).then_some(attachments.len());
        scan_array(&list, JSON_DEPTH_MAX, count)?;
        Ok(Raw::scanned(args, attachments))
    }

    /// Arguments that a scanner of this module has cut from a packet.
    pub(crate) fn scanned(args: Bytes, attachments: Vec<Bytes>) -> Raw {
        Raw { args, attachments }
    }

    /// The text of the arguments, without brackets.
    pub fn args(&self) -> &[u8] {
        &self.args
    }

    /// The binary values, in the order in which placeholders count them.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Reads the arguments as a value: see [`from_args`].
    ///
    /// # Errors
    /// The peer's arguments are not what `T` asks for.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArgsError> {
        from_args(&self.args, &self.attachments)
    }

    /// Reads the first argument as a value, and gives the others as they are: for an event whose
    /// first argument says where the rest of it goes. `None` when the first one is no `T`.
    ///
    /// ```
    /// let raw = fanfare::Raw::new(r#""lobby",{"text":"hi"},3"#, Vec::new()).unwrap();
    /// let (room, rest) = raw.split_first::<String>().unwrap();
    /// assert_eq!(room, "lobby");
    /// assert_eq!(rest.args(), br#"{"text":"hi"},3"#);
    /// ```
    pub fn split_first<T: DeserializeOwned>(&self) -> Option<(T, Raw)> {
        let mut values = serde_json::Deserializer::from_slice(&self.args).into_iter::<&RawValue>();
        values.next()?.ok()?;
        let end = values.byte_offset();
        let first = from_args(&self.args[..end], &self.attachments).ok()?;
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let comma = self.args[end..].iter().position(|byte| !is_space(byte));
        let rest = match comma {
            Some(comma) => self.args.slice(end + comma + 1..),
            None => Bytes::new(),
        };
        Some((first, Raw::scanned(rest, self.attachments.clone())))
    }

    /// The same arguments behind another one: what [`split_first`](Raw::split_first) takes apart.
    ///
    /// ```
    /// let raw = fanfare::Raw::new("1,2", Vec::new()).unwrap();
    /// assert_eq!(raw.with_first("sum").unwrap().args(), br#""sum",1,2"#);
    /// ```
    ///
    /// # Errors
    /// The caller's value cannot be expressed in JSON, or has binary values, which would take the
    /// numbers of those that are there.
    pub fn with_first(&self, value: &(impl Serialize + ?Sized)) -> Result<Raw, ArgsError> {
        let (mut text, mut attachments) = (Vec::new(), Vec::new());
        // A tuple of one is one argument, whatever it is.
        (value,).write(&mut text, &mut attachments)?;
        if !attachments.is_empty() {
            return Err(ArgsError::RawBehindBinary);
        }
        // Every argument is written with a comma in front of it.
        let mut args = text.split_off(1);
        if !self.args.is_empty() {
            args.push(b',');
            args.extend_from_slice(&self.args);
        }
        Ok(Raw::scanned(args.into(), self.attachments.clone()))
    }
}

/// Something that a list of arguments can be read as: everything that serde deserializes, as
/// [`from_args`] says, and [`Raw`], which is the list itself.
pub trait FromArguments: Sized {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The peer's arguments are something else.
    fn from_arguments(raw: Raw) -> Result<Self, ArgsError>;
}

impl<T: DeserializeOwned> FromArguments for T {
    fn from_arguments(raw: Raw) -> Result<T, ArgsError> {
        raw.decode()
    }
}

impl FromArguments for Raw {
    fn from_arguments(raw: Raw) -> Result<Raw, ArgsError> {
        Ok(raw)
    }
}

/// Appends a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a string has a JSON form, and a vector takes every byte");
}

/// Appends a whole number.
pub fn write_integer(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold u64::MAX.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The text that the inside of a JSON string token stands for. A surrogate without its other half,
/// which JavaScript can hold but UTF-8 cannot, becomes U+FFFD, and so does an escape that is none.
pub fn unescape(token: &str) -> Cow<'_, str> {
    if !token.contains('\\') {
        return Cow::Borrowed(token);
    }
    let mut text = String::with_capacity(token.len());
    let mut characters = token.chars().peekable();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => unescape_one(&mut characters),
            other => other,
        });
    }
    Cow::Owned(text)
}

fn unescape_one(characters: &mut Peekable<std::str::Chars<'_>>) -> char {
    match characters.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => unescape_unit(characters),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    }
}

/// Reads the digits of `\uXXXX`, and of a second one where both are the halves of a character.
fn unescape_unit(characters: &mut Peekable<std::str::Chars<'_>>) -> char {
    let first = hexadecimal(characters);
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    // The half that follows is taken only if it is one: what else there is speaks for itself.
    let mut ahead = characters.clone();
    if (ahead.next(), ahead.next()) == (Some('\\'), Some('u')) {
        let second = hexadecimal(&mut ahead);
        if (0xdc00..0xe000).contains(&second) {
            *characters = ahead;
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    char::REPLACEMENT_CHARACTER
}

fn hexadecimal(characters: &mut Peekable<std::str::Chars<'_>>) -> u32 {
    let mut value = 0;
    for _ in 0..4 {
        let digit = characters.next_if(char::is_ascii_hexdigit);
        value = value << 4 | digit.and_then(|digit| digit.to_digit(16)).unwrap_or(0);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_string_is_written_with_the_escapes_that_json_wants() {
        let mut out = Vec::new();
        write_string(&mut out, "a\"\\\n\0é\u{1f600}");
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0000é\u{1f600}\"".as_bytes());
    }

    #[test]
    fn a_surrogate_without_its_other_half_is_replaced() {
        for (token, text) in [
            ("a", "a"),
            ("\\u0061\\n\\/\\\"\\\\\\b\\f\\r\\t", "a\n/\"\\\u{8}\u{c}\r\t"),
            ("\\ud83d\\ude00", "\u{1f600}"),
            ("\\uD83D\\uDE00x", "\u{1f600}x"),
            ("\\ud800", "\u{fffd}"),
            ("\\udc00x", "\u{fffd}x"),
            ("\\ud800\\n", "\u{fffd}\n"),
            ("\\ud800\\u0061", "\u{fffd}a"),
            ("\\ud800\\ud83d\\ude00", "\u{fffd}\u{1f600}"),
        ] {
            assert_eq!(unescape(token), text, "{token}");
        }
    }

    #[test]
    fn raw_arguments_of_the_application_are_checked() {
        let placeholder = "\"a\",{\"_placeholder\":true,\"num\":0}";
        for text in ["", "1", "\"a\",[2]", placeholder] {
            assert_eq!(Raw::new(text, vec![]).unwrap().args(), text.as_bytes());
        }
        for text in [",1", "1,", "1]", "[", "1],[2", "a"] {
            assert!(Raw::new(text, vec![]).is_err(), "{text}");
        }
        let attachments = vec![Bytes::from_static(b"b")];
        assert!(Raw::new(placeholder, attachments.clone()).is_ok());
        let beyond = placeholder.replace('0', "1");
        assert_eq!(Raw::new(beyond, attachments), Err(JsonError::Placeholder));
    }

    #[test]
    fn raw_arguments_are_passed_on_byte_for_byte() {
        let text = "1.0 , \"\\ud800\\u0061\", {\"b\":1,\"a\":1e400,\"b\":\
                    {\"_placeholder\":true,\"num\":0}}";
        let attachments = vec![Bytes::from_static(b"x")];
        let raw = Raw::new(text, attachments.clone()).unwrap();
        let (mut out, mut kept) = (b"[\"e\"".to_vec(), Vec::new());
        Arguments::write(&&raw, &mut out, &mut kept).unwrap();
        assert_eq!(out, format!("[\"e\",{text}").as_bytes());
        assert_eq!(kept, attachments);
        let again = raw.write(&mut out, &mut kept);
        assert!(matches!(again, Err(ArgsError::RawBehindBinary)));
        assert_eq!((out.len(), kept.len()), (text.len() + 5, 1));
        let mut nothing = Vec::new();
        Raw::default().write(&mut nothing, &mut Vec::new()).unwrap();
        assert!(nothing.is_empty());
    }

    proptest! {
        #[test]
        fn reading_a_written_string_gives_the_string(text: String) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let token = std::str::from_utf8(&out[1..out.len() - 1]).unwrap();
            prop_assert_eq!(unescape(token), &*text);
        }

        #[test]
        fn an_integer_is_written_in_decimal(value: u64) {
            let mut out = Vec::new();
            write_integer(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn no_token_breaks_unescaping(token in "(\\\\|u|d8|[0-9a-fé]{1,4}|.){0,12}") {
            let _ = unescape(&token);
        }
    }
}
