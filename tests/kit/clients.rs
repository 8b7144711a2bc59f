//! Clients: what they send, receive and are told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanfare::test::App;
use fanfare::{Ack, Auth, Data, DisconnectReason, Raw, Refuse, Server, Socket, Transport};
use serde_json::{Value, json};

const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Polling];

/// On every transport, with one to four shards, in several orders.
pub fn each(register: impl Fn(&Server), test: impl Fn(&App)) {
    for transport in TRANSPORTS {
        for (seed, shards) in (1..=4).enumerate() {
            let server = Server::builder().serve_client(false).build().unwrap();
            register(&server);
            let app = App::builder().seed(seed as u64).shards(shards).transport(transport);
            test(&app.start(server));
        }
    }
}

/// What an assertion that fails says.
fn complaint<T>(work: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(work()))).expect_err("it must complain");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a message")).to_owned(),
    }
}

#[test]
fn events_and_acknowledgements_go_both_ways_with_binary_values() {
    let register = |io: &Server| {
        io.of("/").on("echo", async |socket: Socket, raw: Raw, ack: Ack| {
            socket.emit("echo", &raw);
            ack.send(raw);
        });
        io.of("/").on("ask", async |socket: Socket, Data(question): Data<Bytes>| {
            let answer = socket.emit_with_ack::<(Bytes, u8), _>("question", question).await;
            socket.emit("answer", answer.unwrap());
        });
    };
    each(register, |app| {
        let alice = app.connect("/");
        let (text, data) = ("▲ ▼".repeat(50_000), Bytes::from(vec![7; 70_000]));
        let sent = (text, data.clone(), 1);
        let answer = alice.emit_with_ack::<(String, Bytes, u8), _>("echo", &sent).expect();
        assert_eq!(answer, sent);
        assert_eq!(alice.expect::<(String, Bytes, u8)>("echo"), sent);
        alice.emit("ask", &data);
        let (question, reply) = alice.expect_with_ack::<Bytes, _>("question");
        assert_eq!(question, data);
        reply.send((question, 9));
        assert_eq!(alice.expect::<(Bytes, u8)>("answer"), (data.clone(), 9));
        // More than a server takes.
        app.server().emit("many", vec![data; 12]);
        assert_eq!(alice.expect::<Vec<Bytes>>("many").len(), 12);
        alice.expect_nothing();
    });
}

#[test]
fn a_client_that_is_refused_learns_why() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Token {
        token: String,
    }
    let register = |io: &Server| {
        io.of("/admin").middleware(async |_: &Socket, Auth(auth): Auth<Token>| {
            match auth.token == "open sesame" {
                true => Ok(()),
                false => Err(Refuse::new("not authorized").data(&json!({ "tries": 2 }))),
            }
        });
    };
    each(register, |app| {
        let with = |token: &str| app.client().auth(&Token { token: token.to_owned() });
        let error = with("please").connect("/admin").unwrap_err();
        assert_eq!(error.message(), "not authorized");
        assert_eq!(error.data(), Some(json!({ "tries": 2 })));
        let admin = with("open sesame").connect("admin").unwrap();
        assert!(admin.is_connected() && admin.connect_error().is_none());
        let error = admin.connect("/nowhere").unwrap_err();
        assert_eq!((error.message(), error.data::<Value>()), ("Invalid namespace", None));
        assert!(admin.is_connected());
    });
}

#[test]
fn a_request_that_is_answered_with_an_error_refuses_the_client() {
    let server = Server::builder().transports([Transport::WebSocket]).build().unwrap();
    let app = App::start(server);
    let error = app.client().transport(Transport::Polling).connect("/").unwrap_err();
    assert!(error.message().starts_with("the server answered 400: "), "{error}");
    assert!(error.message().contains("Transport unknown"), "{error}");
}

#[test]
fn the_server_sees_query_and_headers() {
    let register = |io: &Server| {
        io.of("/").on("who", async |socket: Socket, ack: Ack| {
            let handshake = socket.handshake().unwrap();
            ack.send((handshake.query("who & what"), handshake.header("x-name")));
        });
    };
    each(register, |app| {
        let client = app.client().query("who & what", "a=b c").header("X-Name", "alice");
        let alice = client.connect("/").unwrap();
        let seen = alice.emit_with_ack::<(String, String), _>("who", ()).expect();
        assert_eq!(seen, ("a=b c".to_owned(), "alice".to_owned()));
    });
}

#[test]
fn each_end_of_a_connection_has_its_reason_on_both_sides() {
    let gone: Arc<Mutex<Vec<String>>> = Arc::default();
    let register = |io: &Server| {
        for namespace in ["/", "/other"] {
            let gone = Arc::clone(&gone);
            io.of(namespace).on_disconnect(async move |reason: DisconnectReason| {
                gone.lock().unwrap().push(reason.to_string());
            });
        }
        io.of("/").on("out", async |socket: Socket, Data(close): Data<bool>| {
            socket.disconnect(close);
        });
    };
    each(register, |app| {
        let reasons = || std::mem::take(&mut *gone.lock().unwrap());
        let alice = app.connect("/");
        let other = alice.connect("/other").unwrap();
        alice.disconnect();
        assert_eq!(alice.expect_disconnect(), "io client disconnect");
        assert_eq!(
            (other.disconnect_reason(), reasons()),
            (None, vec!["client namespace disconnect".to_owned()])
        );
        other.close();
        assert_eq!(other.expect_disconnect(), "io client disconnect");
        assert_eq!(reasons(), ["transport close"]);

        let bob = app.connect("/");
        let other = bob.connect("/other").unwrap();
        bob.emit("out", false);
        assert_eq!(bob.expect_disconnect(), "io server disconnect");
        assert!(other.is_connected());
        assert_eq!(reasons(), ["server namespace disconnect"]);
        let carol = app.connect("/");
        carol.emit("out", true);
        assert_eq!(carol.expect_disconnect(), "io server disconnect");
        assert_eq!(reasons(), ["server namespace disconnect"]);

        app.server().close();
        assert!(["io server disconnect", "transport close"].contains(&other.expect_disconnect()));
        assert_eq!(reasons(), ["server shutting down"]);
    });
}

#[test]
fn a_connection_that_is_cut_is_missed_at_once() {
    for (transport, expected) in TRANSPORTS.iter().zip(["transport close", "transport error"]) {
        let server = Server::builder().serve_client(false).build().unwrap();
        let everyone = server.clone();
        server.of("/").on_disconnect(async move |reason: DisconnectReason| {
            everyone.emit("gone", reason.to_string());
        });
        let app = App::builder().transport(*transport).start(server);
        let (alice, bob) = (app.connect("/"), app.connect("/"));
        alice.cut();
        assert_eq!(alice.expect_disconnect(), "transport close");
        assert_eq!(bob.expect::<String>("gone"), expected);
    }
}

#[test]
fn what_is_not_as_expected_is_told_with_what_there_is() {
    let app = App::new(|io| {
        io.of("/").on_connect(async |socket: Socket| {
            socket.emit("hello", ("alice", 1));
        });
        io.of("/").on("boom", async || panic!("a bug of the application"));
        io.of("/admin").middleware(async |_: &Socket| Err(Refuse::new("never")));
    });
    let alice = app.connect("/");
    let told = complaint(|| alice.expect::<()>("bye"));
    assert!(told.contains(r#"no "bye", but: ["hello"("alice",1)]"#), "{told}");
    let told = complaint(|| alice.expect_nothing());
    assert!(told.contains(r#""hello"("alice",1)"#), "{told}");
    let told = complaint(|| alice.expect_disconnect());
    assert!(told.contains("expected to be disconnected"), "{told}");
    let told = complaint(|| alice.expect::<(u8, u8)>("hello"));
    assert!(told.contains(r#"the arguments of "hello""#), "{told}");
    let told = complaint(|| alice.emit_with_ack::<(), _>("nobody", ()).expect());
    assert!(told.contains("has not acknowledged"), "{told}");
    let told = complaint(|| app.connect("/admin"));
    assert!(told.contains(r#"refused by "/admin": never"#), "{told}");
    alice.emit("boom", ());
    assert!(complaint(|| app.settle()).contains("a handler has panicked"));
    // It is told once; the shard goes on.
    assert!(alice.is_connected());
    alice.disconnect();
    let told = complaint(|| alice.emit("hello", ()));
    assert!(told.contains("is not connected"), "{told}");
}

#[test]
fn the_server_is_dropped_with_the_test_although_its_handlers_hold_it() {
    let kept = Arc::new(());
    for transport in TRANSPORTS {
        let server = Server::builder().serve_client(false).state(Arc::clone(&kept)).build();
        let io = server.unwrap();
        let held = io.clone();
        io.of("/").on_connect(async move |_: Socket| {
            held.emit("hello", ());
            fanfare::time::sleep(std::time::Duration::from_secs(60)).await;
        });
        let app = App::builder().transport(transport).start(io);
        let alice = app.connect("/");
        alice.expect::<()>("hello");
        drop((app, alice));
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}

#[test]
fn a_server_that_is_simulated_cannot_be_served_as_well() {
    let server = Server::builder().build().unwrap();
    let _app = App::start(server.clone());
    assert!(matches!(server.spawn("127.0.0.1:0"), Err(fanfare::Error::Started)));
    assert!(complaint(|| App::start(server)).contains("was started before"));
}
