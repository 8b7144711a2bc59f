//! Broadcasts of a turn that mean the same sockets, one right behind the other: their bytes are put
//! side by side, and every recipient is visited once for all of them. One for whom nothing else
//! waits is sent them without a stop in its queue.
//!
//! Nobody can tell. Whatever could come between two of them for some client, be it a packet of its
//! own, a change of its rooms, or its end, has the batch queued first: [`State::queue_batch`].

use std::sync::Arc;

use crate::base::fit::Fit;
use crate::base::frame::{Encoded, Frame, Gather};
use crate::base::slab::Key;
use crate::command::{Broadcast, Expected, Waiter};
use crate::driver::{Driver, Sent};
use crate::proto::engine::Protocol;

use super::emit::Queued;
use super::queue::Outgoing;
use super::state::{Job, State};

/// What became of a frame that was not to stop in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direct {
    /// The kernel has taken all of it.
    Sent,
    /// What it has taken was counted; the rest is queued, or its connection has ended.
    Counted,
    /// It must stop there.
    No,
}

/// A batch of more bytes than this would be a long copy.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Broadcasts that are not in their recipients' queues yet.
#[derive(Default)]
pub struct Batch {
    broadcasts: Vec<Arc<Broadcast>>,
    bytes: usize,
    /// All of them as one, from when the first recipient was sent it.
    frame: Option<Frame>,
    /// Who gets that, and how many of them were visited.
    recipients: Vec<u32>,
    visited: usize,
    tally: BatchTally,
}

/// What has become of batches so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTally {
    /// Those that are in the queues of all recipients.
    pub queued: u64,
    /// Their recipients.
    pub recipients: u64,
}

impl Batch {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.broadcasts.is_empty()
    }

    /// What has become of the ones before.
    pub fn tally(&self) -> BatchTally {
        self.tally
    }

    fn add(&mut self, broadcast: &Arc<Broadcast>) {
        self.bytes += broadcast.wire.bytes().len();
        self.broadcasts.push(Arc::clone(broadcast));
    }

    /// Whether a broadcast means the same sockets as those that wait, and none was sent them.
    /// Together they have so many bytes at `most`.
    fn continues_with(&self, next: &Broadcast, most: usize) -> bool {
        self.frame.is_none()
            && self.broadcasts.last().is_some_and(|last| {
                last.namespace == next.namespace
                    && last.selection == next.selection
                    && last.wire.is_compressible() == next.wire.is_compressible()
                    && last.is_told == next.is_told
                    && last.wire.key().is_none()
                    && next.wire.key().is_none()
                    && self.bytes + next.wire.bytes().len() <= most
            })
    }

    fn next_recipient(&mut self) -> Option<u32> {
        let next = self.recipients.get(self.visited).copied();
        self.visited += usize::from(next.is_some());
        next
    }

    /// Makes it an empty one, with the memory that it has.
    fn clear(&mut self) {
        self.broadcasts.clear();
        self.bytes = 0;
        self.frame = None;
        self.tally.queued += 1;
        self.tally.recipients += self.recipients.len() as u64;
        self.recipients.clear();
        self.visited = 0;
    }

    fn join(&self) -> Frame {
        match &self.broadcasts[..] {
            [only] => Frame::shared(Arc::clone(&only.wire)),
            several => {
                let mut bytes = Vec::with_capacity(self.bytes);
                several.iter().for_each(|one| bytes.extend_from_slice(one.wire.bytes()));
                let compress = several.iter().all(|one| one.wire.is_compressible());
                let may_drop = several.iter().all(|one| one.wire.may_drop());
                let joined = Encoded::raw(&bytes).compress(compress).droppable(may_drop);
                Frame::own(joined.into())
            }
        }
    }
}

impl Fit for Batch {
    fn fit(&mut self, least: usize) {
        self.broadcasts.fit(least);
        self.recipients.fit(least);
    }
}

impl State {
    /// Queues one packet for all that a broadcast means on this shard, or lets it wait for others
    /// that go to the same ones. A recipient costs a count.
    pub fn broadcast(&mut self, broadcast: &Arc<Broadcast>) {
        self.stats.broadcasts += 1;
        self.log_broadcast(broadcast);
        // Whether a volatile packet goes out depends on what is queued, and an answer is waited for
        // from its packet on.
        let is_alone = broadcast.volatile || broadcast.ack.is_some();
        // One that is compressed is compressed once for all shards: not with its neighbours.
        let is_alone_here = is_alone || self.compression.is_some();
        // Where the oldest events are dropped, the newest frame stays: it must leave room.
        let room = self.shared.settings.options.limits.send_queue_soft_bytes / 4;
        let most = BATCH_BYTES_MAX.min(room);
        if is_alone_here || !self.batch.continues_with(broadcast, most) {
            self.queue_batch();
        }
        self.batch.add(broadcast);
        if self.stopwatch.is_free() {
            let begun = broadcast.begun.or_else(|| self.turn_began());
            self.stopwatch.starts(begun, self.batch.tally());
        }
        if is_alone {
            self.queue_batch();
        }
    }

    /// Queues the broadcasts that wait for those who have not been sent them.
    pub fn queue_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // Empty from here on: what follows finds nothing to queue before itself.
        let mut batch = std::mem::take(&mut self.batch);
        let frame = self.begin_batch(&mut batch);
        let count = batch.broadcasts.len() as u64;
        // One that is volatile or wants answers is alone.
        let last = batch.broadcasts.last().cloned();
        let volatile = last.as_ref().is_some_and(|last| last.volatile);
        let ack = last.as_ref().and_then(|last| last.ack.as_ref());
        let is_heard = last.as_ref().is_some_and(|last| self.is_heard(last));
        if let Some((_, _, collector)) = ack {
            collector.asked(batch.recipients.len());
        }
        while let Some(index) = batch.next_recipient() {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            let queued = self.queue_broadcasts(socket.session, &frame, count, volatile);
            if is_heard
                && queued == Queued::Yes
                && let Some(address) = self.address(key)
            {
                self.jobs.push_back(Job::Outgoing(address, frame.clone()));
            }
            if let Some((id, timeout, collector)) = ack
                && let Some(address) = self.address(key)
            {
                let waiter = Waiter::Many(Arc::clone(collector), address);
                self.expect_of(key, queued, Expected { id: *id, timeout: *timeout, waiter });
            }
        }
        batch.clear();
        self.batch = batch;
    }

    /// Sends the broadcasts that wait to the next of those who have not been sent them, at the end
    /// of a turn, when nothing can come before them any more. At most so many clients are sent
    /// something; for the others they wait.
    pub(super) fn flush_batch<D: Driver>(&mut self, driver: &mut D, most: usize) {
        let Some(last) = self.batch.broadcasts.last() else { return };
        if self.is_heard(last) || !self.session_listeners.is_empty() {
            return self.queue_batch();
        }
        let mut batch = std::mem::take(&mut self.batch);
        let frame = self.begin_batch(&mut batch);
        let count = batch.broadcasts.len() as u64;
        let (mut sent, mut counted) = (0, 0);
        while sent < most {
            let Some(index) = batch.next_recipient() else { break };
            let socket = self.sockets.key_at(index).and_then(|key| self.sockets.get(key));
            let Some(session) = socket.map(|socket| socket.session) else { continue };
            match self.send_now(session, &frame, driver) {
                Direct::Sent => sent += 1,
                Direct::Counted => (sent, counted) = (sent + 1, counted + 1),
                Direct::No => {
                    self.queue_broadcasts(session, &frame, count, false);
                }
            }
        }
        self.stats.packets_queued += count * sent as u64;
        self.stats.bytes_sent += ((sent - counted) * frame.bytes().len()) as u64;
        if batch.visited == batch.recipients.len() {
            batch.clear();
        }
        self.batch = batch;
    }

    fn is_heard(&self, broadcast: &Broadcast) -> bool {
        broadcast.is_told && self.has_outgoing_listeners(broadcast.namespace)
    }

    /// Chooses the recipients, if that was not done, and gives what they are sent.
    fn begin_batch(&mut self, batch: &mut Batch) -> Frame {
        if let Some(frame) = &batch.frame {
            return frame.clone();
        }
        if let Some(last) = batch.broadcasts.last() {
            self.select(last.namespace, &last.selection, &mut batch.recipients);
        }
        batch.frame.insert(batch.join()).clone()
    }

    fn queue_broadcasts(
        &mut self,
        session: Key,
        frame: &Frame,
        count: u64,
        volatile: bool,
    ) -> Queued {
        let queued = self.send(session, Outgoing::Shared(frame.clone()), volatile);
        if queued == Queued::Yes {
            self.stats.packets_queued += count - 1;
        }
        queued
    }

    /// Sends a frame on the WebSocket of a session, if it has one for which nothing waits. What the
    /// kernel does not take is queued.
    fn send_now<D: Driver>(&mut self, session: Key, frame: &Frame, driver: &mut D) -> Direct {
        let session = self.sessions.get(session);
        let key = session.and_then(|entry| entry.session.websocket_of(Protocol::V4));
        let Some(key) = key else { return Direct::No };
        match self.compression.is_some() {
            false => self.write_now(key, frame, driver),
            true => self.compress_now(key, frame, driver),
        }
    }

    /// Not within the loop over those for whom nothing is compressed.
    #[inline(never)]
    fn compress_now<D: Driver>(&mut self, key: Key, frame: &Frame, driver: &mut D) -> Direct {
        let Some(compression) = &mut self.compression else { return Direct::No };
        let Some(conn) = self.connections.get(key).filter(|conn| conn.is_idle()) else {
            return Direct::No;
        };
        let compressed = compression.frame(key, &conn.role, frame);
        let direct = self.write_now(key, &compressed, driver);
        if direct == Direct::Sent {
            self.stats.bytes_sent += compressed.bytes().len() as u64;
            return Direct::Counted;
        }
        direct
    }

    #[inline(always)]
    fn write_now<D: Driver>(&mut self, key: Key, frame: &Frame, driver: &mut D) -> Direct {
        let limit = self.shared.settings.options.limits.send_queue_bytes;
        let Some(conn) = self.connections.get_mut(key) else { return Direct::No };
        if !conn.is_idle() || frame.bytes().len() > limit {
            return Direct::No;
        }
        let gather = Gather { head: std::slice::from_ref(frame), tail: &[], skip: 0 };
        let taken = match driver.send(key, gather) {
            Sent::Now(bytes) if bytes == frame.bytes().len() => return Direct::Sent,
            Sent::Now(bytes) => bytes,
            Sent::Later => 0,
            Sent::Failed(_) => {
                self.connection_ended(key);
                return Direct::Counted;
            }
        };
        self.stats.bytes_sent += taken as u64;
        conn.in_flight = u8::from(taken == 0);
        conn.queue.push(frame.clone(), &mut self.spare);
        conn.queue.advance(taken, &mut self.spare);
        conn.mark_dirty(key, &mut self.dirty);
        Direct::Counted
    }
}
