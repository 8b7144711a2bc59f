//! From long-polling to WebSocket (protocol.md §8, matrix 14 to 16).

use std::time::{Duration, Instant};

use fanfare::proto::websocket::Opcode;

use crate::raw::{WEBSOCKET_HEADERS, escaped, frame, request, text};
use crate::site::{Polling, Site, on_engine, on_engine_with, on_io_with, sid_of};

#[test]
fn a_session_moves_to_the_websocket_and_stays_there() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        // Until the upgrade is done the session lives on polling.
        session.send("4by polling");
        assert_eq!(session.poll(), "4by polling");
        session.send("4queued");
        websocket.say("5");
        assert_eq!(websocket.text(), "4queued");
        websocket.say("4a");
        assert_eq!(websocket.text(), "4a");
        for method in ["GET", "POST"] {
            let line = format!("{method} {}", session.target);
            let response = site.client().ask(request(&line, "Content-Length: 0\r\n"));
            let body = r#"{"code":3,"message":"Bad request"}"#;
            assert_eq!((response.status, response.text()), (400, body));
        }
        websocket.say("4b");
        assert_eq!(websocket.text(), "4b");
        site.none_gone();
    });
}

#[test]
fn every_poll_during_a_probe_gets_a_noop() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut held = session.hold();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(held.response().text(), "6");
        for _ in 0..10 {
            assert_eq!(session.poll(), "6");
        }
        assert_eq!(websocket.text(), "3probe");
        websocket.say("5");
        // A noop never gets to the WebSocket.
        websocket.say("4a");
        assert_eq!(websocket.text(), "4a");
    });
}

#[test]
fn a_poll_that_is_held_when_the_upgrade_ends_is_answered() {
    on_engine(|site| {
        let session = site.polling();
        let mut websocket = session.probe();
        // Without a probe there is no noop, and the upgrade is accepted all the same.
        let mut held = session.hold();
        websocket.say("5");
        websocket.say("4a");
        assert_eq!(websocket.text(), "4a");
        assert_eq!(held.response().text(), "6");
    });
}

#[test]
fn m15_frames_in_one_segment_work() {
    on_engine(|site| {
        let session = site.polling();
        let mut websocket = session.probe();
        websocket.send([text("2probe"), text("5"), text("4hello")].concat());
        assert_eq!(websocket.text(), "3probe");
        assert_eq!(websocket.text(), "4hello");
    });
}

#[test]
fn m14_frames_in_the_segment_of_the_handshake_are_served() {
    on_engine(|site| {
        let head = |target| request(&format!("GET {target}"), WEBSOCKET_HEADERS).into_bytes();
        let mut direct = site.client();
        direct.send([head(site.open_target("websocket")), text("4a"), text("4b")].concat());
        assert_eq!(direct.response().status, 101);
        assert!(direct.text().starts_with('0'));
        assert_eq!([direct.text(), direct.text()], ["4a", "4b"]);
        let session = site.polling();
        let mut upgrade = site.client();
        let target = site.target("websocket", &session.sid);
        upgrade.send([head(target), text("2probe"), text("5"), text("4c")].concat());
        assert_eq!(upgrade.response().status, 101);
        assert_eq!([upgrade.text(), upgrade.text()], ["3probe", "4c"]);
    });
}

/// python-engineio #260: what polling limits, the WebSocket limits as well.
#[test]
fn m16_m26_the_limit_of_messages_holds_after_an_upgrade() {
    on_engine_with(
        |builder| builder.max_http_buffer_size(200),
        |site| {
            let session = site.polling();
            let mut websocket = session.probe();
            websocket.say("2probe");
            assert_eq!(websocket.text(), "3probe");
            websocket.say("5");
            let fits = format!("4{}", "x".repeat(199));
            websocket.say(&fits);
            assert_eq!(websocket.text(), fits);
            websocket.say(&format!("{fits}x"));
            assert_eq!(websocket.close_code(), Some(1009));
            assert_eq!(site.reason(), "transport error");
            session.expect_gone();
        },
    );
}

/// It holds for a WebSocket that is being upgraded, too, which harms the session in nothing.
#[test]
fn m16_m26_the_limit_of_messages_holds_during_an_upgrade() {
    on_engine_with(
        |builder| builder.max_http_buffer_size(200),
        |site| {
            let mut session = site.polling();
            for is_probed in [false, true] {
                let mut websocket = session.probe();
                if is_probed {
                    websocket.say("2probe");
                    assert_eq!(websocket.text(), "3probe");
                }
                websocket.say(&format!("4{}", "x".repeat(200)));
                assert_eq!(websocket.close_code(), Some(1009));
                websocket.finish();
                websocket.expect_end();
            }
            session.echo();
            site.none_gone();
        },
    );
}

/// Sends a handshake and garbage in one segment, or byte by byte, and checks that only this
/// connection ends.
fn check_garbage(site: &Site, target: &str, garbage: &[u8], trickles: bool) {
    let head = request(&format!("GET {target}"), WEBSOCKET_HEADERS);
    let bytes = [head.as_bytes(), garbage].concat();
    let mut client = site.client();
    if trickles {
        client.trickle(bytes)
    } else {
        client.send(bytes)
    }
    assert_eq!(client.response().status, 101);
    let mut frame = client.frame();
    if frame.payload.starts_with(b"0{") {
        frame = client.frame();
    }
    assert_eq!((frame.first, &frame.payload[..]), (0x88, &[3, 234][..]), "{}", escaped(garbage));
    client.finish();
    client.expect_end();
}

#[test]
fn b1_6_b1_7_cve_2022_21676_m14_garbage_behind_the_handshake_ends_with_1002() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let garbage = [&b"test"[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x81\x01a"];
        for garbage in garbage {
            for trickles in [false, true] {
                check_garbage(site, &site.open_target("websocket"), garbage, trickles);
                assert_eq!(site.reason(), "transport error");
                let mut session = site.polling();
                let target = site.target("websocket", &session.sid);
                check_garbage(site, &target, garbage, trickles);
                session.echo();
                site.none_gone();
                bystanders.echo();
            }
        }
    });
}

#[test]
fn b1_8_m15_a_second_websocket_of_a_session_is_closed() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut first = session.probe();
        first.say("2probe");
        assert_eq!(first.text(), "3probe");
        session.probe().expect_close(None);
        session.send("4a");
        assert_eq!(session.poll(), "4a");
        first.say("5");
        first.say("4b");
        assert_eq!(first.text(), "4b");
        let mut late = session.probe();
        late.say("2probe");
        late.expect_close(None);
        first.say("4c");
        assert_eq!(first.text(), "4c");
        site.none_gone();
    });
}

#[test]
fn m15_anything_else_on_a_probe_closes_only_the_probe() {
    on_engine(|site| {
        let mut session = site.polling();
        for packet in ["4a", "2", "2probe ", "3", "3probe", "1", "0", "6", "", "x", "5 ", "40"] {
            let mut websocket = session.probe();
            websocket.say(packet);
            websocket.expect_close(None);
        }
        let mut websocket = session.probe();
        websocket.send(frame(true, Opcode::Binary, b"2probe"));
        websocket.expect_close(None);
        session.echo();
        let mut websocket = session.probe();
        websocket.send([text("2probe"), text("5"), text("4in the end")].concat());
        assert_eq!([websocket.text(), websocket.text()], ["3probe", "4in the end"]);
        site.none_gone();
    });
}

#[test]
fn m15_a_probe_may_be_repeated() {
    on_engine(|site| {
        let session = site.polling();
        let mut websocket = session.probe();
        for _ in 0..3 {
            websocket.say("2probe");
            assert_eq!(websocket.text(), "3probe");
        }
        websocket.say("5");
        websocket.say("4a");
        assert_eq!(websocket.text(), "4a");
    });
}

#[test]
fn b4_13_a_probe_that_is_lost_harms_nothing() {
    on_engine(|site| {
        let mut session = site.polling();
        for stage in 0..6 {
            let mut websocket = session.probe();
            if stage >= 3 {
                websocket.say("2probe");
                assert_eq!(websocket.text(), "3probe");
            }
            match stage % 3 {
                0 => drop(websocket),
                1 => websocket.reset(),
                _ => {
                    websocket.send(frame(true, Opcode::Close, b"\x03\xe8"));
                    assert_eq!(websocket.close_code(), Some(1000));
                }
            }
            // The next probe is refused until the loss was noticed.
            let mut next = loop {
                let mut next = session.probe();
                next.say("2probe");
                let frame = next.frame();
                if frame.payload == b"3probe" {
                    break next;
                }
            };
            next.say("never mind");
            next.expect_close(None);
        }
        session.echo();
        site.none_gone();
    });
}

#[test]
fn b4_13_a_client_that_leaves_during_an_upgrade_ends_both() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        session.send("1");
        websocket.expect_close(None);
        assert_eq!(site.reason(), "transport close");
        session.expect_gone();
    });
}

#[test]
fn b4_31_closing_the_session_closes_its_probe() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        // With a GET held the session closes at once; else with the next one.
        session.send("4close:");
        while !matches!(session.poll().as_str(), "1" | "6\x1e1") {}
        websocket.expect_close(None);
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn b4_32_m15_a_probe_without_an_upgrade_is_closed_in_time_and_the_session_stays() {
    let timeout = Duration::from_millis(300);
    on_engine_with(
        |builder| builder.upgrade_timeout(timeout),
        |site| {
            let mut session = site.polling();
            for probes in [false, true] {
                let begun = Instant::now();
                let mut websocket = session.probe();
                if probes {
                    websocket.say("2probe");
                    assert_eq!(websocket.text(), "3probe");
                }
                websocket.expect_close(None);
                assert!(begun.elapsed() >= timeout);
            }
            session.echo();
            site.none_gone();
        },
    );
}

/// The messages of both directions carry numbers. The client posts, polls and upgrades in the
/// order of the official one; the server echoes, which makes the other direction.
#[test]
fn b9_1_m16_no_message_is_lost_or_doubled_by_an_upgrade() {
    on_engine(|site| {
        let _other = Site::engine(fanfare::engine::Server::builder(), 1);
        for moment in 0..50 {
            check_upgrade_after(site, moment);
            assert_eq!(site.reason(), "transport close");
        }
    });
}

fn check_upgrade_after(site: &Site, moment: usize) {
    let mut session = site.polling();
    let mut websocket = session.probe();
    let mut received = Vec::new();
    for number in 0..50 {
        if number == moment {
            websocket.say("2probe");
            assert_eq!(websocket.text(), "3probe");
            if moment.is_multiple_of(3) {
                let body = session.poll();
                received.extend(body.split('\x1e').map(str::to_owned));
            }
            websocket.say("5");
        }
        match number < moment {
            true => session.send(&format!("4{number}")),
            false => websocket.say(&format!("4{number}")),
        }
        if number < moment && number % 7 == 0 {
            received.extend(session.poll().split('\x1e').map(str::to_owned));
        }
    }
    received.retain(|packet| packet != "6");
    while received.len() < 50 {
        received.push(websocket.text());
    }
    let expected: Vec<String> = (0..50).map(|number| format!("4{number}")).collect();
    assert_eq!(received, expected);
    websocket.say("4last");
    assert_eq!(websocket.text(), "4last");
}

#[test]
fn an_upgrade_needs_a_right_handshake_and_leaves_the_session_without_one() {
    on_engine(|site| {
        let mut session = site.polling();
        let line = format!("GET {}", site.target("websocket", &session.sid));
        let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let response = site.client().ask(request(&line, headers));
        assert_eq!(response.text(), "Missing or invalid Sec-WebSocket-Key header");
        session.echo();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
    });
}

/// The head of the upgrade must be read on one shard and its rest on another, with all bytes.
#[test]
fn b42_11_an_upgrade_that_arrives_on_another_shard_keeps_the_bytes_behind_it() {
    on_engine(|site| {
        for _ in 0..20 {
            let open = site.client().get(&site.open_target("polling"));
            let target = site.target("websocket", &sid_of(open.text()));
            let head = request(&format!("GET {target}"), WEBSOCKET_HEADERS);
            let mut client = site.client();
            let many = text("4").repeat(1_000);
            client.send([head.into_bytes(), text("2probe"), text("5"), many].concat());
            assert_eq!(client.response().status, 101);
            assert_eq!(client.text(), "3probe");
            (0..1_000).for_each(|_| assert_eq!(client.text(), "4"));
        }
    });
}

/// What a client has done in its namespace before it upgrades, and what it is told.
fn reach(session: &mut Polling<'_>, state: usize) {
    if state >= 1 {
        session.send("40");
        assert!(session.poll().starts_with("40{"));
    }
    match state {
        2 => session.send("41"),
        3 => {
            session.send(r#"42["leave",false]"#);
            assert_eq!(session.poll(), "42[\"bye\",1]\x1e41");
        }
        _ => {}
    }
}

#[test]
fn b34_11_m15_ws_upgrade_after_the_socket_left_every_state_of_a_socket_upgrades() {
    on_io_with(
        |builder| builder,
        |site| {
            let mut bystanders = site.bystanders();
            for (state, last) in (0..4).flat_map(|state| [(state, "5"), (state, "x"), (state, "")])
            {
                let mut session = site.polling();
                reach(&mut session, state);
                let mut websocket = session.probe();
                websocket.say("2probe");
                assert_eq!(websocket.text(), "3probe");
                match last {
                    "5" => websocket.say("5"),
                    "x" => {
                        websocket.say("x");
                        websocket.expect_close(None);
                    }
                    _ => websocket.reset(),
                }
                bystanders.echo();
            }
            let mut session = site.polling();
            reach(&mut session, 2);
            let mut websocket = session.probe();
            websocket.send([text("2probe"), text("5"), text("40")].concat());
            assert_eq!(websocket.text(), "3probe");
            assert!(websocket.text().starts_with("40{"), "it may join again");
        },
    );
}
