//! UTF-8 of a text that is still arriving.

/// How many bytes at the start of `bytes` are whole characters. The rest, 3 bytes at most, is the
/// start of a character whose end may still come; it is to be shown again together with that end.
/// `None` when some byte can not be part of any text, whatever follows.
pub(super) fn whole_characters(bytes: &[u8]) -> Option<usize> {
    // The vectorised check knows right and wrong but not "not yet", so the character that the
    // end may have cut is kept away from it.
    let (whole, cut) = bytes.split_at(bytes.len() - cut_bytes(bytes));
    simdutf8::basic::from_utf8(whole).ok()?;
    match std::str::from_utf8(cut) {
        Ok(_) => Some(bytes.len()),
        Err(error) if error.error_len().is_none() => Some(whole.len()),
        Err(_) => None,
    }
}

/// Bytes at the end that begin a character without completing it, by the length that its first
/// byte announces.
fn cut_bytes(bytes: &[u8]) -> usize {
    let last_three = bytes.iter().rev().take(3);
    for (behind, byte) in last_three.enumerate() {
        let announced = match byte {
            0x00..=0x7f => 1,
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        let present = behind + 1;
        return if announced > present { present } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_standard_library(bytes: &[u8]) -> Option<usize> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.len()),
            Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
            Err(_) => None,
        }
    }

    #[test]
    fn every_string_of_two_bytes_is_judged_as_by_the_standard_library() {
        for pair in 0..=u16::MAX {
            let bytes = pair.to_be_bytes();
            assert_eq!(whole_characters(&bytes), by_the_standard_library(&bytes), "{bytes:?}");
        }
    }

    #[test]
    fn a_character_may_be_cut_but_not_be_wrong() {
        assert_eq!(whole_characters(b""), Some(0));
        assert_eq!(whole_characters(b"a\xf0\x9f\x98"), Some(1));
        assert_eq!(whole_characters("a😀".as_bytes()), Some(5));
        assert_eq!(whole_characters(b"a\xed\xa0"), None);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80"), None);
        assert_eq!(whole_characters(b"\xf5"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_by_the_standard_library(
            text in "\\PC{0,40}",
            noise in prop::collection::vec(0x7f_u8.., 0..5),
            position in any::<prop::sample::Index>(),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = text.into_bytes();
            let at = position.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
            bytes.truncate(end.index(bytes.len() + 1));
            prop_assert_eq!(whole_characters(&bytes), by_the_standard_library(&bytes));
        }
    }
}
