//! The heartbeat over both transports, and the time to join a namespace (protocol.md §3, §7,
//! §14.4).
//! The rules of the heartbeat alone are proven where it lives.

use std::time::Duration;

use crate::proto::engine::Protocol;
use crate::proto::engine_v3::Attachments;
use crate::session::Options;

use super::script::Script;

/// A session over `w` with a ping every 300 ms and 200 ms to answer it.
fn quick(mut script: Script) -> Script {
    script.options.ping_interval = Duration::from_millis(300);
    script.options.ping_timeout = Duration::from_millis(200);
    // The first interval began when the session opened: a pong begins it again.
    script.receives("3");
    script
}

#[test]
fn the_first_ping_comes_after_the_interval_and_not_at_once() {
    assert_eq!(Script::websocket().wait(25_000), "25000: w ← 2");
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.wait(25_000), "25000: g ← 2");
}

#[test]
fn a_ping_waits_for_the_next_get_behind_what_waits_there() {
    let mut script = Script::polling();
    script.queue("4a");
    assert_eq!(script.wait(25_000), "");
    script.queue("4b");
    assert_eq!(script.get("g"), "g ← 4a␞2␞4b");
}

#[test]
fn a_late_pong_moves_the_pings_that_follow() {
    let mut script = quick(Script::websocket());
    assert_eq!(script.wait(400), "300: w ← 2");
    script.receives("3");
    assert_eq!(script.wait(400), "700: w ← 2");
    script.receives("3");
    assert_eq!(script.wait(400), "1100: w ← 2");
}

#[test]
fn one_ping_at_a_time_is_awaited() {
    let mut script = quick(Script::websocket());
    assert_eq!(script.wait(10_000), "300: w ← 2; 500: w closes, closed: ping timeout");
}

#[test]
fn b4_4_the_timeout_counts_without_a_request_too() {
    let mut script = quick(Script::polling());
    assert_eq!(script.wait(10_000), "500: closed: ping timeout");
}

#[test]
fn b4_28_a_held_get_sees_the_end() {
    let mut script = quick(Script::polling());
    script.get("g");
    assert_eq!(script.wait(300), "300: g ← 2");
    script.get("g");
    assert_eq!(script.wait(200), "500: g ← 1, closed: ping timeout");
}

#[test]
fn the_first_packet_after_a_ping_restarts_the_timeout_and_no_other_does() {
    let mut script = quick(Script::websocket());
    script.wait(450);
    script.receives("4a");
    assert_eq!(script.wait(150), "");
    script.receives("4b");
    assert_eq!(script.wait(10_000), "650: w closes, closed: ping timeout");
}

#[test]
fn packets_that_mean_nothing_are_traffic_as_well() {
    for packet in ["0", "5", "6", "b"] {
        let mut script = quick(Script::websocket());
        script.wait(450);
        script.receives(packet);
        assert_eq!(script.wait(199), "", "{packet}");
    }
}

#[test]
fn b4_18_each_ping_may_be_extended_anew() {
    let mut script = quick(Script::websocket());
    for _ in 0..3 {
        script.wait(450);
        script.receives("4a");
        script.wait(150);
        script.receives("3");
        assert!(script.session.is_open());
    }
    assert_eq!(script.silence().0, Duration::from_millis(500));
}

#[test]
fn polling_alone_is_no_sign_of_life() {
    let mut script = quick(Script::polling());
    script.get("g");
    script.wait(300);
    script.queue("4a");
    script.get("g");
    assert_eq!(script.wait(150), "");
    script.get("g");
    assert_eq!(script.wait(50), "500: g ← 1, closed: ping timeout");
}

#[test]
fn cve_2026_48802_unasked_pongs_leave_one_deadline() {
    let mut script = Script::websocket();
    let before = script.session.deadline();
    for _ in 0..1_000 {
        script.receives("3");
    }
    assert_eq!(script.session.deadline(), before);
    assert_eq!(script.wait(25_000), "25000: w ← 2");
}

#[test]
fn m66_after_a_stall_a_client_is_pinged_once_and_has_the_whole_timeout() {
    let mut script = Script::websocket();
    assert_eq!(script.stands_still(60_000), "w ← 2");
    assert_eq!(script.silence().0, Duration::from_secs(20));
}

fn strangers() -> Script {
    let connect_timeout = Some(Duration::from_secs(1));
    Script::stranger(Options { connect_timeout, ..Options::default() })
}

#[test]
fn m40_a_client_that_joins_no_namespace_is_closed() {
    let mut script = strangers();
    script.get("g");
    assert_eq!(script.wait(999), "");
    assert_eq!(script.wait(1), "1000: g ← 1, closed: forced close");
}

#[test]
fn m40_a_client_that_does_not_even_poll_is_closed_later() {
    let mut script = strangers();
    let said = script.wait(60_000);
    assert_eq!(said, "1000: closing: forced server close; 31000: closed: forced server close");
}

#[test]
fn m40_with_the_defaults_that_is_after_45_seconds() {
    let mut script = Script::stranger(Options::default());
    script.wait(20_000);
    script.receives("3");
    assert_eq!(script.wait(24_999), "");
    assert_eq!(script.wait(1), "45000: closing: forced server close");
}

#[test]
fn m40_a_client_that_says_nothing_at_all_is_freed_at_45_seconds() {
    let mut script = Script::stranger(Options::default());
    assert_eq!(script.wait(60_000), "45000: closed: ping timeout");
}

#[test]
fn m40_a_client_that_has_joined_may_leave_again() {
    let mut script = strangers();
    script.session.connected();
    assert_eq!(script.wait(24_999), "");
}

#[test]
fn m40_a_server_without_namespaces_closes_nobody_for_it() {
    let mut script = Script::stranger(Options { connect_timeout: None, ..Options::default() });
    let options = script.options.clone();
    assert!(!script.session.charge(1_000_000, &options));
    assert_eq!(script.wait(45_000), "45000: closed: ping timeout");
}

#[test]
fn m40_what_a_client_may_send_before_it_joins_is_bounded() {
    let mut script = Script::stranger(Options::default());
    let options = script.options.clone();
    assert!(!script.session.charge(64 * 1024, &options));
    assert!(script.session.charge(1, &options));
    assert!(script.session.charge(usize::MAX, &options));
    script.session.connected();
    assert!(!script.session.charge(usize::MAX, &options));
}

/// A session of protocol 3, by polling, whose client must ping within 500 ms.
fn listening() -> Script {
    let options = Options {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    Script::speaking(Protocol::V3(Attachments::Raw), options)
}

#[test]
fn b4_3_b4_41_a_client_that_has_to_ping_and_does_not_is_gone() {
    let mut script = listening();
    script.get("g");
    assert_eq!(script.wait(10_000), "500: g ← 1, closed: ping timeout");
    let mut script = listening();
    script.wait(400);
    assert!(script.pings());
    script.wait(400);
    assert!(script.pings());
    assert_eq!(script.wait(10_000), "1300: closed: ping timeout");
    assert!(!script.pings(), "it is over");
    assert_eq!(listening().receives("3"), "closed: transport error");
}

#[test]
fn neither_other_packets_nor_the_upgrade_stand_for_a_ping() {
    let mut script = listening();
    script.wait(250);
    script.opens("w");
    script.says("w", "2probe");
    assert_eq!(script.says("w", "5"), "w upgraded");
    script.receives("4a");
    assert_eq!(script.wait(10_000), "500: w closes, closed: ping timeout");
}

#[test]
fn pings_that_a_polling_client_does_not_fetch_the_answers_to_share_one() {
    let mut script = listening();
    script.receives("2");
    script.receives("2");
    script.queue("4a");
    script.receives("2");
    assert_eq!(script.get("g"), "g ← 3␞4a␞3");
    script.receives("2");
    assert_eq!(script.get("g"), "g ← 3");
}

#[test]
fn a_client_that_pings_has_the_time_that_was_left_when_we_have_stood_still() {
    let mut script = listening();
    assert_eq!(script.stands_still(5_000), "");
    assert_eq!(script.wait(10_000), "500: closed: ping timeout");
}
