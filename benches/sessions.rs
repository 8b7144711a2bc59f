//! What an idle client takes of the heap: up to a million of them, without sockets.
//!
//! Prints one line of JSON for each number of clients. Bytes are those that the allocator was asked
//! for, less what was given back; the driver's 32 bytes for a connection are not among them.
//! `--clients N` says how far to go (1,000,000).

#[path = "support/null.rs"]
mod null;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare::Server;
use mimalloc::MiMalloc;

use null::Bench;

/// The allocator of the binary, which sums up what it has given out.
struct Summing;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the allocator as it came; a sum allocates nothing.
unsafe impl GlobalAlloc for Summing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the conditions, which are the same.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc`, with this layout.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Summing = Summing;

/// Between two turns: a million clients, three turns each, connect within 15 s, so that nobody is
/// pinged and the requests of the first ones have been forgotten.
const TURN: Duration = Duration::from_micros(5);

fn main() {
    // As a test, which is to show that it works.
    let mut most =
        if std::env::args().any(|argument| argument == "--test") { 2_000 } else { 1_000_000 };
    let mut arguments = std::env::args();
    while let Some(argument) = arguments.next() {
        if argument == "--clients" {
            most = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(most);
        }
    }
    for keep_handshake in [true, false] {
        // One client more than a shard takes by default.
        let builder = Server::builder().limits(|limits| limits.sessions = most + 1);
        let io = builder.keep_handshake(keep_handshake).build().unwrap();
        let mut bench = Bench::new(&io, TURN);
        bench.grow_to(1);
        let before = BYTES.load(Ordering::Relaxed);
        for clients in [1_000, 10_000, 100_000, 1_000_000] {
            if clients > most {
                break;
            }
            bench.grow_to(clients + 1);
            let heap = (BYTES.load(Ordering::Relaxed) - before) as f64 / clients as f64;
            println!(
                "{{\"clients\":{clients},\"keep_handshake\":{keep_handshake},\
                 \"heap_bytes_per_client\":{heap:.1}}}"
            );
        }
    }
}
