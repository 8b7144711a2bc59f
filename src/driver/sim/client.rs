//! The peer's end of a simulated connection, in the hands of a test.

use std::net::SocketAddr;

use super::network::{Direction, Network, SocketId};

/// How a connection ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server said that nothing more will come: it shut the connection down, or closed it
    /// after it had received everything.
    Finished,
    /// The connection was reset: by the network, by the client itself, or by a server that closed
    /// it with bytes unreceived, as Linux does.
    Reset,
    /// Nobody listens on the address.
    Refused,
}

/// A client of the server under test. A client that is dropped closes its connection.
#[derive(Debug)]
pub struct Client {
    network: Network,
    socket: SocketId,
}

impl Client {
    pub(super) fn new(network: Network, socket: SocketId) -> Client {
        Client { network, socket }
    }

    /// The address that the server sees.
    pub fn address(&self) -> SocketAddr {
        self.network.kernel().world.socket(self.socket).client_address
    }

    /// Sends bytes. They wait in the network for the server, however many they are; what is sent
    /// on a connection that has ended is lost. Must not be called after [`Client::shutdown`].
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let mut kernel = self.network.kernel_mut();
        let world = &mut kernel.world;
        let socket = world.socket(self.socket);
        if socket.server_gone || socket.broken || socket.client_end == Some(End::Reset) {
            return;
        }
        if socket.up.finished {
            world.violated("a test writes to a client that it has shut down");
        }
        world.transmit(self.socket, Direction::Up, bytes);
    }

    /// Takes all bytes that have arrived, and so makes room for more.
    pub fn read(&mut self) -> Vec<u8> {
        self.read_at_most(usize::MAX)
    }

    /// Takes the first bytes that have arrived, so many at most: a slow reader.
    pub fn read_at_most(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut kernel = self.network.kernel_mut();
        kernel.world.socket_mut(self.socket).down.take(bytes_max).collect()
    }

    /// Bytes that have arrived and wait for [`Client::read`].
    pub fn readable_bytes(&self) -> usize {
        self.network.kernel().world.socket(self.socket).down.arrived_bytes()
    }

    /// Bytes written that the server has not received.
    pub fn unreceived_bytes(&self) -> usize {
        self.network.kernel().world.socket(self.socket).up.held_bytes()
    }

    /// Tells the server that nothing more will be written (FIN). Reading goes on.
    pub fn shutdown(&mut self) {
        self.network.kernel_mut().world.finish_client(self.socket);
    }

    /// Breaks the connection (RST). What the server has not received may be lost.
    pub fn reset(&mut self) {
        self.network.kernel_mut().world.reset_client(self.socket);
    }

    /// How the connection has ended for the client; bytes that arrived before can still be read.
    pub fn end(&self) -> Option<End> {
        self.network.kernel().world.socket(self.socket).client_end
    }

    /// Whether the server has let go of the connection. A peer cannot know this; a test can.
    pub fn is_closed(&self) -> bool {
        self.network.kernel().world.socket(self.socket).server_gone
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.network.kernel_mut().world.close_client(self.socket);
    }
}
