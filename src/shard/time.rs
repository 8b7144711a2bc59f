//! Sleeping on a shard.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::slab::Key;

use super::context::Context;
use super::state::{Sleeper, State};
use super::timer::Owner;

/// A future that waits. It belongs to the shard that it was made on.
pub struct Sleep {
    context: Rc<Context>,
    due: Time,
    name: Option<Key>,
}

impl Sleep {
    /// Waits for `duration`, from now, on a shard.
    pub fn new(context: Rc<Context>, duration: Duration) -> Sleep {
        let due = context.with(|state| state.now.after(duration));
        Sleep { context, due, name: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let waker = task.waker().clone();
        let previous = this.context.with(|state| {
            if state.now >= this.due {
                return Err(());
            }
            let name = *this.name.get_or_insert_with(|| state.add_sleeper(this.due));
            Ok(state.sleepers.get_mut(name).and_then(|sleeper| sleeper.waker.replace(waker)))
        });
        // A waker is user code: it is dropped when the state is not borrowed.
        previous.map_or(Poll::Ready(()), |_previous| Poll::Pending)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            drop(self.context.with(|state| state.sleepers.remove(name)));
        }
    }
}

impl State {
    fn add_sleeper(&mut self, due: Time) -> Key {
        let name = self.sleepers.insert(Sleeper::default());
        if let Some(sleeper) = self.sleepers.get_mut(name) {
            sleeper.armed.arm(due, Owner::Sleep(name.index), &mut self.timers);
        }
        name
    }
}
