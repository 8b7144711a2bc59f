//! The chat of the examples, as an application that is tested with the kit.

use std::time::Duration;

use fanfare::test::{App, Client};
use fanfare::{Server, Transport};
use serde_json::{Value, json};

/// Runs a test of the chat on every transport and with several seeds.
fn each(test: impl Fn(&App)) {
    for seed in 0..4 {
        for transport in [Transport::WebSocket, Transport::Polling] {
            let server = crate::chat::server(Server::builder().serve_client(false)).unwrap();
            let app = App::builder().seed(seed).shards(1 + seed as usize).transport(transport);
            test(&app.start(server));
        }
    }
}

fn join(client: &Client, name: &str, room: &str) -> Value {
    client.emit_with_ack("join", json!({ "name": name, "room": room })).expect()
}

#[test]
fn members_of_a_room_hear_each_other_and_nobody_else_does() {
    each(|app| {
        let [alice, bob, carol] = [(); 3].map(|()| app.connect("/"));
        assert_eq!(join(&alice, "alice", "lobby"), json!({ "members": ["alice"], "history": [] }));
        assert_eq!(join(&bob, " bob ", "lobby")["members"], json!(["alice", "bob"]));
        assert_eq!(alice.expect::<Value>("members"), json!(["alice", "bob"]));
        join(&carol, "carol", "attic");

        let sent: Value = alice.emit_with_ack("message", " hello ").expect();
        let heard: Value = bob.expect("message");
        assert_eq!(heard["text"], "hello");
        assert_eq!((&heard["id"], &heard["at"]), (&sent["id"], &sent["at"]));
        assert_eq!(heard["sid"], alice.id());
        bob.emit("typing", true);
        let typing: Value = alice.expect("typing");
        assert_eq!(typing, json!({ "name": "bob", "typing": true }));
        for client in [&alice, &bob, &carol] {
            client.expect_nothing();
        }
        let dave = app.connect("/");
        let history = &join(&dave, "dave", "lobby")["history"];
        assert_eq!((&history[0]["name"], &history[0]["text"]), (&json!("alice"), &json!("hello")));
    });
}

#[test]
fn who_leaves_is_missed() {
    each(|app| {
        let [alice, bob, carol] = [(); 3].map(|()| app.connect("/"));
        for (client, name) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")] {
            join(client, name, "lobby");
        }
        alice.events();
        join(&bob, "bob", "attic");
        assert_eq!(alice.expect::<Value>("members"), json!(["alice", "carol"]));
        carol.fall_silent();
        app.advance(Duration::from_secs(45));
        assert_eq!(alice.expect::<Value>("members"), json!(["alice"]));
        carol.expect_disconnect();
    });
}

#[test]
fn what_is_no_name_and_no_message_is_refused() {
    each(|app| {
        let alice = app.connect("/");
        for (name, room) in [("", "lobby"), (" ", "lobby"), ("alice", ""), (&"a".repeat(41), "r")] {
            assert!(join(&alice, name, room)["error"].is_string(), "{name:?} {room:?}");
        }
        let refused = alice.emit_with_ack::<Value, _>("message", "hello").expect();
        assert_eq!(refused, json!({ "error": "Join a room first." }));
        join(&alice, "alice", "lobby");
        let refused = alice.emit_with_ack::<Value, _>("message", "a".repeat(2_001)).expect();
        assert!(refused["error"].is_string());
        alice.emit_with_ack::<(), _>("ping-time", ()).expect();
    });
}
