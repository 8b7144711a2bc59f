//! Time and tasks on a shard, without a runtime.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::shard::context::Context;
pub use crate::shard::time::Sleep;
use crate::shard::watch::Label;

/// Waits. The future belongs to the shard that it was made on, and goes by its clock: what that
/// shard stands still for does not count ([`Stats::stalls`](crate::Stats::stalls)).
///
/// ```no_run
/// # async fn example(socket: fanfare::Socket) {
/// fanfare::time::sleep(std::time::Duration::from_secs(1)).await;
/// socket.emit("a second later", ());
/// # }
/// ```
///
/// # Panics
/// Elsewhere than in code that a shard runs: handlers, and what they spawn.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(current("sleep"), duration)
}

/// Runs a future on this shard, beside everything else. It is polled once at once.
///
/// # Panics
/// Elsewhere than in code that a shard runs: handlers, and what they spawn.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    let context = current("spawn_local");
    context.start(Rc::clone(&context).labelled(Label::TASK, future));
}

fn current(what: &str) -> Rc<Context> {
    match Context::current() {
        Some(context) => context,
        None => panic!("`{what}` is for code that runs on a shard of fanfare"),
    }
}
