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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use serde_json::Value;

    use super::*;
    use crate::process::{Cpu, Memory};

    const BEGIN_NS: u64 = 5_000_000_000;
    const END_NS: u64 = 7_000_000_000;

    fn memory(rss_kib: u64) -> Option<Memory> {
        Some(Memory { rss_kib, pss_kib: Some(rss_kib - 10), peak_kib: Some(rss_kib + 5) })
    }

    /// Two seconds in which the server used half a second, three quarters of it its own.
    fn readings() -> Readings {
        Readings {
            connect_began_ns: 1_000_000_000,
            connected_ns: Some(3_000_000_000),
            connect_cpu: [
                Some(Cpu::of_one_thread(0, 0, 0)),
                Some(Cpu::of_one_thread(1_000_000, 0, 0)),
            ],
            baseline: memory(1_000),
            settled: memory(1_400),
            begin_ns: Some(BEGIN_NS),
            end_ns: Some(END_NS),
            cpu: [
                Some(Cpu::of_one_thread(1_000_000, 1, 1)),
                Some(Cpu::of_one_thread(501_000_000, 31, 11)),
            ],
            memory: [memory(1_500), memory(1_450)],
            ..Readings::default()
        }
    }

    /// 1,000 deliveries of one publish that all took a millisecond.
    fn outcome() -> Outcome {
        let mut outcome = Outcome { busy_ns: 1_000_000_000, ..Outcome::default() };
        outcome.measures.begin(BEGIN_NS);
        outcome.measures.end(END_NS);
        for _ in 0..1_000 {
            outcome.measures.delivered(BEGIN_NS, BEGIN_NS + 1_000_000);
        }
        outcome.measures.completed(BEGIN_NS, BEGIN_NS + 1_000_000);
        outcome
    }

    fn report(mode: ModeName, readings: &Readings) -> Value {
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let plan = Plan { clients: 100, ..Plan::new(mode, target) };
        serde_json::to_value(Report::new(&plan, readings, &outcome())).unwrap()
    }

    #[track_caller]
    fn is(report: &Value, fields: &[(&str, f64)]) {
        for (name, expected) in fields {
            let value = report[name].as_f64();
            assert!(
                value.is_some_and(|value| (value - expected).abs() < 0.01),
                "{name}: {value:?}"
            );
        }
    }

    #[test]
    fn costs_are_for_each_delivery_within_the_window() {
        let report = report(ModeName::Fanout, &readings());
        is(&report, &[("seconds", 2.0), ("deliveries", 1000.0), ("deliveries_per_s", 500.0)]);
        is(&report, &[("server_cpu_us", 500.0), ("server_user_us", 375.0)]);
        is(&report, &[("server_system_us", 125.0), ("server_busy", 0.25), ("swarm_busy", 0.5)]);
        is(&report, &[("latency_p50_ms", 1.0), ("latency_max_ms", 1.0), ("delivery_p99_ms", 1.0)]);
        is(&report, &[("connect_seconds", 2.0), ("connects_per_s", 50.0)]);
        is(&report, &[("connect_cpu_us", 10.0), ("window", 1.0)]);
    }

    #[test]
    fn memory_is_above_the_baseline_and_by_client() {
        let settled = report(ModeName::Idle, &readings());
        is(&settled, &[("rss_kib", 1400.0), ("rss_per_client_kib", 4.0)]);
        is(&settled, &[("pss_per_client_kib", 4.0), ("rss_peak_kib", 1405.0)]);
        let traffic = Readings { settled: None, ..readings() };
        is(&report(ModeName::Fanout, &traffic), &[("rss_per_client_kib", 4.5)]);
        let churn = report(ModeName::Churn, &traffic);
        is(&churn, &[("rss_growth_kib", -50.0)]);
        assert_eq!(churn["rss_per_client_kib"], Value::Null);
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let nothing = report(ModeName::Fanout, &Readings::default());
        for name in ["seconds", "deliveries", "server_cpu_us", "rss_kib", "connect_seconds"] {
            assert_eq!(nothing[name], Value::Null, "{name}");
        }
        let idle = report(ModeName::Idle, &readings());
        for name in ["deliveries", "deliveries_per_s", "server_cpu_us", "window"] {
            assert_eq!(idle[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn any_fault_is_a_fault() {
        let plan = Plan::new(ModeName::Echo, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
        let has_faults = |faults| {
            let outcome = Outcome { faults, ..Outcome::default() };
            Report::new(&plan, &Readings::default(), &outcome).has_faults()
        };
        assert!(!has_faults(Faults::default()));
        for faults in [
            Faults { lost: 1, ..Faults::default() },
            Faults { repeated: 1, ..Faults::default() },
            Faults { reordered: 1, ..Faults::default() },
            Faults { damaged: 1, ..Faults::default() },
            Faults { disconnected: 1, ..Faults::default() },
        ] {
            assert!(has_faults(faults), "{faults:?}");
        }
    }

    #[test]
    fn the_table_shows_what_was_measured_and_no_more() {
        let plan = Plan::new(ModeName::Echo, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
        let table = Report::new(&plan, &Readings::default(), &Outcome::default()).table();
        let names: Vec<&str> = table.lines().filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(names, ["clients", "lost", "repeated", "reordered", "damaged", "disconnected"]);
    }

    #[test]
    fn numbers_have_four_digits_or_are_whole() {
        let numbers = [0.0, 3.0, 0.12345, 12.345, 123.45, 1234.5, -0.5];
        let texts = ["0", "3", "0.123", "12.35", "123.5", "1234", "-0.500"];
        assert_eq!(numbers.map(shown), texts);
    }
}
