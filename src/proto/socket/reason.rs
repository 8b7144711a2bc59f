//! Why a socket has left its namespace.

use std::fmt;

/// Why a socket has left its namespace (§17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The peer has closed the connection, or the session.
    TransportClose,
    /// The peer broke a rule of the transport, or the connection failed.
    TransportError,
    /// The peer did not answer a ping in time.
    PingTimeout,
    /// The peer sent something that is no Engine.IO packet.
    ParseError,
    /// The peer sent something that is no Socket.IO packet, or not in its place; or the server has
    /// closed the session.
    ForcedClose,
    /// As [`DisconnectReason::ForcedClose`], while no poll was there to tell it to.
    ForcedServerClose,
    /// The client has left the namespace.
    ClientNamespaceDisconnect,
    /// The server has removed the socket from the namespace.
    ServerNamespaceDisconnect,
    /// The server is being closed.
    ServerShuttingDown,
}

impl DisconnectReason {
    /// The text that the reference gives to applications.
    pub const fn as_str(self) -> &'static str {
        match self {
            DisconnectReason::TransportClose => "transport close",
            DisconnectReason::TransportError => "transport error",
            DisconnectReason::PingTimeout => "ping timeout",
            DisconnectReason::ParseError => "parse error",
            DisconnectReason::ForcedClose => "forced close",
            DisconnectReason::ForcedServerClose => "forced server close",
            DisconnectReason::ClientNamespaceDisconnect => "client namespace disconnect",
            DisconnectReason::ServerNamespaceDisconnect => "server namespace disconnect",
            DisconnectReason::ServerShuttingDown => "server shutting down",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
