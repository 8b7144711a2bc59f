//! The handshake and its open packet (protocol.md §3).

use std::collections::HashSet;
use std::time::Duration;

use fanfare::engine::{self, Connection, Message};
use fanfare::{Builder, Transport};

use crate::raw::{Client, WEBSOCKET_HEADERS, request};
use crate::site::{on_engine, on_engine_with, on_io_with, sid_of};

/// An open packet with the defaults, but for the session id and the upgrades.
fn open_packet(sid: &str, upgrades: &str) -> String {
    format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}}"
    )
}

#[test]
fn b2_15_b2_18_b2_23_a_polling_handshake_is_answered_at_once_with_the_open_packet() {
    on_engine(|site| {
        let response = site.client().get(&site.open_target("polling"));
        let sid = sid_of(response.text());
        assert_eq!(response.text(), open_packet(&sid, "\"websocket\""));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             cache-control: no-store\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
            response.body.len()
        );
        assert_eq!(response.head, head);
    });
}

#[test]
fn b2_15_b2_19_b2_20_a_websocket_handshake_is_followed_by_the_open_packet() {
    on_engine(|site| {
        let mut client = site.client();
        let line = format!("GET {}", site.open_target("websocket"));
        let response = client.ask(request(&line, WEBSOCKET_HEADERS));
        assert_eq!(response.status, 101);
        // The example of RFC 6455 1.3.
        let accept = response.header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("connection"), Some("Upgrade"));
        assert_eq!(response.header("sec-websocket-extensions"), None);
        let open = client.text();
        assert_eq!(open, open_packet(&sid_of(&open), ""));
        client.say("4first");
        assert_eq!(client.text(), "4first");
    });
}

#[test]
fn b2_16_b14_4_the_open_packet_tells_the_options() {
    let options = |builder: Builder| {
        builder
            .ping_interval(Duration::from_millis(12_345))
            .ping_timeout(Duration::from_millis(6_789))
            .max_http_buffer_size(4_321)
    };
    on_engine_with(options, |site| {
        let open = site.client().get(&site.open_target("polling"));
        let told = "\"pingInterval\":12345,\"pingTimeout\":6789,\"maxPayload\":4321}";
        assert!(open.text().ends_with(told), "{}", open.text());
    });
}

#[test]
fn b14_1_the_number_of_the_protocol_is_that_which_clients_must_name() {
    on_engine(|site| {
        let ask = |number: u8| {
            let target = format!("{}?EIO={number}&transport=polling", site.path);
            site.client().get(&target).status
        };
        assert_eq!(ask(engine::PROTOCOL), 200);
        assert_eq!([ask(engine::PROTOCOL - 1), ask(engine::PROTOCOL + 1)], [400, 400]);
    });
}

#[test]
fn b14_3_a_server_needs_no_options() {
    let server = engine::Server::build(engine::Server::builder()).unwrap();
    assert_eq!(server.engine().clients_count(), 0);
    let running = server.spawn("127.0.0.1:0").unwrap();
    let mut client = Client::connect(running.address().unwrap());
    let open = client.get("/engine.io/?EIO=4&transport=polling");
    assert_eq!(open.text(), open_packet(&sid_of(open.text()), "\"websocket\""));
    assert_eq!(server.engine().clients_count(), 1);
    // It would wait for a poll.
    client.post(&format!("/engine.io/?EIO=4&transport=polling&sid={}", sid_of(open.text())), "1");
}

#[test]
fn b2_17_a_new_client_is_handed_to_the_application() {
    let builder = engine::Server::builder().shards(2).pin_shards(false);
    let builder = builder.limits(|limits| limits.farewell_timeout = Duration::from_millis(20));
    let server = engine::Server::build(builder).unwrap();
    server.on_open(async |connection: Connection| {
        connection.send_text("welcome");
    });
    let running = server.spawn("127.0.0.1:0").unwrap();
    let mut websocket = Client::connect(running.address().unwrap());
    let line = "GET /engine.io/?EIO=4&transport=websocket";
    assert_eq!(websocket.ask(request(line, WEBSOCKET_HEADERS)).status, 101);
    sid_of(&websocket.text());
    assert_eq!(websocket.text(), "4welcome");
    let target = "/engine.io/?EIO=4&transport=polling";
    let open = Client::connect(running.address().unwrap()).get(target);
    let target = format!("{target}&sid={}", sid_of(open.text()));
    assert_eq!(Client::connect(running.address().unwrap()).get(&target).text(), "4welcome");
}

#[test]
fn b2_31_the_initial_packet_comes_with_the_handshake() {
    let text = |builder: Builder| builder.initial_packet(Message::Text("faster!".into()));
    on_engine_with(text, |site| {
        let open = site.client().get(&site.open_target("polling"));
        let (open, packet) = open.text().split_once('\x1e').expect("two packets");
        assert_eq!((open, packet), (&*open_packet(&sid_of(open), "\"websocket\""), "4faster!"));
        let (mut websocket, _) = site.websocket();
        assert_eq!(websocket.text(), "4faster!");
    });
    let binary = |builder: Builder| builder.initial_packet(Message::Binary(b"\xff\0"[..].into()));
    on_engine_with(binary, |site| {
        assert!(site.client().get(&site.open_target("polling")).text().ends_with("\x1eb/wA="));
        let (mut websocket, _) = site.websocket();
        let frame = websocket.frame();
        assert_eq!((frame.first, &frame.payload[..]), (0x82, &b"\xff\0"[..]));
    });
}

#[test]
fn b2_21_b2_22_only_transports_that_are_offered_are_advertised() {
    let polling_only = |builder: Builder| builder.transports([Transport::Polling]);
    on_engine_with(polling_only, |site| {
        assert!(site.client().get(&site.open_target("polling")).text().contains("\"upgrades\":[]"));
    });
    let websocket_only = |builder: Builder| builder.transports([Transport::WebSocket]);
    on_engine_with(websocket_only, |site| {
        let (mut client, _) = site.websocket();
        client.say("4a");
        assert_eq!(client.text(), "4a");
        assert_eq!(site.client().get(&site.open_target("polling")).status, 400);
    });
}

#[test]
fn upgrades_that_are_not_advertised_are_honoured_all_the_same() {
    on_engine_with(
        |builder| builder.allow_upgrades(false),
        |site| {
            let open = site.client().get(&site.open_target("polling"));
            assert!(open.text().contains("\"upgrades\":[]"));
            let sid = sid_of(open.text());
            let mut websocket = site.handshake(&site.target("websocket", &sid));
            websocket.say("2probe");
            assert_eq!(websocket.text(), "3probe");
            websocket.say("5");
            websocket.say("4a");
            assert_eq!(websocket.text(), "4a");
        },
    );
}

#[test]
fn cve_2017_16031_session_ids_are_unlike_each_other_and_hold_128_random_bits() {
    on_engine(|site| {
        let mut client = site.client();
        let target = site.open_target("polling");
        let sids: Vec<String> = (0..300).map(|_| sid_of(client.get(&target).text())).collect();
        // Behind eleven characters that name the shard and the slot.
        let secrets: HashSet<&str> = sids.iter().map(|sid| &sid[11..]).collect();
        assert_eq!(secrets.len(), sids.len());
        for position in 0..21 {
            let characters = secrets.iter().map(|secret| secret.as_bytes()[position]);
            let different = characters.collect::<HashSet<u8>>().len();
            // The odds that 300 draws miss more than 24 of 64 values are below 10^-20.
            assert!(different >= 40, "character {position} has {different} values");
        }
    });
}

#[test]
fn cve_2017_16031_the_socket_id_tells_nothing_of_the_session_id() {
    on_io_with(
        |builder| builder,
        |site| {
            let (mut client, sid) = site.websocket();
            client.say("40");
            let reply = client.text();
            let id = reply.strip_prefix("40{\"sid\":\"").unwrap().strip_suffix("\"}").unwrap();
            assert_eq!(id.len(), 20);
            assert!((0..=id.len() - 6).all(|at| !sid[11..].contains(&id[at..at + 6])));
        },
    );
}

#[test]
fn only_the_first_offered_subprotocol_is_echoed() {
    on_engine(|site| {
        let line = format!("GET {}", site.open_target("websocket"));
        let headers = format!("{WEBSOCKET_HEADERS}Sec-WebSocket-Protocol: b, a\r\n");
        let response = site.client().ask(request(&line, &headers));
        assert_eq!(response.header("sec-websocket-protocol"), Some("b"));
    });
}

#[test]
fn ghsa_5v72_xg48_5rpm_an_offered_extension_is_declined_whatever_its_name() {
    on_engine(|site| {
        for name in ["permessage-deflate; client_max_window_bits", "constructor", "__proto__"] {
            let line = format!("GET {}", site.open_target("websocket"));
            let headers = format!("{WEBSOCKET_HEADERS}Sec-WebSocket-Extensions: {name}\r\n");
            let response = site.client().ask(request(&line, &headers));
            assert_eq!(response.status, 101);
            assert_eq!(response.header("sec-websocket-extensions"), None);
        }
    });
}
