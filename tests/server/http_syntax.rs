//! Requests that two parsers could understand differently (security.md §1.4): each is answered by
//! exactly one response, and the connection ends.
//!
//! Behind every payload follows a request that must never be served, since nobody can know where
//! it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare::Builder;

use crate::raw::{escaped, request};
use crate::site::{Site, on_engine_with};

/// The request behind each payload.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// A payload and its status, as lines of a request with a Host.
type Row = (&'static str, u16);

/// Runs a test on a server that serves every path, and counts how often it serves `/next`.
fn on_open_site(test: impl Fn(&mut Site)) {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    let fallback = move |builder: Builder| {
        let counter = Arc::clone(&counter);
        builder.fallback(move |request| {
            let is_next = request.uri() == "/next";
            counter.fetch_add(usize::from(is_next), Ordering::Relaxed);
            http::Response::new(request.uri().to_string().into())
        })
    };
    on_engine_with(fallback, test);
    assert_eq!(served.load(Ordering::Relaxed), 0, "a smuggled request was served");
}

/// Sends payloads whole and byte by byte, and checks the only answer.
fn check(payloads: impl Fn() -> Vec<(Vec<u8>, u16)>) {
    on_open_site(|site| {
        let mut bystanders = site.bystanders();
        for (payload, status) in payloads() {
            for trickles in [false, true] {
                let mut client = site.client();
                let bytes = [&payload[..], NEXT.as_bytes()].concat();
                if trickles {
                    client.trickle(bytes)
                } else {
                    client.send(bytes)
                }
                let response = client.response();
                assert_eq!(response.status, status, "{}", escaped(&payload));
                assert_eq!(response.header("connection"), Some("close"));
                client.finish();
                client.expect_end();
            }
        }
        bystanders.echo();
    });
}

fn check_headers(line: &str, rows: &[Row]) {
    check(|| {
        let payload = |headers| request(line, &format!("{headers}\r\n")).into_bytes();
        rows.iter().map(|(headers, status)| (payload(*headers), *status)).collect()
    });
}

fn check_lines(rows: &[Row]) {
    check(|| {
        let payload = |line| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
        rows.iter().map(|(line, status)| (payload(*line), *status)).collect()
    });
}

/// Bodies in chunks, posted to a session, which stays.
fn check_chunks(rows: &[Row]) {
    on_open_site(|site| {
        let mut bystanders = site.bystanders();
        let mut session = site.polling();
        let line = format!("POST {}", session.target);
        for (body, status) in rows {
            let mut client = site.client();
            client.send(request(&line, "Transfer-Encoding: chunked\r\n") + body + NEXT);
            assert_eq!(client.response().status, *status, "{body:?}");
            client.finish();
            client.expect_end();
        }
        session.echo();
        bystanders.echo();
    });
}

#[test]
fn m5_rustsec_2020_0031_a_length_next_to_a_coding() {
    check_headers(
        "POST /",
        &[
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
            ("Transfer-Encoding: identity\r\nContent-Length: 5", 400),
        ],
    );
}

#[test]
fn m5_rustsec_2021_0020_rustsec_2026_0034_a_coding_that_is_not_one_chunked() {
    check_headers(
        "POST /",
        &[
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
            ("Transfer-Encoding: chunked, gzip", 501),
            ("Transfer-Encoding: identity", 501),
            ("Transfer-Encoding: xchunked", 501),
            ("Transfer-Encoding: ,chunked", 400),
            ("Transfer-Encoding: \x0bchunked", 400),
            ("Transfer-Encoding: chunked;q=1", 400),
            ("Transfer-Encoding:", 400),
            ("Transfer-Encoding : chunked", 400),
            ("Transfer-Encoding:\r\n chunked", 400),
        ],
    );
}

#[test]
fn cve_2026_2835_m5_a_coding_on_http_1_0() {
    check(|| {
        let payload = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![(payload.to_vec(), 400)]
    });
}

#[test]
fn m5_rustsec_2021_0078_a_length_that_is_not_one_plain_number() {
    check_headers(
        "POST /",
        &[
            ("Content-Length: +5", 400),
            ("Content-Length: -5", 400),
            ("Content-Length: 5 5", 400),
            ("Content-Length: 5,5", 400),
            ("Content-Length: 0x5", 400),
            ("Content-Length: 1_0", 400),
            ("Content-Length: 010", 400),
            ("Content-Length:", 400),
            ("Content-Length: 18446744073709551621", 400),
            ("Content-Length: 5\r\nContent-Length: 6", 400),
            ("Content-Length: 5\r\nContent-Length: 5", 400),
            ("Content-Length: 5\r\n 5", 400),
        ],
    );
}

#[test]
fn m5_rustsec_2021_0079_a_chunk_that_is_not_plain() {
    check_chunks(&[
        ("\r\nhello\r\n0\r\n\r\n", 400),
        ("0x5\r\nhello\r\n0\r\n\r\n", 400),
        ("+5\r\nhello\r\n0\r\n\r\n", 400),
        ("5_0\r\n", 400),
        (" 5\r\nhello\r\n0\r\n\r\n", 400),
        ("5 \r\nhello\r\n0\r\n\r\n", 400),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", 400),
        ("ffffffffffffffff\r\n", 400),
        ("fffffffffffffff\r\n", 413),
        ("f4241\r\n", 413),
        ("5\nhello\r\n0\r\n\r\n", 400),
        ("5\rhello\r\n0\r\n\r\n", 400),
        ("5\r\rhello\r\n0\r\n\r\n", 400),
        ("5\r\nhelloXX0\r\n\r\n", 400),
        ("5\r\nhello\n0\r\n\r\n", 400),
        ("5;a\r\nhello\r\n0\r\n\r\n", 400),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
        ("0\n\n", 400),
        ("0\r\n\n", 400),
        ("0\r\nXX", 400),
        ("0\r\nTrailer: x\r\n\r\n", 400),
    ]);
}

#[test]
fn m5_names_and_values_that_are_none() {
    check_headers(
        "POST /",
        &[
            ("X : a", 400),
            ("X\t: a", 400),
            (" X: a", 400),
            ("X: a\r\n b", 400),
            ("X: a\r\n\tb", 400),
            (": a", 400),
            ("X", 400),
            ("X: a\0b", 400),
            ("X\0: a", 400),
            ("X: a\rb", 400),
            ("X\r: a", 400),
            ("X: a\nY: b", 400),
            ("X: a\n", 400),
            ("X: a\x7fb", 400),
            ("X\u{e9}: a", 400),
            ("\u{a0}X: a", 400),
            ("\"X\": a", 400),
            ("Expect: 200-ok", 417),
        ],
    );
}

#[test]
fn m5_request_lines_that_are_none() {
    check_lines(&[
        ("GET / HTTP/1.32", 400),
        ("GET / HTTP/1.1x", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("get / HTTP/1.1", 400),
        ("G!$T / HTTP/1.1", 400),
        ("TRACE / HTTP/1.1", 400),
        ("G\0T / HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("", 400),
        ("\n", 400),
    ]);
    check(|| vec![(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400)]);
}

#[test]
fn m5_targets_that_are_no_path() {
    check_lines(&[
        ("GET http://a/ HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 400),
        ("GET engine.io/ HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /caf\u{e9} HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
    ]);
}

#[test]
fn m5_rfc_9112_3_2_hosts_that_are_not_one() {
    check(|| {
        let heads =
            ["", "Host: a\r\nHost: b\r\n", "Host: a,b\r\n", "Host: a b\r\n", "Host : a\r\n"];
        let payload = |hosts: &&str| (format!("GET / HTTP/1.1\r\n{hosts}\r\n").into_bytes(), 400);
        heads.iter().map(payload).collect()
    });
}

#[test]
fn m5_an_empty_line_between_requests() {
    on_open_site(|site| {
        for between in ["\n", "\n\n", "\r\n", "\r\n\r\n"] {
            let mut client = site.client();
            client.send(request("GET /first", "") + between + NEXT);
            assert_eq!(client.response().text(), "/first");
            assert_eq!(client.response().status, 400, "{between:?}");
            client.finish();
            client.expect_end();
        }
    });
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
    });
}

/// An early answer leaves a body that nobody reads on the connection: it ends (CVE-2025-4366).
#[test]
fn cve_2025_4366_m5_a_body_behind_an_early_answer_is_never_a_request() {
    on_open_site(|site| {
        let sid = site.polling().sid;
        for target in [
            site.open_target("polling"),
            site.open_target("foo"),
            site.target("polling", "unknown"),
            site.target("websocket", &sid),
            "/engine.io/?EIO=3&transport=polling".to_owned(),
        ] {
            let headers = format!("Content-Length: {}\r\n", NEXT.len());
            let mut client = site.client();
            client.send(request(&format!("POST {target}"), &headers) + NEXT);
            assert_eq!(client.response().status, 400, "{target}");
            client.expect_end();
        }
    });
}

#[test]
fn m5_the_same_request_is_served_where_nothing_is_wrong() {
    on_engine_with(
        |builder| builder.fallback(|request| http::Response::new(request.uri().to_string().into())),
        |site| {
            let mut client = site.client();
            client.send(request("POST /first", "Content-Length: 5\r\n") + "hello" + NEXT);
            assert_eq!(client.response().text(), "/first");
            assert_eq!(client.response().text(), "/next");
        },
    );
}
