//! Limits and abuse below the protocol (security.md §5, matrix 1 to 8, CVE rows).

use std::time::{Duration, Instant};

use fanfare::proto::websocket::Opcode;
use fanfare::{Builder, Limits, engine};

use crate::raw::{Client, WEBSOCKET_HEADERS, frame, post, request, text};
use crate::site::{Site, on_engine, on_engine_with, on_io_with, shard_of, sid_of};

const SHORT: Duration = Duration::from_millis(200);

fn limits(change: impl Fn(&mut Limits)) -> impl Fn(Builder) -> Builder {
    move |builder| builder.limits(&change)
}

#[test]
fn m1_heads_arrive_byte_by_byte() {
    on_engine(|site| {
        let session = site.polling();
        let mut client = site.client();
        client.trickle(post(&session.target, b"4a"));
        assert_eq!(client.response().text(), "ok");
        client.trickle(request(&format!("GET {}", session.target), "Cookie: a=b\r\n"));
        assert_eq!(client.response().text(), "4a");
        client.trickle(request(
            &format!("GET {}", site.target("websocket", &session.sid)),
            WEBSOCKET_HEADERS,
        ));
        assert_eq!(client.response().status, 101);
        client.trickle(text("2probe"));
        assert_eq!(client.text(), "3probe");
    });
}

#[test]
fn m2_a_head_that_does_not_end_is_408_whatever_trickles() {
    on_engine_with(limits(|limits| limits.head_timeout = SHORT), |site| {
        let mut bystanders = site.bystanders();
        for trickles in [false, true] {
            let begun = Instant::now();
            let mut client = site.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
            while trickles && !client.arrives_within(Duration::from_millis(5)) {
                client.send("x");
            }
            let response = client.response();
            assert_eq!(response.status, 408);
            assert!(begun.elapsed() >= SHORT);
            client.expect_end();
        }
        bystanders.echo();
    });
}

#[test]
fn m3_a_connection_that_sends_nothing_is_closed() {
    on_engine_with(limits(|limits| limits.head_timeout = SHORT), |site| {
        let begun = Instant::now();
        let mut client = site.client();
        client.expect_end();
        assert!(begun.elapsed() >= SHORT);
    });
}

#[test]
fn a_connection_that_is_kept_alive_for_nothing_is_closed() {
    on_engine_with(limits(|limits| limits.keep_alive_timeout = SHORT), |site| {
        let mut session = site.polling();
        session.send("4a");
        let begun = Instant::now();
        assert_eq!(session.poll(), "4a");
        session.client.expect_end();
        assert!(begun.elapsed() >= SHORT);
        session.client = site.client();
        session.echo();
    });
}

#[test]
fn a_held_poll_is_not_idle() {
    let options = |builder: Builder| {
        let builder = builder.ping_interval(4 * SHORT).limits(|limits| {
            limits.keep_alive_timeout = SHORT;
            limits.head_timeout = SHORT;
            limits.body_timeout = SHORT;
        });
        builder.ping_timeout(Duration::from_secs(60))
    };
    on_engine_with(options, |site| {
        let mut session = site.polling();
        assert_eq!(session.poll(), "2");
        let (mut client, _) = site.websocket();
        assert_eq!(client.text(), "2");
        site.none_gone();
    });
}

#[test]
fn m8_a_slow_body_is_408_and_the_session_stays() {
    on_engine_with(limits(|limits| limits.body_timeout = SHORT), |site| {
        let mut session = site.polling();
        let begun = Instant::now();
        let mut client = site.client();
        let head = request(&format!("POST {}", session.target), "Content-Length: 100000\r\n");
        client.send(head + "4");
        while !client.arrives_within(Duration::from_millis(5)) {
            client.send("x");
        }
        assert_eq!(client.response().status, 408);
        assert!(begun.elapsed() >= SHORT);
        client.expect_end();
        drop(client);
        session.client = site.client();
        session.echo();
        site.none_gone();
    });
}

#[test]
fn m8_a_body_that_is_too_slow_is_408_long_before_its_timeout_and_one_that_is_not_is_served() {
    const LONG: Duration = Duration::from_secs(20);
    let options = limits(|limits| {
        limits.body_grace = SHORT;
        limits.body_bytes_per_second = 1_000;
        limits.body_timeout = Duration::from_secs(300);
    });
    on_engine_with(options, |site| {
        let session = site.polling();
        let head = request(&format!("POST {}", session.target), "Content-Length: 10000\r\n");
        for trickles in [false, true] {
            let begun = Instant::now();
            let mut client = site.client();
            client.send(&head);
            // Some 200 bytes a second at most.
            while trickles && begun.elapsed() < LONG && !client.arrives_within(SHORT / 40) {
                client.send("6");
            }
            assert_eq!(client.response().status, 408);
            assert!((SHORT..LONG).contains(&begun.elapsed()), "{:?}", begun.elapsed());
            client.expect_end();
        }
        let mut client = site.client();
        client.send(&head);
        // With these it has nine seconds.
        client.send("6".repeat(9_000));
        assert!(!client.arrives_within(2 * SHORT));
        client.send("6".repeat(1_000));
        assert_eq!(client.response().text(), "ok");
        site.none_gone();
    });
}

#[test]
fn m4_cve_2024_37890_a_head_over_a_limit_is_refused_and_never_cut() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let line = format!("GET {}", site.open_target("websocket"));
        let many = |count: usize| "X: a\r\n".repeat(count);
        // With Host and the four of the handshake it is one too many, and many too many.
        for count in [96, 2_000] {
            let mut client = site.client();
            let head = request(&line, &(many(count) + WEBSOCKET_HEADERS));
            assert_eq!(client.ask(head).status, 431, "{count}");
            client.expect_end();
        }
        let mut client = site.client();
        assert_eq!(client.ask(request(&line, &(many(95) + WEBSOCKET_HEADERS))).status, 101);
        let big = |size: usize| request(&line, &format!("X: {}\r\n", "a".repeat(size)));
        for (head, status) in [
            (big(16 * 1024), 431),
            (request(&format!("GET /{}", "a".repeat(8 * 1024)), ""), 414),
            (request(&format!("GET /{}", "a".repeat(20 * 1024)), ""), 414),
        ] {
            let mut client = site.client();
            assert_eq!(client.ask(head).status, status);
            client.expect_end();
        }
        bystanders.echo();
    });
}

#[test]
fn cve_2021_32640_a_header_of_blanks_is_refused_at_once() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let line = format!("GET {}", site.open_target("websocket"));
        for name in ["Sec-WebSocket-Protocol", "Connection", "Upgrade", "Sec-WebSocket-Key"] {
            let blanks = format!("{name}: b{}x\r\n", " ".repeat(15_000));
            let mut client = site.client();
            let response = client.ask(request(&line, &(blanks + WEBSOCKET_HEADERS)));
            assert!(matches!(response.status, 101 | 400), "{name}: {}", response.status);
        }
        bystanders.echo();
    });
}

#[test]
fn m21_beyond_the_limit_of_sessions_a_handshake_is_answered_503_until_one_has_gone() {
    on_engine_with(limits(|limits| limits.sessions = 3), |site| {
        let mut sids = Vec::new();
        let (refused, mut client) = loop {
            let mut client = site.client();
            let open = client.get(&site.open_target("polling"));
            match open.status {
                200 => sids.push(sid_of(open.text())),
                _ => break (open, client),
            }
        };
        assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
        client.expect_end();
        let of_shard = |shard| sids.iter().filter(|sid| shard_of(sid) == shard).count();
        assert_eq!(of_shard(0).max(of_shard(1)), 3, "each shard counts its own");
        for sid in &sids {
            site.client().post(&site.target("polling", sid), "1");
            assert_eq!(site.reason(), "transport close");
        }
        let line = format!("GET {}", site.open_target("websocket"));
        let mut websockets = Vec::new();
        let refused = loop {
            let mut client = site.client();
            match client.ask(request(&line, WEBSOCKET_HEADERS)).status {
                101 => websockets.push(client),
                status => break status,
            }
        };
        assert!(refused == 503 && websockets.len() >= 3);
    });
}

#[test]
fn m6_bytes_behind_a_held_poll_are_kept_up_to_a_limit() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let mut session = site.polling();
        let mut client = session.hold();
        session.send("4a");
        assert_eq!(client.response().text(), "4a");
        // Now the connection is where its session is, and what it sends comes in order.
        let poll = request(&format!("GET {}", session.target), "");
        client.send([poll.as_bytes(), &post(&session.target, &[b'x'; 200_000])].concat());
        client.expect_end();
        assert_eq!(site.reason(), "transport error");
        session.expect_gone();
        bystanders.echo();
    });
}

#[test]
fn m45_the_last_places_are_for_clients_that_are_there_and_new_ones_are_told_503() {
    let site = Site::engine(limits(|limits| limits.connections = 32)(engine::Server::builder()), 1);
    let mut polling = site.polling();
    let mut websockets: Vec<Client> = (0..29).map(|_| site.websocket().0).collect();
    for transport in ["polling", "websocket"] {
        let mut client = site.client();
        let line = format!("GET {}", site.open_target(transport));
        let headers = if transport == "websocket" { WEBSOCKET_HEADERS } else { "" };
        let response = client.ask(request(&line, headers));
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
        client.expect_end();
    }
    let mut held = polling.hold();
    polling.send("4a");
    assert_eq!(held.response().text(), "4a");
    let mut upgraded = polling.probe();
    upgraded.say("2probe");
    assert_eq!(upgraded.text(), "3probe");
    // Now all are taken: whoever comes waits in the kernel until somebody goes.
    let mut waiting = site.client();
    drop(websockets.split_off(25));
    (0..4).for_each(|_| assert_eq!(site.reason(), "transport close"));
    assert_eq!(waiting.get(&site.open_target("polling")).status, 200);
    upgraded.say("5");
    upgraded.say("4b");
    assert_eq!(upgraded.text(), "4b");
    for websocket in &mut websockets {
        websocket.say("4c");
        assert_eq!(websocket.text(), "4c");
    }
}

/// The states of a connection: what is sent, and how often the server's answer is waited for.
fn states(polling: &str, upgrade: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let head = |line: &str, headers: &str| request(line, headers).into_bytes();
    let get = head(&format!("GET {polling}"), "");
    let body = head(&format!("POST {polling}"), "Content-Length: 9\r\n");
    let websocket = |target: &str| head(&format!("GET {target}"), WEBSOCKET_HEADERS);
    let direct = websocket("/engine.io/?EIO=4&transport=websocket");
    let with = |first: &[u8], second: Vec<u8>| vec![first.to_vec(), second];
    vec![
        ("nothing sent", vec![]),
        ("in a head", vec![b"GET /eng".to_vec()]),
        ("in a body", vec![[&body[..], b"4ab"].concat()]),
        ("in a chunk", vec![head(&format!("POST {polling}"), "Transfer-Encoding: chunked\r\n")]),
        ("held or answered", vec![get]),
        ("refused", vec![b"\x16\x03\x01".to_vec()]),
        ("h2c outside the path", vec![head("GET /", "Connection: Upgrade\r\nUpgrade: h2c\r\n")]),
        ("upgraded", vec![direct.clone()]),
        ("in a frame", with(&direct, frame(true, Opcode::Binary, &[1; 99])[..50].to_vec())),
        ("between fragments", with(&direct, frame(false, Opcode::Text, b"4a"))),
        ("after a fault", with(&direct, b"test".to_vec())),
        ("closed by the server", with(&direct, text("4close:"))),
        ("closed by itself", with(&direct, frame(true, Opcode::Close, b""))),
        ("with an echo on its way", with(&direct, text("4many:30000"))),
        ("a probe", vec![websocket(upgrade)]),
        ("a probe that was answered", with(&websocket(upgrade), text("2probe"))),
        ("moved", with(&websocket(upgrade), [text("2probe"), text("5"), text("4a")].concat())),
    ]
}

#[test]
fn cve_2022_41940_a_reset_in_any_state_ends_that_connection_only() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for waits in [false, true] {
            let count = states("", "").len();
            for index in 0..count {
                let session = site.polling();
                let upgrade = site.target("websocket", &session.sid);
                let (about, sends) = states(&session.target, &upgrade).swap_remove(index);
                let mut client = site.client();
                for bytes in sends {
                    client.send(bytes);
                    // Either way: before and after the server has seen it.
                    if waits {
                        client.arrives_within(Duration::from_millis(20));
                    }
                }
                client.reset();
                println!("{about}");
                bystanders.echo();
            }
        }
        let mut session = site.polling();
        session.echo();
    });
}

#[test]
fn a_client_that_has_not_joined_may_send_64_kib() {
    on_io_with(
        |builder| builder,
        |site| {
            let mut bystanders = site.bystanders();
            let (mut client, _) = site.websocket();
            client.say(&format!("6{}", "x".repeat(60 * 1024)));
            client.say("40");
            assert!(client.text().starts_with("40{"));
            client.say(&format!(r#"42["echo","{}"]"#, "x".repeat(100_000)));
            assert!(client.text().len() > 100_000);
            let (mut client, _) = site.websocket();
            client.say(&format!("6{}", "x".repeat(64 * 1024)));
            client.expect_close(None);
            let mut session = site.polling();
            session.send(&format!("6{}", "x".repeat(64 * 1024)));
            assert_eq!(session.poll(), "6\x1e1");
            bystanders.echo();
        },
    );
}
