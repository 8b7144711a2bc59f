//! What one client, and all clients of one address, may ask for; and whose address counts
//! (security.md §4, rows 12 and 57).

use fanfare::proto::websocket::Opcode;
use fanfare::{Builder, Limits, Rate, Socket};

use crate::raw::{Client, WEBSOCKET_HEADERS, frame, post, request, text};
use crate::site::{Site, on_engine, on_engine_with, on_io_with, shard_of};

/// A rate that a slow machine does not refill within a test.
const THREE: Rate = Rate { burst: 3, per_second: 0 };

fn limits(change: impl Fn(&mut Limits)) -> impl Fn(Builder) -> Builder {
    move |builder| builder.limits(&change)
}

/// The status of a handshake that comes with these headers, behind something else.
fn handshake(site: &Site, before: &[u8], headers: &str) -> u16 {
    let mut client = site.client();
    client.send(before);
    let head = request(&format!("GET {}", site.open_target("polling")), headers);
    client.ask(head).status
}

#[test]
fn m57_an_address_has_so_many_handshakes_on_all_shards_and_then_429() {
    on_engine_with(limits(|limits| limits.handshakes_per_address = Some(THREE)), |site| {
        assert!((0..3).all(|_| handshake(site, b"", "") == 200));
        assert_eq!(handshake(site, b"", ""), 429);
        let mut client = site.client();
        let target = site.open_target("websocket");
        client.send(request(&format!("GET {target}"), WEBSOCKET_HEADERS));
        assert_eq!(client.response().status, 429);
        client.expect_end();
    });
}

#[test]
fn m12_m57_the_clients_of_trusted_proxies_are_told_apart_and_others_are_not_believed() {
    let rate = limits(|limits| limits.handshakes_per_address = Some(THREE));
    on_engine_with(&rate, |site| {
        let statuses =
            (0..4).map(|n| handshake(site, b"", &format!("X-Forwarded-For: 192.0.2.{n}\r\n")));
        assert_eq!(statuses.collect::<Vec<_>>(), [200, 200, 200, 429], "nobody is trusted");
    });
    on_engine_with(
        |builder| rate(builder).trusted_proxies(["127.0.0.1"]),
        |site| {
            let from =
                |address: &str| handshake(site, b"", &format!("X-Forwarded-For: {address}\r\n"));
            for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
                assert!((0..3).all(|_| from(address) == 200));
                assert_eq!(from(address), 429);
            }
            assert_eq!(from("2001:db8::2:3:4"), 429, "a site of IPv6 is one");
            assert_eq!(from("2001:db8:0:1::1"), 200);
            assert_eq!(
                from("203.0.113.9, 192.0.2.1"),
                429,
                "what a client has written is not read"
            );
        },
    );
}

#[test]
fn m57_an_address_has_so_many_connections_on_all_shards_and_then_429() {
    on_engine_with(limits(|limits| limits.connections_per_address = 4), |site| {
        let mut clients: Vec<Client> = (0..4).map(|_| site.client()).collect();
        // Each of them has been accepted when it is answered.
        for client in &mut clients {
            assert_eq!(client.get(&site.open_target("polling")).status, 200);
        }
        let mut fifth = site.client();
        assert_eq!(fifth.response().status, 429);
        fifth.expect_end();
        drop(clients.pop());
        let back = (0..1_000).any(|_| {
            let mut client = site.client();
            client.send(request(&format!("GET {}", site.open_target("polling")), ""));
            client.response().status == 200
        });
        assert!(back, "one that has gone makes room");
    });
}

#[test]
fn m57_as_many_connections_of_an_address_are_told_so_at_a_time_and_others_closed() {
    on_engine_with(limits(|limits| limits.connections_per_address = 2), |site| {
        let connect = |_| site.client();
        let mut clients: Vec<Client> = (0..2).map(connect).collect();
        for client in &mut clients {
            assert_eq!(client.get(&site.open_target("polling")).status, 200);
        }
        let mut refused: Vec<Client> = (0..2).map(connect).collect();
        for client in &mut refused {
            assert_eq!(client.response().status, 429);
        }
        // Those linger, and were no limit if any number of them could.
        (0..5).for_each(|_| site.client().expect_end());
        drop(refused.pop());
        let is_told = (0..1_000).any(|_| site.client().rest().starts_with(b"HTTP/1.1 429"));
        assert!(is_told, "one that has gone makes room to tell another one");
    });
}

#[test]
fn m57_a_connection_that_is_handed_over_counts_once() {
    on_engine_with(limits(|limits| limits.connections_per_address = 12), |site| {
        let mut sessions: Vec<_> = (0..6).map(|_| site.polling()).collect();
        // With two shards half of these are handed over.
        for session in &mut sessions {
            session.echo();
        }
        println!("{:?}", sessions.iter().map(|session| shard_of(&session.sid)).collect::<Vec<_>>());
        drop(sessions);
        let mut client = site.client();
        let mut session = client.get(&site.open_target("polling")).status;
        for _ in 0..200 {
            if session == 200 {
                break;
            }
            client = site.client();
            session = client.get(&site.open_target("polling")).status;
        }
        assert_eq!(session, 200, "those that have gone are not counted");
    });
}

#[test]
fn m57_a_client_that_sends_too_much_is_disconnected() {
    let packets = limits(|limits| limits.packets_per_client = Some(THREE));
    let bytes = limits(|limits| {
        limits.bytes_per_client = Some(Rate { burst: 20, per_second: 0 });
    });
    on_engine_with(&packets, |site| {
        let (mut client, _) = site.websocket();
        let mut bystanders = site.bystanders();
        client.send([text("4a"), text("4b"), text("4c"), text("4d")].concat());
        for expected in ["4a", "4b", "4c"] {
            assert_eq!(client.text(), expected);
        }
        assert_eq!(client.close_code(), Some(1008));
        assert_eq!(site.reason(), "transport error");
        let polling = site.polling();
        let mut client = site.client();
        client.send(post(&polling.target, "4a\u{1e}4b\u{1e}4c\u{1e}4d".as_bytes()));
        polling.expect_gone();
        bystanders.echo();
    });
    on_engine_with(&bytes, |site| {
        let (mut client, _) = site.websocket();
        client.send(frame(true, Opcode::Text, &[b'4'; 15]));
        assert_eq!(client.text().len(), 15);
        client.send(frame(true, Opcode::Text, &[b'4'; 15]));
        assert_eq!(client.close_code(), Some(1008));
    });
}

/// Has a server answer where a client is from.
fn tell_addresses(site: &Site) {
    site.server().of("/").on("who", async |socket: Socket| {
        let address = socket.handshake().and_then(|handshake| handshake.address());
        socket.emit("you", address.map(|address| address.to_string()));
    });
}

/// Where a WebSocket client is from that begins so, as the server sees it.
fn address(site: &Site, before: &[u8], headers: &str) -> String {
    let mut client = site.client();
    client.send(before);
    let target = site.open_target("websocket");
    client.send(request(&format!("GET {target}"), &format!("{WEBSOCKET_HEADERS}{headers}")));
    assert_eq!(client.response().status, 101);
    client.text();
    client.say("40");
    client.text();
    client.say("42[\"who\"]");
    client.text()
}

#[test]
fn m12_a_handshake_tells_the_address_of_the_client_that_a_trusted_proxy_names() {
    let trusted = |builder: Builder| builder.trusted_proxies(["127.0.0.0/8"]);
    on_io_with(trusted, |site| {
        tell_addresses(site);
        let named = address(site, b"", "X-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!(named, "42[\"you\",\"192.0.2.1:0\"]");
        assert!(address(site, b"", "").starts_with("42[\"you\",\"127.0.0.1:"));
    });
    on_io_with(
        |builder| builder,
        |site| {
            tell_addresses(site);
            let named = address(site, b"", "X-Forwarded-For: 192.0.2.1\r\n");
            assert!(named.starts_with("42[\"you\",\"127.0.0.1:"), "{named}");
        },
    );
}

#[test]
fn the_proxy_protocol_names_the_client_and_must_be_spoken_where_it_is_expected() {
    let expected = |builder: Builder| builder.trusted_proxies(["127.0.0.1"]).proxy_protocol(true);
    let first = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    let second =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb";
    on_io_with(expected, |site| {
        tell_addresses(site);
        for preamble in [&first[..], second] {
            assert_eq!(address(site, preamble, ""), "42[\"you\",\"192.0.2.1:56324\"]");
        }
        // Piece by piece, and of the proxy itself.
        let mut client = site.client();
        client.trickle(first);
        assert_eq!(client.get(&site.open_target("polling")).status, 200);
        let unknown = address(site, b"PROXY UNKNOWN\r\n", "");
        assert!(unknown.starts_with("42[\"you\",\"127.0.0.1:"), "{unknown}");
        let mut client = site.client();
        assert_eq!(client.get(&site.open_target("polling")).status, 400);
        client.expect_end();
    });
    let by_others = |builder: Builder| builder.trusted_proxies(["192.0.2.1"]).proxy_protocol(true);
    on_io_with(by_others, |site| {
        let mut client = site.client();
        client.send(first);
        let target = site.open_target("polling");
        assert_eq!(client.get(&target).status, 400, "it is no request");
        assert_eq!(handshake(site, b"", ""), 200);
    });
}

#[test]
fn m57_nothing_of_this_is_limited_by_default() {
    on_engine(|site| {
        assert!((0..50).all(|_| handshake(site, b"", "") == 200));
    });
}
