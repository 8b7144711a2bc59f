//! Every limit of the server, in one place.
//!
//! What a peer may make the server hold, and for how long, is bounded by a field of [`Limits`]
//! or by a constant of this file. The relations that must hold between them are checked when the
//! crate is compiled.

use std::time::Duration;

use super::rate::Rate;

/// The limits of one server. [`Limits::default`] gives the values documented on each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest HTTP request head in bytes, request line included: 16 KiB. Beyond it: 431.
    pub head_bytes: usize,
    /// Most header lines in a request: 100. Beyond it: 431.
    pub headers: usize,
    /// Longest request target in bytes: 8 KiB. Beyond it: 414.
    pub target_bytes: usize,
    /// A request head must be complete this long after its first byte, and the first byte must
    /// come this long after the connection was accepted: 10 s. Then: 408.
    pub head_timeout: Duration,
    /// A request body may take this long: 10 s. Then it must have come, on average, at
    /// [`body_bytes_per_second`](Limits::body_bytes_per_second), or: 408.
    pub body_grace: Duration,
    /// What a body that takes longer must bring in each second: 500 bytes.
    pub body_bytes_per_second: u32,
    /// A request body must be complete this long after its head in any case: 30 s. Then: 408.
    pub body_timeout: Duration,
    /// The application may take this long to decide about a request, in all the hooks that it has
    /// for that: 20 s, as long as the official client waits for a connection. Then: 503.
    pub decision_timeout: Duration,
    /// A kept-alive connection without a request is closed after this time: 5 s.
    pub keep_alive_timeout: Duration,
    /// Bytes kept of what a client sends behind a request that is not answered yet: 64 KiB.
    pub pipelined_bytes: usize,
    /// Largest message, on both transports (`maxHttpBufferSize`): 1,000,000 bytes.
    /// A polling body beyond it: 413; a WebSocket message beyond it: close code 1009.
    pub message_bytes: usize,
    /// Most Engine.IO packets in one polling body: 10,000. Beyond it the session is closed.
    pub packets_per_payload: usize,
    /// Packets handled for one connection before others get their turn: 128. What a WebSocket has
    /// sent beyond them is kept, and nothing more is read from it until they are handled.
    pub packets_per_turn: usize,
    /// Events of one client whose handlers wait: 1,000. With that many nothing more is read from
    /// the client until half of them have ended, but for what has been read already. It is not
    /// taken for dead meanwhile.
    pub events_in_progress: usize,
    /// Bytes of the arguments of those events: 4,000,000. Beyond that the same happens.
    pub bytes_in_progress: usize,
    /// Bytes of such events whose clients have gone, of one shard, with 512 for each event: 64 MiB.
    /// Their handlers go on; beyond it handshakes are answered 503 until some have ended.
    pub bytes_left_behind: usize,
    /// Most attachments of one incoming packet: 10, as the official parser.
    pub attachments: usize,
    /// A packet's attachments must all be in this long after its header: 10 s.
    pub attachments_timeout: Duration,
    /// Most empty continuation frames in one WebSocket message: 1,000. Beyond it: 1008.
    pub empty_fragments: usize,
    /// Control frames that one client may send in a burst: 200. Beyond it: 1008.
    pub control_frames_burst: u32,
    /// Control frames that one client may send per second after the burst: 100.
    pub control_frames_per_second: u32,
    /// Connections that one address may have at a time, on all shards together: `0`, the default,
    /// is any number. Beyond it: 429; as many are told so at a time, and others closed without
    /// an answer. An address is one of IPv4, or the first 64 bits of one of
    /// IPv6; the proxies of [`Builder::trusted_proxies`](crate::Builder::trusted_proxies) are not
    /// counted.
    pub connections_per_address: usize,
    /// Handshakes that the clients of one address may make, on all shards together: `None`, the
    /// default, is any number. Beyond it: 429. The address is that of the client where trusted
    /// proxies tell it.
    pub handshakes_per_address: Option<Rate>,
    /// Addresses that are counted at a time: 100,000. What comes from others is not limited then.
    pub addresses: usize,
    /// Engine.IO packets that one client may send: `None`, the default, is any number. Beyond it
    /// the client is disconnected, a WebSocket with 1008.
    pub packets_per_client: Option<Rate>,
    /// Bytes of those packets: `None`, the default, is any number. Beyond it the same happens.
    pub bytes_per_client: Option<Rate>,
    /// Deepest nesting of JSON: 128. Beyond it: parse error.
    pub json_depth: usize,
    /// Most namespaces that one session may join, and most refusals it may collect: 100.
    pub namespaces_per_session: usize,
    /// Child namespaces of a server, of all its parents together: 10,000. Who asks for one more is
    /// refused as if there were no parent.
    pub child_namespaces: usize,
    /// Sockets that one shard keeps in case that they come back: 100,000. Beyond it the one that
    /// has been away for longest is forgotten.
    pub recovery_sessions: usize,
    /// Events that one shard keeps for those who come back: 65,536. Beyond it the oldest is
    /// forgotten, and who has missed it joins afresh.
    pub recovery_log_events: usize,
    /// Bytes of those events: 64 MiB.
    pub recovery_log_bytes: usize,
    /// Events that one shard remembers to have sent again until it knows that they were received,
    /// counted for each client: 1,000,000. Beyond it those of the client that came back first are
    /// forgotten; if it goes again before it has had them all, it joins afresh.
    pub recovery_resumed_events: usize,
    /// Longest namespace name that a client may send, in bytes: 1 KiB.
    pub namespace_bytes: usize,
    /// Longest namespace name that is echoed in a refusal, in bytes: 256.
    pub namespace_echo_bytes: usize,
    /// Bytes that a session may send before it has joined a namespace: 64 KiB.
    pub bytes_before_connect: usize,
    /// What is queued for one client before it counts as behind: 1 MiB, counted as for
    /// [`send_queue_bytes`](Limits::send_queue_bytes). Then
    /// [`Session::on_lagged`](crate::Session::on_lagged) is told, and with
    /// [`SendQueuePolicy::DropOldest`](crate::SendQueuePolicy) the oldest events are dropped until
    /// it is three quarters of this.
    pub send_queue_soft_bytes: usize,
    /// What is queued for one client before it is disconnected as too slow: 4 MiB. Counted are
    /// bytes, and 32 more for each packet, since tiny ones take more memory than they have bytes.
    pub send_queue_bytes: usize,
    /// Memory that the process may use: `0`, the default, is the limit of the control group that it
    /// is in, if that has one. At 80 % of it handshakes are answered 503, and so is who has no
    /// session and does not finish a request; at 90 % no connection is accepted, and the clients
    /// for whom most is kept are disconnected, once a second, and whoever adds to more than its
    /// share: a twentieth of this is for all, and no share is more than 64 KiB. A number counts
    /// for the resident memory of the process; `usize::MAX` is no limit.
    pub memory_bytes: usize,
    /// Those who may wait at one time until what is queued for one client has been sent
    /// ([`Session::drained`](crate::Session::drained)): 1,024.
    pub drain_waiters: usize,
    /// Memory for what compression keeps of earlier messages, of all clients together: 64 MiB.
    /// With those that come when it is used up, nothing is kept. It matters only where
    /// [`PerMessageDeflate`](crate::PerMessageDeflate) is told to keep something.
    pub context_bytes: usize,
    /// How long a client with queued bytes may take none of them: 10 s.
    pub send_stall_timeout: Duration,
    /// How long a closing WebSocket waits for the peer to take anything of what is queued, and then
    /// for its close frame: 5 s.
    pub close_timeout: Duration,
    /// How long a gracefully closed polling session waits for its next poll: 30 s.
    pub polling_close_timeout: Duration,
    /// How long `close` waits for the next poll of clients that have none under way: 1 s.
    pub farewell_timeout: Duration,
    /// How long `close` waits for clients to take what was queued for them: 5 s.
    pub shutdown_timeout: Duration,
    /// Most connections of one shard; `0` means the file descriptor limit of the process less 64,
    /// for all shards together. On the last sixteenth of them, at most 64, a handshake is answered
    /// 503: they are for clients that are there, and for saying so. Beyond that connections wait in
    /// the kernel.
    pub connections: usize,
    /// Most sessions of one shard, also of clients that have no connection between two polls:
    /// 1,000,000. Beyond it a handshake is answered 503.
    pub sessions: usize,
    /// Connections accepted in one turn of a shard: 64.
    pub accepts_per_turn: usize,
    /// Connections whose queue is flushed in one turn of a shard before input is looked at again,
    /// and as many that are sent a broadcast for which nothing was queued before: 512.
    pub flushes_per_turn: usize,
    /// Receive buffers of one shard: 128, a power of two and not one alone.
    pub receive_buffers: u16,
    /// Size of one receive buffer in bytes: 8 KiB.
    pub receive_buffer_bytes: usize,
    /// Commands that wait in the mailbox of one shard: 65,536.
    pub mailbox_commands: usize,
    /// Commands for another shard whose mailbox is full that a shard keeps before it stops reading
    /// from its own clients: 1,024.
    pub outbox_commands: usize,
    /// Commands taken from the mailbox in one turn: 1,024.
    pub mailbox_commands_per_turn: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 16 * 1024,
            headers: HEADERS_MAX,
            target_bytes: 8 * 1024,
            head_timeout: Duration::from_secs(10),
            body_grace: Duration::from_secs(10),
            body_bytes_per_second: 500,
            body_timeout: Duration::from_secs(30),
            decision_timeout: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(5),
            pipelined_bytes: 64 * 1024,
            message_bytes: 1_000_000,
            packets_per_payload: 10_000,
            packets_per_turn: 128,
            events_in_progress: 1_000,
            bytes_in_progress: 4_000_000,
            bytes_left_behind: 64 * 1024 * 1024,
            attachments: 10,
            attachments_timeout: Duration::from_secs(10),
            empty_fragments: 1_000,
            control_frames_burst: 200,
            control_frames_per_second: 100,
            connections_per_address: 0,
            handshakes_per_address: None,
            addresses: 100_000,
            packets_per_client: None,
            bytes_per_client: None,
            json_depth: JSON_DEPTH_MAX,
            namespaces_per_session: 100,
            recovery_sessions: 100_000,
            recovery_log_events: 65_536,
            recovery_log_bytes: 64 * 1024 * 1024,
            recovery_resumed_events: 1_000_000,
            namespace_bytes: 1024,
            child_namespaces: 10_000,
            namespace_echo_bytes: 256,
            bytes_before_connect: 64 * 1024,
            send_queue_soft_bytes: 1024 * 1024,
            send_queue_bytes: 4 * 1024 * 1024,
            memory_bytes: 0,
            drain_waiters: 1_024,
            context_bytes: 64 * 1024 * 1024,
            send_stall_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            polling_close_timeout: Duration::from_secs(30),
            farewell_timeout: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(5),
            connections: 0,
            sessions: 1_000_000,
            accepts_per_turn: 64,
            flushes_per_turn: 512,
            receive_buffers: 128,
            receive_buffer_bytes: 8 * 1024,
            mailbox_commands: 65_536,
            outbox_commands: 1_024,
            mailbox_commands_per_turn: 1_024,
        }
    }
}

impl Limits {
    /// What the process may use, if that is said here.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        (self.memory_bytes > 0).then(|| u64::try_from(self.memory_bytes).unwrap_or(u64::MAX))
    }

    /// How many control frames one client may send.
    pub(crate) fn control_frames(&self) -> Rate {
        Rate { burst: self.control_frames_burst, per_second: self.control_frames_per_second }
    }

    /// Most bytes of one connection that are kept when it is handed over, to a shard or to the
    /// server: a request with its body, and what came behind it.
    pub fn request_bytes(&self) -> usize {
        let behind = self.head_bytes.saturating_add(self.pipelined_bytes);
        self.message_bytes.saturating_add(behind)
    }
}

/// Header slots on the stack of the head parser.
pub const HEADERS_MAX: usize = 100;

/// Longest session id that the application may make, in bytes. It stands in every request target.
pub const SESSION_ID_BYTES_MAX: usize = 256;

/// The parser keeps one bit a level, so the deepest nesting is a constant.
pub const JSON_DEPTH_MAX: usize = 128;

/// Most bytes of a connection that are kept until a record of TLS is whole, or a message of the
/// handshake, which may take several: two records.
pub const TLS_KEPT_BYTES: usize = 2 * (16 * 1024 + 256 + 5);

/// Most bytes of a connection that are encrypted for one send: one record.
pub const TLS_SEND_BYTES: usize = 16 * 1024;

/// Slices gathered into one send. The kernel takes 1,024 at most (`IOV_MAX`); 64 frames fill a
/// socket buffer long before that and keep the list on the stack.
pub const SLICES_PER_SEND: usize = 64;

/// A peer that has acknowledged nothing of what it was sent for so long is gone
/// (`TCP_USER_TIMEOUT`), whatever else is waited for: the kernel ends the connection.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// Larger messages and answers are not compressed: it takes about 20 ns a byte, in which a shard
/// does nothing else.
pub const COMPRESSED_BYTES_MAX: usize = 1024 * 1024;

/// Most shards of one server: what the two bytes of an id can name, less one that means "none".
pub const SHARDS_MAX: usize = 1_024;

/// Clients that a server which drains sends away each second, unless it has to hurry: 1,000.
pub const DISMISSALS_PER_SECOND: u32 = 1_000;

/// Most handlers that the watchdog knows by name, in the whole process: 4,096.
pub const LABELS_MAX: usize = 4_096;

const _: () = assert!(SLICES_PER_SEND <= 255, "one gathered send fits IOV_MAX and one byte");
const _: () = assert!(SHARDS_MAX < u16::MAX as usize, "ids hold a shard in two bytes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_the_relations_that_the_shard_relies_on() {
        let limits = Limits::default();
        assert!(limits.target_bytes < limits.head_bytes);
        assert!(limits.receive_buffers.is_power_of_two());
        assert!(limits.send_queue_soft_bytes >= limits.message_bytes);
        assert!(limits.send_queue_bytes >= limits.send_queue_soft_bytes);
        assert!(limits.namespace_echo_bytes <= limits.namespace_bytes);
        assert!(limits.headers <= HEADERS_MAX);
        assert!(limits.json_depth <= JSON_DEPTH_MAX);
        assert!(limits.packets_per_turn <= limits.packets_per_payload);
        assert!(limits.farewell_timeout < limits.shutdown_timeout);
    }

    #[test]
    fn the_page_on_limits_names_each_of_them_with_its_default() {
        let page = include_str!("../../docs/limits.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let plain = |text: &str| text.replace([',', ' '], "");
        let told = rows
            .filter_map(|(name, rest)| Some((name.to_owned(), plain(rest.split_once(" | ")?.0))));
        let held = format!("{:#?}", Limits::default());
        let held = held.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(": "));
        let held: Vec<_> = held.map(|(name, value)| (name.to_owned(), plain(value))).collect();
        // The tables before have calls in their first column.
        let told: Vec<_> = told.filter(|(name, _)| !name.contains(['(', '.'])).collect();
        assert_eq!(told, held);
        assert!(held.len() > 50, "{}", held.len());
    }
}
