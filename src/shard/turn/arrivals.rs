//! Connections come to a shard: from the network, from another shard or from the application.

use std::net::SocketAddr;

use crate::base::slab::Key;
use crate::driver::Driver;

use super::super::conn::{Arrival, Origin};
use super::Shard;

impl<D: Driver> Shard<D> {
    /// Somebody has made a connection.
    pub(super) fn accept(&mut self, key: Key) {
        self.context.with(|state| state.stats.connections_accepted += 1);
        // Nobody new comes in, and even to say so takes memory.
        if self.context.shared.pressure.is_critical() {
            self.context.with(|state| state.stats.clients_relieved += 1);
            return self.driver.close(key);
        }
        let peer = self.driver.peer(key);
        let is_encrypted = self.driver.is_encrypted(key);
        let arrival = Arrival { read: Vec::new(), peer, origin: Origin::Network, is_encrypted };
        self.context.with(|state| state.connection_begins(key, arrival));
        self.driver.receive(key);
    }

    /// A connection of the driver is one of this shard now. If nobody has said whom it is from the
    /// driver knows.
    pub(super) fn adopted(
        &mut self,
        key: Key,
        read: Vec<u8>,
        peer: Option<SocketAddr>,
        origin: Origin,
    ) {
        let peer = peer.or_else(|| self.driver.peer(key));
        let is_encrypted = self.driver.is_encrypted(key);
        let arrival = Arrival { read, peer, origin, is_encrypted };
        self.context.with(|state| state.connection_begins(key, arrival));
        self.driver.receive(key);
        self.context.pump_http(key);
    }

    /// Memory runs short.
    pub(super) fn relieve(&mut self, bytes: usize) {
        let driver = &self.driver;
        self.context.with(|state| state.relieve(bytes, &|key| driver.kept_bytes(key)));
    }
}
