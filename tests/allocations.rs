//! What the heap is asked for while a shard works: a real one, on real sockets, in this thread.
//!
//! Only what a turn of the shard allocates is counted. Run time: about 2 seconds.

#[path = "support/peer.rs"]
mod peer;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare::base::clock::Time;
use fanfare::driver::net;
use fanfare::driver::uring::Uring;
use fanfare::internal::{Outlook, Shard};
use fanfare::{Ack, Data, Limits, Raw, Server, Socket};

use peer::WebSocket;

/// The system's allocator, which counts what each thread asks it for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more; nobody counts there.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate, since
// the counter needs neither initialization nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the conditions of `System.alloc`, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System`, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server of one shard that works in this thread, and its clients.
struct World {
    server: Server,
    shard: Shard<Uring>,
    address: SocketAddr,
    clients: Vec<WebSocket>,
}

impl World {
    fn new() -> World {
        let server = Server::builder().build().unwrap();
        let shared = fanfare::internal::shared(&server);
        let limits = Limits::default();
        let driver = Uring::new(&limits).unwrap();
        let post = Shard::post(&driver, &limits);
        shared.start(vec![Arc::clone(&post)]);
        let mut shard = Shard::new(driver, 0, 1, shared, post);
        let (address, listeners) = net::listen(([127, 0, 0, 1], 0).into(), 1).unwrap();
        listeners.into_iter().for_each(|listener| shard.listen(listener));
        World { server, shard, address, clients: Vec::new() }
    }

    /// Connects clients until there are so many.
    fn grow_to(&mut self, clients: usize) {
        while self.clients.len() < clients {
            let wanted = clients.min(self.clients.len() + 100);
            let connected = self.server_clients();
            let missing = wanted - self.clients.len();
            self.clients.extend((0..missing).map(|_| WebSocket::ask(self.address)));
            self.turn_until(|world| world.server_clients() - connected == missing);
            self.clients[wanted - missing..].iter_mut().for_each(WebSocket::join);
        }
    }

    fn server_clients(&self) -> usize {
        self.shard.context().with(|state| state.namespaces.get(0).map_or(0, |n| n.sockets.len()))
    }

    /// Lets the shard work until something is so and it has nothing more to do. Gives how often it
    /// allocated.
    fn turn_until(&mut self, mut is_so: impl FnMut(&mut World) -> bool) -> usize {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut allocations = 0;
        loop {
            let before = ALLOCATIONS.get();
            let outlook = self.shard.turn(Some(Time::ZERO)).unwrap();
            allocations += ALLOCATIONS.get() - before;
            if outlook != Outlook::Busy && is_so(self) {
                return allocations;
            }
            assert!(Instant::now() < deadline, "the shard does not come to an end");
        }
    }

    /// The first client sends a packet; gives how often the shard allocated until every client had
    /// got so many bytes, and the first one so many.
    fn request(&mut self, packet: &str, each_bytes: usize, first_bytes: usize) -> usize {
        self.clients[0].send(packet);
        let mut missing: Vec<usize> = vec![each_bytes; self.clients.len()];
        missing[0] = first_bytes;
        self.turn_until(|world| {
            for (client, missing) in world.clients.iter_mut().zip(&mut missing) {
                if *missing > 0 {
                    *missing -= client.discard();
                }
            }
            missing.iter().all(|missing| *missing == 0)
        })
    }

    /// The same, when everything that grows on first use has grown.
    fn warm_request(&mut self, packet: &str, each_bytes: usize, first_bytes: usize) -> usize {
        for _ in 0..3 {
            self.request(packet, each_bytes, first_bytes);
        }
        let counts: Vec<usize> =
            (0..5).map(|_| self.request(packet, each_bytes, first_bytes)).collect();
        assert!(
            counts.iter().all(|count| *count == counts[0]),
            "not the same each time: {counts:?}"
        );
        counts[0]
    }
}

/// Bytes of a short text frame.
fn frame_bytes(packet: &str) -> usize {
    2 + packet.len()
}

#[test]
fn a_delivery_of_a_broadcast_allocates_nothing() {
    let mut world = World::new();
    let everybody = world.server.of("/").emitter();
    world.server.of("/").on("publish", async move |payload: Raw| {
        everybody.emit("news", payload);
    });
    let bytes = frame_bytes("42[\"news\",\"hello\"]");
    let mut counts = Vec::new();
    for clients in [100, 1_000] {
        world.grow_to(clients);
        counts.push(world.warm_request("42[\"publish\",\"hello\"]", bytes, bytes));
    }
    println!("allocations of a broadcast to 100 and to 1,000 clients: {counts:?}");
    assert_eq!(counts[1] - counts[0], 0, "a delivery allocates");
    assert!(counts[1] <= 5, "a broadcast allocates {} times", counts[1]);
}

#[test]
fn a_delivery_to_a_room_allocates_nothing() {
    let mut world = World::new();
    let namespace = world.server.of("/");
    namespace.on_connect(async |socket: Socket| {
        socket.join("room");
    });
    namespace.on("publish", async |socket: Socket, payload: Raw| {
        socket.to("room").emit("news", payload);
    });
    let bytes = frame_bytes("42[\"news\",\"hello\"]");
    let mut counts = Vec::new();
    for clients in [100, 1_000] {
        world.grow_to(clients);
        // Everybody but the sender gets it.
        counts.push(world.warm_request("42[\"publish\",\"hello\"]", bytes, 0));
    }
    println!("allocations of a broadcast to a room of 100 and of 1,000: {counts:?}");
    assert_eq!(counts[1] - counts[0], 0, "a delivery allocates");
    assert!(counts[1] <= 12, "a broadcast to a room allocates {} times", counts[1]);
}

#[test]
fn an_emit_of_another_thread_allocates_nothing_for_a_recipient() {
    let mut world = World::new();
    let bytes = frame_bytes("42[\"news\",\"hello\"]");
    let mut counts = Vec::new();
    for clients in [100, 1_000] {
        world.grow_to(clients);
        let emit = |world: &mut World| {
            world.server.emit("news", "hello");
            let mut missing = vec![bytes; clients];
            world.turn_until(|world| {
                let each = world.clients.iter_mut().zip(&mut missing);
                each.for_each(|(client, missing)| *missing -= client.discard());
                missing.iter().all(|missing| *missing == 0)
            })
        };
        let emits: Vec<usize> = (0..4).map(|_| emit(&mut world)).collect();
        counts.push(emits[3]);
    }
    println!("allocations of an emit from outside to 100 and to 1,000 clients: {counts:?}");
    assert_eq!(counts[1] - counts[0], 0, "a delivery allocates");
    assert!(counts[1] <= 1, "an emit allocates {} times on the shard", counts[1]);
}

#[test]
fn an_event_that_is_acknowledged_allocates_nothing() {
    let mut world = World::new();
    let namespace = world.server.of("/");
    namespace.on("nothing", async |_: Raw, ack: Ack| ack.send(()));
    namespace.on("echo", async |payload: Raw, ack: Ack| ack.send(payload));
    namespace.on("typed", async |Data(number): Data<u64>, ack: Ack| ack.send(number + 1));
    namespace.on("ignored", async |_: Socket| {});
    world.grow_to(1);
    let mut count = |event: &str, answer: &str| {
        let packet = format!("421[\"{event}\",7]");
        let count = world.warm_request(&packet, 0, frame_bytes(answer));
        println!("{event}: {count} allocations");
        count
    };
    assert_eq!(count("nothing", "431[]"), 0);
    assert_eq!(count("echo", "431[7]"), 0);
    assert_eq!(count("typed", "431[8]"), 0);
    // Nothing comes back: the next answer shows that both were handled.
    let packet = "42[\"ignored\",7]";
    world.clients[0].send(packet);
    world.request("421[\"echo\",7]", 0, frame_bytes("431[7]"));
    world.clients[0].send(packet);
    let both = world.request("421[\"echo\",7]", 0, frame_bytes("431[7]"));
    let echo = world.request("421[\"echo\",7]", 0, frame_bytes("431[7]"));
    println!("an event without an answer: {} allocations", both - echo);
    assert_eq!(both - echo, 0, "an event whose handler takes nothing allocates");
}
