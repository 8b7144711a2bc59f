//! GET and POST (protocol.md §3, §5).

use crate::base::frame::{Encoded, Frame, Wire};
use crate::base::shed::{CoalesceKey, FRAME_CHARGE};
use crate::proto::socket::DisconnectReason;
use crate::session::transport::Waiting;
use crate::session::{Answer, Effect, Session, Violation};

use super::script::Script;

#[test]
fn the_get_that_opens_a_session_is_answered_at_once() {
    let mut script = Script::polling();
    assert_eq!(script.queue("0{}"), "");
    assert_eq!(script.get("g"), "g ← 0{}");
}

#[test]
fn a_get_is_held_until_there_is_something_to_say() {
    let mut script = Script::polling();
    assert_eq!(script.get("g"), "");
    assert_eq!(script.wait(24_999), "");
    script.queue("4a");
    assert_eq!(script.flush(), "g ← 4a");
}

#[test]
fn all_packets_of_a_turn_go_into_one_answer() {
    let mut script = Script::polling();
    script.get("g");
    for packet in ["4a", "4b", "4c"] {
        script.queue(packet);
    }
    assert_eq!(script.flush(), "g ← 4a␞4b␞4c");
    assert_eq!(script.flush(), "");
}

#[test]
fn packets_without_a_get_wait_for_the_next_one_in_order() {
    let mut script = Script::polling();
    for packet in ["4a", "4b"] {
        script.queue(packet);
        assert_eq!(script.flush(), "");
    }
    assert_eq!(script.get("g"), "g ← 4a␞4b");
    assert_eq!(script.get("g"), "");
}

#[test]
fn a_packet_is_volatile_only_where_a_get_waits_for_nothing_else() {
    let mut script = Script::polling();
    assert!(!script.session.is_poll_writable());
    script.get("g");
    assert!(script.session.is_poll_writable());
    script.queue("4a");
    assert!(!script.session.is_poll_writable());
    assert!(script.session.has_held_poll());
    script.flush();
    assert!(!script.session.has_held_poll());
}

#[test]
fn a_second_get_ends_the_session() {
    let mut script = Script::polling();
    script.get("first");
    let said = script.get("second");
    assert_eq!(said, "second ← 400, first ← 1, closed: transport error");
}

#[test]
fn a_second_post_ends_the_session() {
    let mut script = Script::polling();
    script.get("g");
    script.post_begins("first");
    let said = script.post_begins("second");
    assert_eq!(said, "second ← 400, first dropped, g ← 1, closed: transport error");
}

#[test]
fn gets_and_posts_do_not_overlap_with_each_other() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.post("p", &["4a", "bAQ=="]), "p ← ok");
    assert_eq!(script.post("p", &["4b"]), "p ← ok");
    script.queue("4c");
    assert_eq!(script.flush(), "g ← 4c");
}

#[test]
fn the_end_of_a_post_that_is_not_under_way_means_nothing() {
    let mut script = Script::polling();
    script.post_begins("first");
    let stranger = crate::base::slab::Key { index: 9, generation: 0 };
    script.session.post_ends(stranger);
    let said = script.post_begins("second");
    assert_eq!(said, "second ← 400, first dropped, closed: transport error");
}

#[test]
fn b4_15_a_get_whose_connection_is_lost_ends_the_session() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.loses("g"), "closed: transport error");
}

#[test]
fn a_post_whose_connection_is_lost_ends_the_session() {
    let mut script = Script::polling();
    script.get("g");
    script.post_begins("p");
    assert_eq!(script.loses("p"), "g ← 1, closed: transport error");
}

#[test]
fn b4_16_a_connection_whose_request_was_answered_may_go() {
    let mut script = Script::polling();
    script.queue("4a");
    script.get("g");
    script.post("p", &["4b"]);
    assert_eq!(script.loses("g"), "");
    assert_eq!(script.loses("p"), "");
    assert!(script.session.is_open());
}

#[test]
fn b4_30_an_undecodable_packet_ends_the_session() {
    for packet in ["", "abc", "7", "\u{7f}"] {
        let mut script = Script::polling();
        script.get("g");
        // The shard answers the POST: nothing of the session does.
        let said = script.post("p", &["4a", packet, "1"]);
        assert_eq!(said, "g ← 1, closed: parse error, p ← ok", "{packet:?}");
    }
}

#[test]
fn a_ping_of_the_client_is_the_wrong_direction() {
    for packet in ["2", "2probe"] {
        let mut script = Script::polling();
        script.get("g");
        assert_eq!(script.receives(packet), "g ← 1, closed: transport error");
    }
}

#[test]
fn packets_that_mean_nothing_are_no_offence() {
    let mut script = Script::polling();
    assert_eq!(script.post("p", &["0", "5", "6"]), "p ← ok");
    assert_eq!(script.session.transport_name(), "polling");
}

#[test]
fn what_is_queued_is_counted_and_counted_no_more_once_it_is_out() {
    let mut script = Script::polling();
    let frame = || Frame::raw(b"12345");
    let charges = |waiting: Option<Waiting>| waiting.map(|waiting| waiting.charge);
    assert_eq!(charges(script.session.queue(frame())), Some(5 + FRAME_CHARGE));
    assert_eq!(charges(script.session.queue(frame())), Some(2 * (5 + FRAME_CHARGE)));
    assert_eq!(script.session.queued_bytes(), 10);
    let mut effects = Vec::new();
    let get = crate::base::slab::Key { index: 0, generation: 0 };
    script.session.poll(get, crate::base::clock::Time::ZERO, &mut effects).unwrap();
    assert_eq!(charges(script.session.queue(frame())), Some(5 + FRAME_CHARGE));
}

#[test]
fn the_latest_of_a_key_takes_the_place_of_the_one_that_waits_for_a_poll() {
    let mut script = Script::polling();
    let keyed = |text: &[u8]| {
        let wire = Wire::from(Encoded::text_frame(text, 2));
        Frame::own(wire.coalesced(CoalesceKey::new(0, Some("price".into()))))
    };
    script.session.queue(keyed(b"\x81\x024a"));
    script.session.queue(Frame::raw(b"\x81\x024b"));
    let waiting = script.session.queue(keyed(b"\x81\x024c")).unwrap();
    assert!(waiting.has_coalesced && waiting.charge == waiting.charge_before);
    assert_eq!(polled(&mut script.session), [b"\x81\x024b", b"\x81\x024c"]);
}

#[test]
fn the_oldest_events_that_wait_for_a_poll_are_dropped_when_it_is_told() {
    let mut script = Script::polling();
    let event =
        |text: &[u8], may_drop| Frame::own(Encoded::text_frame(text, 2).droppable(may_drop).into());
    script.session.queue(event(b"\x81\x024a", true));
    script.session.queue(event(b"\x81\x024b", false));
    script.session.queue(event(b"\x81\x024c", true));
    let dropped = script.session.drop_oldest(0);
    assert_eq!((dropped.len(), script.session.queued_bytes()), (1, 8));
    assert_eq!(polled(&mut script.session), [b"\x81\x024b", b"\x81\x024c"]);
}

/// What a poll that comes now is answered with.
fn polled(session: &mut Session) -> Vec<Vec<u8>> {
    let mut effects = Vec::new();
    let get = crate::base::slab::Key { index: 0, generation: 0 };
    session.poll(get, crate::base::clock::Time::ZERO, &mut effects).unwrap();
    match effects.pop() {
        Some(Effect::Poll(_, Answer::Packets(frames), _)) => {
            frames.iter().map(|frame| frame.bytes().to_vec()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn m18_a_client_that_never_polls_costs_no_more_than_one_ping() {
    let mut script = Script::polling();
    script.queue("4a");
    assert_eq!(script.wait(44_999), "");
    assert_eq!(script.wait(1), "45000: closed: ping timeout");
}

#[test]
fn m18_a_client_that_vanishes_between_polls_is_freed_at_45_seconds() {
    let mut script = Script::polling();
    script.get("g");
    assert_eq!(script.wait(25_000), "25000: g ← 2");
    script.queue("4a");
    script.queue("4b");
    assert_eq!(script.wait(60_000), "45000: closed: ping timeout");
    assert_eq!(script.queue("4c"), "gone");
}

#[test]
fn m29_a_post_that_stalls_does_not_stop_the_heartbeat() {
    let mut script = Script::polling();
    script.get("g");
    script.post_begins("p");
    assert_eq!(script.wait(45_000), "25000: g ← 2; 45000: closed: ping timeout");
}

#[test]
fn m37_attachments_that_do_not_come_end_the_session_after_ten_seconds() {
    for mut script in [Script::polling(), Script::websocket()] {
        script.awaits_attachments();
        let over = match script.session.websocket() {
            Some(_) => "10000: w closes, closed: parse error",
            None => "10000: closed: parse error",
        };
        assert_eq!(script.wait(9_999), "");
        assert_eq!(script.wait(1), over);
    }
}

#[test]
fn m37_the_half_packet_of_a_session_that_closes_is_forgotten() {
    let mut script = Script::polling();
    script.awaits_attachments();
    assert_eq!(script.violates(Violation::Decode), "closing: forced close");
    assert!(script.session.assembly.is_none());
    assert_eq!(script.wait(29_999), "");
    assert_eq!(script.wait(1), "30000: closed: forced close");

    let mut script = Script::polling();
    script.awaits_attachments();
    assert_eq!(script.leaves(), "closing: transport close");
    assert!(script.session.assembly.is_none());

    let mut script = Script::polling();
    script.awaits_attachments();
    script.ends(DisconnectReason::ServerShuttingDown);
    assert!(script.session.assembly.is_none());
}

#[test]
fn nothing_happens_to_a_session_that_is_over() {
    let mut script = Script::polling();
    script.ends(DisconnectReason::TransportError);
    assert_eq!(script.get("g"), "Transport");
    assert_eq!(script.post_begins("p"), "Transport");
    assert_eq!(script.opens("w"), "Transport");
    assert_eq!(script.queue("4a"), "gone");
    assert_eq!(script.flush(), "");
    assert_eq!(script.leaves(), "");
    assert_eq!(script.violates(Violation::State), "");
    assert_eq!(script.violates(Violation::Undecodable), "");
    assert_eq!(script.ends(DisconnectReason::PingTimeout), "");
    assert_eq!(script.wait(100_000), "");
}

#[test]
fn a_session_fits_its_budget() {
    let size = size_of::<crate::session::Session>();
    assert!(size <= 160, "{size}");
    // What it speaks, and for JSONP its callback, lie where there was nothing.
    let size = size_of::<crate::session::transport::Polling>();
    assert!(size <= 64, "{size}");
}
