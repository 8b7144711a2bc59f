//! The allocator of the programs here, and how it is set.

use std::ffi::{c_int, c_long};

// Many small and few large allocations, given back promptly: what a server's memory consists of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;

// SAFETY: this is how `mimalloc.h` declares them. The first puts a number into a table, whatever
// the option and the value; the second concerns free memory only. Any thread may call them at any
// time.
unsafe extern "C" {
    safe fn mi_option_set(option: c_int, value: c_long);
    safe fn mi_collect(force: bool);
}

/// Memory that clients have left goes back to the system at once. By itself the allocator does so
/// when it is asked for more a second later, and a server whose clients have left asks for none.
/// `MIMALLOC_PURGE_DELAY` in the environment, in milliseconds, says otherwise.
pub fn give_back_at_once() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        mi_option_set(PURGE_DELAY, 0);
    }
}

/// What the calling thread has freed goes back to the system: also the last page of each size of
/// block, which the allocator keeps for when it is needed again.
pub fn collect() {
    mi_collect(true);
}
