//! What a shard asks of its driver, under TLS.

use std::any::Any;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::task::Waker;

use super::output::Output;
use super::{Connection, Handle, Tls};
use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::base::frame::Gather;
use crate::base::slab::Key;
use crate::driver::{BufferId, Completion, Driver, DriverStats, Sent};

impl<D: Driver> Driver for Tls<D> {
    type Handle = Handle<D::Handle>;
    type Listener = D::Listener;

    fn now(&self) -> Time {
        self.inner.now()
    }

    fn random(&mut self, out: &mut [u8]) {
        self.inner.random(out);
    }

    fn listen(&mut self, listener: D::Listener) {
        self.inner.listen(listener);
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }

    fn peer(&self, connection: Key) -> Option<SocketAddr> {
        self.inner.peer(connection)
    }

    fn is_local(&self, connection: Key) -> bool {
        self.inner.is_local(connection)
    }

    fn is_encrypted(&self, connection: Key) -> bool {
        self.connections.get(connection).is_some()
    }

    fn kept_bytes(&self, connection: Key) -> usize {
        self.connections.get(connection).map_or(0, |found| found.channel.kept_bytes())
    }

    fn receive(&mut self, connection: Key) {
        match self.connections.get_mut(connection) {
            Some(found) if found.channel.end.is_some() => {
                if !mem::replace(&mut found.is_told, true) {
                    self.ended.push(connection);
                }
            }
            _ => self.inner.receive(connection),
        }
    }

    fn pause(&mut self, connection: Key) {
        self.inner.pause(connection);
    }

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        match self.spilled.iter_mut().find(|(name, _)| *name == buffer) {
            Some((_, bytes)) => bytes,
            None => self.inner.buffer(buffer),
        }
    }

    fn release(&mut self, buffer: BufferId) {
        if let Some(position) = self.spilled.iter().position(|(name, _)| *name == buffer) {
            self.plain = self.spilled.swap_remove(position).1;
        }
        self.inner.release(buffer);
    }

    fn send(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, false)
    }

    fn send_last(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, true)
    }

    fn shutdown(&mut self, key: Key) {
        self.say_goodbye(key);
        match self.connections.get_mut(key) {
            Some(connection) if !connection.output.is_empty() => connection.is_finishing = true,
            _ => self.inner.shutdown(key),
        }
    }

    fn close(&mut self, key: Key) {
        let found = self.connections.get(key);
        if found.is_some_and(|connection| connection.is_last && connection.output.is_empty()) {
            self.say_goodbye(key);
        }
        self.connections.remove(key);
        self.inner.close(key);
    }

    fn detach(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            assert!(
                connection.in_flight == 0 && connection.waiting.is_none(),
                "no send is in flight when a connection is detached"
            );
            connection.is_leaving = true;
            connection.leaves_later = !connection.output.is_empty();
            if connection.leaves_later {
                return;
            }
        }
        self.inner.detach(key);
    }

    fn adopt(&mut self, handle: Self::Handle) -> Key {
        let key = self.inner.adopt(handle.inner);
        if let Some(mut channel) = handle.channel {
            let unsent = mem::take(&mut channel.unsent);
            let mut connection = Connection::new(channel);
            connection.output = Output::after(handle.failure);
            let driver = (&mut self.inner, key);
            if let Err(error) = connection.output.send(driver, &unsent, &mut self.frames, false) {
                connection.channel.end.get_or_insert(Some(error));
            }
            self.connections.insert_at(key, connection);
        }
        key
    }

    fn attach(&mut self, socket: Box<dyn Any + Send>) -> Option<Key> {
        self.inner.attach(socket)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    /// As for the driver below. It also ends when that has reported something that is none of the
    /// shard's business, such as a part of a handshake.
    fn turn(
        &mut self,
        until: Option<Time>,
        completions: &mut Vec<Completion<Self::Handle>>,
    ) -> io::Result<()> {
        let before = completions.len();
        for key in mem::take(&mut self.ended) {
            if let Some(end) = self.connections.get(key).and_then(|found| found.channel.end) {
                completions.push(Completion::Ended(key, end));
            }
        }
        let until = if completions.len() > before { Some(Time::ZERO) } else { until };
        let mut reported = mem::take(&mut self.completions);
        let result = self.inner.turn(until, &mut reported);
        for completion in reported.drain(..) {
            self.reported(completion, completions);
        }
        self.completions = reported;
        result
    }

    fn fit(&mut self, least: usize) {
        self.connections.fit(least);
        self.completions.fit(least);
        self.plain = Vec::new();
        self.cipher.discard();
        self.frames.discard();
        self.inner.fit(least);
    }

    fn stats(&self) -> DriverStats {
        self.inner.stats()
    }
}
