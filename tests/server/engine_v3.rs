//! Engine.IO v3 (protocol.md §13): handshakes, payloads of both forms, heartbeat, upgrade and end.
//! Upstream runs its tests of the engine against a client of each revision: names of lines stand
//! here for the second run.

use std::time::{Duration, Instant};

use fanfare::Builder;
use fanfare::proto::websocket::Opcode;

use crate::raw::{Client, Response, WEBSOCKET_HEADERS, frame, post, request, text};
use crate::site::{Site, hold, on_engine, on_engine_with, sid_of};

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const BAD_PROTOCOL: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

fn allowed(builder: Builder) -> Builder {
    builder.allow_eio3(true)
}

fn on_old_engine(test: impl Fn(&mut Site)) {
    on_engine_with(allowed, test);
}

/// A session by polling, and a connection of it that is kept alive.
struct Polling<'a> {
    site: &'a Site,
    client: Client,
    sid: String,
    target: String,
}

/// Opens a session with more of a query, such as `&b64=1`.
fn polling<'a>(site: &'a Site, query: &str) -> Polling<'a> {
    let mut client = site.client();
    let open = client.get(&format!("{}?EIO=3&transport=polling{query}", site.path));
    assert_eq!(open.status, 200, "{}", open.text());
    let sid = sid_of(packet(open.text()));
    let target = format!("{}?EIO=3&transport=polling&sid={sid}", site.path);
    Polling { site, client, sid, target }
}

/// The only packet of a payload in text form.
#[track_caller]
fn packet(payload: &str) -> &str {
    let (length, packet) = payload.split_once(':').expect("a length");
    assert_eq!(length.parse(), Ok(packet.encode_utf16().count()), "{payload}");
    packet
}

fn websocket(site: &Site, query: &str) -> (Client, String) {
    let mut client = site.handshake(&format!("{}?EIO=3&transport=websocket{query}", site.path));
    let sid = sid_of(&client.text());
    (client, sid)
}

impl Polling<'_> {
    fn poll(&mut self) -> Response {
        let response = self.client.get(&self.target);
        assert_eq!(response.status, 200, "{}", response.head);
        response
    }

    #[track_caller]
    fn expect(&mut self, payload: &str) {
        assert_eq!(self.poll().text(), payload);
    }

    fn hold(&self) -> Client {
        let mut client = self.site.client();
        hold(&mut client, &self.target, "1:6");
        client
    }

    #[track_caller]
    fn send(&mut self, payload: &str) {
        let response = self.client.post(&self.target, payload);
        assert_eq!((response.status, response.text()), (200, "ok"));
    }

    fn post_octets(&mut self, payload: &[u8]) -> Response {
        let headers = format!("{OCTETS}Content-Length: {}\r\n", payload.len());
        let head = request(&format!("POST {}", self.target), &headers);
        self.client.ask([head.as_bytes(), payload].concat())
    }

    fn probe(&self, query: &str) -> Client {
        let path = self.site.path;
        self.site.handshake(&format!("{path}?EIO=3&transport=websocket&sid={}{query}", self.sid))
    }

    #[track_caller]
    fn expect_gone(&self) {
        let response = self.site.client().get(&self.target);
        assert_eq!((response.status, response.text()), (400, UNKNOWN));
    }
}

#[test]
fn b2_30_who_does_not_allow_it_refuses_with_code_5() {
    on_engine(|site| {
        for protocol in ["EIO=3", "EIO=2", "EIO=", "a=4"] {
            let response = site.client().get(&format!("/engine.io/?{protocol}&transport=polling"));
            assert_eq!((response.status, response.text()), (400, BAD_PROTOCOL));
            let line = format!("GET /engine.io/?{protocol}&transport=websocket");
            let response = site.client().ask(request(&line, WEBSOCKET_HEADERS));
            assert_eq!((response.status, response.text()), (400, "Unsupported protocol version"));
        }
    });
}

#[test]
fn b2_15_b2_18_b2_20_b2_23_the_open_packet_is_the_one_of_v4_behind_its_length() {
    on_old_engine(|site| {
        // What is not 4 is 3.
        for protocol in ["EIO=3", "EIO=5", "a=4"] {
            let target = format!("/engine.io/?{protocol}&transport=polling");
            let response = site.client().get(&target);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n\
                 cache-control: no-store\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
                response.body.len()
            );
            assert_eq!(response.head, head);
            let open = packet(response.text());
            let rest = "\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\
                        \"pingTimeout\":20000,\"maxPayload\":1000000}";
            assert_eq!(open, format!("0{{\"sid\":\"{}\",{rest}", sid_of(open)));
        }
        let (mut client, _) = websocket(site, "");
        client.say("4first");
        assert_eq!(client.text(), "4first");
    });
}

#[test]
fn b2_24_a_request_of_the_other_revision_is_code_3_and_harms_nothing() {
    on_old_engine(|site| {
        let mut old = polling(site, "");
        let mut new = site.polling();
        for target in [site.target("polling", &old.sid), new.target.replace("EIO=4", "EIO=3")] {
            let response = site.client().get(&target);
            assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
            assert_eq!(site.client().post(&target, "4a").status, 400);
            let line = format!("GET {}", target.replace("polling", "websocket"));
            let response = site.client().ask(request(&line, WEBSOCKET_HEADERS));
            assert_eq!((response.status, response.text()), (400, "Bad request"));
        }
        old.send("2:4a");
        old.expect("2:4a");
        new.echo();
        site.none_gone();
    });
}

#[test]
fn b5_1_b5_20_lengths_are_in_utf_16_code_units() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let mut held = session.hold();
        session.send("6:4hello");
        assert_eq!(held.response().text(), "6:4hello");
        // Several packets, one of them of length zero, which stands for nothing.
        session.send("2:4\u{20ac}0:3:4\u{1f600}4:4\u{e9}\0\u{1f}1:4");
        session.expect("2:4\u{20ac}3:4\u{1f600}4:4\u{e9}\0\u{1f}1:4");
    });
}

#[test]
fn b5_13_binary_goes_in_binary_form_both_ways() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let payload = b"\x01\x04\xff\x04\x07\x08\x09\x00\x04\xff4\xe2\x82\xac\x01\x01\xff\x04";
        let response = session.post_octets(payload);
        assert_eq!((response.status, response.text()), (200, "ok"));
        let response = session.poll();
        assert_eq!(response.body, payload);
        assert_eq!(response.header("content-type"), Some("application/octet-stream"));
        // Text alone, and control packets, stay in text form.
        session.send("2:4a");
        let response = session.poll();
        assert_eq!(response.text(), "2:4a");
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        // An empty body in binary form is taken and does nothing.
        assert_eq!(session.post_octets(b"").text(), "ok");
        site.none_gone();
    });
}

#[test]
fn b5_13_binary_is_base64_for_who_asks_for_that() {
    on_old_engine(|site| {
        let mut session = polling(site, "&b64=1");
        session.send("6:b4BwgJ3:4\u{1f600}2:b4");
        session.expect("6:b4BwgJ3:4\u{1f600}2:b4");
        assert_eq!(session.post_octets(b"\x01\x04\xff\x04\x07\x08\x09").text(), "ok");
        session.expect("6:b4BwgJ");
        let (mut client, _) = websocket(site, "&b64=true");
        client.send(frame(true, Opcode::Binary, b"\x04\x07\x08\x09"));
        assert_eq!(client.text(), "b4BwgJ");
        // Nothing behind the name is as if it were not there.
        let mut session = polling(site, "&b64=");
        session.send("6:b4BwgJ");
        assert_eq!(session.poll().body, b"\x01\x04\xff\x04\x07\x08\x09");
    });
}

#[test]
fn b5_12_binary_on_a_websocket_has_its_type_in_front() {
    on_old_engine(|site| {
        let (mut client, _) = websocket(site, "");
        for data in [&b"\x04\x01\x02"[..], b"\x04"] {
            client.send(frame(true, Opcode::Binary, data));
            let echo = client.frame();
            assert_eq!((echo.first, &echo.payload[..]), (0x82, data));
        }
        client.say("b4AQI=");
        assert_eq!(client.frame().payload, b"\x04\x01\x02");
        // The type is the number and not the digit; what is of no type is nothing.
        for data in [&b"4\x01"[..], b"", b"\x06", b"\x09a", b"\x05"] {
            client.send(frame(true, Opcode::Binary, data));
        }
        client.send(frame(true, Opcode::Binary, b"\x02"));
        assert_eq!(client.text(), "3");
        site.none_gone();
    });
}

#[test]
fn b4_22_octets_that_are_no_payload_end_the_session() {
    on_old_engine(|site| {
        for payload in [&b"\x02\x01\xff4"[..], b"\x00\x09\xff4", b"\x004a", &[1; 5_000], b"2:4a"] {
            let mut session = polling(site, "");
            assert_eq!(session.post_octets(payload).status, 400);
            session.expect_gone();
            assert_eq!(site.reason(), "parse error");
        }
    });
}

#[test]
fn b4_30_m33_a_payload_without_right_lengths_ends_the_session_behind_what_came_before() {
    on_old_engine(|site| {
        for faulty in ["", "4a", "3:4a", "a:4a", "1:", "2:4a2", "-1:4", "1:9", "2:4\u{1f600}"] {
            let mut session = polling(site, "");
            let response = session.client.post(&session.target, faulty);
            assert_eq!((response.status, response.text()), (400, ""), "{faulty}");
            session.expect_gone();
            assert_eq!(site.reason(), "parse error");
        }
        // What is before the fault is delivered: here the wish to be closed.
        let mut session = polling(site, "");
        session.send("8:4close:x4a");
        session.expect("1:61:1");
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn a_pong_has_no_data_and_pings_that_were_not_fetched_share_one() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        session.send("1:26:2probe");
        session.expect("1:3");
        let mut held = session.hold();
        session.send("1:2");
        assert_eq!(held.response().text(), "1:3");
        let (mut client, _) = websocket(site, "");
        client.say("2data");
        assert_eq!(client.text(), "3");
    });
}

#[test]
fn a_pong_of_the_client_is_a_transport_error() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        session.client.post(&session.target, "1:3");
        assert_eq!(site.reason(), "transport error");
        session.expect_gone();
        let (mut client, _) = websocket(site, "");
        client.say("3");
        client.expect_close(None);
        assert_eq!(site.reason(), "transport error");
    });
}

#[test]
fn b4_3_b4_4_b4_41_a_client_that_does_not_ping_is_gone_after_interval_and_timeout() {
    let (interval, timeout) = (Duration::from_millis(120), Duration::from_millis(180));
    let quick = |builder: Builder| allowed(builder).ping_interval(interval).ping_timeout(timeout);
    on_engine_with(quick, |site| {
        let begun = Instant::now();
        let (mut client, _) = websocket(site, "");
        // No ping of the server comes before, and other packets do not help.
        client.say("4a");
        assert_eq!(client.text(), "4a");
        client.expect_close(None);
        assert!(begun.elapsed() >= interval + timeout);
        assert_eq!(site.reason(), "ping timeout");
        let begun = Instant::now();
        let session = polling(site, "");
        assert_eq!(session.hold().response().text(), "1:1");
        assert!(begun.elapsed() >= interval + timeout);
        assert_eq!(site.reason(), "ping timeout");
        session.expect_gone();
        let begun = Instant::now();
        let session = polling(site, "");
        assert_eq!(site.reason(), "ping timeout");
        assert!(begun.elapsed() >= interval + timeout);
        session.expect_gone();
    });
}

#[test]
fn b4_17_b4_18_each_ping_gives_a_client_interval_and_timeout_again() {
    let (interval, timeout) = (Duration::from_millis(200), Duration::from_millis(400));
    let quick = |builder: Builder| allowed(builder).ping_interval(interval).ping_timeout(timeout);
    on_engine_with(quick, |site| {
        let begun = Instant::now();
        let mut session = polling(site, "");
        while begun.elapsed() < 2 * (interval + timeout) {
            session.send("1:2");
            session.expect("1:3");
        }
        site.none_gone();
    });
}

#[test]
fn b9_1_a_session_moves_to_the_websocket_with_all_that_is_queued() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let mut websocket = session.probe("");
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        // Until the upgrade is done the session lives on polling, and each poll ends.
        session.expect("1:6");
        session.send("2:4a");
        session.expect("2:4a");
        // The queue may change its form with the transport.
        assert_eq!(session.post_octets(b"\x01\x03\xff\x04\x07\x08\x00\x02\xff4b").text(), "ok");
        websocket.say("5");
        assert_eq!(websocket.frame().payload, b"\x04\x07\x08");
        assert_eq!(websocket.text(), "4b");
        websocket.say("2");
        assert_eq!(websocket.text(), "3");
        let response = site.client().get(&session.target);
        assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
        site.none_gone();
    });
}

#[test]
fn b9_1_a_poll_that_is_held_ends_in_text_form_whatever_the_client_takes() {
    on_old_engine(|site| {
        let session = polling(site, "");
        let mut held = session.hold();
        let mut websocket = session.probe("&b64=1");
        websocket.say("2probe");
        let response = held.response();
        assert_eq!(response.text(), "1:6");
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(websocket.text(), "3probe");
        websocket.say("5");
        // What was asked for with the WebSocket counts from now on.
        websocket.send(frame(true, Opcode::Binary, b"\x04\x07\x08\x09"));
        assert_eq!(websocket.text(), "b4BwgJ");
    });
}

#[test]
fn b1_8_b4_13_other_packets_close_the_probe_and_a_second_websocket_is_closed() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        for packet in [text("4a"), text("2"), frame(true, Opcode::Binary, b"\x022probe")] {
            let mut websocket = session.probe("");
            websocket.send(packet);
            websocket.expect_close(None);
        }
        session.send("2:4a");
        session.expect("2:4a");
        let mut websocket = session.probe("");
        websocket.send([text("2probe"), text("5"), text("4hello")].concat());
        assert_eq!(websocket.text(), "3probe");
        assert_eq!(websocket.text(), "4hello");
        session.probe("").expect_close(None);
        websocket.say("4still here");
        assert_eq!(websocket.text(), "4still here");
    });
}

#[test]
fn b4_10_b4_11_a_client_that_leaves_is_told_that_it_may() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let mut held = session.hold();
        assert_eq!(session.client.post(&session.target, "1:1").text(), "ok");
        assert_eq!(held.response().text(), "1:6");
        assert_eq!(site.reason(), "transport close");
        session.expect_gone();
        let (mut client, _) = websocket(site, "");
        client.say("1");
        client.expect_close(None);
        assert_eq!(site.reason(), "transport close");
    });
}

#[test]
fn b4_7_b4_37_b5_2_what_is_queued_goes_out_before_the_end() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        session.client.post(&session.target, "17:4send and close:x");
        session.expect("4:4one4:4two6:4three");
        session.expect("1:61:1");
        session.expect_gone();
        assert_eq!(site.reason(), "forced close");
        let mut session = polling(site, "");
        session.client.post(&session.target, "8:4close:x");
        session.expect("1:61:1");
        let (mut client, _) = websocket(site, "");
        client.say("4send and close:x");
        assert_eq!([(); 3].map(|()| client.text()), ["4one", "4two", "4three"]);
        client.expect_close(None);
    });
}

#[test]
fn b4_7_a_held_poll_is_told_that_the_server_closes() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let mut held = session.hold();
        session.send("8:4close:x");
        assert_eq!(held.response().text(), "1:1");
        assert_eq!(site.reason(), "forced close");
        session.expect_gone();
    });
}

#[test]
fn b5_3_a_larger_body_is_413_in_either_form() {
    let small = |builder: Builder| allowed(builder).max_http_buffer_size(100);
    on_engine_with(small, |site| {
        let mut session = polling(site, "");
        let body = format!("98:4{}", "x".repeat(97));
        let response = site.client().ask(post(&session.target, body.as_bytes()));
        assert_eq!((response.status, response.text()), (413, ""));
        session.send(&format!("97:4{}", "x".repeat(96)));
        session.expect(&format!("97:4{}", "x".repeat(96)));
    });
}

#[test]
fn b5_15_many_packets_of_one_body_arrive_in_order() {
    on_old_engine(|site| {
        let mut session = polling(site, "");
        let body: String = (0..1_000).map(|number| format!("5:4{number:04}")).collect();
        let mut client = site.client();
        client.send(post(&session.target, body.as_bytes()));
        let mut arrived = String::new();
        while arrived.len() < body.len() {
            arrived += session.poll().text();
        }
        assert_eq!(arrived, body);
        assert_eq!(client.response().text(), "ok");
    });
}
