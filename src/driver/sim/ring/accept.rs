//! How the fake kernel accepts clients.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::Handle;
use super::super::connection::Connection;
use super::super::network::{SocketId, World};
use super::Ring;
use crate::base::clock::Time;
use crate::driver::Completion;

/// How long a driver waits until it accepts again after it found no descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    pub(super) backlog: VecDeque<(Time, SocketId)>,
    retry: Time,
}

impl Ring {
    pub fn listen(&mut self, address: SocketAddr) {
        let listener = Listener { address, backlog: VecDeque::new(), retry: Time::ZERO };
        self.listeners.push(listener);
    }

    pub fn stop_listening(&mut self, world: &mut World) {
        for (due, socket) in self.listeners.drain(..).flat_map(|listener| listener.backlog) {
            if due <= world.now && world.random.chance(world.faults.accepts_late) {
                self.accepted.push_back(socket);
                continue;
            }
            let refused = world.socket_mut(socket);
            refused.break_server(libc::ECONNRESET, true);
            refused.break_client();
            world.close_server(socket);
        }
    }

    pub fn listens_on(&self, address: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| listener.takes(address))
    }

    /// Leaves a new client to the listener of an address.
    pub fn offer(&mut self, address: SocketAddr, due: Time, socket: SocketId) {
        let mut listeners = self.listeners.iter_mut();
        if let Some(listener) = listeners.find(|listener| listener.takes(address)) {
            listener.backlog.push_back((due, socket));
        }
    }

    pub(super) fn accept(
        &mut self,
        world: &mut World,
        mut descriptors: usize,
        most: usize,
        completions: &mut Vec<Completion<Handle>>,
    ) {
        let mut left = most - completions.len();
        while left > 0
            && let Some(socket) = self.accepted.pop_front()
        {
            left -= 1;
            let key = self.connections.insert(Connection::new(socket));
            completions.push(Completion::Accepted(key));
        }
        for listener in &mut self.listeners {
            while left > 0 && listener.next_event().is_some_and(|due| due <= world.now) {
                let full = descriptors >= world.faults.descriptors;
                if full || world.random.chance(world.faults.accepts_refused) {
                    self.stats.accepts_refused += 1;
                    listener.retry = world.now.after(ACCEPT_RETRY);
                    break;
                }
                let Some((_, socket)) = listener.backlog.pop_front() else { break };
                left -= 1;
                descriptors += 1;
                let key = self.connections.insert(Connection::new(socket));
                completions.push(Completion::Accepted(key));
            }
        }
    }
}

impl Listener {
    fn takes(&self, address: SocketAddr) -> bool {
        let any = self.address.ip().is_unspecified();
        self.address.port() == address.port() && (any || self.address.ip() == address.ip())
    }

    pub(super) fn next_event(&self) -> Option<Time> {
        self.backlog.front().map(|(due, _)| self.retry.max(*due))
    }
}
