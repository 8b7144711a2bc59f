//! Broadcasts of a turn that mean the same sockets, one right behind the other: their bytes are put
//! side by side, and every recipient's queue is touched once for all of them.
//!
//! Nobody can tell. Whatever could come between two of them for some client, be it a packet of its
//! own, a change of its rooms, or its end, has the batch queued first: [`State::queue_batch`].

use std::sync::Arc;

use crate::base::frame::Frame;
use crate::command::{Broadcast, Expected, Unanswered, Waiter};

use super::emit::Queued;
use super::queue::Outgoing;
use super::state::{Job, State};

/// A batch of more bytes than this would be a long copy.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Broadcasts that are not in their recipients' queues yet.
#[derive(Default)]
pub struct Batch {
    broadcasts: Vec<Arc<Broadcast>>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, broadcast: &Arc<Broadcast>) {
        self.bytes += broadcast.wire.bytes().len();
        self.broadcasts.push(Arc::clone(broadcast));
    }

    /// Whether a broadcast means the same sockets as those that wait.
    fn continues_with(&self, next: &Broadcast) -> bool {
        self.broadcasts.last().is_some_and(|last| {
            last.namespace == next.namespace
                && last.selection == next.selection
                && self.bytes + next.wire.bytes().len() <= BATCH_BYTES_MAX
        })
    }

    fn clear(&mut self) {
        self.broadcasts.clear();
        self.bytes = 0;
    }

    /// All that waits, as one frame.
    fn frame(&self) -> Option<Frame> {
        match &self.broadcasts[..] {
            [] => None,
            [only] => Some(Frame::shared(Arc::clone(&only.wire))),
            several => {
                let mut bytes = Vec::with_capacity(self.bytes);
                several.iter().for_each(|one| bytes.extend_from_slice(one.wire.bytes()));
                Some(Frame::own(bytes.into()))
            }
        }
    }
}

impl State {
    /// Queues one packet for all that a broadcast means on this shard, or lets it wait for others
    /// that go to the same ones. A recipient costs a count.
    pub fn broadcast(&mut self, broadcast: &Arc<Broadcast>) {
        // Whether a volatile packet goes out depends on what is queued, and an answer is waited for
        // from its packet on.
        let is_alone = broadcast.volatile || broadcast.ack.is_some();
        if is_alone || !self.batch.continues_with(broadcast) {
            self.queue_batch();
        }
        self.batch.add(broadcast);
        if is_alone {
            self.queue_batch();
        }
    }

    /// Queues the broadcasts that wait, if there are any.
    pub fn queue_batch(&mut self) {
        if self.batch.broadcasts.is_empty() {
            return;
        }
        // Empty from here on: what follows finds nothing to queue before itself.
        let mut batch = std::mem::take(&mut self.batch);
        self.queue_broadcasts(&batch);
        batch.clear();
        self.batch = batch;
    }

    fn queue_broadcasts(&mut self, batch: &Batch) {
        let (Some(last), Some(frame)) = (batch.broadcasts.last(), batch.frame()) else { return };
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(last.namespace, &last.selection, &mut chosen);
        if let Some((_, _, collector)) = &last.ack {
            collector.asked(chosen.len());
        }
        for index in chosen.drain(..) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            let session = socket.session;
            let queued = self.send(session, Outgoing::Shared(frame.clone()), last.volatile);
            if queued == Queued::Yes {
                self.stats.packets_queued += batch.broadcasts.len() as u64 - 1;
            }
            let Some((id, timeout, collector)) = &last.ack else { continue };
            let waiter = Waiter::Many(Arc::clone(collector));
            match queued {
                Queued::Yes => {
                    self.expect(key, Expected { id: *id, timeout: *timeout, waiter });
                }
                _ => {
                    let answer = Err(Unanswered::Disconnected);
                    self.jobs.push_back(Job::Resolve(waiter, answer));
                }
            }
        }
        self.chosen = chosen;
    }
}
