//! The operations: what a packet costs in each layer that does no I/O.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use fanfare::Limits;
use fanfare::base::frame::{Frame, Gather};
use fanfare::driver::Sent;
use fanfare::internal::{Encoder, Memberships, Queue, Rooms, Selection, SpareQueues};
use fanfare::proto::engine::Protocol;
use fanfare::proto::http::{
    BodyKind, BodyReader, Head, HeadScanner, Query, write_switching_protocols,
};
use fanfare::proto::websocket::{Decoder, Message, Opcode, write_masked};
use fanfare::proto::{engine, json, socket};
use fanfare::session::handshake::{Offer, Request, Route, route};

use crate::null::{Bench, frame, server};
use crate::pipe::Encrypted;

/// Does the operation once; what it needs was prepared.
pub type Operation = Box<dyn FnMut()>;

/// Prepares an operation.
pub type Prepare = fn() -> Operation;

/// The operations by their names, in the order of the table.
pub const OPERATIONS: &[(&str, Prepare)] = &[
    ("decode an event of 64 bytes: frame, engine, socket", || decode_event(64)),
    ("decode an event of 1024 bytes: frame, engine, socket", || decode_event(1024)),
    ("decode a POST of 10 events of 64 bytes", decode_post),
    ("encode a broadcast of 64 bytes", || encode_broadcast(64)),
    ("encode a broadcast of 1024 bytes", || encode_broadcast(1024)),
    ("encode an acknowledgement of 64 bytes", encode_ack),
    ("scan a JSON document of 1024 bytes", scan_json),
    ("select a room of 1,000", select_room),
    ("queue a broadcast for 1,000, and gather it", queue_broadcast),
    ("open a WebSocket: head, route, handshake, response", open_websocket),
    ("encrypt a delivery of 64 bytes", || encrypt(64)),
    ("encrypt a delivery of 1024 bytes", || encrypt(1024)),
    ("a shard, but for the kernel: 16 events of a client, acknowledged", echo),
    ("a shard, but for the kernel: an event broadcast to 1,000", broadcast),
    ("a shard is looked at for its metrics, with 1,000 clients", observe),
];

/// One client's, which is one record.
fn encrypt(size: usize) -> Operation {
    let frames = [Frame::raw(event(size).as_bytes())];
    let length = frames[0].bytes().len();
    let mut client = Encrypted::new();
    let gather = Gather { head: &frames, tail: &[], skip: 0 };
    assert_eq!(client.send(gather), Sent::Now(length));
    assert_eq!(client.receive(), length);
    Box::new(move || {
        let gather = Gather { head: black_box(&frames), tail: &[], skip: 0 };
        assert_eq!(client.send(gather), Sent::Now(length));
    })
}

fn event(size: usize) -> String {
    format!("42[\"message\",\"{}\"]", "x".repeat(size))
}

fn decode_packet(packet: &[u8], limits: &Limits) {
    let Ok(engine::Packet::Message(packet)) = engine::decode(black_box(packet)) else {
        panic!("the packet is a message")
    };
    let packet = socket::decode(packet, limits).expect("the message is an event");
    black_box(packet);
}

fn decode_event(size: usize) -> Operation {
    let mut frame = Vec::new();
    write_masked(&mut frame, true, Opcode::Text, [1, 2, 3, 4], event(size).as_bytes());
    let (mut buffer, limits) = (frame.clone(), Limits::default());
    let mut decoder = Decoder::default();
    Box::new(move || {
        // Unmasking changes the buffer: it is filled anew, as by the kernel.
        buffer.copy_from_slice(&frame);
        let decoded = decoder.decode(black_box(&mut buffer), &limits).expect("the frame is right");
        let Some(Message::Text(text)) = decoded.message else { panic!("the message is whole") };
        decode_packet(&text, &limits);
    })
}

fn decode_post() -> Operation {
    let body = vec![event(64); 10].join("\x1e").into_bytes();
    let limits = Limits::default();
    Box::new(move || {
        let length = BodyKind::Length(body.len() as u64);
        let mut reader = BodyReader::new(length, &limits).expect("the body is not too long");
        let mut payload = Vec::new();
        reader.read(black_box(&body), &mut payload).expect("a body of known length is taken");
        let packets = engine::packets(&payload).map(|packet| decode_packet(packet, &limits));
        assert_eq!(packets.count(), 10);
    })
}

fn encode_broadcast(size: usize) -> Operation {
    let args = format!(",\"{}\"", "x".repeat(size)).into_bytes();
    let mut encoder = Encoder::default();
    Box::new(move || {
        black_box(encoder.event("/", None, "broadcast", black_box(&args), &[]));
    })
}

fn encode_ack() -> Operation {
    let args = format!("\"{}\"", "x".repeat(64)).into_bytes();
    let mut encoder = Encoder::default();
    Box::new(move || {
        black_box(encoder.ack("/", black_box(7), black_box(&args), &[]));
    })
}

fn scan_json() -> Operation {
    let entry = r#"{"id":17,"name":"a \"quoted\" name","at":1.5e3,"tags":[true,null,"é"]}"#;
    let mut document = format!("[{}", vec![entry; 13].join(","));
    document.push_str(&",".repeat(usize::from(document.len() < 1024 - 3)));
    let filler = "x".repeat(1024 - 3 - document.len());
    document.push_str(&format!("\"{filler}\"]"));
    assert_eq!(document.len(), 1024);
    Box::new(move || {
        let kind = json::scan(black_box(document.as_bytes()), 100).expect("the document is JSON");
        black_box(kind);
    })
}

fn select_room() -> Operation {
    let mut rooms = Rooms::new();
    let mut sockets: Vec<Memberships> = (0..10_000).map(|_| Memberships::default()).collect();
    for (index, memberships) in (0..).zip(&mut sockets).step_by(10) {
        rooms.join(index, memberships, "tenth");
    }
    let selection = Selection { to: vec!["tenth".into()], except: Vec::new() };
    let mut chosen = Vec::with_capacity(1_000);
    Box::new(move || {
        chosen.clear();
        rooms.select(black_box(&selection), 0..10_000, |_| None, &mut chosen);
        assert_eq!(chosen.len(), 1_000);
    })
}

fn queue_broadcast() -> Operation {
    let mut queues: Vec<Queue> = (0..1_000).map(|_| Queue::default()).collect();
    let mut spare = SpareQueues::default();
    let mut encoder = Encoder::default();
    let wire = Arc::new(encoder.event("/", None, "broadcast", b",1", &[]).into());
    Box::new(move || {
        let frame = Frame::shared(Arc::clone(&wire));
        for queue in &mut queues {
            queue.push(frame.clone(), &mut spare);
        }
        for queue in &mut queues {
            let bytes: usize = black_box(queue.gather()).slices().map(<[u8]>::len).sum();
            queue.advance(bytes, &mut spare);
        }
    })
}

/// A shard with so many clients, whose first one sends a packet again and again.
fn shard(clients: usize, packet: &str, times: usize) -> Operation {
    let io = server();
    let mut bench = Bench::new(&io, Duration::ZERO);
    bench.grow_to(clients);
    let bytes = frame(&packet.replace("PAYLOAD", &"x".repeat(64))).repeat(times);
    Box::new(move || {
        bench.arrive(0, &bytes);
        assert!(bench.turn() > 64 * times * clients.min(1_000));
    })
}

fn echo() -> Operation {
    shard(1, "4217[\"echo\",\"PAYLOAD\"]", 16)
}

fn broadcast() -> Operation {
    shard(1_000, "42[\"publish\",\"PAYLOAD\"]", 1)
}

fn observe() -> Operation {
    let mut bench = Bench::new(&server(), Duration::ZERO);
    bench.grow_to(1_000);
    Box::new(move || bench.observe())
}

/// What a browser sends, without the headers that only make it longer.
const REQUEST: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
    Host: localhost:3000\r\nConnection: Upgrade\r\nPragma: no-cache\r\nUpgrade: websocket\r\n\
    Origin: http://localhost:3000\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn open_websocket() -> Operation {
    let (limits, offer, mut response) = (Limits::default(), Offer::default(), Vec::new());
    Box::new(move || {
        let bytes = black_box(REQUEST.as_bytes());
        let end = HeadScanner::default().end(bytes, &limits);
        let end = end.expect("the head is right").expect("the head is complete");
        let head = Head::parse(&bytes[..end], &limits).expect("the head is right");
        let query = Query::parse(head.target);
        let names = ["transport", "EIO", "sid", "b64", "j"];
        let [transport, protocol, session, base64, callback] = query.values(names);
        let request = Request {
            method: head.method,
            upgrade: head.upgrade,
            transport: transport.as_deref(),
            protocol: protocol.as_deref(),
            session: session.as_deref(),
            base64: base64.is_some(),
            callback: callback.as_deref(),
            illegal_origin: head.values("origin").any(|origin| !origin.is_ascii()),
        };
        assert_eq!(route(&request, &offer), Ok(Route::OpenWebSocket(Protocol::V4)));
        let accept = head.websocket_handshake().expect("the handshake is right");
        response.clear();
        write_switching_protocols(&mut response, &accept, &[]);
    })
}
