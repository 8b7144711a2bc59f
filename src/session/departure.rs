//! Why a client has gone, as exactly as the server knows it.

use std::time::Duration;

use crate::proto::socket::DisconnectReason;

/// What is known of the end of a socket or session besides its
/// [`DisconnectReason`]. Handlers of disconnections may ask for it.
///
/// The reference tells this as the `description` of its `disconnect` event.
///
/// ```
/// use fanfare::{Closer, DisconnectDetail, DisconnectReason, Server, Socket};
///
/// # fn main() -> fanfare::Result<()> {
/// let io = Server::builder().build()?;
/// io.of("/").on_disconnect(
///     async |socket: Socket, reason: DisconnectReason, detail: DisconnectDetail| {
///         if detail.by == Closer::Server {
///             println!("{} was closed: {reason}, limit: {:?}", socket.id(), detail.limit);
///         }
///     },
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DisconnectDetail {
    /// Who has ended it.
    pub by: Closer,
    /// The limit that the client was beyond, if that was why.
    pub limit: Option<DisconnectLimit>,
    /// The code of the client's close frame, if it sent one with a code.
    pub close_code: Option<u16>,
    /// How long the client took to answer the latest ping that it has answered: at most 16.7 s,
    /// longer times count as that. `None` when it has answered none; pings begin one
    /// [`ping_interval`](crate::Builder::ping_interval) after the session.
    pub round_trip: Option<Duration>,
}

/// Who has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closer {
    /// The client: it closed the connection in order, or left the namespace.
    Peer,
    /// This server: the application, a limit, a rule that the client broke, or the end of all.
    Server,
    /// Nobody: the connection broke, or the client fell silent.
    Network,
}

impl Closer {
    /// As metrics call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Closer::Peer => "peer",
            Closer::Server => "server",
            Closer::Network => "network",
        }
    }
}

/// A limit that a client was beyond when it was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectLimit {
    /// More waited for it than [`Limits::send_queue_bytes`](crate::Limits).
    SendQueueBytes,
    /// It took nothing for [`Limits::send_stall_timeout`](crate::Limits).
    SendStallTimeout,
    /// It answered no ping within [`ping_timeout`](crate::Builder::ping_timeout).
    PingTimeout,
    /// It joined no namespace within [`connect_timeout`](crate::Builder::connect_timeout).
    ConnectTimeout,
    /// It sent more than [`Limits::bytes_before_connect`](crate::Limits) before it joined one.
    BytesBeforeConnect,
    /// It did not send the attachments that it had announced within
    /// [`Limits::attachments_timeout`](crate::Limits).
    AttachmentsTimeout,
    /// It sent more WebSocket pings and pongs than
    /// [`Limits::control_frames_per_second`](crate::Limits).
    ControlFrames,
    /// The process was about to use more memory than it may, and much of that was queued for this
    /// client ([`Limits::memory_bytes`](crate::Limits)).
    Memory,
    /// It sent more packets than [`Limits::packets_per_client`](crate::Limits).
    PacketsPerClient,
    /// It sent more bytes than [`Limits::bytes_per_client`](crate::Limits).
    BytesPerClient,
}

impl DisconnectLimit {
    /// As options and metrics call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DisconnectLimit::SendQueueBytes => "send_queue_bytes",
            DisconnectLimit::SendStallTimeout => "send_stall_timeout",
            DisconnectLimit::PingTimeout => "ping_timeout",
            DisconnectLimit::ConnectTimeout => "connect_timeout",
            DisconnectLimit::BytesBeforeConnect => "bytes_before_connect",
            DisconnectLimit::AttachmentsTimeout => "attachments_timeout",
            DisconnectLimit::ControlFrames => "control_frames_per_second",
            DisconnectLimit::Memory => "memory_bytes",
            DisconnectLimit::PacketsPerClient => "packets_per_client",
            DisconnectLimit::BytesPerClient => "bytes_per_client",
        }
    }
}

/// What the reason does not say: known where a session is ended, and only there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Whether the connection is gone without a word of the client.
    pub is_network: bool,
    /// The limit that was passed.
    pub limit: Option<DisconnectLimit>,
    /// The code of the client's close frame.
    pub close_code: Option<u16>,
}

impl Cause {
    /// The connection is gone without a word of the client.
    pub const NETWORK: Cause = Cause { is_network: true, limit: None, close_code: None };

    /// A limit was passed.
    pub fn limit(limit: DisconnectLimit) -> Cause {
        Cause { limit: Some(limit), ..Cause::default() }
    }

    /// The client sent a close frame.
    pub fn close_frame(close_code: Option<u16>) -> Cause {
        Cause { close_code, ..Cause::default() }
    }
}

/// The end of a socket or session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Why, in the words of the reference.
    pub reason: DisconnectReason,
    /// What else is known.
    pub detail: DisconnectDetail,
}

impl Departure {
    /// What a reason, its cause and the last round trip say together.
    pub fn new(reason: DisconnectReason, cause: Cause, round_trip: Option<Duration>) -> Departure {
        let by = match reason {
            DisconnectReason::TransportClose | DisconnectReason::TransportError
                if cause.is_network =>
            {
                Closer::Network
            }
            DisconnectReason::PingTimeout => Closer::Network,
            DisconnectReason::TransportClose | DisconnectReason::ClientNamespaceDisconnect => {
                Closer::Peer
            }
            DisconnectReason::TransportError
            | DisconnectReason::ParseError
            | DisconnectReason::ForcedClose
            | DisconnectReason::ForcedServerClose
            | DisconnectReason::ServerNamespaceDisconnect
            | DisconnectReason::ServerShuttingDown => Closer::Server,
        };
        let is_silent = reason == DisconnectReason::PingTimeout;
        let limit = if is_silent { Some(DisconnectLimit::PingTimeout) } else { cause.limit };
        let close_code = cause.close_code;
        Departure { reason, detail: DisconnectDetail { by, limit, close_code, round_trip } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(reason: DisconnectReason, cause: Cause) -> Closer {
        Departure::new(reason, cause, None).detail.by
    }

    #[test]
    fn a_connection_that_breaks_was_closed_by_nobody() {
        use DisconnectReason::{TransportClose, TransportError};
        assert_eq!(by(TransportClose, Cause::NETWORK), Closer::Network);
        assert_eq!(by(TransportClose, Cause::close_frame(Some(1000))), Closer::Peer);
        assert_eq!(by(TransportError, Cause::NETWORK), Closer::Network);
        assert_eq!(by(TransportError, Cause::default()), Closer::Server);
    }

    #[test]
    fn a_ping_timeout_is_a_limit_of_its_own() {
        let silent = Departure::new(DisconnectReason::PingTimeout, Cause::default(), None);
        assert_eq!(silent.detail.limit, Some(DisconnectLimit::PingTimeout));
        assert_eq!(silent.detail.by, Closer::Network);
    }
}
