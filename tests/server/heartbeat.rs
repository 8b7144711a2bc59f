//! The heartbeat (protocol.md §7): orders and lower bounds, on clocks of the client.
//!
//! A duration is counted from before the client did what starts it, so that a slow machine can
//! only make it longer. The arithmetic itself is proved on a fake clock, beside the code.

use std::time::{Duration, Instant};

use fanfare::Builder;
use fanfare::proto::websocket::Opcode;

use crate::raw::{frame, request, text};
use crate::site::on_engine_with;

const INTERVAL: Duration = Duration::from_millis(120);
const TIMEOUT: Duration = Duration::from_millis(180);

/// Pings soon, and waits not long for the answer.
fn quick(builder: Builder) -> Builder {
    builder.ping_interval(INTERVAL).ping_timeout(TIMEOUT)
}

/// Pings soon, and waits as long as a slow machine may need.
fn patient(builder: Builder) -> Builder {
    builder.ping_interval(INTERVAL).ping_timeout(Duration::from_secs(60))
}

#[test]
fn b4_17_the_first_ping_comes_after_the_interval() {
    on_engine_with(patient, |site| {
        let begun = Instant::now();
        let (mut client, _) = site.websocket();
        assert_eq!(client.text(), "2");
        assert!(begun.elapsed() >= INTERVAL);
        let begun = Instant::now();
        let mut session = site.polling();
        assert_eq!(session.poll(), "2");
        assert!(begun.elapsed() >= INTERVAL);
    });
}

#[test]
fn b4_18_b4_20_the_next_ping_comes_an_interval_after_the_pong() {
    on_engine_with(patient, |site| {
        let (mut client, _) = site.websocket();
        let mut session = site.polling();
        for _ in 0..4 {
            assert_eq!(client.text(), "2");
            assert_eq!(session.poll(), "2");
            let answered = Instant::now();
            client.say("3");
            session.send("3");
            assert_eq!(client.text(), "2");
            assert_eq!(session.poll(), "2");
            assert!(answered.elapsed() >= INTERVAL);
            client.say("3");
            session.send("3");
        }
        site.none_gone();
    });
}

#[test]
fn b4_3_b4_6_b4_27_a_websocket_without_pong_is_closed() {
    on_engine_with(quick, |site| {
        let begun = Instant::now();
        let (mut client, _) = site.websocket();
        assert_eq!(client.text(), "2");
        client.expect_close(None);
        assert!(begun.elapsed() >= INTERVAL + TIMEOUT);
        assert_eq!(site.reason(), "ping timeout");
    });
}

#[test]
fn b4_3_b4_28_a_held_poll_without_pong_is_answered_1() {
    on_engine_with(quick, |site| {
        let begun = Instant::now();
        let mut session = site.polling();
        assert_eq!(session.poll(), "2");
        assert_eq!(session.poll(), "1");
        assert!(begun.elapsed() >= INTERVAL + TIMEOUT);
        assert_eq!(site.reason(), "ping timeout");
        session.expect_gone();
    });
}

#[test]
fn b4_4_m18_a_session_that_never_polls_ends_all_the_same() {
    on_engine_with(quick, |site| {
        let begun = Instant::now();
        let session = site.polling();
        assert_eq!(site.reason(), "ping timeout");
        assert!(begun.elapsed() >= INTERVAL + TIMEOUT);
        session.expect_gone();
    });
}

#[test]
fn m29_a_frame_that_stalls_ends_by_the_heartbeat() {
    on_engine_with(quick, |site| {
        let whole = frame(true, Opcode::Binary, &[1; 1_000]);
        // In the header, in the mask, in the payload.
        for stalled in [1, 5, 500] {
            let (mut client, _) = site.websocket();
            client.send(&whole[..stalled]);
            assert_eq!(client.text(), "2");
            // In the middle of a frame the client cannot answer.
            assert_eq!(client.close_code(), None);
            assert_eq!(site.reason(), "ping timeout");
        }
    });
}

#[test]
fn b4_19_a_server_that_closes_after_a_heartbeat_is_no_ping_timeout() {
    on_engine_with(patient, |site| {
        let (mut client, _) = site.websocket();
        assert_eq!(client.text(), "2");
        client.say("3");
        client.say("4close:");
        client.expect_close(None);
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn other_traffic_gives_the_pong_the_whole_timeout_once_more() {
    let timeout = Duration::from_millis(800);
    let options = |builder: Builder| builder.ping_interval(INTERVAL).ping_timeout(timeout);
    on_engine_with(options, |site| {
        let (mut client, _) = site.websocket();
        assert_eq!(client.text(), "2");
        let message = Instant::now();
        client.say("4a");
        assert_eq!(client.text(), "4a");
        client.expect_close(None);
        assert!(message.elapsed() >= timeout);
        assert_eq!(site.reason(), "ping timeout");
    });
}

#[test]
fn b4_33_an_upgrade_gives_the_pong_the_whole_timeout_again() {
    let timeout = Duration::from_millis(800);
    let options = |builder: Builder| builder.ping_interval(INTERVAL).ping_timeout(timeout);
    on_engine_with(options, |site| {
        let mut session = site.polling();
        assert_eq!(session.poll(), "2");
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        let upgraded = Instant::now();
        websocket.say("5");
        websocket.expect_close(None);
        assert!(upgraded.elapsed() >= timeout);
        assert_eq!(site.reason(), "ping timeout");
    });
}

#[test]
fn socketioxide_732_the_heartbeat_does_not_pause_for_a_probe() {
    on_engine_with(quick, |site| {
        let session = site.polling();
        let mut websocket = session.probe();
        websocket.say("2probe");
        assert_eq!(websocket.text(), "3probe");
        // The upgrade timeout is 10 s: it is not what ends the session.
        websocket.expect_close(None);
        assert_eq!(site.reason(), "ping timeout");
        session.expect_gone();
    });
}

#[test]
fn cve_2026_48802_a_flood_of_pongs_leaves_one_ping_at_a_time() {
    on_engine_with(patient, |site| {
        let (mut bystander, _) = site.websocket();
        let (mut client, _) = site.websocket();
        let pong = text("3");
        for _ in 0..100 {
            client.send(pong.repeat(1_000));
        }
        // Behind the last pong it takes an interval until the next ping; then none comes.
        client.say("4all of them");
        while client.text() != "4all of them" {}
        assert_eq!(client.text(), "2");
        client.say("4a");
        assert_eq!(client.text(), "4a");
        bystander.say("4a");
        while bystander.text() != "4a" {}
        site.none_gone();
    });
}

#[test]
fn b5_19_large_messages_in_a_queue_do_not_starve_the_heartbeat() {
    on_engine_with(patient, |site| {
        let (mut client, _) = site.websocket();
        client.say("4many:30000");
        let (mut messages, mut pings) = (0, 0);
        while messages < 100 || pings < 2 {
            match client.text().as_str() {
                "2" => {
                    pings += 1;
                    client.say("3");
                }
                text => {
                    assert_eq!(text.len(), 30_001);
                    messages += 1;
                }
            }
        }
        site.none_gone();
    });
}

#[test]
fn m21_sessions_that_never_come_back_are_all_reaped() {
    on_engine_with(quick, |site| {
        let handshake = request(&format!("GET {}", site.open_target("polling")), "");
        let mut client = site.client();
        client.send(handshake.repeat(1_000));
        (0..1_000).for_each(|_| assert_eq!(client.response().status, 200));
        (0..1_000).for_each(|_| assert_eq!(site.reason(), "ping timeout"));
        site.none_gone();
    });
}
