//! Long-polling: what a GET and a POST are answered, and what ends the session
//! (protocol.md §4 and §5, matrix 9, 17 and 19).

use crate::raw::{post, request};
use crate::site::{Site, on_engine, on_engine_with};

#[test]
fn b5_1_text_goes_there_and_back() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut held = session.hold();
        session.send("4hello");
        let response = held.response();
        assert_eq!(response.text(), "4hello");
        assert_eq!(
            response.head,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             cache-control: no-store\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\n"
        );
    });
}

#[test]
fn b11_5_a_post_is_answered_ok() {
    on_engine(|site| {
        let mut session = site.polling();
        let response = session.post("4a");
        assert_eq!(response.text(), "ok");
        assert_eq!(
            response.head,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\ncache-control: no-store\r\n\
             Content-Length: 2\r\nConnection: keep-alive\r\n\r\n"
        );
    });
}

#[test]
fn b5_20_multi_byte_text_survives_both_ways() {
    on_engine(|site| {
        let mut session = site.polling();
        let text = "4€ é 😀 \u{fffe} \u{1f} \0";
        session.send(text);
        assert_eq!(session.poll(), text);
    });
}

#[test]
fn b5_13_binary_is_base64_padded_or_not_in_either_alphabet() {
    on_engine(|site| {
        let mut session = site.polling();
        session.send("b+/8AAQ==\x1eb-_8AAQ\x1eb");
        assert_eq!(session.poll(), "b+/8AAQ==\x1eb+/8AAQ==\x1eb");
    });
}

#[test]
fn every_two_packets_have_one_separator_also_in_a_poll_that_waited() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut held = session.hold();
        // The echo of a POST's first packet may go out by itself.
        session.send("4a\x1ebAQI=\x1e4c");
        let mut body = held.response().text().to_owned();
        if body.len() < 10 {
            body += "\x1e";
            body += &session.poll();
        }
        assert_eq!(body, "4a\x1ebAQI=\x1e4c");
    });
}

#[test]
fn b4_16_requests_that_close_their_connection_keep_the_session() {
    on_engine(|site| {
        let mut session = site.polling();
        for _ in 0..3 {
            let mut client = site.client();
            client.send(request(&format!("GET {}", session.target), "Connection: close\r\n"));
            session.send("4a");
            let response = client.response();
            assert_eq!((response.text(), response.header("connection")), ("4a", Some("close")));
            client.expect_end();
            let headers = "Connection: close\r\nContent-Length: 2\r\n";
            let mut client = site.client();
            client.send(request(&format!("POST {}", session.target), headers) + "4b");
            assert_eq!(client.response().text(), "ok");
            client.expect_end();
            assert_eq!(session.poll(), "4b");
        }
        site.none_gone();
    });
}

#[test]
fn http_1_0_works_and_keeps_the_connection_only_when_asked_to() {
    on_engine(|site| {
        let mut session = site.polling();
        session.send("4a");
        let old = format!("GET {} HTTP/1.0\r\n\r\n", session.target);
        let mut client = site.client();
        assert_eq!(client.ask(old).text(), "4a");
        client.expect_end();
        let old = format!("POST {} HTTP/1.0\r\nConnection: keep-alive\r\n", session.target);
        let mut client = site.client();
        for _ in 0..2 {
            assert_eq!(client.ask(format!("{old}Content-Length: 2\r\n\r\n4b")).text(), "ok");
        }
        assert_eq!(session.poll(), "4b\x1e4b");
    });
}

#[test]
fn b5_16_a_chunked_post_is_taken_in_any_pieces() {
    on_engine(|site| {
        let mut session = site.polling();
        let head = request(&format!("POST {}", session.target), "Transfer-Encoding: chunked\r\n");
        let body = "1\r\n4\r\n0000003\r\nabc\r\n0\r\n\r\n";
        session.client.trickle(head + body);
        assert_eq!(session.client.response().text(), "ok");
        assert_eq!(session.poll(), "4abc");
    });
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    on_engine(|site| {
        let mut session = site.polling();
        let headers = "Expect: 100-continue\r\nContent-Length: 2\r\n";
        let line = format!("POST {}", session.target);
        assert_eq!(session.client.ask(request(&line, headers)).status, 100);
        assert_eq!(session.client.ask("4a").text(), "ok");
        assert_eq!(session.poll(), "4a");
    });
}

#[test]
fn b5_15_a_body_of_the_limit_arrives_in_many_segments() {
    on_engine(|site| {
        let mut session = site.polling();
        let body = format!("4{}", "x".repeat(999_999));
        for segment in post(&session.target, body.as_bytes()).chunks(50_000) {
            session.client.send(segment);
        }
        assert_eq!(session.client.response().text(), "ok");
        assert_eq!(session.poll(), body);
    });
}

#[test]
fn b5_3_a_larger_body_that_comes_at_once_is_told_413_and_not_reset() {
    on_engine(|site| {
        let mut polling = site.polling();
        let response = polling.post("x".repeat(1_000_001));
        assert_eq!((response.status, response.header("connection")), (413, Some("close")));
        // The rest of it is taken from the client, so that the answer reaches it.
        polling.client.send([b'x'; 300_000]);
        polling.client.finish();
        polling.client.expect_end();
        polling.client = site.client();
        polling.echo();
    });
}

#[test]
fn b5_3_b5_5_a_larger_body_is_413_and_not_delivered() {
    on_engine_with(
        |builder| builder.max_http_buffer_size(100),
        |site| {
            let mut session = site.polling();
            let fits = format!("4{}", "x".repeat(99));
            session.send(&fits);
            assert_eq!(session.poll(), fits);
            let mut client = site.client();
            let response = client.post(&session.target, format!("{fits}x"));
            assert_eq!((response.status, response.text()), (413, ""));
            client.expect_end();
            let head = format!("POST {}", session.target);
            let chunked = request(&head, "Transfer-Encoding: chunked\r\n");
            let mut client = site.client();
            client.send(chunked + "64\r\n4" + &"x".repeat(99) + "\r\n1\r\n");
            let response = client.response();
            assert_eq!((response.status, response.text()), (413, ""));
            client.expect_end();
            session.echo();
            site.none_gone();
        },
    );
}

#[test]
fn cve_2020_36048_cve_2026_48809_m7_a_body_over_the_limit_is_refused_from_its_header() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let mut session = site.polling();
        for length in ["1000001", "100000000", "9999999999999999999"] {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let headers = format!("{expect}Content-Length: {length}\r\n");
                let mut client = site.client();
                // Not one byte of the body is sent.
                client.send(request(&format!("POST {}", session.target), &headers));
                assert_eq!(client.response().status, 413);
                client.expect_end();
            }
        }
        session.echo();
        bystanders.echo();
    });
}

#[test]
fn m17_a_second_get_is_400_and_ends_the_session() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let session = site.polling();
        let mut first = session.hold();
        let response = site.client().get(&session.target);
        assert_eq!((response.status, response.text()), (400, ""));
        assert_eq!(first.response().text(), "1");
        assert_eq!(site.reason(), "transport error");
        session.expect_gone();
        bystanders.echo();
    });
}

#[test]
fn m17_a_second_post_is_400_and_ends_the_first_and_the_session() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let session = site.polling();
        let head = request(&format!("POST {}", session.target), EXPECT);
        let mut first = site.client();
        // The server has begun to receive it.
        assert_eq!(first.ask(head).status, 100);
        let mut second = site.client();
        let response = second.post(&session.target, "4a");
        assert_eq!((response.status, response.text()), (400, ""));
        first.expect_end();
        assert_eq!(site.reason(), "transport error");
        session.expect_gone();
        bystanders.echo();
    });
}

const EXPECT: &str = "Expect: 100-continue\r\nContent-Length: 10\r\n";

#[test]
fn b4_15_a_held_poll_that_is_dropped_ends_the_session() {
    on_engine(|site| {
        for resets in [false, true] {
            let session = site.polling();
            let held = session.hold();
            if resets {
                held.reset()
            } else {
                drop(held)
            }
            assert_eq!(site.reason(), "transport error");
            session.expect_gone();
        }
    });
}

#[test]
fn m9_a_post_that_is_aborted_ends_the_session_and_delivers_nothing() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for resets in [false, true] {
            let session = site.polling();
            let mut client = site.client();
            let head = request(&format!("POST {}", session.target), EXPECT);
            assert_eq!(client.ask(head).status, 100);
            client.send("4close:\x1e4");
            if resets {
                client.reset()
            } else {
                drop(client)
            }
            // With the first packet handled it would be `forced close`.
            assert_eq!(site.reason(), "transport error");
            session.expect_gone();
        }
        bystanders.echo();
    });
}

#[test]
fn b4_22_cve_2026_59725_an_octet_stream_is_answered_400_and_ends_the_session() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let mut session = site.polling();
        let line = format!("POST {}", session.target);
        let other = "Content-Type: application/octet-stream; x=y\r\nContent-Length: 2\r\n";
        assert_eq!(session.client.ask(request(&line, other) + "4a").text(), "ok");
        assert_eq!(session.poll(), "4a");
        let headers = "Content-Type: application/octet-stream\r\nContent-Length: 2\r\n";
        let mut client = site.client();
        let response = client.ask(request(&line, headers) + "4a");
        assert_eq!((response.status, response.text()), (400, ""));
        client.expect_end();
        assert_eq!(site.reason(), "transport error");
        session.expect_gone();
        bystanders.echo();
    });
}

/// POSTs what ends a session whose GET is held, and checks how.
fn check_fatal(site: &Site, body: &[u8], echoed: &str, reason: &str) {
    let mut session = site.polling();
    let mut held = session.hold();
    let response = session.client.post(&session.target, body);
    assert_eq!(response.status, if reason == "parse error" { 400 } else { 200 }, "{body:?}");
    assert_eq!(site.reason(), reason, "{body:?}");
    let expected = if echoed.is_empty() { "1" } else { echoed };
    assert_eq!(held.response().text(), expected, "{body:?}");
    session.expect_gone();
}

#[test]
fn b4_30_m33_an_undecodable_packet_ends_the_session() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for body in
            [&b""[..], b"abc", b"7", b"9", b"x", b"\x1e", b"\x1e4a", b"4\xff", b"\x002", b" 4a"]
        {
            check_fatal(site, body, "", "parse error");
        }
        bystanders.echo();
    });
}

#[test]
fn m33_a_ping_from_the_client_ends_the_session() {
    on_engine(|site| {
        for body in ["2", "2probe"] {
            check_fatal(site, body.as_bytes(), "", "transport error");
        }
    });
}

#[test]
fn m33_packets_without_meaning_are_ignored() {
    on_engine(|site| {
        let mut session = site.polling();
        session.send("0\x1e5\x1e6\x1e3\x1e3probe\x1e0{}\x1e4");
        assert_eq!(session.poll(), "4");
        session.echo();
        site.none_gone();
    });
}

#[test]
fn packets_before_an_undecodable_one_are_delivered_and_those_behind_are_not() {
    on_engine(|site| {
        let mut session = site.polling();
        // Had the third been delivered, the reason would be that of a close.
        assert_eq!(session.post("4many:1\x1ex\x1e4close:").status, 400);
        assert_eq!(site.reason(), "parse error");
        session.expect_gone();
        let mut session = site.polling();
        assert_eq!(session.post("4close:\x1ex").status, 200);
        assert_eq!(session.poll(), "6\x1e1");
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn b4_10_a_client_that_leaves_is_told_that_it_may() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut held = session.hold();
        session.send("1");
        assert_eq!(held.response().text(), "6");
        assert_eq!(site.reason(), "transport close");
        session.expect_gone();

        let mut alone = site.polling();
        alone.send("4lost\x1e1\x1e4never");
        assert_eq!(site.reason(), "transport close");
        alone.expect_gone();
    });
}

#[test]
fn m19_ten_thousand_packets_are_taken_from_one_body_and_no_more() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let mut session = site.polling();
        session.send(&format!("{}4last", "6\x1e".repeat(9_999)));
        bystanders.echo();
        assert_eq!(session.poll(), "4last");
        assert_eq!(session.post(format!("{}4never", "6\x1e".repeat(10_000))).status, 400);
        assert_eq!(site.reason(), "parse error");
        let mut session = site.polling();
        assert_eq!(session.post("\x1e".repeat(999_999)).status, 400);
        assert_eq!(site.reason(), "parse error");
        bystanders.echo();
    });
}

#[test]
fn m6_a_thousand_pipelined_requests_are_answered_in_order() {
    let fallback = |builder: fanfare::Builder| {
        builder.fallback(|request| http::Response::new(request.uri().to_string().into()))
    };
    on_engine_with(fallback, |site| {
        let requests: String = (0..1_000).map(|n| request(&format!("GET /{n}"), "")).collect();
        let mut client = site.client();
        client.send(requests);
        for number in 0..1_000 {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
    });
}

#[test]
fn m6_pipelined_posts_and_polls_are_answered_in_order_also_across_shards() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        // Several connections, so that with two shards one is handed over.
        for _ in 0..8 {
            let session = site.polling();
            let mut bytes = Vec::new();
            for number in 0..100 {
                bytes.extend(post(&session.target, format!("4{number}").as_bytes()));
                bytes.extend(request(&format!("GET {}", session.target), "").bytes());
            }
            let mut client = site.client();
            client.send(bytes);
            for number in 0..100 {
                assert_eq!(client.response().text(), "ok");
                assert_eq!(client.response().text(), format!("4{number}"));
            }
        }
        bystanders.echo();
    });
}

#[test]
fn b5_15_b42_3_a_large_body_on_a_connection_of_another_shard_is_taken() {
    on_engine(|site| {
        let body = format!("4{}", "x".repeat(900_000));
        for _ in 0..20 {
            let mut session = site.polling();
            assert_eq!(site.client().post(&session.target, &body).text(), "ok");
            assert_eq!(session.poll(), body);
        }
        site.none_gone();
    });
}

#[test]
fn two_posts_in_one_segment_are_one_behind_the_other() {
    on_engine(|site| {
        let mut session = site.polling();
        let both = [post(&session.target, b"4a"), post(&session.target, b"4b")].concat();
        session.client.send(both);
        assert_eq!(session.client.response().text(), "ok");
        assert_eq!(session.client.response().text(), "ok");
        assert_eq!(session.poll(), "4a\x1e4b");
    });
}

#[test]
fn b42_2_a_connection_takes_the_sessions_of_all_shards_in_turn() {
    on_engine(|site| {
        let targets: Vec<String> = (0..16).map(|_| site.polling().target).collect();
        let mut client = site.client();
        for round in 0..5 {
            for target in &targets {
                assert_eq!(client.post(target, format!("4{round}")).text(), "ok");
                assert_eq!(client.get(target).text(), format!("4{round}"));
            }
        }
        site.none_gone();
    });
}
