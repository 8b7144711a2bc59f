//! JSONP: long-polling of pages that may load scripts and nothing else (`protocol.md` §13.6).
//!
//! A poll is answered with a script that calls a function of the page with the payload; packets are
//! posted as a form. Both carry the payloads of whichever revision of Engine.IO the session speaks,
//! always as text.

use std::io;
use std::num::NonZeroU8;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::engine::ParseError;
use super::http::Query;

/// Most digits of a [`Callback`]. A page counts its connections with it, from 0.
const DIGITS_MAX: usize = 5;

/// The function that a page wants to be called: its place in the array `___eio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback {
    digits: [u8; DIGITS_MAX],
    /// One more than there are digits: never zero, so that no callback takes no byte.
    end: NonZeroU8,
}

impl Callback {
    /// The callback of a query parameter `j`: its digits, however many other characters are between
    /// them, as they are. `None` when there are more than 5.
    pub fn of(j: &str) -> Option<Callback> {
        let mut callback = Callback { digits: [0; DIGITS_MAX], end: NonZeroU8::MIN };
        for digit in j.bytes().filter(u8::is_ascii_digit) {
            let count = callback.count();
            *callback.digits.get_mut(count)? = digit;
            callback.end = callback.end.checked_add(1)?;
        }
        Some(callback)
    }

    fn count(&self) -> usize {
        usize::from(self.end.get()) - 1
    }

    /// Its digits.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..self.count()]
    }
}

/// Appends the body of an answer: a script that calls `callback` with `payload`. The payload is
/// UTF-8; what is not becomes U+FFFD.
pub fn write_script(out: &mut Vec<u8>, callback: &Callback, payload: &[u8]) {
    out.extend_from_slice(b"___eio[");
    out.extend_from_slice(callback.digits());
    out.extend_from_slice(b"](");
    let text = String::from_utf8_lossy(payload);
    let written = text.serialize(&mut Serializer::with_formatter(&mut *out, Literal));
    debug_assert!(written.is_ok(), "a string has a JSON form, and a vector takes every byte");
    out.extend_from_slice(b");");
}

/// Writes strings of JSON that are literals of JavaScript, too: there, before 2019, two separators
/// ended a line.
struct Literal;

impl Formatter for Literal {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        for piece in fragment.split_inclusive(['\u{2028}', '\u{2029}']) {
            let (text, escape) =
                match (piece.strip_suffix('\u{2028}'), piece.strip_suffix('\u{2029}')) {
                    (Some(text), _) => (text, "\\u2028"),
                    (_, Some(text)) => (text, "\\u2029"),
                    (None, None) => (piece, ""),
                };
            writer.write_all(text.as_bytes())?;
            writer.write_all(escape.as_bytes())?;
        }
        Ok(())
    }
}

/// Reads the payload that a form carries in its field `d`, the last one of that name. `None` for a
/// form without it, which is taken and does nothing.
///
/// The time it takes is in proportion to the body, and the payload is no longer than the body.
///
/// # Errors
/// The peer sent a body that is not UTF-8.
pub fn read_form(body: &[u8]) -> Result<Option<String>, ParseError> {
    let body = simdutf8::basic::from_utf8(body).map_err(|_| ParseError)?;
    let field = Query::of_parameters(body).value("d");
    Ok(field.map(|text| read_line_feeds(&text)))
}

/// Undoes what clients do to line feeds, which some browsers would change in a form: they write a
/// line feed as a backslash and an `n`, and put one more backslash before those that are there.
fn read_line_feeds(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, run) = rest.split_at(start);
        let behind = run.trim_start_matches('\\');
        let backslashes = &run[..run.len() - behind.len()];
        read.push_str(before);
        rest = match (backslashes, behind.strip_prefix('n')) {
            ("\\", Some(behind)) => {
                read.push('\n');
                behind
            }
            (_, Some(_)) => {
                read.push_str(&backslashes[1..]);
                behind
            }
            (_, None) => {
                read.push_str(backslashes);
                behind
            }
        };
    }
    read.push_str(rest);
    read
}

/// The door for fuzzing: reads `bytes` as a form, and writes them as a payload whose script holds
/// that payload and nothing that would end a line.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    if let Ok(Some(payload)) = read_form(bytes) {
        assert!(payload.len() <= bytes.len(), "nothing grows");
    }
    let text = String::from_utf8_lossy(bytes);
    let Some(callback) = Callback::of(&text) else { return };
    assert!(callback.digits().iter().all(u8::is_ascii_digit));
    let mut script = Vec::new();
    write_script(&mut script, &callback, bytes);
    let head = [b"___eio[", callback.digits(), b"]("].concat();
    let literal = script.strip_prefix(&*head).and_then(|rest| rest.strip_suffix(b");"));
    let payload: Option<String> = literal.and_then(|json| serde_json::from_slice(json).ok());
    assert_eq!(payload.as_deref(), Some(&*text));
    let script = String::from_utf8_lossy(&script);
    let ends_line = |character| matches!(character, '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}');
    assert!(!script.contains(ends_line), "it is one line");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn script(j: &str, payload: &str) -> String {
        let mut out = Vec::new();
        write_script(&mut out, &Callback::of(j).unwrap(), payload.as_bytes());
        String::from_utf8(out).unwrap()
    }

    fn form(body: &str) -> Option<String> {
        read_form(body.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_is_a_call_with_the_payload() {
        assert_eq!(script("0", "2:40"), "___eio[0](\"2:40\");");
        assert_eq!(script("12", "6:b4BwcH"), "___eio[12](\"6:b4BwcH\");");
        assert_eq!(script("", ""), "___eio[](\"\");");
    }

    // security.md §1.2, "JSONP XSS"
    #[test]
    fn nothing_of_a_callback_but_its_digits_is_sent_back() {
        for (j, digits) in [
            ("0);alert(1)//", "01"),
            ("</script>7", "7"),
            ("1.5e3", "153"),
            ("-1", "1"),
            ("007", "007"),
            ("\u{661}2", "2"),
            ("99999", "99999"),
        ] {
            assert_eq!(Callback::of(j).unwrap().digits(), digits.as_bytes(), "{j}");
        }
        assert_eq!(Callback::of("123456"), None);
        assert_eq!(Callback::of(&"1".repeat(10_000)), None);
        assert_eq!(size_of::<Option<Callback>>(), 6, "a session that polls has room for it");
    }

    #[test]
    fn a_payload_is_a_literal_that_cannot_be_left() {
        for (payload, literal) in [
            ("a\"b\\c", r#"a\"b\\c"#),
            ("\n\r\t\u{8}\u{c}\0\u{1f}", r"\n\r\t\b\f\u0000\u001f"),
            ("4a\u{1e}4b", r"4a\u001e4b"),
            ("\u{2028}", r"\u2028"),
            ("a\u{2029}b\u{2028}\u{2028}c", r"a\u2029b\u2028\u2028c"),
            ("\u{2027}\u{202a}\u{20ac}\u{1f600}", "\u{2027}\u{202a}\u{20ac}\u{1f600}"),
            ("</script>", "</script>"),
        ] {
            assert_eq!(script("0", payload), format!("___eio[0](\"{literal}\");"));
        }
        let mut out = Vec::new();
        write_script(&mut out, &Callback::of("0").unwrap(), b"a\xffb");
        assert_eq!(out, "___eio[0](\"a\u{fffd}b\");".as_bytes());
    }

    #[test]
    fn the_payload_of_a_form_is_its_field_d() {
        for (body, payload) in [
            ("d=2%3A40", Some("2:40")),
            ("d=2:40", Some("2:40")),
            ("a=1&d=3%3A4%F0%9F%98%80&b=2", Some("3:4\u{1f600}")),
            ("d=a+b%2B", Some("a b+")),
            ("d=", Some("")),
            ("d", Some("")),
            ("d=1&d=2", Some("2")),
            ("%64=1", Some("1")),
            ("d=%ff", Some("\u{fffd}")),
            ("", None),
            ("2:40", None),
            ("D=2:40", None),
            ("dd=1&x=d", None),
            ("__proto__=1", None),
        ] {
            assert_eq!(form(body).as_deref(), payload, "{body}");
        }
        assert_eq!(read_form(b"d=\xff"), Err(ParseError));
    }

    #[test]
    fn line_feeds_are_written_with_a_backslash_and_backslashes_with_two() {
        for (sent, read) in [
            (r"a\nb", "a\nb"),
            (r"a\\nb", r"a\nb"),
            (r"a\\\nb", r"a\\nb"),
            (r"a\\\\nb", r"a\\\nb"),
            (r"\n\n", "\n\n"),
            (r"\n\\n\n", "\n\\n\n"),
            (r"\t\\t\", r"\t\\t\"),
            (r"n\", r"n\"),
            (r"\\", r"\\"),
            (r"\én\n", "\\\u{e9}n\n"),
            ("a\nb", "a\nb"),
        ] {
            let body: String = sent.bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(form(&format!("d={body}")).as_deref(), Some(read), "{sent}");
        }
    }

    /// What the reference client does to a payload before it puts it in a form.
    fn escaped(payload: &str) -> String {
        payload.replace("\\n", "\\\n").replace('\n', "\\n")
    }

    proptest! {
        #[test]
        fn what_the_client_posts_is_what_is_read(
            payload in "([\\\\n]{0,4}[a-z\n\u{1f600}&=%+ ]){0,12}",
        ) {
            // The client itself cannot tell the two apart.
            prop_assume!(!payload.contains("\\\n"));
            let body: String =
                escaped(&payload).bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(form(&format!("j=1&d={body}")), Some(payload));
        }

        #[test]
        fn a_script_holds_its_payload(
            text: String,
            j in "[a-z();]{0,4}[0-9]{0,3}[a-z();]{0,4}[0-9]{0,2}",
        ) {
            exercise(text.as_bytes());
            let script = script(&j, &text);
            let call = format!("___eio[{}](", j.replace(|c: char| !c.is_ascii_digit(), ""));
            let literal = script.strip_prefix(&call).unwrap().strip_suffix(");").unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(literal).unwrap(), text);
        }

        #[test]
        fn no_form_breaks_the_reader(bytes: Vec<u8>) {
            exercise(&bytes);
        }

        #[test]
        fn no_text_of_a_form_breaks_the_reader(
            text in "(d=|&|%5[cC]|\\\\|n|%[a-f0-9]{0,2}|[\u{2028}\u{2029}é\"<]){0,16}",
        ) {
            exercise(text.as_bytes());
        }
    }
}
