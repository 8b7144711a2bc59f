//! The change from long-polling to a WebSocket (protocol.md §8).

use std::time::Duration;

use crate::proto::socket::DisconnectReason::{ForcedClose, ForcedServerClose, PingTimeout};

use super::script::Script;

/// A session whose WebSocket `w` has been answered.
fn probed() -> Script {
    let mut script = Script::polling();
    script.opens("w");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe");
    script
}

fn upgraded() -> Script {
    let mut script = probed();
    assert_eq!(script.says("w", "5"), "w upgraded");
    script
}

#[test]
fn nothing_is_said_on_a_websocket_that_only_wants_to_become_the_transport() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.opens("w"), "");
    script.queue("4a");
    assert_eq!(script.flush(), "g ← 4a");
    assert_eq!(script.session.transport_name(), "polling");
}

#[test]
fn a_client_that_upgrades_as_it_should() {
    let mut script = Script::polling();
    script.get("g");
    script.opens("w");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe, g ← 6");
    assert_eq!(script.get("g"), "g ← 6");
    assert_eq!(script.says("w", "5"), "w upgraded");
    assert_eq!(script.queue("4a"), "w ← 4a");
    assert_eq!(script.session.transport_name(), "websocket");
}

#[test]
fn gets_during_a_probe_are_answered_at_once_and_then_in_no_hurry() {
    let mut script = probed();
    for _ in 0..3 {
        assert_eq!(script.get("g"), "g ← 6");
    }
    assert_eq!(script.get("g"), "");
    assert_eq!(script.wait(99), "");
    assert_eq!(script.wait(1), "100: g ← 6");
    assert_eq!(script.get("g"), "");
    assert_eq!(script.wait(100), "200: g ← 6");
    // With none held, nothing is due before the upgrade times out.
    assert_eq!(script.session.deadline().as_micros(), 10_000_000);
}

#[test]
fn socketioxide_732_a_client_that_never_finishes_does_not_spin() {
    let mut script = probed();
    let mut noops = 0;
    for _ in 0..10_000 {
        // The client asks again as soon as it was answered.
        let now = script.get_unless_busy("g");
        let later = script.wait(1);
        noops += usize::from(now == "g ← 6") + usize::from(later.ends_with("g ← 6"));
    }
    assert!((90..=110).contains(&noops), "{noops}");
}

#[test]
fn a_get_that_came_before_the_probe_is_answered_with_it() {
    let mut script = Script::polling();
    script.opens("w");
    assert_eq!(script.get("g"), "");
    assert_eq!(script.wait(5_000), "");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe, g ← 6");
}

#[test]
fn m16_packets_go_out_by_polling_while_the_probe_runs() {
    let mut script = probed();
    script.queue("4a");
    assert_eq!(script.get("g"), "g ← 4a");
    script.queue("4b");
    script.queue("4c");
    assert_eq!(script.post("p", &["4x"]), "p ← ok");
    assert_eq!(script.says("w", "5"), "w upgraded: 4b␞4c");
    assert_eq!(script.queue("4d"), "w ← 4d");
}

#[test]
fn m15_an_upgrade_without_a_probe_is_an_upgrade() {
    let mut script = Script::polling();
    script.get("g");
    script.queue("4a");
    script.opens("w");
    assert_eq!(script.says("w", "5"), "g ← 6, w upgraded: 4a");
}

#[test]
fn m15_a_client_may_probe_twice() {
    let mut script = probed();
    script.get("g");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe");
    assert_eq!(script.says("w", "5"), "w upgraded");
}

#[test]
fn a_held_get_and_an_unfinished_post_end_with_the_upgrade() {
    let mut script = probed();
    (0..4).for_each(|_| drop(script.get("g")));
    script.post_begins("p");
    assert_eq!(script.says("w", "5"), "g ← 6, p dropped, w upgraded");
    // Their connections may go; and what was said on them is nobody's.
    assert_eq!(script.loses("g"), "");
    assert_eq!(script.loses("p"), "");
    assert_eq!(script.post_ends("p"), "");
}

#[test]
fn m15_uws_double_upgrade_a_second_websocket_leaves_the_first_alone() {
    let mut script = Script::polling();
    script.opens("w");
    assert_eq!(script.opens("v"), "Probing");
    assert_eq!(script.says("v", "5"), "not probing");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe");
    assert_eq!(script.opens("v"), "Probing");
    assert_eq!(script.says("w", "5"), "w upgraded");
    assert_eq!(script.opens("v"), "Transport");
    assert_eq!(script.loses("v"), "");
    assert!(script.session.is_open());
}

#[test]
fn an_upgraded_session_takes_no_requests() {
    let mut script = upgraded();
    assert_eq!(script.get("g"), "Transport");
    assert_eq!(script.post_begins("p"), "Transport");
    assert!(!script.session.has_held_poll());
    assert!(!script.session.is_poll_writable());
    assert!(script.session.is_open());
}

#[test]
fn b4_13_any_other_packet_closes_the_probing_websocket_and_nothing_else() {
    for said in ["4a", "2", "2probex", "3", "3probe", "1", "0", "6", "55", "", "nonsense"] {
        for mut script in [Script::polling(), probed()] {
            let name = if script.opens("v").is_empty() { "v" } else { "w" };
            assert_eq!(script.says(name, said), format!("{name} closes"));
            script.queue("4a");
            assert_eq!(script.get("g"), "g ← 4a");
            assert_eq!(script.opens("later"), "");
            assert_eq!(script.says("later", "5"), "later upgraded");
        }
    }
}

#[test]
fn b4_32_m15_an_abandoned_upgrade_ends_after_ten_seconds() {
    for mut script in [Script::polling(), probed()] {
        script.opens("w");
        assert_eq!(script.wait(9_999), "");
        assert_eq!(script.wait(1), "10000: w closes");
        assert_eq!(script.says("w", "5"), "not probing");
        script.queue("4a");
        assert_eq!(script.get("g"), "g ← 4a");
        assert_eq!(script.opens("v"), "");
    }
}

#[test]
fn socketioxide_732_the_heartbeat_goes_on_during_an_upgrade() {
    let mut script = Script::polling();
    script.wait(20_000);
    script.opens("w");
    script.get("g");
    let said = script.wait(60_000);
    assert_eq!(said, "25000: g ← 2; 30000: w closes; 45000: closed: ping timeout");
}

#[test]
fn a_lost_probe_leaves_the_session_alone() {
    let mut script = probed();
    (0..4).for_each(|_| drop(script.get("g")));
    assert_eq!(script.loses("w"), "");
    assert_eq!(script.wait(1_000), "");
    script.queue("4a");
    assert_eq!(script.flush(), "g ← 4a");
    assert_eq!(script.opens("v"), "");
}

#[test]
fn b4_31_the_end_of_the_session_closes_the_probing_websocket() {
    let mut script = probed();
    script.queue("4lost");
    assert_eq!(script.ends(PingTimeout), "w closes, closed: ping timeout");

    let mut script = Script::polling();
    script.get("g");
    script.opens("w");
    assert_eq!(script.closes(ForcedClose), "g ← 1, w closes, closed: forced close");
}

#[test]
fn an_upgrade_of_a_session_that_closes_takes_what_is_queued_with_it() {
    let mut script = probed();
    script.queue("4a");
    assert_eq!(script.closes(ForcedClose), "closing: forced close");
    assert_eq!(script.says("w", "5"), "w upgraded: 4a, w closes, closed: forced close");
}

#[test]
fn the_sockets_of_a_session_that_closes_have_one_reason() {
    let mut script = probed();
    assert_eq!(script.closes(ForcedServerClose), "closing: forced server close");
    assert_eq!(script.says("w", "5"), "w upgraded, w closes, closed: forced server close");
}

#[test]
fn a_session_that_closes_may_be_probed_and_the_last_get_ends_both() {
    let mut script = Script::polling();
    script.closes(ForcedClose);
    assert_eq!(script.opens("w"), "");
    assert_eq!(script.says("w", "2probe"), "w ← 3probe");
    assert_eq!(script.get("g"), "g ← 6␞1, w closes, closed: forced close");
}

#[test]
fn a_probe_may_time_out_while_the_session_closes() {
    let mut script = probed();
    script.closes(ForcedClose);
    assert_eq!(script.wait(60_000), "10000: w closes; 30000: closed: forced close");
}

#[test]
fn b4_13_a_client_that_leaves_while_it_upgrades_has_left() {
    let mut script = probed();
    assert_eq!(script.post("p", &["1"]), "w closes, closing: transport close");
    assert_eq!(script.says("w", "5"), "not probing");
    assert_eq!(script.opens("v"), "Transport");
    assert_eq!(script.wait(50), "50: p ← ok, closed: transport close");
}

#[test]
fn b4_33_a_pong_that_is_awaited_gets_the_whole_timeout_after_an_upgrade() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.wait(44_000), "25000: g ← 2");
    script.opens("w");
    script.says("w", "5");
    assert_eq!(script.wait(19_999), "");
    assert_eq!(script.wait(1), "64000: w closes, closed: ping timeout");
}

#[test]
fn an_upgrade_does_not_move_the_next_ping() {
    let mut script = upgraded();
    assert_eq!(script.wait(24_999), "");
    assert_eq!(script.wait(1), "25000: w ← 2");
}

#[test]
fn a_ping_that_no_get_has_fetched_goes_out_with_the_upgrade() {
    let mut script = Script::polling();
    script.wait(25_000);
    script.queue("4a");
    script.opens("w");
    assert_eq!(script.says("w", "5"), "w upgraded: 2␞4a");
    script.receives("3");
    assert_eq!(script.silence().0, Duration::from_secs(45));
}

#[test]
fn an_upgrade_that_is_due_to_fail_and_a_ping_happen_in_the_same_moment() {
    let mut script = Script::polling();
    script.wait(15_000);
    script.opens("w");
    script.get("g");
    assert_eq!(script.wait(10_000), "25000: w closes, g ← 2");
}
