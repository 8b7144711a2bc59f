//! Events that are declared once: `fanfare::Event`.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare::event::Suits;
use fanfare::test::App;
use fanfare::{
    Ack, Auth, Data, Event, EventName, EventParts, FromEvent, Raw, Rejection, Server, Socket,
    State, TryData,
};
use serde_json::{Value, json};

use crate::clients::each;

#[test]
fn typed_events_are_the_same_for_both_sides() {
    const SUM: Event<(i64, i64), i64> = Event::new("sum");
    const NAME: Event<(), String> = Event::new("name?");
    const NAMES: Event<Vec<String>> = Event::new("names");
    const NAMED: Event<Value> = Event::new("named");
    let register = |io: &Server| {
        io.of("/").on(SUM, async |Data((a, b)): Data<(i64, i64)>, ack: Ack<i64>| {
            ack.send(a + b);
        });
        io.of("/").on(NAMES, async |socket: Socket, TryData(names): TryData<Vec<String>>| {
            let name = socket.emit_with_ack(NAME, ()).await.unwrap();
            let names = names.unwrap_or_default();
            socket.emit(NAMED, json!({ "name": name, "is_known": names.contains(&name) }));
        });
    };
    each(register, |app| {
        let alice = app.connect("/");
        assert_eq!(alice.emit_with_ack(SUM, (2, &3)).expect(), 5);
        alice.emit(NAMES, &["bob".to_owned()][..]);
        let ((), reply) = alice.expect_with_ack(NAME);
        reply.send("alice");
        assert_eq!(alice.expect(NAMED), json!({ "name": "alice", "is_known": false }));
        alice.emit("names", ("not", "names"));
        let ((), reply) = alice.expect_with_ack(&NAME);
        reply.send("alice");
        assert_eq!(alice.received(NAMED).len(), 1);
        // What the types promise is not what a client sends.
        alice.emit("sum", "a");
        assert_eq!(alice.emit_with_ack::<Value, _>("sum", ("a", 1)).received(), None);
        let stats = app.run(app.server().stats());
        assert_eq!(stats.iter().map(|stats| stats.events_rejected).sum::<u64>(), 2);
    });
}

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Point {
    x: u8,
}

#[test]
fn an_event_carries_what_is_declared_in_every_form_that_it_may_have() {
    const NOTHING: Event<()> = Event::new("nothing");
    const TEXT: Event<String> = Event::new("text");
    const NUMBER: Event<u8> = Event::new("number");
    const LIST: Event<Vec<u8>> = Event::new("list");
    const MAP: Event<BTreeMap<String, u8>> = Event::new("map");
    const BYTES: Event<Bytes> = Event::new("bytes");
    const POINT: Event<Point> = Event::new("point");
    const RAW: Event<Raw> = Event::new("raw");
    const MANY: Event<(String, Vec<u8>, Point, Option<u8>)> = Event::new("many");
    let app = App::new(|_| {});
    let (io, alice) = (app.server(), app.connect("/"));
    io.emit(NOTHING, ());
    alice.expect(NOTHING);
    io.emit(TEXT, "a");
    let (event, text) = (&TEXT, &"a".to_owned());
    io.emit(event, text.clone());
    io.of("/").emit(event, text);
    assert_eq!(alice.received(TEXT), ["a"; 3]);
    io.to(alice.id()).emit(NUMBER, 1);
    let number = &1;
    io.emit(NUMBER, number);
    assert_eq!(alice.received(NUMBER), [1, 1]);
    io.emit(LIST, vec![1, 2]);
    io.emit(LIST, &[1, 2][..]);
    assert_eq!(alice.received(LIST), [[1, 2], [1, 2]]);
    let map = BTreeMap::from([("a".to_owned(), 1)]);
    io.emit(MAP, &map);
    assert_eq!(alice.expect(MAP), map);
    io.emit(BYTES, Bytes::from_static(b"a"));
    assert_eq!(alice.expect(BYTES), "a");
    let point = Point { x: 1 };
    io.emit(POINT, &point);
    assert_eq!(alice.expect(POINT).x, 1);
    io.emit(RAW, Raw::new("1,2", Vec::new()).unwrap());
    assert_eq!(alice.expect::<(u8, u8)>("raw"), (1, 2));
    let text = "a".to_owned();
    io.emit(MANY, (&text, vec![1], point.clone(), None));
    io.emit(MANY, ("a", [1], &point, Some(2)));
    io.emit(MANY, (text, &[1][..], point, &Some(2)));
    let heard = alice.received(MANY).into_iter();
    let heard: Vec<_> =
        heard.map(|(text, list, point, last)| (text, list, point.x, last)).collect();
    let expected = |last| ("a".to_owned(), vec![1], 1, last);
    assert_eq!(heard, [expected(None), expected(Some(2)), expected(Some(2))]);
    alice.expect_nothing();
}

/// An extractor of the application.
struct Caller(String);

impl FromEvent for Caller {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Caller, Rejection> {
        Ok(Caller(Socket::from_event(parts)?.id().to_string()))
    }
}

impl<Args, Answer> Suits<Event<Args, Answer>> for Caller {}

#[test]
fn a_handler_may_ask_for_what_has_nothing_to_do_with_the_types() {
    const WHO: Event<u8, (String, String, u8)> = Event::new("who");
    let server = Server::builder().serve_client(false).state(7_u8).build().unwrap();
    let namespace = server.of("/");
    namespace.on(
        WHO,
        async |Caller(id): Caller,
               EventName(name): EventName,
               Auth(auth): Auth<Value>,
               State(seven): State<u8>,
               Data(number): Data<u8>,
               raw: Raw,
               ack: Ack<(String, String, u8)>| {
            assert_eq!((auth, raw.args()), (json!({}), &b"1"[..]));
            ack.send((id, name, seven + number));
        },
    );
    let app = App::start(server.clone());
    let alice = app.connect("/");
    assert_eq!(alice.emit_with_ack(WHO, 1).expect(), (alice.id(), "who".to_owned(), 8));
    assert!(server.of("/").off(WHO));
    assert_eq!(alice.emit_with_ack(WHO, 1).received(), None);
}

#[test]
fn a_socket_listens_to_a_typed_event_and_stops() {
    const ONCE: Event<u8> = Event::new("once");
    const OFTEN: Event<u8> = Event::new("often");
    let app = App::new(|io| {
        io.of("/").on_connect(async |socket: Socket| {
            socket.once(ONCE, async |socket: Socket, Data(number): Data<u8>| {
                socket.emit(ONCE, number);
            });
            socket.on(OFTEN, async |socket: Socket, Data(number): Data<u8>| {
                socket.emit(OFTEN, number);
            });
        });
        io.of("/").on("stop", async |socket: Socket| {
            socket.off_event(OFTEN);
        });
    });
    let alice = app.connect("/");
    for event in [ONCE, OFTEN] {
        alice.emit(event, 1);
        alice.emit(event, 2);
    }
    assert_eq!((alice.received(ONCE), alice.received(OFTEN)), (vec![1], vec![1, 2]));
    alice.emit("stop", ());
    alice.emit(OFTEN, 3);
    alice.expect_nothing();
}
