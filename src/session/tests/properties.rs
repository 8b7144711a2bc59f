//! Whatever happens, in whatever order. What each event must keep true is in the ledger.

use std::time::Duration;

use proptest::prelude::*;

use crate::proto::engine::Protocol;
use crate::proto::engine_v3::Attachments;
use crate::proto::socket::DisconnectReason::{ForcedClose, ServerShuttingDown};
use crate::session::{Options, Violation};

use super::script::Script;

#[derive(Clone, Debug)]
enum Event {
    Get(u8),
    PostBegins(u8),
    PostEnds(u8),
    Receives(&'static str),
    Opens(u8),
    Says(u8, &'static str),
    Loses(Lost),
    Joins,
    Queues,
    Flush,
    AwaitsAttachments,
    Violates(Violation),
    Closes,
    Ends,
    Waits(u64),
    StandsStill(u64),
}

/// A connection of each kind; there are two of them.
#[derive(Clone, Copy, Debug)]
enum Lost {
    Get(u8),
    Post(u8),
    WebSocket(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let any = 0..2_u8;
    let said = prop_oneof![4 => Just("2probe"), 3 => Just("5"), 1 => Just("garbage")];
    let received =
        prop_oneof![6 => Just("4a"), 6 => Just("3"), 2 => Just("2"), 1 => Just("1"), 1 => Just("")];
    let lost = prop_oneof![
        any.clone().prop_map(Lost::Get),
        any.clone().prop_map(Lost::Post),
        any.clone().prop_map(Lost::WebSocket),
    ];
    let violation = prop_oneof![
        Just(Violation::Undecodable),
        Just(Violation::HeartbeatDirection),
        Just(Violation::Decode),
        Just(Violation::State),
    ];
    let millis = prop_oneof![0..200_u64, 0..60_000_u64];
    prop_oneof![
        12 => any.clone().prop_map(Event::Get),
        6 => any.clone().prop_map(Event::PostBegins),
        8 => any.clone().prop_map(Event::PostEnds),
        6 => received.prop_map(Event::Receives),
        6 => any.clone().prop_map(Event::Opens),
        8 => (any, said).prop_map(|(websocket, text)| Event::Says(websocket, text)),
        2 => lost.prop_map(Event::Loses),
        4 => Just(Event::Joins),
        16 => Just(Event::Queues),
        12 => Just(Event::Flush),
        1 => Just(Event::AwaitsAttachments),
        1 => violation.prop_map(Event::Violates),
        1 => Just(Event::Closes),
        1 => Just(Event::Ends),
        4 => millis.clone().prop_map(Event::Waits),
        1 => millis.prop_map(Event::StandsStill),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::V4), Just(Protocol::V3(Attachments::Raw))]
}

impl Script {
    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Get(get) => drop(self.get_unless_busy(&format!("g{get}"))),
            Event::PostBegins(post) => drop(self.post_unless_busy(&format!("p{post}"))),
            Event::PostEnds(post) => drop(self.post_ends(&format!("p{post}"))),
            Event::Receives(packet) => drop(self.receives(packet)),
            Event::Opens(websocket) => drop(self.open_unless_busy(&format!("w{websocket}"))),
            Event::Says(websocket, text) => drop(self.says(&format!("w{websocket}"), text)),
            Event::Loses(Lost::Get(get)) => drop(self.loses(&format!("g{get}"))),
            Event::Loses(Lost::Post(post)) => drop(self.loses(&format!("p{post}"))),
            Event::Loses(Lost::WebSocket(socket)) => drop(self.loses(&format!("w{socket}"))),
            Event::Joins if self.session.is_open() => self.session.connected(),
            Event::Joins => {}
            Event::Queues => drop(self.queue(&format!("4{}", self.ledger.taken.len()))),
            Event::Flush => drop(self.flush()),
            Event::AwaitsAttachments if self.session.is_open() => self.awaits_attachments(),
            Event::AwaitsAttachments => {}
            Event::Violates(violation) => drop(self.violates(violation)),
            Event::Closes => drop(self.closes(ForcedClose)),
            Event::Ends => drop(self.ends(ServerShuttingDown)),
            Event::Waits(millis) => drop(self.wait(millis)),
            Event::StandsStill(millis) => drop(self.stands_still(millis)),
        }
    }

    /// A peer, if it still listens, gets all that the session has taken.
    fn takes_all_that_is_left(&mut self) {
        let is_lossless = self.session.is_open() || !self.session.is_leaving();
        if self.session.is_closed() || !is_lossless {
            return;
        }
        if self.session.websocket().is_none() {
            self.flush();
            if !self.session.has_held_poll() {
                self.get("last");
            }
        }
        assert_eq!(self.ledger.delivered, self.ledger.taken.len(), "something was kept back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn m16_each_packet_comes_out_once_in_order_and_each_request_is_answered_once(
        protocol in protocol(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut script = Script::speaking(protocol, Options::default());
        events.iter().for_each(|event| script.happens(event));
        script.takes_all_that_is_left();
    }

    #[test]
    fn a_session_that_nobody_talks_to_ends(
        protocol in protocol(),
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut script = Script::speaking(protocol, Options::default());
        events.iter().for_each(|event| script.happens(event));
        let was_open = script.session.is_open();
        let (lasted, said) = script.silence();
        let options = &script.options;
        let alive = options.ping_interval + options.ping_timeout;
        let closing = options.limits.polling_close_timeout;
        let most = match (was_open, script.ledger.closing) {
            (true, None) => alive,
            (true, Some(_)) => alive + closing,
            (false, _) => closing,
        };
        prop_assert!(lasted <= most, "{lasted:?}: {said}");
    }
}

/// All orders of `rest` behind `first`.
fn orders(first: &[usize], rest: &[usize], all: &mut Vec<Vec<usize>>) {
    if rest.is_empty() {
        all.push(first.to_vec());
    }
    for position in 0..rest.len() {
        let mut rest = rest.to_vec();
        let first = [first, &[rest.remove(position)]].concat();
        orders(&first, &rest, all);
    }
}

#[test]
fn m15_all_orders_of_the_events_of_an_upgrade_leave_the_session_unharmed() {
    let mut all = Vec::new();
    orders(&[], &[0, 1, 2, 3, 4, 5], &mut all);
    assert_eq!(all.len(), 720);
    for order in all {
        let mut script = Script::polling();
        let events = [
            Event::Opens(0),
            Event::Says(0, "2probe"),
            Event::Says(0, "5"),
            Event::Opens(1),
            Event::Get(0),
            Event::Waits(10_000),
        ];
        for event in order {
            script.queue(&format!("4{event}"));
            script.happens(&events[event]);
            script.flush();
        }
        assert!(script.session.is_open());
        script.takes_all_that_is_left();
        let (lasted, _) = script.silence();
        assert!(lasted <= Duration::from_secs(45), "{lasted:?}");
    }
}
