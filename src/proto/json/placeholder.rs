//! Placeholders of binary packets, checked while a payload is scanned (`protocol.md` §14.3).

use super::scan::{JsonError, integer};
use super::unescape;
use crate::base::limits::JSON_DEPTH_MAX;

/// What is told of the members of objects while they are scanned.
pub(super) trait Observer {
    /// An object begins, `depth` levels deep.
    fn enter(&mut self, depth: usize);
    /// The member that comes next has this key, inside of its quotes.
    fn key(&mut self, depth: usize, key: &[u8]);
    /// The member's value, unless it is an object or an array, which tell by a nested `enter` or
    /// not at all.
    fn scalar(&mut self, depth: usize, token: &[u8]);
    /// The object ends.
    fn leave(&mut self, depth: usize) -> Result<(), JsonError>;
}

/// Nobody looks: the compiler leaves nothing of it.
pub(super) struct Unseen;

impl Observer for Unseen {
    fn enter(&mut self, _: usize) {}
    fn key(&mut self, _: usize, _: &[u8]) {}
    fn scalar(&mut self, _: usize, _: &[u8]) {}
    fn leave(&mut self, _: usize) -> Result<(), JsonError> {
        Ok(())
    }
}

/// Checks that every object with `"_placeholder":true` has a `num` below the count of attachments.
/// Where a key is repeated its last value counts, as in JavaScript.
pub(super) struct Placeholders {
    count: usize,
    levels: [Level; JSON_DEPTH_MAX + 1],
}

#[derive(Clone, Copy, Default)]
struct Level {
    marked: bool,
    numbered: bool,
    member: Member,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Member {
    Marker,
    Number,
    #[default]
    Other,
}

impl Placeholders {
    pub(super) fn new(count: usize) -> Placeholders {
        Placeholders { count, levels: [Level::default(); JSON_DEPTH_MAX + 1] }
    }
}

impl Observer for Placeholders {
    fn enter(&mut self, depth: usize) {
        self.levels[depth] = Level::default();
    }

    fn key(&mut self, depth: usize, key: &[u8]) {
        let level = &mut self.levels[depth];
        level.member = match key {
            b"_placeholder" => Member::Marker,
            b"num" => Member::Number,
            _ if key.contains(&b'\\') => match unescape(&String::from_utf8_lossy(key)) {
                name if name == "_placeholder" => Member::Marker,
                name if name == "num" => Member::Number,
                _ => Member::Other,
            },
            _ => Member::Other,
        };
        // A value that is no scalar is not told: until it is, the member counts as wrong.
        match level.member {
            Member::Marker => level.marked = false,
            Member::Number => level.numbered = false,
            Member::Other => {}
        }
    }

    fn scalar(&mut self, depth: usize, token: &[u8]) {
        let level = &mut self.levels[depth];
        match level.member {
            Member::Marker => level.marked = token == b"true",
            Member::Number => {
                let index = integer(token, u64::MAX).and_then(|index| index.try_into().ok());
                level.numbered = index.is_some_and(|index: usize| index < self.count);
            }
            Member::Other => {}
        }
    }

    fn leave(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.levels[depth] {
            Level { marked: true, numbered: false, .. } => Err(JsonError::Placeholder),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan_array;
    use super::*;

    fn check(text: &str, count: usize) -> Result<(), JsonError> {
        scan_array(text.as_bytes(), JSON_DEPTH_MAX, Some(count)).map(|_| ())
    }

    fn refused(text: &str, count: usize) {
        assert_eq!(check(text, count), Err(JsonError::Placeholder), "{text}");
    }

    // behaviours.md 37.13 and 37.14
    #[test]
    fn cve_2022_2421_a_placeholder_that_names_no_attachment_is_refused() {
        for number in [
            "\"splice\"",
            "\"0\"",
            "-1",
            "-0",
            "1",
            "0.5",
            "0.0",
            "0e0",
            "1e99",
            "null",
            "true",
            "[0]",
            "{}",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            refused(&format!("[{{\"_placeholder\":true,\"num\":{number}}}]"), 1);
            refused(&format!("[{{\"num\":{number},\"_placeholder\":true}}]"), 1);
            refused(&format!("[[1,{{\"a\":{{\"_placeholder\":true,\"num\":{number}}}}}]]"), 1);
        }
        refused("[{\"_placeholder\":true}]", 1);
        refused("[{\"_placeholder\":true,\"Num\":0}]", 1);
        refused("[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":2}]", 2);
    }

    #[test]
    fn an_escaped_key_is_the_key_that_it_stands_for() {
        refused("[{\"\\u005fplaceholder\":true,\"num\":1}]", 1);
        refused("[{\"_placeholder\":true,\"n\\u0075m\":\"splice\"}]", 1);
        assert_eq!(check("[{\"\\u005fplaceholder\":true,\"\\u006eum\":0}]", 1), Ok(()));
        assert_eq!(check("[{\"_\\nplaceholder\":true}]", 1), Ok(()));
    }

    #[test]
    fn of_a_repeated_key_the_last_value_counts() {
        refused("[{\"_placeholder\":false,\"_placeholder\":true,\"num\":9}]", 1);
        refused("[{\"_placeholder\":true,\"num\":0,\"num\":9}]", 1);
        refused("[{\"_placeholder\":true,\"num\":0,\"num\":[]}]", 1);
        assert_eq!(check("[{\"_placeholder\":true,\"num\":9,\"num\":0}]", 1), Ok(()));
        assert_eq!(check("[{\"_placeholder\":true,\"_placeholder\":[true]}]", 1), Ok(()));
    }

    // protocol.md §14.3
    #[test]
    fn placeholders_may_stand_anywhere_in_any_order_and_more_than_once() {
        for text in [
            "[]",
            "[1]",
            "[{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":1}]",
            "[{\"x\":[{\"num\":0,\"y\":{\"num\":\"z\"},\"_placeholder\":true}]}]",
            "[{\"_placeholder\":\"true\",\"num\":7}]",
            "[{\"_placeholder\":1,\"num\":7}]",
            "[{\"_placeholder\":[true],\"num\":7},{\"_placeholder\":{\"_placeholder\":false}}]",
            "[{\"num\":7}]",
        ] {
            assert_eq!(check(text, 2), Ok(()), "{text}");
        }
        refused("[{\"a\":{\"_placeholder\":true,\"num\":0,\"b\":{\"_placeholder\":true}}}]", 1);
    }

    #[test]
    fn a_placeholder_is_checked_at_every_depth() {
        for depth in 0..JSON_DEPTH_MAX - 1 {
            let (open, close) = ("[".repeat(depth + 1), "]".repeat(depth + 1));
            let around = |inner: &str| format!("{open}{inner}{close}");
            assert_eq!(check(&around("{\"_placeholder\":true,\"num\":0}"), 1), Ok(()));
            refused(&around("{\"_placeholder\":true,\"num\":1}"), 1);
        }
    }

    #[test]
    fn a_placeholder_in_a_packet_without_attachments_is_ordinary_data() {
        let text = b"[{\"_placeholder\":true,\"num\":\"splice\"}]";
        assert!(scan_array(text, JSON_DEPTH_MAX, None).is_ok());
    }
}
