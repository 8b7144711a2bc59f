//! What a request must be answered with, byte for byte: the tables of HTTP attacks that other
//! servers fell for, and whole requests in every split.

use proptest::prelude::*;

use super::*;
use crate::base::limits::{HEADERS_MAX, Limits};

/// The status of a request that is still incomplete.
const MORE: u16 = 100;

/// What is answered to `bytes`, and where the next request would begin.
fn verdict(bytes: &[u8]) -> (u16, usize) {
    exercise(bytes);
    read(bytes).unwrap_or_else(|fault| (fault.status, 0))
}

fn read(bytes: &[u8]) -> Result<(u16, usize), Fault> {
    let limits = Limits::default();
    let Some(end) = HeadScanner::default().end(bytes, &limits)? else { return Ok((MORE, 0)) };
    let head = Head::parse(&bytes[..end], &limits)?;
    let mut reader = BodyReader::new(head.body, &limits)?;
    let progress = reader.read(&bytes[end..], &mut Vec::new())?;
    Ok(if progress.complete { (200, end + progress.consumed) } else { (MORE, 0) })
}

fn status(bytes: &[u8]) -> u16 {
    verdict(bytes).0
}

/// A request line and lines of headers, with a Host, without the empty line.
fn request(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n{headers}").into_bytes()
}

/// Every row: what it is about, the lines or bytes, the status.
fn check(rows: &[(&str, Vec<u8>, u16)]) {
    for (about, bytes, expected) in rows {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        assert_eq!(status(bytes), *expected, "{about}: {text:?}");
    }
}

fn check_posts(rows: &[(&str, u16)]) {
    for (headers, expected) in rows {
        let bytes = request("POST / HTTP/1.1", &format!("{headers}\r\n\r\n"));
        assert_eq!(status(&bytes), *expected, "{headers:?}");
    }
}

fn check_lines(rows: &[(&str, u16)]) {
    for (line, expected) in rows {
        assert_eq!(status(&request(line, "\r\n")), *expected, "{line:?}");
    }
}

fn check_chunks(rows: &[(&str, u16)]) {
    for (body, expected) in rows {
        let mut bytes = request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n");
        bytes.extend_from_slice(body.as_bytes());
        assert_eq!(status(&bytes), *expected, "{body:?}");
    }
}

#[test]
fn rustsec_2020_0031_a_length_next_to_a_coding_is_refused() {
    check_posts(&[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
        ("transfer-encoding: CHUNKED\r\ncontent-length: 5", 400),
        ("Transfer-Encoding: identity\r\nContent-Length: 5", 400),
        ("Transfer-Encoding:\r\nContent-Length: 5", 400),
    ]);
}

#[test]
fn rustsec_2021_0020_the_only_coding_is_one_chunked() {
    check_posts(&[
        ("Transfer-Encoding: chunked", MORE),
        ("Transfer-Encoding: Chunked", MORE),
        ("transfer-ENCODING:\t chunked \t", MORE),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, gzip", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunkedx", 501),
        ("Transfer-Encoding: ,chunked", 400),
        ("Transfer-Encoding: chunked,", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: chunked chunked", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding: \x0cchunked", 400),
        ("Transfer-Encoding: chunked\x0b", 400),
        ("Transfer-Encoding: \0chunked", 400),
        ("Transfer-Encoding: \u{a0}chunked", 400),
        ("Transfer-Encoding: chunked\u{85}", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\r\n : chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        (" Transfer-Encoding: chunked", 400),
    ]);
}

#[test]
fn cve_2026_2835_a_coding_on_http_1_0_is_refused() {
    for coding in ["chunked", "identity", ""] {
        let headers = format!("Transfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(status(&request("POST / HTTP/1.0", &headers)), 400, "{coding}");
    }
}

#[test]
fn rustsec_2021_0078_a_length_is_one_plain_number() {
    check_posts(&[
        ("Content-Length: 5", MORE),
        ("Content-Length: 0", 200),
        ("Content-Length:5", MORE),
        ("Content-Length: \t5\t ", MORE),
        ("Content-Length: 1000000", MORE),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5,5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: 5,", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5h", 400),
        ("Content-Length: 1_0", 400),
        ("Content-Length: 010", 400),
        ("Content-Length: 00", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length: \"5\"", 400),
        ("Content-Length:", 400),
        ("Content-Length:  ", 400),
        ("Content-Length: 18446744073709551621", 400),
        ("Content-Length: 10000000000000000000", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\ncontent-length: 5", 400),
        ("Content-Length: \u{661}", 400),
        ("Content-Length: \x0b5", 400),
        ("Content-Length : 5", 400),
        ("Content-Length: 5\r\n 5", 400),
    ]);
}

#[test]
fn cve_2020_36048_a_length_over_the_limit_is_refused_from_the_head_alone() {
    check_posts(&[
        ("Content-Length: 1000001", 413),
        ("Content-Length: 100000000", 413),
        ("Content-Length: 9999999999999999999", 413),
    ]);
}

#[test]
fn rustsec_2021_0079_a_chunk_has_a_plain_size_and_ends_where_it_says() {
    check_chunks(&[
        ("5\r\nhello\r\n0\r\n\r\n", 200),
        ("5\r\nhello\r\n", MORE),
        ("0\r\n\r\n", 200),
        ("0\r\n", MORE),
        ("00000000000000A\r\n0123456789\r\n0\r\n\r\n", 200),
        ("\r\nhello\r\n0\r\n\r\n", 400),
        ("\r\n\r\n", 400),
        ("0x5\r\nhello\r\n0\r\n\r\n", 400),
        ("+5\r\nhello\r\n0\r\n\r\n", 400),
        ("-5\r\nhello\r\n0\r\n\r\n", 400),
        ("5_0\r\n", 400),
        ("5 \r\nhello\r\n0\r\n\r\n", 400),
        ("5\t\r\nhello\r\n0\r\n\r\n", 400),
        (" 5\r\nhello\r\n0\r\n\r\n", 400),
        ("g\r\n", 400),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", 400),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", 400),
        ("f0000000000000005\r\nhello\r\n0\r\n\r\n", 400),
        ("ffffffffffffffff\r\n", 400),
        ("fffffffffffffff\r\n", 413),
        ("f4241\r\n", 413),
        ("5\nhello\r\n0\r\n\r\n", 400),
        ("5\rhello\r\n0\r\n\r\n", 400),
        ("5\r\rhello\r\n0\r\n\r\n", 400),
        ("5\r\nhello\n0\r\n\r\n", 400),
        ("5\r\nhello\r0\r\n\r\n", 400),
        ("5\r\nhelloXX0\r\n\r\n", 400),
        ("5\r\nhello\rX0\r\n\r\n", 400),
        ("5\r\nhello!\r\n0\r\n\r\n", 400),
        ("6\r\nhello\r\n0\r\n\r\n", 400),
        ("5;a\r\nhello\r\n0\r\n\r\n", 400),
        ("5;a=b\r\nhello\r\n0\r\n\r\n", 400),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
        ("5 ;a\r\nhello\r\n0\r\n\r\n", 400),
        ("0;a\r\n\r\n", 400),
        ("0\n\n", 400),
        ("0\r\n\n", 400),
        ("0\r\n\rX", 400),
        ("0\r\nXX", 400),
        ("0\r\nTrailer: x\r\n\r\n", 400),
        ("0\r\nContent-Length: 5\r\n\r\n", 400),
        ("\u{ff15}\r\nhello\r\n0\r\n\r\n", 400),
    ]);
}

#[test]
fn rustsec_2020_0008_a_body_on_a_get_is_never_taken_for_a_request() {
    let inner = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let headers = format!("Content-Length: {}\r\n\r\n{inner}", inner.len());
        let bytes = request(&format!("{method} / HTTP/1.1"), &headers);
        assert_eq!(verdict(&bytes), (200, bytes.len()), "{method}");
    }
}

#[test]
fn cve_2026_2833_a_head_that_asks_for_an_upgrade_says_so_even_when_it_is_refused() {
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /admin HTTP/1.1\r\n";
    let bytes = request("GET / HTTP/1.1", headers);
    let end = HeadScanner::default().end(&bytes, &Limits::default()).unwrap().unwrap();
    let head = Head::parse(&bytes[..end], &Limits::default()).unwrap();
    assert!(head.upgrade && head.websocket_handshake().is_err());
}

#[test]
fn a_name_is_a_token_and_a_value_has_no_control_character() {
    check_posts(&[
        ("X: a", 200),
        ("X:a", 200),
        ("X:", 200),
        ("X: a\tb", 200),
        ("X: caf\u{e9}", 200),
        ("!#$%&'*+-.^_`|~: a", 200),
        ("X : a", 400),
        ("X\t: a", 400),
        ("X Y: a", 400),
        (" X: a", 400),
        ("\tX: a", 400),
        ("X: a\r\n b", 400),
        ("X: a\r\n\tb", 400),
        ("X: a\r\n ", 400),
        (": a", 400),
        ("X", 400),
        ("X\r\nY: a", 400),
        ("X: a\0b", 400),
        ("X\0: a", 400),
        ("X: a\rb", 400),
        ("X: a\r\rb", 400),
        ("X\r: a", 400),
        ("X: a\nY: b", 400),
        ("X: a\n", 400),
        ("X: a\n\n", 400),
        ("X: a\x0bb", 400),
        ("X: a\x7fb", 400),
        ("X: \x1b[0m", 400),
        ("X\u{e9}: a", 400),
        ("\u{a0}X: a", 400),
        ("X\u{85}: a", 400),
        ("\"X\": a", 400),
        ("(X): a", 400),
        ("X[]: a", 400),
    ]);
}

#[test]
fn a_byte_that_some_parsers_trim_is_part_of_the_value() {
    for byte in [0xa0, 0x85] {
        let mut bytes = request("GET / HTTP/1.1", "X: a");
        bytes.push(byte);
        bytes.extend_from_slice(b"\r\n\r\n");
        let head = Head::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!(head.header("x"), Some(&[b'a', byte][..]));
    }
}

#[test]
fn a_bare_line_feed_is_refused_wherever_it_stands() {
    let bytes = request("GET / HTTP/1.1", "X: a\r\n\r\n");
    for (position, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let mut changed = bytes.clone();
        changed.remove(position - 1);
        assert_eq!(status(&changed), 400, "{changed:?}");
    }
    for position in 0..bytes.len() - 2 {
        let mut changed = bytes.clone();
        changed.insert(position, b'\n');
        assert_eq!(status(&changed), 400, "line feed at {position}");
    }
}

#[test]
fn a_request_line_has_three_parts_and_a_known_method_and_version() {
    check_lines(&[
        ("GET / HTTP/1.1", 200),
        ("GET / HTTP/1.0", 200),
        ("OPTIONS / HTTP/1.1", 200),
        ("HEAD / HTTP/1.1", 200),
        ("DELETE / HTTP/1.1", 200),
        ("GET / HTTP/1.32", 400),
        ("GET / HTTP/1.1x", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/01.1", 400),
        ("GET / HTTP/1.", 400),
        ("GET / HTTP/1", 400),
        ("GET / HTTP/1,1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTPS/1.1", 400),
        ("GET / ICY/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/1.9", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET /", 400),
        ("GET", 400),
        ("GET ", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET / / HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET /a\tb HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("get / HTTP/1.1", 400),
        ("Get / HTTP/1.1", 400),
        ("G!$T / HTTP/1.1", 400),
        ("GE(T / HTTP/1.1", 400),
        ("GETT / HTTP/1.1", 400),
        ("TRACE / HTTP/1.1", 400),
        ("CONNECT / HTTP/1.1", 400),
        ("G\0T / HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET / HTTP/1.1\0", 400),
        ("GET /\r HTTP/1.1", 400),
        ("GET / HTTP/1.1\r", 400),
        ("", 400),
    ]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    check(&[
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505),
        ("a TLS hello, from its first byte", hello.to_vec(), 400),
        ("the first byte of a TLS hello", hello[..1].to_vec(), 400),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), 400),
        ("nothing", Vec::new(), MORE),
        ("a response", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 400),
    ]);
}

#[test]
fn a_target_is_a_path_of_printable_ascii() {
    check_lines(&[
        ("GET /socket.io/?EIO=4&transport=polling HTTP/1.1", 200),
        ("GET /%00%0d%0a HTTP/1.1", 200),
        ("GET //a HTTP/1.1", 200),
        // Browsers leave braces and bars of a query as they are, and the reference takes all five.
        ("GET /?a=\"<>{}|^ HTTP/1.1", 200),
        ("GET http://a/ HTTP/1.1", 400),
        ("GET HTTP://a/socket.io/ HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("GET socket.io/ HTTP/1.1", 400),
        ("GET ?a HTTP/1.1", 400),
        ("GET \\a HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET # HTTP/1.1", 400),
        ("GET /caf\u{e9} HTTP/1.1", 400),
        ("GET /\u{a0} HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("GET /\x0b HTTP/1.1", 400),
        ("GET /\x1b HTTP/1.1", 400),
    ]);
    check(&[("not even UTF-8", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400)]);
}

#[test]
fn rfc_9112_3_2_a_request_has_one_valid_host() {
    for (version, hosts, expected) in [
        ("1.1", "Host: a\r\n", 200),
        ("1.1", "Host: a.example:3000\r\n", 200),
        ("1.1", "Host: [::1]:80\r\n", 200),
        ("1.1", "Host: a_b\r\n", 200),
        ("1.1", "Host:\r\n", 200),
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: b\r\n", 400),
        ("1.1", "Host: a\r\nhost: a\r\n", 400),
        ("1.1", "Host: a,b\r\n", 400),
        ("1.1", "Host: a b\r\n", 400),
        ("1.1", "Host: a\tb\r\n", 400),
        ("1.1", "Host: a/b\r\n", 400),
        ("1.1", "Host: user@a\r\n", 400),
        ("1.1", "Host: a?b\r\n", 400),
        ("1.1", "Host: a#b\r\n", 400),
        ("1.1", "Host: <a>\r\n", 400),
        ("1.1", "Host: caf\u{e9}\r\n", 400),
        ("1.1", "Host : a\r\n", 400),
        ("1.0", "", 200),
        ("1.0", "Host: a\r\n", 200),
        ("1.0", "Host: a\r\nHost: b\r\n", 400),
        ("1.0", "Host: a b\r\n", 400),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\n{hosts}\r\n");
        assert_eq!(status(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn an_empty_line_before_a_request_is_refused() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for before in ["\n", "\n\n", "\r\n", "\r\n\r\n", "\r", " ", "\0"] {
        assert_eq!(status(format!("{before}{request}").as_bytes()), 400, "{before:?}");
    }
    let garden = format!("{request}\n\n{request}");
    let (first, next) = verdict(garden.as_bytes());
    assert_eq!((first, next), (200, request.len()));
    assert_eq!(status(&garden.as_bytes()[next..]), 400);
}

#[test]
fn cve_2024_37890_more_headers_than_the_cap_is_an_error() {
    let lines = |count: usize| "X: a\r\n".repeat(count - 1) + "\r\n";
    check(&[
        ("as many as the cap", request("GET / HTTP/1.1", &lines(HEADERS_MAX)), 200),
        ("one more", request("GET / HTTP/1.1", &lines(HEADERS_MAX + 1)), 431),
        ("2,000", request("GET / HTTP/1.1", &lines(2_000)), 431),
    ]);
    let upgrade = format!("{}Connection: Upgrade\r\nUpgrade: websocket\r\n", "X: a\r\n".repeat(98));
    check(&[("behind the cut", request("GET / HTTP/1.1", &(upgrade + "\r\n")), 431)]);
    let fewer = Limits { headers: 1, ..Limits::default() };
    let two = request("GET / HTTP/1.1", "X: a\r\n\r\n");
    assert_eq!(Head::parse(&two, &fewer).unwrap_err().status, 431);
}

#[test]
fn a_head_or_a_target_over_its_limit_is_an_error_as_soon_as_it_is() {
    let limits = Limits::default();
    let head = |length: usize| {
        let rest = length - request("GET / HTTP/1.1", "X: \r\n\r\n").len();
        request("GET / HTTP/1.1", &format!("X: {}\r\n\r\n", "a".repeat(rest)))
    };
    // The longest method leaves the least room for the target, the shortest the most.
    let target = |method: &str, length: usize| {
        let line = format!("{method} /{} HTTP/1.1", "a".repeat(length - 1));
        request(&line, "\r\n")
    };
    check(&[
        ("a head of the limit", head(limits.head_bytes), 200),
        ("a head of one more", head(limits.head_bytes + 1), 431),
        ("a head of 20 KiB", head(20 * 1024), 431),
        ("a head without end", head(limits.head_bytes + 1)[..limits.head_bytes].to_vec(), 431),
        (
            "a head that may yet end",
            head(limits.head_bytes)[..limits.head_bytes - 1].to_vec(),
            MORE,
        ),
        ("a target of the limit", target("OPTIONS", limits.target_bytes), 200),
        ("a target of one more", target("OPTIONS", limits.target_bytes + 1), 414),
        ("a target of one more", target("GET", limits.target_bytes + 1), 414),
        ("a target of 20 KiB", target("GET", 20 * 1024), 414),
        ("a target without end", target("GET", 9_000)[..8_500].to_vec(), 414),
    ]);
}

#[test]
fn rfc_9110_10_1_1_no_other_expectation_is_met() {
    check_posts(&[
        ("Expect: 100-continue", 200),
        ("Expect: 100-continue\r\nContent-Length: 5", MORE),
        ("Expect: 200-ok", 417),
        ("Expect: 100-continue, 200-ok", 417),
        ("Expect: 100-continue\r\nExpect: 100-continue", 417),
        ("Expect:", 417),
    ]);
}

#[test]
fn ghsa_r7qp_cfhv_p84w_an_upgrade_to_something_else_is_a_request() {
    check_posts(&[("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", 200)]);
}

/// 40 requests that are taken, refused early or late, or incomplete.
fn requests() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let methods = ["GET", "POST", "OPTIONS", "HEAD", "get"];
    let bodies = [
        "\r\n",
        "Content-Length: 5\r\n\r\n4[12]",
        "Content-Length: 9\r\n\r\n4[12]",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n4[\r\n3\r\n12]\r\n0\r\n\r\nGET / HT",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n4[\r\n3\r\n12]!\r\n0\r\n\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n\r\n\x01",
        "Cookie: a=b; c=d\r\nOrigin: http://a.example\r\nUser-Agent:\t x \r\n\r\nGET / HTTP/1.1",
        "X: a\n\r\n",
    ];
    for method in methods {
        for body in bodies {
            let line = format!("{method} /socket.io/?EIO=4&transport=polling&t=%4f+a HTTP/1.1");
            all.push(request(&line, body));
        }
    }
    all
}

#[test]
fn every_split_of_40_requests_gives_the_same_result() {
    let limits = Limits::default();
    let requests = requests();
    assert_eq!(requests.len(), 40);
    for bytes in &requests {
        exercise(bytes);
        let whole = HeadScanner::default().end(bytes, &limits);
        for split in 0..bytes.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.end(&bytes[..split], &limits);
            match first {
                Ok(None) => assert_eq!(scanner.end(bytes, &limits), whole, "split at {split}"),
                early => assert_eq!(early, whole, "split at {split}"),
            }
        }
    }
}

#[test]
fn pipelined_requests_are_found_one_behind_the_other() {
    let one = request("POST / HTTP/1.1", "Content-Length: 3\r\n\r\nabc");
    let all = one.repeat(1_000);
    let mut position = 0;
    for _ in 0..1_000 {
        let (status, length) = read(&all[position..]).unwrap();
        assert_eq!((status, length), (200, one.len()));
        position += length;
    }
    assert_eq!(position, all.len());
}

/// Each run takes well below a millisecond; with one quadratic step the test would take minutes.
#[test]
fn sixteen_kib_of_any_byte_cost_linear_time_wherever_they_stand() {
    for byte in 0..=u8::MAX {
        let many = [byte; 16 * 1024];
        for (before, after) in [
            ("", ""),
            ("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /?a=", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: ", "\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX", ": a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b", "c\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: ", "c\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", "c\r\n\r\n"),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "\r\n\r\n"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n", ""),
        ] {
            let room = Limits { head_bytes: 20_000, target_bytes: 17_000, ..Limits::default() };
            let bytes = [before.as_bytes(), &many, after.as_bytes()].concat();
            let mut scanner = HeadScanner::default();
            for end in (0..bytes.len()).step_by(16) {
                if !matches!(scanner.end(&bytes[..end], &room), Ok(None)) {
                    break;
                }
            }
            let Ok(Some(end)) = scanner.end(&bytes, &room) else { continue };
            let Ok(head) = Head::parse(&bytes[..end], &room) else { continue };
            let query = Query::parse(head.target);
            assert!(query.value("b").is_none() && query.pairs().count() <= many.len());
            let Ok(mut reader) = BodyReader::new(head.body, &room) else { continue };
            let mut body = Vec::new();
            for piece in bytes[end..].chunks(1) {
                let Ok(progress) = reader.read(piece, &mut body) else { break };
                assert!(progress.consumed <= 1 && body.len() <= bytes.len());
            }
        }
    }
}

#[test]
fn a_fault_is_answered_in_full_and_closes() {
    let fault = Head::parse(b"GET / HTTP/1.1\r\n\r\n", &Limits::default()).unwrap_err();
    let mut out = Vec::new();
    fault.respond(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 35\r\n\
         Connection: close\r\n\r\nA request has one valid Host header"
    );
    assert!(fault.to_string().starts_with("the client's request is refused with 400"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic_and_no_split_matters(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        exercise(&bytes);
    }

    #[test]
    fn no_change_of_a_request_panics_and_no_split_matters(
        which in 0_usize..40,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = requests().swap_remove(which);
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        exercise(&bytes);
        exercise(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn what_is_written_is_read(
        names in prop::collection::vec("X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", 0..20),
        value in "[!-~][ -~\t]{0,20}[!-~]",
        path in "/[!\"$-~]{0,40}",
    ) {
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n");
        for name in &names {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let head = Head::parse(text.as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(head.target, path);
        let read: Vec<_> = head.headers().skip(1).collect();
        let written: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_bytes())).collect();
        prop_assert_eq!(read, written);
    }
}
