//! Tests of the negotiation.

use proptest::prelude::*;

use super::*;

fn bits(bits: u8) -> Option<WindowBits> {
    WindowBits::new(bits)
}

/// What a client that sends these values is answered.
fn answer(values: &[&str], options: &DeflateOptions) -> Result<Option<String>, OfferFault> {
    let values = values.iter().map(|value| value.as_bytes());
    let agreement = negotiate(values, options)?;
    Ok(agreement.map(|agreement| {
        let mut out = Vec::new();
        agreement.write(&mut out);
        String::from_utf8(out).unwrap()
    }))
}

fn accepted(value: &str) -> Result<Option<String>, OfferFault> {
    answer(&[value], &DeflateOptions::default())
}

#[track_caller]
fn agrees(value: &str, options: &DeflateOptions, parameters: &str) {
    let expected = format!("permessage-deflate{parameters}");
    assert_eq!(answer(&[value], options), Ok(Some(expected)), "{value}");
}

// protocol.md §11.4
#[test]
fn what_is_offered_is_answered() {
    let options = DeflateOptions::default();
    for (offered, answered) in [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", "; client_max_window_bits=15"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        (
            ";client_max_window_bits=9 ;\tserver_max_window_bits=\"12\";client_no_context_takeover",
            "; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=9",
        ),
    ] {
        agrees(&format!("permessage-deflate{offered}"), &options, answered);
    }
}

#[test]
fn the_first_acceptable_offer_is_taken() {
    let values = [
        "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits",
    ];
    let expected = Ok(Some("permessage-deflate; server_max_window_bits=9".to_owned()));
    assert_eq!(answer(&values, &DeflateOptions::default()), expected);
    let options = DeflateOptions { client_max_window_bits: bits(10), ..DeflateOptions::default() };
    let expected = Ok(Some("permessage-deflate; client_max_window_bits=10".to_owned()));
    assert_eq!(answer(&values, &options), expected);
    assert_eq!(answer(&values[..1], &options), Err(OfferFault::Unacceptable));
}

#[test]
fn the_options_of_the_server_are_answered_too() {
    let options = DeflateOptions {
        server_max_window_bits: bits(11),
        client_max_window_bits: bits(12),
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..DeflateOptions::default()
    };
    let flags = "; server_no_context_takeover; client_no_context_takeover";
    let offer = "permessage-deflate; client_max_window_bits";
    let windows = |server: u8, client: u8| {
        format!("{flags}; server_max_window_bits={server}; client_max_window_bits={client}")
    };
    agrees(offer, &options, &windows(11, 12));
    agrees(&format!("{offer}=9"), &options, &windows(11, 9));
    agrees(&format!("{offer}=15"), &options, &windows(11, 12));
    agrees(&format!("{offer}; server_max_window_bits=8"), &options, &windows(8, 12));
    agrees(&format!("{offer}; server_max_window_bits=15"), &options, &windows(11, 12));
    let any_size = DeflateOptions { client_max_window_bits: bits(15), ..options };
    agrees("permessage-deflate", &any_size, &format!("{flags}; server_max_window_bits=11"));
}

#[test]
fn ghsa_5v72_xg48_5rpm_other_extensions_are_names_and_nothing_more() {
    for value in [
        "constructor",
        "__proto__; toString=1, hasOwnProperty",
        "x-webkit-deflate-frame; a; a; b=\"c\"",
        "Permessage-Deflate; unknown",
        "permessage-deflate-2; server_max_window_bits=99",
    ] {
        assert_eq!(accepted(value), Ok(None), "{value}");
    }
    assert_eq!(answer(&[], &DeflateOptions::default()), Ok(None));
}

#[test]
fn cve_2026_1526_cve_2026_2229_windows_have_8_to_15_bits() {
    for name in ["server_max_window_bits", "client_max_window_bits"] {
        for number in 0..=300 {
            let outcome = accepted(&format!("permessage-deflate; {name}={number}"));
            assert_eq!(outcome.is_ok(), (8..=15).contains(&number), "{name}={number}");
            if let Err(fault) = outcome {
                assert_eq!(fault, OfferFault::Parameter);
            }
        }
        for value in
            ["08", "015", "+9", "9.0", "1e1", "0xa", "-9", "x", "1x", "99999999999999999999"]
        {
            let outcome = accepted(&format!("permessage-deflate; {name}={value}"));
            assert_eq!(outcome, Err(OfferFault::Parameter), "{name}={value}");
        }
    }
    let values = (0..=u8::MAX).filter_map(WindowBits::new).map(WindowBits::value);
    assert!(values.eq(8..=15));
}

#[test]
fn what_is_unknown_repeated_or_has_a_wrong_value_is_refused() {
    for parameters in [
        "unknown",
        "constructor",
        "__proto__=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=\"x\"",
        "server_max_window_bits",
        "SERVER_MAX_WINDOW_BITS=10",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(accepted(&offer), Err(OfferFault::Parameter), "{offer}");
        // One wrong offer spoils all of them, wherever it stands.
        let behind = format!("permessage-deflate, {offer}");
        assert_eq!(accepted(&behind), Err(OfferFault::Parameter), "{behind}");
    }
}

#[test]
fn what_is_no_list_of_extensions_is_refused() {
    for value in [
        "",
        " ",
        ",",
        "a,",
        ",a",
        "a,,b",
        "a;",
        "a;;b",
        "a; b=",
        "a; =b",
        "a; b = c",
        "a; b =c",
        "a b",
        "a; b c",
        "a=b",
        "a; b=\"",
        "a; b=\"\"",
        "a; b=\"c",
        "a; b=\"c d\"",
        "a; b=\"c\\",
        "a; b=\"\\\"\"",
        "a; b=\"c\"d",
        "a/b",
        "\"a\"",
        "a; b=\u{e9}",
        "permessage-deflate; client_max_window_bits;",
    ] {
        assert_eq!(accepted(value), Err(OfferFault::Syntax), "{value:?}");
    }
    let options = DeflateOptions::default();
    assert_eq!(answer(&["permessage-deflate", ""], &options), Err(OfferFault::Syntax));
}

#[test]
fn a_quoted_value_is_the_token_in_it() {
    let options = DeflateOptions::default();
    for value in ["\"10\"", "\"\\1\\0\"", "\"1\\0\"", "10"] {
        let offer = format!("permessage-deflate; server_max_window_bits={value}");
        agrees(&offer, &options, "; server_max_window_bits=10");
    }
    assert_eq!(accepted("a; b=\"!#$%&'*+-.^_`|~\\x\""), Ok(None));
}

#[test]
fn an_agreement_says_what_the_server_may_do() {
    let options = DeflateOptions::default();
    let agreement = |value: &str| negotiate([value.as_bytes()].into_iter(), &options).unwrap();
    let plain = agreement("permessage-deflate").unwrap();
    assert_eq!(plain.server_window_bits(), WindowBits::MAX);
    assert_eq!((plain.server_context(), plain.client_context()), (Context::Kept, Context::Kept));
    let narrow = agreement(
        "permessage-deflate; server_max_window_bits=9; server_no_context_takeover; \
         client_no_context_takeover",
    );
    let narrow = narrow.unwrap();
    let contexts = (narrow.server_context(), narrow.client_context());
    assert_eq!(contexts, (Context::Dropped, Context::Dropped));
    let mut answer = Vec::new();
    plain.without_contexts().write(&mut answer);
    let expected = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer, expected);
}

/// Each takes well below a millisecond; with one quadratic step the test would take minutes.
#[test]
fn cve_2021_32640_sixteen_kib_of_any_byte_cost_linear_time() {
    let begun = std::time::Instant::now();
    for byte in 0..=u8::MAX {
        for start in ["", "a", "a;", "a; b=", "a; b=\"", "permessage-deflate;", "a, "] {
            let value = [start.as_bytes(), &[byte; 16 * 1024]].concat();
            let _ = negotiate([&value[..]].into_iter(), &DeflateOptions::default());
        }
    }
    let many = "permessage-deflate;client_max_window_bits,".repeat(400);
    assert!(accepted(many.trim_end_matches(',')).is_ok());
    // With one quadratic step it would be minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_fault_says_who_did_what() {
    for fault in [OfferFault::Syntax, OfferFault::Parameter, OfferFault::Unacceptable] {
        assert!(fault.to_string().starts_with("the client"), "{fault}");
    }
}

proptest! {
    #[test]
    fn no_value_breaks_the_negotiation(value in "\\PC{0,60}") {
        exercise_extensions(value.as_bytes());
    }

    #[test]
    fn no_offer_breaks_the_negotiation(
        parts in prop::collection::vec(
            prop_oneof![
                Just("permessage-deflate"),
                Just("server_max_window_bits"),
                Just("client_max_window_bits"),
                Just("server_no_context_takeover"),
                Just("client_no_context_takeover"),
                Just(";"),
                Just("; "),
                Just(","),
                Just("="),
                Just("\""),
                Just("\\"),
                Just("8"),
                Just("15"),
                Just("\n"),
            ],
            0..16,
        ),
    ) {
        exercise_extensions(parts.concat().as_bytes());
    }
}
