//! Requests that two parsers could understand differently (security.md §1.4): each is answered by
//! exactly one response, and the connection ends.
//!
//! The payloads are those of `tests/desync/payloads.txt`, which `tests/drills/m05_desync.js` sends
//! through proxies, too. Behind every payload follows a request that must never be served, since
//! nobody can know where it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare::Builder;

use crate::raw::{escaped, request};
use crate::site::{Site, on_engine_with};

const TABLE: &str = include_str!("../desync/payloads.txt");

/// The request behind each payload.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// The request inside some payloads, as the table writes it.
const SMUGGLED: &str = r"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// One line of the table.
struct Payload {
    /// What is answered; `200` when the request is served, and what follows it, too.
    statuses: Vec<u16>,
    text: &'static str,
}

impl Payload {
    /// The bytes, for a server with this path, sent to this target.
    fn bytes(&self, path: &str, target: &str) -> Vec<u8> {
        let length = unescaped(SMUGGLED).len();
        let text = repeated(self.text)
            .replace("{smuggled.length.hex}", &format!("{length:x}"))
            .replace("{smuggled.length}", &length.to_string())
            .replace("{smuggled}", SMUGGLED)
            .replace("{target}", target)
            .replace("{path}", path);
        unescaped(&text)
    }

    fn is_served(&self) -> bool {
        self.statuses == [200]
    }
}

/// Writes `{text*3}` out.
fn repeated(text: &str) -> String {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, behind) = part.split_once('}').expect("braces are closed");
        match inside.rsplit_once('*') {
            Some((text, count)) => out += &text.repeat(count.parse().expect("a count")),
            None => out += &format!("{{{inside}}}"),
        }
        out += behind;
    }
    out
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        bytes.push(match (character, character == '\\') {
            (plain, false) => u8::try_from(plain).expect("the table is ASCII"),
            (_, true) => match characters.next() {
                Some('r') => b'\r',
                Some('n') => b'\n',
                Some('t') => b'\t',
                Some('\\') => b'\\',
                Some('x') => {
                    let digits: String = characters.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                other => panic!("{other:?} behind a backslash in {text}"),
            },
        });
    }
    bytes
}

/// The payloads of a class.
fn payloads(class: &str) -> Vec<Payload> {
    let is_header = |line: &&str| line.starts_with("== ");
    let names = |line: &str| line.split(' ').nth(1) == Some(class);
    let rows = TABLE.lines().skip_while(|line| !is_header(line) || !names(line)).skip(1);
    let rows = rows.take_while(|line| !is_header(line)).filter(|line| !line.is_empty());
    let payloads: Vec<Payload> = rows
        .map(|line| {
            let (statuses, text) = line.split_once(' ').expect("statuses and bytes");
            let statuses = statuses.split(',').filter(|status| *status != "-");
            Payload { statuses: statuses.map(|status| status.parse().unwrap()).collect(), text }
        })
        .collect();
    assert!(!payloads.is_empty(), "there is no class {class}");
    payloads
}

/// Runs a test on a server that serves every path. It must serve `/smuggled` never, and `/next` as
/// often as the test says for each of one and two shards.
fn on_open_site(test: impl Fn(&mut Site) -> usize) {
    let served = Arc::new(AtomicUsize::new(0));
    let smuggled = Arc::new(AtomicUsize::new(0));
    let (next, other) = (Arc::clone(&served), Arc::clone(&smuggled));
    let fallback = move |builder: Builder| {
        let (next, other) = (Arc::clone(&next), Arc::clone(&other));
        builder.fallback(move |request| {
            next.fetch_add(usize::from(request.uri() == "/next"), Ordering::Relaxed);
            other.fetch_add(usize::from(request.uri() == "/smuggled"), Ordering::Relaxed);
            http::Response::new(request.uri().to_string().into())
        })
    };
    on_engine_with(fallback, |site| {
        let expected = test(site);
        assert_eq!(served.swap(0, Ordering::Relaxed), expected, "requests behind a payload");
        assert_eq!(smuggled.load(Ordering::Relaxed), 0, "a smuggled request was served");
    });
}

/// Sends the payloads of a class, whole and byte by byte, and checks the only answers.
fn check(class: &str) {
    on_open_site(|site| {
        let mut bystanders = site.bystanders();
        let mut served = 0;
        for payload in payloads(class) {
            let bytes = payload.bytes(site.path, "/payload");
            for trickles in [false, true] {
                let mut client = site.client();
                let all = [&bytes[..], NEXT.as_bytes()].concat();
                if trickles {
                    client.trickle(all)
                } else {
                    client.send(all)
                }
                for status in &payload.statuses {
                    let response = client.response();
                    assert_eq!(response.status, *status, "{}", escaped(&bytes));
                    let ends = response.header("connection") == Some("close");
                    assert_eq!(ends, *status != 200, "{}", escaped(&bytes));
                }
                if payload.is_served() {
                    assert_eq!(client.response().text(), "/next", "{}", escaped(&bytes));
                    served += 1;
                }
                client.finish();
                client.expect_end();
            }
        }
        bystanders.echo();
        served
    });
}

#[test]
fn m5_every_class_of_payloads_is_checked() {
    let classes = TABLE.lines().filter_map(|line| line.strip_prefix("== "));
    let classes: Vec<&str> = classes.filter_map(|line| line.split(' ').next()).collect();
    let source = include_str!("http_syntax.rs");
    for class in &classes {
        assert!(source.contains(&format!("\"{class}\"")), "{class}");
    }
    let count: usize = classes.iter().map(|class| payloads(class).len()).sum();
    assert!(count >= 180, "{count} payloads");
}

#[test]
fn m5_rustsec_2020_0031_a_length_next_to_a_coding() {
    check("a_length_next_to_a_coding");
}

#[test]
fn m5_rustsec_2021_0020_rustsec_2026_0034_a_coding_that_is_not_one_chunked() {
    check("a_coding_that_is_not_one_chunked");
}

#[test]
fn cve_2026_2835_m5_a_coding_on_http_1_0() {
    check("a_coding_on_http_1_0");
}

#[test]
fn m5_rustsec_2021_0078_a_length_that_is_not_one_plain_number() {
    check("a_length_that_is_not_one_plain_number");
}

#[test]
fn m5_rustsec_2021_0079_a_chunk_that_is_not_plain() {
    check("a_chunk_that_is_not_plain");
}

/// The same chunks, posted to a session, which stays.
#[test]
fn m5_rustsec_2021_0079_a_session_survives_chunks_that_are_not_plain() {
    on_open_site(|site| {
        let mut session = site.polling();
        for payload in payloads("a_chunk_that_is_not_plain") {
            let mut client = site.client();
            let bytes = payload.bytes(site.path, &session.target);
            client.send([&bytes[..], NEXT.as_bytes()].concat());
            assert_eq!(client.response().status, payload.statuses[0], "{}", escaped(&bytes));
            client.finish();
            client.expect_end();
        }
        session.echo();
        0
    });
}

#[test]
fn m5_names_and_values_that_are_none() {
    check("names_and_values_that_are_none");
}

#[test]
fn m5_request_lines_that_are_none() {
    check("request_lines_that_are_none");
}

#[test]
fn m5_targets_that_are_no_path() {
    check("targets_that_are_no_path");
}

#[test]
fn m5_rfc_9112_3_2_hosts_that_are_not_one() {
    check("hosts_that_are_not_one");
}

#[test]
fn m4_m5_cve_2024_37890_heads_beyond_the_limits() {
    check("heads_beyond_the_limits");
}

#[test]
fn cve_2026_2833_m5_what_follows_a_refused_upgrade_is_never_a_request() {
    check("an_upgrade_that_is_refused");
}

#[test]
fn cve_2022_41940_m5_what_follows_an_upgrade_outside_the_path_is_never_a_request() {
    check("an_upgrade_outside_the_path");
}

#[test]
fn m5_an_empty_line_between_requests() {
    check("an_empty_line_between_requests");
}

#[test]
fn m5_what_is_plain_is_served_and_so_is_what_follows() {
    check("what_is_plain_is_served");
}

/// What a body of a GET looks like must not matter: it is drained, or ends the connection.
#[test]
fn m5_rustsec_2020_0008_a_body_on_a_get_is_never_a_request() {
    on_open_site(|site| {
        let mut session = site.polling();
        for target in [site.open_target("polling"), "/fallback".to_owned()] {
            for method in ["GET", "OPTIONS", "DELETE"] {
                let line = format!("{method} {target}");
                let headers = format!("Connection: close\r\nContent-Length: {}\r\n", NEXT.len());
                let mut client = site.client();
                client.send(request(&line, &headers) + NEXT);
                client.response();
                client.expect_end();
                let headers = format!("Content-Length: {}\r\n", NEXT.len());
                let mut client = site.client();
                client.send(request(&line, &headers) + NEXT);
                client.response();
                client.finish();
                client.expect_end();
            }
        }
        session.send("4a");
        let headers = format!("Content-Length: {}\r\n", NEXT.len());
        let mut client = site.client();
        client.send(request(&format!("GET {}", session.target), &headers) + NEXT);
        assert_eq!(client.response().text(), "4a");
        client.finish();
        client.expect_end();
        0
    });
}

/// An early answer leaves a body that nobody reads on the connection: it ends.
#[test]
fn cve_2025_4366_m5_a_body_behind_an_early_answer_is_never_a_request() {
    check("a_body_behind_an_early_answer");
    on_open_site(|site| {
        let target = site.target("websocket", &site.polling().sid);
        let headers = format!("Content-Length: {}\r\n", NEXT.len());
        let mut client = site.client();
        client.send(request(&format!("POST {target}"), &headers) + NEXT);
        assert_eq!(client.response().status, 400);
        client.expect_end();
        0
    });
}
