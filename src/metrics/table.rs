//! Every metric, in one place: `docs/metrics.md` is held against it.

use super::text::Series;
use super::{Observed, Process};

/// One metric.
pub struct Metric {
    /// Its name: base units, and `_total` for what only grows.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is, in one line.
    pub help: &'static str,
    /// Where its numbers are from.
    pub source: Source,
}

/// The types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations, in buckets.
    Histogram,
}

impl Kind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where the numbers of a metric are from.
#[derive(Clone, Copy)]
pub enum Source {
    /// The process.
    Process(fn(&Process, &mut Series<'_>)),
    /// Whether each shard has answered.
    Presence,
    /// Each shard that has, one number.
    Number(fn(&Observed) -> u64),
    /// The same, for microseconds that are told in seconds.
    Micros(fn(&Observed) -> u64),
    /// Each shard that has, several numbers.
    Shard(fn(&Observed, &mut Series<'_>)),
}

use Kind::{Counter, Gauge};
use Source::{Micros, Number, Presence, Shard};

const fn metric(name: &'static str, kind: Kind, help: &'static str, source: Source) -> Metric {
    Metric { name, kind, help, source }
}

const fn of_process(
    name: &'static str,
    help: &'static str,
    of: fn(&Process, &mut Series<'_>),
) -> Metric {
    metric(name, Gauge, help, Source::Process(of))
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Observed) -> u64) -> Metric {
    metric(name, Counter, help, Number(of))
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Observed) -> u64) -> Metric {
    metric(name, Gauge, help, Number(of))
}

/// All of them.
pub const METRICS: &[Metric] = &[
    of_process(
        "fanfare_build_info",
        "1; the version, and what the shards are on.",
        |it, series| {
            series.labelled(&[("version", it.version), ("driver", it.driver)], 1);
        },
    ),
    of_process("fanfare_uptime_seconds", "Since the server has started.", |it, series| {
        series.value(it.uptime.as_secs_f64());
    }),
    of_process("fanfare_ready", "1 while new clients are let in.", |it, series| {
        series.value(u8::from(it.is_ready));
    }),
    of_process(
        "fanfare_process_resident_memory_bytes",
        "Memory of the process that is not paged out.",
        |it, series| it.resident_bytes.into_iter().for_each(|bytes| series.value(bytes)),
    ),
    of_process(
        "fanfare_process_memory_limit_bytes",
        "What the process, or its control group, may use; absent without a limit.",
        |it, series| it.memory_limit_bytes.into_iter().for_each(|bytes| series.value(bytes)),
    ),
    of_process("fanfare_process_open_fds", "Descriptors that are open.", |it, series| {
        it.descriptors.into_iter().for_each(|count| series.value(count));
    }),
    of_process("fanfare_process_max_fds", "Descriptors that may be open.", |it, series| {
        it.descriptors_max.into_iter().for_each(|count| series.value(count));
    }),
    metric(
        "fanfare_shard_up",
        Gauge,
        "0 when the shard has not answered within a second: nothing else is told of it then.",
        Presence,
    ),
    metric("fanfare_clients", Gauge, "Clients (Engine.IO sessions), by transport.", Shard(clients)),
    gauge("fanfare_connections", "Connections, whatever they are used for.", |it| {
        it.holdings.connections as u64
    }),
    gauge("fanfare_sockets", "Sockets that are connected to a namespace.", |it| {
        it.holdings.sockets as u64
    }),
    gauge("fanfare_namespaces", "Namespaces that the shard has.", |it| {
        it.holdings.namespaces as u64
    }),
    gauge("fanfare_rooms", "Rooms with a member on the shard, but for those of ids.", |it| {
        it.holdings.rooms as u64
    }),
    gauge("fanfare_tasks", "Handlers that wait, and other tasks.", |it| it.holdings.tasks as u64),
    gauge("fanfare_queued_bytes", "What waits for clients, as it is charged to them.", |it| {
        it.holdings.queued_bytes as u64
    }),
    counter("fanfare_connections_accepted_total", "Connections accepted.", |it| {
        it.stats.connections_accepted
    }),
    counter(
        "fanfare_connections_handed_over_total",
        "Connections handed to the shard that has their session.",
        |it| it.stats.connections_handed_over,
    ),
    counter("fanfare_sessions_opened_total", "Engine.IO sessions opened.", |it| {
        it.stats.sessions_opened
    }),
    metric(
        "fanfare_sessions_closed_total",
        Counter,
        "Engine.IO sessions closed: why, by whom, and beyond which limit.",
        Shard(|it, series| departures(&it.counts.sessions, series)),
    ),
    metric(
        "fanfare_disconnects_total",
        Counter,
        "Sockets that have left their namespace: why, by whom, and beyond which limit.",
        Shard(|it, series| departures(&it.counts.sockets, series)),
    ),
    counter(
        "fanfare_sessions_expired_total",
        "Sockets that were kept in case that they come back, and did not.",
        |it| it.stats.sessions_expired,
    ),
    metric(
        "fanfare_requests_refused_total",
        Counter,
        "Requests refused, handshakes among them, by what the client was told.",
        Shard(|it, series| {
            it.counts.refused.iter().for_each(|(reason, count)| {
                series.labelled(&[("reason", reason)], count);
            });
        }),
    ),
    counter("fanfare_received_bytes_total", "Bytes received from clients.", |it| {
        it.stats.bytes_received
    }),
    counter("fanfare_sent_bytes_total", "Bytes that the kernel has taken for clients.", |it| {
        it.stats.bytes_sent
    }),
    counter("fanfare_packets_received_total", "Socket.IO packets received.", |it| {
        it.stats.packets_received
    }),
    counter("fanfare_packets_queued_total", "Packets queued, one for each recipient.", |it| {
        it.stats.packets_queued
    }),
    counter("fanfare_events_received_total", "Events received.", |it| it.stats.events_received),
    counter("fanfare_broadcasts_total", "Emits to many that the shard has carried out.", |it| {
        it.stats.broadcasts
    }),
    metric(
        "fanfare_events_dropped_total",
        Counter,
        "Events that a client did not get since it was behind, by what allows that.",
        Shard(dropped),
    ),
    counter(
        "fanfare_events_rejected_total",
        "Events whose arguments did not fit what their handler asks for.",
        |it| it.stats.events_rejected,
    ),
    metric(
        "fanfare_limit_hits_total",
        Counter,
        "Times that a client, or the server, was beyond a limit.",
        Shard(limit_hits),
    ),
    counter("fanfare_handlers_panicked_total", "Handlers that have panicked.", |it| {
        it.stats.handlers_panicked
    }),
    metric(
        "fanfare_broadcast_seconds",
        Kind::Histogram,
        "From an emit to many until the kernel has it for the last client that is not behind; one \
         at a time is measured.",
        Shard(|it, series| series.histogram(&it.counts.broadcasts)),
    ),
    metric(
        "fanfare_turn_seconds",
        Kind::Histogram,
        "How long the turns of the shard took, without the time in which it waited.",
        Shard(|it, series| series.histogram(&it.counts.turns)),
    ),
    metric(
        "fanfare_turn_longest_seconds",
        Gauge,
        "The longest turn since the start.",
        Micros(|it| it.stats.turn_longest_us),
    ),
    counter("fanfare_turns_blocked_total", "Turns that the watchdog has told of.", |it| {
        it.stats.turns_blocked
    }),
    counter("fanfare_stalls_total", "Times that the shard stood still for over 100 ms.", |it| {
        it.stats.stalls
    }),
    metric(
        "fanfare_stalled_seconds_total",
        Counter,
        "What stalls took beyond the 100 ms.",
        Micros(|it| it.stats.stalled_us),
    ),
    gauge("fanfare_driver_connections", "Connections that are open or closing.", |it| {
        it.driver.connections
    }),
    gauge("fanfare_driver_operations", "Operations that the kernel works on.", |it| {
        it.driver.operations_in_flight
    }),
    counter(
        "fanfare_driver_accepts_refused_total",
        "Times that an accept found no free descriptor.",
        |it| it.driver.accepts_refused,
    ),
    counter(
        "fanfare_driver_buffers_exhausted_total",
        "Times that a receive found no free buffer.",
        |it| it.driver.buffers_exhausted,
    ),
    metric(
        "fanfare_driver_sends_total",
        Counter,
        "Sends: taken by the kernel at once, or deferred since the socket was full.",
        Shard(|it, series| {
            series.labelled(&[("way", "direct")], it.driver.sends_direct);
            series.labelled(&[("way", "deferred")], it.driver.sends_deferred);
        }),
    ),
    counter("fanfare_driver_waits_total", "Times that the shard waited for the kernel.", |it| {
        it.driver.waits
    }),
];

fn clients(it: &Observed, series: &mut Series<'_>) {
    series.labelled(&[("transport", "polling")], it.holdings.polling);
    series.labelled(&[("transport", "websocket")], it.holdings.websocket);
}

fn departures(of: &super::Departures, series: &mut Series<'_>) {
    for ([reason, closer, limit], count) in of.iter() {
        series.labelled(&[("reason", reason), ("closer", closer), ("limit", limit)], count);
    }
}

fn dropped(it: &Observed, series: &mut Series<'_>) {
    let stats = &it.stats;
    series.labelled(&[("policy", "volatile")], stats.volatile_dropped);
    series.labelled(&[("policy", "drop_oldest")], stats.events_dropped);
    series.labelled(&[("policy", "coalesce")], stats.events_coalesced);
}

/// Each is named by a field of [`Limits`](crate::Limits), the first one where several count as one.
fn limit_hits(it: &Observed, series: &mut Series<'_>) {
    let stats = &it.stats;
    let hits = [
        ("connections", stats.connections_refused),
        ("connections_per_address", stats.connections_limited),
        ("handshakes_per_address", stats.handshakes_limited),
        ("sessions", stats.sessions_refused),
        ("packets_per_client", stats.clients_limited),
        ("events_in_progress", stats.clients_held),
        ("send_queue_soft_bytes", stats.clients_lagged),
        ("send_queue_bytes", stats.slow_clients),
        ("memory_bytes", stats.clients_relieved),
        ("mailbox_commands", stats.mailbox_overflows),
    ];
    hits.into_iter().for_each(|(limit, count)| series.labelled(&[("limit", limit)], count));
}
