//! Compressed HTTP bodies: which coding the client wants, and the coding itself (protocol.md
//! §11.4 and §17.4).
//!
//! The choice is that of the reference, whose `accepts` reads more than RFC 9110 12.5.3 allows: a
//! q that is no number counts as 0, one above 1 as what it says, and `Q` means nothing. No coding
//! at all is no choice here but the lack of one.

use std::cmp::Reverse;

use zlib_rs::{Deflate, DeflateFlush};

use super::{Head, elements, trim};
use crate::proto::zlib;

/// The level of zlib's that everybody's default is, the reference's too.
const ZLIB_LEVEL: i32 = 6;
/// The largest window, of 32 KiB, as its logarithm.
const ZLIB_WINDOW_BITS: u8 = 15;
/// Added to the size of the window, it asks zlib for the header of gzip.
const ZLIB_GZIP: u8 = 16;

/// The best of eleven takes ten times as long and saves two in a hundred bytes.
#[cfg(feature = "brotli")]
const BROTLI_QUALITY: i32 = 9;

/// What the answers to polls may be compressed with, what the server likes best first.
pub const FOR_ANSWERS: &[Encoding] = &[Encoding::Gzip, Encoding::Deflate];

/// What the files of the client may be compressed with, what the server likes best first.
pub const FOR_FILES: &[Encoding] = &[
    #[cfg(feature = "brotli")]
    Encoding::Brotli,
    Encoding::Gzip,
    Encoding::Deflate,
];

/// A coding of a whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli (RFC 7932), for files: it is too slow for answers.
    #[cfg(feature = "brotli")]
    Brotli,
    /// Gzip (RFC 1952).
    Gzip,
    /// A zlib stream (RFC 1950): what HTTP calls `deflate`.
    Deflate,
}

impl Encoding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "brotli")]
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }
}

impl Head<'_> {
    /// The one of these codings that the client wants most: that of the highest q; of several the
    /// one that is named before one that `*` stands for; then in the order of the header; then in
    /// that of `offered`. `None` when it accepts none of them or says nothing about codings.
    pub fn accepted_encoding(&self, offered: &[Encoding]) -> Option<Encoding> {
        preferred(|| self.values("accept-encoding"), offered)
    }
}

/// As [`Head::accepted_encoding`], of the values of the header.
fn preferred<'h, I>(values: impl Fn() -> I, offered: &[Encoding]) -> Option<Encoding>
where
    I: Iterator<Item = &'h [u8]>,
{
    let mut choice: Option<(Encoding, Wish)> = None;
    for encoding in offered {
        let elements = values().flat_map(elements).enumerate();
        let wishes = elements.filter_map(|(place, text)| Wish::read(text, place, *encoding));
        let wish = wishes.reduce(Wish::more_specific).filter(|wish| wish.quality > 0.0);
        let Some(wish) = wish else { continue };
        if choice.is_none_or(|(_, best)| wish.preference() > best.preference()) {
            choice = Some((*encoding, wish));
        }
    }
    choice.map(|(encoding, _)| encoding)
}

/// What an element of the header says about one coding.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// The q-value: how much it is wanted, and not at all if it is 0.
    quality: f64,
    /// Whether the coding is named; otherwise `*` stands for it.
    is_named: bool,
    /// The place of the element in the header.
    place: usize,
}

impl Wish {
    /// `name *( ";" parameter )`; `None` for an element about other codings or about nothing.
    fn read(element: &[u8], place: usize, encoding: Encoding) -> Option<Wish> {
        let mut parts = element.split(|byte| *byte == b';').map(trim);
        let name = parts.next()?;
        let is_named = name.eq_ignore_ascii_case(encoding.name().as_bytes());
        if !is_named && name != b"*" {
            return None;
        }
        let quality = parts.find_map(quality).unwrap_or(1.0);
        Some(Wish { quality, is_named, place })
    }

    /// What is said of a coding by its name counts, not `*`; of two such, what is kinder or comes
    /// later.
    fn more_specific(self, other: Wish) -> Wish {
        let rank = |wish: &Wish| (wish.is_named, wish.quality, wish.place);
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// Grows with what the client likes.
    fn preference(&self) -> (f64, bool, Reverse<usize>) {
        (self.quality, self.is_named, Reverse(self.place))
    }
}

/// The number of a parameter that is `q`, as far as it is digits and a point.
fn quality(parameter: &[u8]) -> Option<f64> {
    let value: &[u8] = match parameter.strip_prefix(b"q")? {
        [] => &[],
        [b'=', value @ ..] => trim(value),
        _ => return None,
    };
    let is_other = |byte: &u8| !byte.is_ascii_digit() && *byte != b'.';
    let end = value.iter().position(is_other).unwrap_or(value.len());
    let digits = std::str::from_utf8(&value[..end]).ok();
    Some(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0.0))
}

/// Compresses whole bodies, each in the memory of the one before: 368 KiB for a coding, from the
/// first body on.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<Deflate>,
    deflate: Option<Deflate>,
}

impl Compressor {
    /// The whole body in that coding. It takes the time of about 20 ns a byte, and Brotli ten times
    /// as much: that is for what is compressed once and sent often.
    pub fn compress(&mut self, encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let (stream, window_bits) = match encoding {
            #[cfg(feature = "brotli")]
            Encoding::Brotli => return compress_brotli(bytes),
            Encoding::Gzip => (&mut self.gzip, ZLIB_WINDOW_BITS + ZLIB_GZIP),
            Encoding::Deflate => (&mut self.deflate, ZLIB_WINDOW_BITS),
        };
        let stream = stream.get_or_insert_with(|| Deflate::new(ZLIB_LEVEL, true, window_bits));
        let mut out = Vec::new();
        zlib::compress(stream, bytes, DeflateFlush::Finish, &mut out);
        stream.reset();
        out
    }
}

#[cfg(feature = "brotli")]
fn compress_brotli(mut bytes: &[u8]) -> Vec<u8> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    let Ok(_) = brotli::BrotliCompress(&mut bytes, &mut out, &parameters) else {
        unreachable!("memory is read and written without errors")
    };
    out
}

/// The door for fuzzing: each line is a value of `Accept-Encoding`.
///
/// # Panics
/// When the choice is none of those that the client accepts one by one, or when it accepts one of
/// them and there is no choice.
#[doc(hidden)]
pub fn exercise_encoding(bytes: &[u8]) {
    let values = || bytes.split(|byte| *byte == b'\n');
    let accepted: Vec<Encoding> =
        FOR_FILES.iter().copied().filter(|one| preferred(values, &[*one]).is_some()).collect();
    let choice = preferred(values, FOR_FILES);
    assert_eq!(choice.is_some(), !accepted.is_empty());
    assert!(choice.is_none_or(|choice| accepted.contains(&choice)));
}

#[cfg(test)]
mod tests {
    use miniz_oxide::inflate;
    use proptest::prelude::*;

    use super::*;
    use Encoding::{Deflate as Zlib, Gzip};

    fn choice(values: &[&str], offered: &[Encoding]) -> Option<Encoding> {
        preferred(|| values.iter().map(|value| value.as_bytes()), offered)
    }

    fn answer(value: &str) -> Option<Encoding> {
        choice(&[value], FOR_ANSWERS)
    }

    #[test]
    fn b10_1_b10_2_the_coding_that_the_client_accepts_is_chosen() {
        for (value, expected) in [
            ("gzip", Some(Gzip)),
            ("gzip, deflate", Some(Gzip)),
            ("deflate", Some(Zlib)),
            ("DEFLATE", Some(Zlib)),
            ("br", None),
            ("identity", None),
            ("", None),
            (",", None),
            ("x-gzip, gzipped", None),
            ("gzip deflate", None),
            ("constructor, __proto__", None),
        ] {
            assert_eq!(answer(value), expected, "{value:?}");
        }
        assert_eq!(choice(&[], FOR_ANSWERS), None);
        assert_eq!(answer("*"), Some(Gzip));
        assert_eq!(choice(&["*"], &[]), None);
    }

    #[test]
    fn ties_are_broken_by_the_order_of_the_header() {
        assert_eq!(answer("deflate, gzip"), Some(Zlib));
        assert_eq!(answer("br, deflate, gzip"), Some(Zlib));
        assert_eq!(choice(&["br", "deflate", "gzip"], FOR_ANSWERS), Some(Zlib));
        assert_eq!(answer("gzip;q=0.5, deflate;q=0.5"), Some(Gzip));
        assert_eq!(answer("*, deflate"), Some(Zlib), "a name comes before what * stands for");
    }

    #[test]
    fn the_highest_q_is_chosen_and_0_never() {
        for (value, expected) in [
            ("gzip;q=0.5, deflate", Some(Zlib)),
            ("gzip; q=0.5 , deflate ; q=0.501", Some(Zlib)),
            ("gzip;q=0.5, *", Some(Zlib)),
            ("gzip;q=0, *", Some(Zlib)),
            ("gzip;q=0, deflate;q=0.000", None),
            ("*;q=0", None),
            ("*;q=0, gzip", Some(Gzip)),
            ("gzip;q=0, gzip;q=0.1", Some(Gzip)),
            ("gzip;q=.1, deflate;q=1.", Some(Zlib)),
            ("gzip;level=9;q=0.5, deflate;q=0.6", Some(Zlib)),
            ("gzip;q=0.5;q=1, deflate;q=0.6", Some(Zlib)),
            ("identity, gzip;q=0.1", Some(Gzip)),
        ] {
            assert_eq!(answer(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_q_that_is_no_number_is_0_and_other_parameters_say_nothing() {
        for value in ["gzip;q", "gzip;q=", "gzip;q=x", "gzip;q=-1", "gzip;q=.", "gzip;q=1.2.3"] {
            assert_eq!(answer(value), None, "{value:?}");
        }
        for value in ["gzip;Q=0", "gzip;q =0", "gzip;quality=0", "gzip;", "gzip;;;", "gzip;q=2x"] {
            assert_eq!(answer(value), Some(Gzip), "{value:?}");
        }
    }

    // protocol.md §17.4
    #[cfg(feature = "brotli")]
    #[test]
    fn b28_6_b28_7_files_are_compressed_as_the_client_likes_best() {
        let file = |value: &str| choice(&[value], FOR_FILES);
        assert_eq!(file("gzip, deflate, br"), Some(Gzip));
        assert_eq!(file("gzip, deflate, br;q=1.0, *;q=0.5"), Some(Gzip));
        assert_eq!(file("br"), Some(Encoding::Brotli));
        assert_eq!(file("*"), Some(Encoding::Brotli));
        assert_eq!(file("gzip;q=0.9, br"), Some(Encoding::Brotli));
    }

    /// Each takes well below a millisecond; with one quadratic step the test would take minutes.
    #[test]
    fn cve_2021_32640_sixteen_kib_of_any_byte_cost_linear_time() {
        let begun = std::time::Instant::now();
        for byte in 0..=u8::MAX {
            for start in ["", "gzip", "gzip;", "gzip;q=", "gzip;q=0.", "br,"] {
                let value = [start.as_bytes(), &[byte; 16 * 1024]].concat();
                preferred(|| [value.as_slice()].into_iter(), FOR_FILES);
            }
        }
        // With one quadratic step it would be minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    /// What an independent implementation finds in a body.
    fn decoded(encoding: Encoding, body: &[u8]) -> Vec<u8> {
        match encoding {
            Gzip => {
                assert!(body.starts_with(b"\x1f\x8b\x08\0"), "deflate without names and comments");
                let (body, length) = body[10..].split_last_chunk::<4>().unwrap();
                let (body, _) = body.split_last_chunk::<4>().unwrap();
                let bytes = inflate::decompress_to_vec(body).unwrap();
                assert_eq!(u32::from_le_bytes(*length) as usize, bytes.len());
                bytes
            }
            Zlib => inflate::decompress_to_vec_zlib(body).unwrap(),
            #[cfg(feature = "brotli")]
            Encoding::Brotli => {
                let mut bytes = Vec::new();
                brotli::BrotliDecompress(&mut &body[..], &mut bytes).unwrap();
                bytes
            }
        }
    }

    #[test]
    fn a_body_is_what_it_was_and_shorter() {
        let text = "42[\"message\",{\"text\":\"hello\"}]\x1e".repeat(5000);
        let mut compressor = Compressor::default();
        for encoding in FOR_FILES {
            for length in [0, 1, 100, 1024, text.len()] {
                let body = compressor.compress(*encoding, &text.as_bytes()[..length]);
                assert_eq!(decoded(*encoding, &body), &text.as_bytes()[..length]);
            }
            assert!(compressor.compress(*encoding, text.as_bytes()).len() < text.len() / 50);
        }
    }

    proptest! {
        #[test]
        fn any_body_is_decoded_by_another_implementation(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            repeated in 1_usize..40,
        ) {
            let bytes = bytes.repeat(repeated);
            let mut compressor = Compressor::default();
            for encoding in FOR_ANSWERS.iter().chain(FOR_ANSWERS) {
                let body = compressor.compress(*encoding, &bytes);
                prop_assert_eq!(&decoded(*encoding, &body), &bytes);
            }
        }

        #[test]
        fn no_header_breaks_the_choice(
            value in "([a-z*]{0,3}|gzip|deflate|br|;q=[0-9.]{0,4}|[,; \n=]){0,20}",
        ) {
            exercise_encoding(value.as_bytes());
        }
    }
}
