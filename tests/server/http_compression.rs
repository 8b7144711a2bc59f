//! Compressed answers to polls (protocol.md §11.4).

use fanfare::{Builder, HttpCompression};

use crate::inflate::decoded;
use crate::raw::{Response, request};
use crate::site::{Polling, on_engine, on_engine_with, on_io_with};

/// A GET of packets that takes these codings.
fn poll(session: &mut Polling<'_>, accepted: &str) -> Response {
    let headers = format!("Accept-Encoding: {accepted}\r\n");
    let response = session.client.ask(request(&format!("GET {}", session.target), &headers));
    assert_eq!(response.status, 200);
    response
}

/// What comes back of a message, and the coding of the answer.
fn echoed(session: &mut Polling<'_>, message: &str, accepted: &str) -> Option<String> {
    session.send(message);
    let response = poll(session, accepted);
    let encoding = response.header("content-encoding").map(str::to_owned);
    let body = match &encoding {
        Some(encoding) => decoded(encoding, &response.body),
        None => response.body,
    };
    assert_eq!(String::from_utf8(body).unwrap(), message);
    encoding
}

#[test]
fn b10_1_b10_2_b10_6_a_long_answer_is_compressed_as_the_client_likes() {
    on_engine(|site| {
        let mut session = site.polling();
        let (long, short) = (format!("4{}", "€".repeat(341)), format!("4{}", "a".repeat(1_022)));
        assert_eq!((long.len(), short.len()), (1_024, 1_023));
        for (accepted, encoding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate", Some("gzip")),
            ("deflate", Some("deflate")),
            ("gzip;q=0.1, deflate", Some("deflate")),
            ("br", None),
            ("identity", None),
            ("*;q=0", None),
        ] {
            let found = echoed(&mut session, &long, accepted);
            assert_eq!(found.as_deref(), encoding, "{accepted}");
            assert_eq!(echoed(&mut session, &short, accepted), None);
        }
        session.send(&long);
        let response = session.client.get(&session.target);
        assert_eq!((response.header("content-encoding"), response.text()), (None, &*long));
        session.send(&long);
        let response = poll(&mut session, "gzip");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             Content-Encoding: gzip\r\ncache-control: no-store\r\nContent-Length: {}\r\n\
             Connection: keep-alive\r\n\r\n",
            response.body.len()
        );
        assert_eq!(response.head, head);
    });
}

#[test]
fn an_answer_that_is_waited_for_is_compressed_too() {
    on_io_with(
        |builder| builder,
        |site| {
            let mut session = site.polling();
            session.send("40");
            assert!(session.poll().starts_with("40{"));
            let mut held = site.client();
            held.send(request(&format!("GET {}", session.target), "Accept-Encoding: gzip\r\n"));
            let text = "text ".repeat(1_000);
            session.send(&format!("42[\"echo\",\"{text}\"]"));
            let response = held.response();
            assert_eq!(response.header("content-encoding"), Some("gzip"));
            let body = decoded("gzip", &response.body);
            assert_eq!(body, format!("42[\"echo\",\"{text}\"]").into_bytes());
        },
    );
}

fn threshold(bytes: usize) -> impl Fn(Builder) -> Builder {
    move |builder| builder.http_compression(HttpCompression::default().threshold(bytes))
}

#[test]
fn b10_3_with_threshold_0_small_answers_are_compressed() {
    on_engine_with(threshold(0), |site| {
        let mut session = site.polling();
        assert_eq!(echoed(&mut session, "4a", "gzip").as_deref(), Some("gzip"));
        // Not what is no packet of a session, and no answer to a POST.
        let headers = "Accept-Encoding: gzip\r\n";
        let mut client = site.client();
        let wrong = client.ask(request("GET /engine.io/?EIO=4&transport=x", headers));
        assert_eq!((wrong.status, wrong.header("content-encoding")), (400, None));
        let head = format!("POST {}", session.target);
        let taken = client.ask(request(&head, &format!("{headers}Content-Length: 2\r\n")) + "4b");
        assert_eq!((taken.text(), taken.header("content-encoding")), ("ok", None));
        // Nor what says nothing but that the session is closed.
        let _ = poll(&mut session, "gzip");
        session.send("4close:");
        let end = poll(&mut session, "gzip");
        assert_eq!((end.text(), end.header("content-encoding")), ("6\u{1e}1", None));
    });
}

#[test]
fn b10_4_it_can_be_turned_off() {
    on_engine_with(
        |builder| builder.http_compression(None),
        |site| {
            let mut session = site.polling();
            let long = format!("4{}", "a".repeat(5_000));
            assert_eq!(echoed(&mut session, &long, "gzip, deflate"), None);
        },
    );
}

#[test]
fn b10_5_answers_whose_packets_are_not_to_be_compressed_are_not() {
    on_io_with(
        |builder| builder,
        |site| {
            let mut session = site.polling();
            session.send("40");
            assert!(session.poll().starts_with("40{"));
            let text = "text ".repeat(500);
            let server = site.server();
            let mut encoding = |compress: &[bool]| {
                for compress in compress {
                    server.compress(*compress).emit("all", &text);
                }
                // They are there with the answer of the shard that has them.
                let mut packets = 0;
                let mut encoding = None;
                while packets < compress.len() {
                    let response = poll(&mut session, "gzip");
                    encoding = response.header("content-encoding").map(str::to_owned);
                    let body = match encoding {
                        Some(_) => decoded("gzip", &response.body),
                        None => response.body,
                    };
                    packets += body.split(|byte| *byte == 0x1e).count();
                }
                encoding
            };
            assert_eq!(encoding(&[true]).as_deref(), Some("gzip"));
            assert_eq!(encoding(&[false]), None);
            assert_eq!(encoding(&[false, true]).as_deref(), Some("gzip"));
        },
    );
}
