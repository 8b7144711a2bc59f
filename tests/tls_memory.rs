//! What an idle WebSocket client over TLS holds of the server's heap, beyond one without.
#![cfg(feature = "tls")]

#[path = "support/authority.rs"]
mod authority;
#[path = "support/raw.rs"]
#[allow(dead_code, reason = "these clients only join")]
mod raw;
#[path = "support/secure.rs"]
#[allow(dead_code, reason = "these clients only join")]
mod secure;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare::{Server, TlsOptions};
use rustls::SupportedProtocolVersion;

use authority::Authority;
use raw::{Client, WEBSOCKET_HEADERS, request};

/// The system's allocator, which counts what the threads of shards hold.
struct Counting;

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

static HELD: AtomicUsize = AtomicUsize::new(0);

fn is_counted() -> bool {
    IS_COUNTED.try_with(Cell::get).unwrap_or(false)
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate, since
// the mark needs neither initialization nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_counted() {
            HELD.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the conditions of `System.alloc`, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_counted() {
            // What was there before the thread was counted may go: the sum wraps, differences do not.
            HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the pointer came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that each of many idle clients holds.
fn bytes_each(tls: Option<TlsOptions>, connect: impl Fn(SocketAddr) -> Client) -> usize {
    const CLIENTS: usize = 64;
    let mut builder = Server::builder().shards(1).pin_shards(false).serve_client(false);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let io = builder.build().unwrap();
    io.of("/").on_connect(async || IS_COUNTED.set(true));
    let running = io.spawn("127.0.0.1:0").unwrap();
    let address = running.address().unwrap();
    let join = || {
        let mut client = connect(address);
        let line = "GET /socket.io/?EIO=4&transport=websocket";
        assert_eq!(client.ask(request(line, WEBSOCKET_HEADERS)).status, 101);
        client.text();
        client.say("40");
        client.text();
        client
    };
    // Tables grow in steps: the same number of clients fills them before.
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| join()).collect();
    let before = HELD.load(Ordering::Relaxed);
    clients.extend((0..CLIENTS).map(|_| join()));
    HELD.load(Ordering::Relaxed).wrapping_sub(before) / CLIENTS
}

#[test]
fn an_idle_client_over_tls_holds_a_few_kib_more_than_one_without() {
    let authority = Authority::new();
    let plain = bytes_each(None, Client::connect);
    let over = |version: &'static SupportedProtocolVersion| {
        let config = Arc::new(authority.client_of(&[version]));
        let options = secure::options(&authority);
        bytes_each(Some(options), |address| secure::client(address, &config))
    };
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let held = over(version);
        println!("an idle client holds {plain} bytes, over {:?} {held}", version.version);
        assert!(held > plain + 1_000, "that cannot be: was anybody encrypted?");
        assert!(held < plain + 6 * 1_024, "{held} bytes are more than there is a reason for");
    }
}
