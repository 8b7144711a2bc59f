//! How sessions end, and what their sockets and requests see of it (protocol.md §9, §17.2).

use crate::proto::socket::DisconnectReason::{
    ForcedClose, ForcedServerClose, ParseError, PingTimeout, ServerShuttingDown, TransportError,
};
use crate::session::Violation;

use super::script::Script;

#[test]
fn b4_10_a_client_that_leaves_sees_the_end_of_its_get() {
    let mut script = Script::polling();
    script.get("g");
    script.queue("4lost");
    let said = script.post("p", &["1", "4ignored"]);
    assert_eq!(said, "g ← 6, closed: transport close, p ← ok");
}

#[test]
fn b4_10_a_get_that_was_overtaken_by_the_last_post_sees_the_end_too() {
    let mut script = Script::polling();
    script.queue("4lost");
    assert_eq!(script.post("p", &["1", "4ignored"]), "closing: transport close");
    assert!(script.session.is_leaving());
    assert_eq!(script.get("g"), "g ← 6, p ← ok, closed: transport close");
}

#[test]
fn b4_10_a_client_that_leaves_without_a_get_is_gone_a_moment_later() {
    let mut script = Script::polling();
    script.post("p", &["1"]);
    assert_eq!(script.wait(49), "");
    assert_eq!(script.wait(1), "50: p ← ok, closed: transport close");
}

#[test]
fn a_client_that_leaves_twice_leaves_once() {
    let mut script = Script::polling();
    assert_eq!(script.post("p", &["1"]), "closing: transport close");
    assert_eq!(script.leaves(), "");
    assert_eq!(script.wait(50), "50: p ← ok, closed: transport close");
}

#[test]
fn a_client_may_be_lost_while_it_leaves() {
    let mut script = Script::polling();
    script.post("p", &["1"]);
    assert_eq!(script.loses("p"), "closed: transport close");
}

#[test]
fn a_client_that_posts_while_it_leaves_overlaps() {
    let mut script = Script::polling();
    script.post("p", &["1"]);
    assert_eq!(script.post_begins("q"), "q ← 400, p dropped, closed: transport close");
}

#[test]
fn the_server_may_end_a_session_whose_client_is_leaving() {
    let mut script = Script::polling();
    script.post("p", &["1"]);
    assert_eq!(script.closes(ForcedClose), "");
    assert_eq!(script.ends(ServerShuttingDown), "p ← ok, closed: transport close");
}

#[test]
fn b4_11_a_websocket_client_that_leaves_is_gone_at_once() {
    let mut script = Script::websocket();
    assert_eq!(script.receives("1"), "w closes, closed: transport close");
    assert_eq!(Script::websocket().loses("w"), "closed: transport close");
}

#[test]
fn b4_7_a_held_get_is_told_that_the_server_closes() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.closes(ForcedClose), "g ← 1, closed: forced close");
}

#[test]
fn b4_37_a_held_get_takes_what_is_queued_when_the_server_closes() {
    let mut script = Script::polling();
    script.get("g");
    script.queue("4a");
    script.queue("41");
    assert_eq!(script.closes(ForcedClose), "g ← 4a␞41, closed: forced close");
}

#[test]
fn b4_37_later_gets_take_what_is_queued_and_then_noop_and_close() {
    let mut script = Script::polling();
    script.queue("4a");
    assert_eq!(script.closes(ForcedClose), "closing: forced close");
    assert_eq!(script.queue("4b"), "gone");
    assert_eq!(script.get("g"), "g ← 4a");
    assert_eq!(script.get("g"), "g ← 6␞1, closed: forced close");
}

#[test]
fn the_next_get_is_told_noop_and_close_when_nothing_is_queued() {
    let mut script = Script::polling();
    script.closes(ForcedClose);
    assert_eq!(script.get("g"), "g ← 6␞1, closed: forced close");
}

#[test]
fn a_session_that_closes_takes_requests_and_ignores_their_packets() {
    let mut script = Script::polling();
    script.closes(ForcedClose);
    assert_eq!(script.post("p", &["4a", "1", "nonsense", "2"]), "p ← ok");
    assert_eq!(script.get("g"), "g ← 6␞1, closed: forced close");
}

#[test]
fn a_session_that_closes_is_not_pinged_and_waits_30_seconds() {
    let mut script = Script::polling();
    script.wait(20_000);
    script.closes(ForcedClose);
    assert_eq!(script.wait(29_999), "");
    assert_eq!(script.wait(1), "50000: closed: forced close");
}

#[test]
fn a_ping_that_falls_due_while_the_session_closes_is_not_sent() {
    let mut script = Script::polling();
    script.wait(20_000);
    script.opens("w");
    script.closes(ForcedClose);
    assert_eq!(script.wait(10_000), "30000: w closes");
    assert_eq!(script.get("g"), "g ← 6␞1, closed: forced close");
}

#[test]
fn pongs_and_traffic_do_not_prolong_a_session_that_closes() {
    let mut script = Script::polling();
    script.closes(ForcedClose);
    let due = script.session.deadline();
    let options = script.options.clone();
    script.session.pong(crate::base::clock::Time::ZERO, &options);
    script.session.traffic(crate::base::clock::Time::ZERO, &options);
    assert_eq!(script.session.deadline(), due);
}

#[test]
fn a_session_closes_once() {
    let mut script = Script::polling();
    script.closes(ForcedServerClose);
    assert_eq!(script.closes(ForcedClose), "");
    assert_eq!(script.violates(Violation::State), "");
    assert_eq!(script.ends(ServerShuttingDown), "closed: forced server close");
}

#[test]
fn b4_8_a_websocket_is_closed_behind_what_is_queued() {
    let mut script = Script::websocket();
    assert_eq!(script.queue("4a"), "w ← 4a");
    assert_eq!(script.closes(ForcedServerClose), "w closes, closed: forced close");
}

#[test]
fn m32_the_session_does_not_wait_for_the_end_of_its_websocket() {
    let mut script = Script::websocket();
    assert_eq!(script.closes(ForcedClose), "w closes, closed: forced close");
    assert_eq!(script.wait(60_000), "");
    assert_eq!(script.loses("w"), "");
}

#[test]
fn b4_35_the_end_of_the_engine_discards_the_queue() {
    let mut script = Script::polling();
    script.get("g");
    script.queue("4a");
    assert_eq!(script.ends(ServerShuttingDown), "g ← 1, closed: server shutting down");
}

#[test]
fn b4_36_the_end_of_the_engine_discards_the_queue_of_a_session_that_closes() {
    let mut script = Script::polling();
    script.queue("4a");
    script.closes(ForcedClose);
    assert_eq!(script.ends(ServerShuttingDown), "closed: forced close");
}

#[test]
fn an_end_is_told_to_the_get_or_the_websocket_with_its_reason() {
    for reason in [PingTimeout, ParseError, TransportError, ServerShuttingDown] {
        let text = reason.as_str();
        let mut script = Script::polling();
        script.get("g");
        assert_eq!(script.ends(reason), format!("g ← 1, closed: {text}"));
        assert_eq!(Script::polling().ends(reason), format!("closed: {text}"));
        assert_eq!(Script::websocket().ends(reason), format!("w closes, closed: {text}"));
    }
}

#[test]
fn violations_end_a_session_for_their_reasons() {
    use Violation::{Decode, HeartbeatDirection, State, Undecodable};
    let cases = [
        (Undecodable, "closed: parse error", "closed: parse error"),
        (HeartbeatDirection, "closed: transport error", "closed: transport error"),
        (Decode, "closed: forced close", "closing: forced close"),
        (State, "closed: forced close", "closing: forced server close"),
    ];
    for (violation, told, without_a_get) in cases {
        let mut script = Script::polling();
        script.get("g");
        assert_eq!(script.violates(violation), format!("g ← 1, {told}"));
        assert_eq!(Script::websocket().violates(violation), format!("w closes, {told}"));
        assert_eq!(Script::polling().violates(violation), without_a_get);
    }
}

#[test]
fn b4_35_a_server_that_shuts_down_tells_a_polling_client_with_its_next_poll() {
    let mut script = Script::polling();
    script.queue("4lost");
    assert_eq!(script.server_shuts_down(), "closing: server shutting down");
    assert_eq!(script.get("g"), "g ← 1, closed: server shutting down");
}

#[test]
fn a_server_that_shuts_down_waits_a_second_for_that_poll() {
    let mut script = Script::polling();
    script.server_shuts_down();
    assert_eq!(script.wait(999), "");
    assert_eq!(script.wait(1), "1000: closed: server shutting down");
}

#[test]
fn a_server_that_shuts_down_answers_the_held_poll_at_once() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.server_shuts_down(), "g ← 1, closed: server shutting down");
    assert_eq!(script.server_shuts_down(), "");
}

#[test]
fn a_server_that_shuts_down_closes_the_probe_and_keeps_the_reason_of_who_was_closing() {
    let mut script = Script::polling();
    script.opens("w");
    assert_eq!(script.server_shuts_down(), "w closes, closing: server shutting down");
    let mut script = Script::polling();
    script.post("p", &["1"]);
    assert_eq!(script.server_shuts_down(), "p ← ok, closed: transport close");
}

#[test]
fn m63_a_client_that_was_to_hear_of_the_end_anyway_is_not_waited_for_when_the_server_drains() {
    let mut script = Script::polling();
    assert_eq!(script.closes(ForcedClose), "closing: forced close");
    assert_eq!(script.server_drains(), "");
    assert_eq!(script.wait(600), "");
    assert_eq!(script.server_drains(), "", "asked once more it has no more time");
    assert_eq!(script.wait(400), "1000: closed: forced close");
}
