//! The result of a run: a line of JSON for programs, a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::codec::Protocol;
use crate::conductor::Readings;
use crate::latency::Latencies;
use crate::ledger::Faults;
use crate::plan::{ModeName, Plan, Transport};
use crate::process::CpuUse;
use crate::worker::Outcome;

/// Everything that is known of a run; what was not measured is absent. Field by field this is what
/// README.md explains.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    mode: &'static str,
    protocol: &'static str,
    transport: &'static str,
    clients: usize,
    payload_bytes: usize,
    window: Option<usize>,
    rate: Option<f64>,
    seconds: Option<f64>,
    connect_seconds: Option<f64>,
    connects_per_s: Option<f64>,
    connect_cpu_us: Option<f64>,
    deliveries: Option<u64>,
    deliveries_per_s: Option<f64>,
    server_cpu_us: Option<f64>,
    server_user_us: Option<f64>,
    server_system_us: Option<f64>,
    server_busy: Option<f64>,
    swarm_busy: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p90_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    latency_p999_ms: Option<f64>,
    latency_max_ms: Option<f64>,
    delivery_p50_ms: Option<f64>,
    delivery_p99_ms: Option<f64>,
    rss_kib: Option<u64>,
    rss_baseline_kib: Option<u64>,
    rss_per_client_kib: Option<f64>,
    pss_kib: Option<u64>,
    pss_per_client_kib: Option<f64>,
    rss_peak_kib: Option<u64>,
    rss_growth_kib: Option<i64>,
    kernel_per_socket_kib: Option<f64>,
    kernel_caches: Option<BTreeMap<String, f64>>,
    #[serde(flatten)]
    faults: Faults,
}

impl Report {
    pub fn new(plan: &Plan, readings: &Readings, outcome: &Outcome) -> Report {
        let mut report = Report {
            mode: plan.mode.name(),
            protocol: match plan.protocol {
                Protocol::SocketIo => "socketio",
                Protocol::Plain => "websocket",
            },
            transport: match plan.transport {
                Transport::WebSocket => "websocket",
                Transport::Polling => "polling",
            },
            clients: plan.clients,
            payload_bytes: plan.payload,
            window: (plan.mode.has_messages() && plan.rate.is_none()).then_some(plan.window),
            rate: plan.rate,
            faults: outcome.faults,
            ..Report::default()
        };
        report.connects(plan, readings);
        report.window(plan, readings, outcome);
        report.latencies(outcome);
        report.memory(plan, readings);
        report
    }

    fn connects(&mut self, plan: &Plan, readings: &Readings) {
        let Some(connected_ns) = readings.connected_ns else { return };
        let seconds = (connected_ns - readings.connect_began_ns) as f64 / 1e9;
        self.connect_seconds = Some(seconds);
        self.connects_per_s = Some(plan.clients as f64 / seconds);
        if let [Some(before), Some(after)] = &readings.connect_cpu {
            let used = after.since(before).total_ns as f64 / 1e3;
            self.connect_cpu_us = Some(used / plan.clients as f64);
        }
    }

    fn window(&mut self, plan: &Plan, readings: &Readings, outcome: &Outcome) {
        let (Some(begin_ns), Some(end_ns)) = (readings.begin_ns, readings.end_ns) else { return };
        let seconds = (end_ns - begin_ns) as f64 / 1e9;
        self.seconds = Some(seconds);
        self.swarm_busy = Some(outcome.busy_ns as f64 / 1e9 / seconds);
        let used = match &readings.cpu {
            [Some(before), Some(after)] => Some(after.since(before)),
            _ => None,
        };
        self.server_busy = used.map(|used| used.total_ns as f64 / 1e9 / seconds);
        if plan.mode == ModeName::Idle {
            return;
        }
        let deliveries = outcome.measures.deliveries;
        self.deliveries = Some(deliveries);
        self.deliveries_per_s = Some(deliveries as f64 / seconds);
        if let (Some(CpuUse { total_ns, user_part }), 1..) = (used, deliveries) {
            let each_us = total_ns as f64 / 1e3 / deliveries as f64;
            self.server_cpu_us = Some(each_us);
            self.server_user_us = Some(each_us * user_part);
            self.server_system_us = Some(each_us * (1.0 - user_part));
        }
    }

    fn latencies(&mut self, outcome: &Outcome) {
        let ms = |latencies: &Latencies, part| {
            latencies.quantile_ns(part).map(|latency_ns| latency_ns as f64 / 1e6)
        };
        let latency = &outcome.measures.latency;
        self.latency_p50_ms = ms(latency, 0.5);
        self.latency_p90_ms = ms(latency, 0.9);
        self.latency_p99_ms = ms(latency, 0.99);
        self.latency_p999_ms = ms(latency, 0.999);
        self.latency_max_ms = latency.max_ns().map(|latency_ns| latency_ns as f64 / 1e6);
        self.delivery_p50_ms = ms(&outcome.measures.delivery, 0.5);
        self.delivery_p99_ms = ms(&outcome.measures.delivery, 0.99);
    }

    fn memory(&mut self, plan: &Plan, readings: &Readings) {
        if let Some(cost) = &readings.kernel {
            self.kernel_per_socket_kib = Some(cost.server_kib);
            self.kernel_caches = Some(cost.caches.clone());
        }
        let read = readings.settled.or(readings.memory[1]);
        let (Some(baseline), Some(read)) = (readings.baseline, read) else { return };
        let clients = plan.clients as f64;
        self.rss_baseline_kib = Some(baseline.rss_kib);
        self.rss_kib = Some(read.rss_kib);
        self.rss_peak_kib = read.peak_kib;
        self.pss_kib = read.pss_kib;
        if plan.mode == ModeName::Churn {
            // Who is connected at the end is a matter of chance; what has grown is not.
            if let [Some(before), Some(after)] = readings.memory {
                self.rss_growth_kib = Some(after.rss_kib as i64 - before.rss_kib as i64);
            }
            return;
        }
        self.rss_per_client_kib = Some((read.rss_kib as f64 - baseline.rss_kib as f64) / clients);
        if let (Some(before), Some(after)) = (baseline.pss_kib, read.pss_kib) {
            self.pss_per_client_kib = Some((after as f64 - before as f64) / clients);
        }
    }

    pub fn has_faults(&self) -> bool {
        self.faults.any()
    }

    /// Appends the line to a file, or to stdout when it is `-`.
    pub fn append(&self, path: &str) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        if path == "-" {
            return io::stdout().write_all(line.as_bytes());
        }
        OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
    }

    /// For people: a line for everything that was measured.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: Option<f64>, unit: &str| {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(table, "{name:<28}{:>14} {unit}", shown(value));
            }
        };
        row("clients", Some(self.clients as f64), "");
        row("connected in", self.connect_seconds, "s");
        row("connects", self.connects_per_s, "/s");
        row("  server CPU each", self.connect_cpu_us, "us");
        row("measured for", self.seconds, "s");
        let what = match self.mode {
            "fanout" | "rooms" => "deliveries",
            "churn" => "cycles",
            "storm" => "reconnects",
            _ => "replies",
        };
        row(what, self.deliveries_per_s, "/s");
        row("  server CPU each", self.server_cpu_us, "us");
        row("    of it user", self.server_user_us, "us");
        row("    of it system", self.server_system_us, "us");
        row("server busy", self.server_busy, "cores");
        row("swarm busy", self.swarm_busy, "cores");
        row("latency p50", self.latency_p50_ms, "ms");
        row("latency p90", self.latency_p90_ms, "ms");
        row("latency p99", self.latency_p99_ms, "ms");
        row("latency p99.9", self.latency_p999_ms, "ms");
        row("latency max", self.latency_max_ms, "ms");
        row("each delivery p50", self.delivery_p50_ms, "ms");
        row("each delivery p99", self.delivery_p99_ms, "ms");
        row("server RSS before", self.rss_baseline_kib.map(|kib| kib as f64), "KiB");
        row("server RSS", self.rss_kib.map(|kib| kib as f64), "KiB");
        row("  per client", self.rss_per_client_kib, "KiB");
        row("  PSS per client", self.pss_per_client_kib, "KiB");
        row("  at its peak", self.rss_peak_kib.map(|kib| kib as f64), "KiB");
        row("  growth", self.rss_growth_kib.map(|kib| kib as f64), "KiB");
        row("kernel, server's side", self.kernel_per_socket_kib, "KiB a client");
        row("lost", Some(self.faults.lost as f64), "");
        row("repeated", Some(self.faults.repeated as f64), "");
        row("reordered", Some(self.faults.reordered as f64), "");
        row("damaged", Some(self.faults.damaged as f64), "");
        row("disconnected", Some(self.faults.disconnected as f64), "");
        table
    }
}

/// Four digits, or all of a whole number.
fn shown(value: f64) -> String {
    match value.abs() {
        whole if whole.fract() == 0.0 || whole >= 1000.0 => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
