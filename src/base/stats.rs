//! Plain counters of one shard. They are read through a command, so nothing shares them.

/// What one shard has seen and done since it started. All counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted, by the server or by the application.
    pub connections_accepted: u64,
    /// Connections that the application handed over and that were closed, since there were
    /// [`connections`](crate::Limits::connections) already.
    pub connections_refused: u64,
    /// Connections refused, since there were
    /// [`connections_per_address`](crate::Limits::connections_per_address) from there already.
    pub connections_limited: u64,
    /// Handshakes refused, since there were more than
    /// [`handshakes_per_address`](crate::Limits::handshakes_per_address).
    pub handshakes_limited: u64,
    /// Clients disconnected, since they sent more than
    /// [`packets_per_client`](crate::Limits::packets_per_client) or
    /// [`bytes_per_client`](crate::Limits::bytes_per_client).
    pub clients_limited: u64,
    /// Connections handed over to the shard that owns their session.
    pub connections_handed_over: u64,
    /// Engine.IO sessions opened.
    pub sessions_opened: u64,
    /// Handshakes refused, since there were [`sessions`](crate::Limits::sessions) already.
    pub sessions_refused: u64,
    /// Engine.IO sessions closed.
    pub sessions_closed: u64,
    /// Sockets that were kept in case that they come back, and did not.
    pub sessions_expired: u64,
    /// Bytes received from clients; what was encrypted counts as what it says.
    pub bytes_received: u64,
    /// Bytes that the kernel has taken for clients, counted likewise.
    pub bytes_sent: u64,
    /// Socket.IO packets received.
    pub packets_received: u64,
    /// Events among them, for sockets that are connected.
    pub events_received: u64,
    /// Emits to many that were carried out here, also those that meant nobody here.
    pub broadcasts: u64,
    /// Packets queued for a client.
    pub packets_queued: u64,
    /// Volatile packets that were dropped because their client was not writable.
    pub volatile_dropped: u64,
    /// Clients that had more queued than
    /// [`send_queue_soft_bytes`](crate::Limits::send_queue_soft_bytes), once until they had caught
    /// up.
    pub clients_lagged: u64,
    /// Events that were dropped for clients that were behind
    /// ([`SendQueuePolicy::DropOldest`](crate::SendQueuePolicy)).
    pub events_dropped: u64,
    /// Events in whose place a newer one of their key was sent
    /// ([`coalesce`](crate::Emitter::coalesce)).
    pub events_coalesced: u64,
    /// Events whose arguments did not fit what their handler asks for.
    pub events_rejected: u64,
    /// Handlers that panicked.
    pub handlers_panicked: u64,
    /// Clients and connections given up, since memory ran short and much of it was kept for them,
    /// or they were new ([`memory_bytes`](crate::Limits::memory_bytes)).
    pub clients_relieved: u64,
    /// Clients from which nothing was read for a time, since
    /// [`events_in_progress`](crate::Limits::events_in_progress) of their events had not been
    /// handled.
    pub clients_held: u64,
    /// Clients disconnected because they did not take what was queued for them.
    pub slow_clients: u64,
    /// Commands that found a mailbox full.
    pub mailbox_overflows: u64,
    /// Times that the shard stood still for more than 100 ms: a handler blocked it, or the process
    /// did not run. No deadline of a client passes meanwhile.
    pub stalls: u64,
    /// What these took beyond the 100 ms, in all, in microseconds.
    pub stalled_us: u64,
    /// Turns that the watchdog has told of: see [`Builder::watchdog`](crate::Builder::watchdog).
    pub turns_blocked: u64,
    /// The longest time that the shard was at work without looking at the kernel, in microseconds.
    pub turn_longest_us: u64,
}
