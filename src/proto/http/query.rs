//! The path and the parameters of a request target.

use std::borrow::Cow;
use std::fmt;

/// A request target, cut at its first `?`. Parameters are decoded when they are asked for; a look
/// at all of them takes time in proportion to the length of the target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    path: &'a str,
    parameters: &'a str,
}

impl<'a> Query<'a> {
    /// Cuts a target; there is none that cannot be cut.
    pub fn parse(target: &'a str) -> Query<'a> {
        let (path, parameters) = target.split_once('?').unwrap_or((target, ""));
        Query { path, parameters }
    }

    /// Parameters without a path: a form, or what follows the `?` of something else.
    pub fn of_parameters(parameters: &'a str) -> Query<'a> {
        Query { path: "", parameters }
    }

    /// What stands before the `?`, as sent: percent sequences are not decoded, so that a prefix
    /// test means the same here and in a proxy in front (protocol.md §1).
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The parameters in the order in which they were sent, form-decoded: `+` is a space, `%xx` a
    /// byte. A percent sign without two hexadecimal digits stands for itself, and what is not
    /// UTF-8 becomes U+FFFD. A name may come more than once; its last value counts.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.raw_pairs().map(|(name, value)| (decode(name), decode(value)))
    }

    /// The value of the last parameter of this name (protocol.md §1); empty when it has no `=`.
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        let [value] = self.values([name]);
        value
    }

    /// As [`Query::value`], for several names in one look.
    pub fn values<const COUNT: usize>(
        &self,
        names: [&str; COUNT],
    ) -> [Option<Cow<'a, str>>; COUNT] {
        let mut values = [None; COUNT];
        for (candidate, value) in self.raw_pairs() {
            let candidate = decode(candidate);
            for (name, place) in names.iter().zip(&mut values) {
                if candidate == *name {
                    *place = Some(value);
                }
            }
        }
        values.map(|value| value.map(decode))
    }

    fn raw_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let pairs = self.parameters.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| match memchr::memchr(b'=', pair.as_bytes()) {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (pair, ""),
        })
    }
}

/// Without the parameters: a session id is one of them.
impl fmt::Debug for Query<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Query").field("path", &self.path).finish_non_exhaustive()
    }
}

/// `application/x-www-form-urlencoded`; nothing is allocated for text that stands for itself.
fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            _ => (*first, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    match String::from_utf8(decoded) {
        Ok(decoded) => Cow::Owned(decoded),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(target: &str, name: &str) -> Option<String> {
        Query::parse(target).value(name).map(Cow::into_owned)
    }

    #[test]
    fn a_target_is_cut_at_the_first_question_mark() {
        for (target, path, pairs) in [
            ("/socket.io/?EIO=4", "/socket.io/", 1),
            ("/socket.io/", "/socket.io/", 0),
            ("/a%3Fb?", "/a%3Fb", 0),
            ("/?a=1?b=2", "/", 1),
            ("/?&&a&&b=&=c&", "/", 3),
        ] {
            let query = Query::parse(target);
            assert_eq!(query.path(), path);
            assert_eq!(query.pairs().count(), pairs, "{target}");
        }
        assert_eq!(value("/?a=1?b=2", "a").unwrap(), "1?b=2");
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        assert_eq!(value("/?sid=a&transport=x&sid=b", "sid").unwrap(), "b");
        assert_eq!(value("/?sid=a&s%69d=c", "sid").unwrap(), "c");
        assert_eq!(value("/?sid=a&sid", "sid").unwrap(), "");
        assert_eq!(value("/?SID=a", "sid"), None);
    }

    #[test]
    fn names_of_object_properties_are_names() {
        for name in ["__proto__", "constructor", "hasOwnProperty", "toString"] {
            assert_eq!(value("/?transport=polling", name), None);
            assert_eq!(value(&format!("/?{name}=1"), name).unwrap(), "1");
        }
    }

    #[test]
    fn values_are_form_decoded() {
        for (sent, decoded) in [
            ("a+b%20c", "a b c"),
            ("%e2%82%AC", "\u{20ac}"),
            ("%2B%26%3D", "+&="),
            ("%00%0d%0A", "\0\r\n"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%4g%+1", "%zz%4g% 1"),
            ("%%41", "%A"),
            ("%ff%41", "\u{fffd}A"),
            ("%c3", "\u{fffd}"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(value(&format!("/?v={sent}"), "v").unwrap(), decoded);
        }
    }

    #[test]
    fn what_stands_for_itself_is_borrowed() {
        assert!(matches!(Query::parse("/?sid=abc").value("sid"), Some(Cow::Borrowed("abc"))));
    }

    #[test]
    fn a_query_that_is_printed_shows_no_session_id() {
        assert!(!format!("{:?}", Query::parse("/?sid=secret")).contains("secret"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name in "[a-z]{1,8}", text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(value(&format!("/?{name}={encoded}"), &name).unwrap(), text);
        }

        #[test]
        fn no_target_panics(target in any::<String>()) {
            let query = Query::parse(&target);
            for (name, _) in query.pairs() {
                prop_assert!(query.value(&name).is_some());
            }
        }
    }
}
