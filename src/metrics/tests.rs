use std::collections::BTreeSet;
use std::time::Duration;

use super::table::{Kind, METRICS, Source};
use super::*;
use crate::driver::DriverStats;
use crate::proto::socket::DisconnectReason;
use crate::session::departure::{Cause, Departure, DisconnectLimit};

/// A server of which each number is another one: a shard that has answered, and one that has not.
fn snapshot() -> Snapshot {
    let mut observed = Observed {
        stats: stats(),
        counts: Counts::default(),
        driver: DriverStats {
            connections: 301,
            operations_in_flight: 302,
            accepts_refused: 303,
            buffers_exhausted: 304,
            sends_direct: 305,
            sends_deferred: 306,
            waits: 307,
        },
        holdings: Holdings {
            connections: 201,
            polling: 202,
            websocket: 203,
            sockets: 204,
            namespaces: 205,
            rooms: 206,
            tasks: 207,
            queued_bytes: 208,
        },
    };
    let counts = &mut observed.counts;
    let closed = Departure::new(DisconnectReason::TransportClose, Cause::default(), None);
    let slow = Cause::limit(DisconnectLimit::SendQueueBytes);
    let slow = Departure::new(DisconnectReason::TransportError, slow, None);
    [&closed, &slow, &closed].into_iter().for_each(|departure| counts.sessions.add(departure));
    counts.sockets.add(&slow);
    ["Session ID unknown", "There are too many clients", "Session ID unknown"]
        .into_iter()
        .for_each(|reason| counts.refused.add(reason));
    [1, 500, 9_000_000].into_iter().for_each(|us| counts.turns.record(Duration::from_micros(us)));
    counts.broadcasts.record(Duration::from_micros(1_250));
    let process = Process {
        version: "1.2.3",
        driver: "epoll",
        uptime: Duration::from_millis(61_500),
        is_ready: true,
        resident_bytes: Some(7_340_032),
        memory_limit_bytes: None,
        descriptors: Some(23),
        descriptors_max: Some(1_024),
    };
    Snapshot { process, shards: vec![Some(Box::new(observed)), None] }
}

fn stats() -> Stats {
    Stats {
        connections_accepted: 101,
        connections_refused: 102,
        connections_limited: 103,
        handshakes_limited: 104,
        clients_limited: 105,
        connections_handed_over: 106,
        sessions_opened: 107,
        sessions_refused: 108,
        sessions_closed: 109,
        sessions_expired: 110,
        bytes_received: 111,
        bytes_sent: 112,
        packets_received: 113,
        events_received: 114,
        broadcasts: 115,
        packets_queued: 116,
        volatile_dropped: 117,
        clients_lagged: 118,
        events_dropped: 119,
        events_coalesced: 120,
        events_rejected: 121,
        handlers_panicked: 122,
        clients_relieved: 123,
        clients_held: 124,
        slow_clients: 125,
        mailbox_overflows: 126,
        stalls: 127,
        stalled_us: 128_000_000,
        turns_blocked: 129,
        turn_longest_us: 130_000_000,
    }
}

#[test]
fn the_exposition_is_the_one_that_is_written_down() {
    let text = exposition(&snapshot());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics/exposition.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        text == written,
        "`BLESS=1 cargo test --lib metrics` writes {path} anew; it was:\n{text}"
    );
}

#[test]
fn every_counter_that_applications_have_is_told_but_that_of_closed_sessions() {
    let text = exposition(&snapshot());
    let values: BTreeSet<&str> =
        text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1)).collect();
    // Those are told by cause, and add up to it.
    let told = (101..=130).filter(|number| *number != 109);
    let missing: Vec<_> = told.filter(|number| !values.contains(&*number.to_string())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn m71_each_line_has_the_form_that_prometheus_reads() {
    for line in exposition(&snapshot()).lines().filter(|line| !line.starts_with("# ")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        for label in labels.strip_suffix('}').unwrap().split("\",").filter(|it| !it.is_empty()) {
            let (label, text) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let known = ["shard", "le", "transport", "reason", "closer", "limit", "policy", "way"];
            let of_build = ["version", "driver"];
            assert!(known.contains(&label) || of_build.contains(&label), "{line}");
            assert!(text.is_ascii() && text.len() < 70, "{line}");
        }
    }
}

#[test]
fn names_say_what_is_counted_and_in_which_unit() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("fanfare_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        let is_time = matches!(metric.source, Source::Micros(_)) || metric.kind == Kind::Histogram;
        assert!(!is_time || name.contains("_seconds"), "{name}");
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '|']), "{name}");
    }
}

#[test]
fn the_page_on_metrics_has_each_of_them() {
    let row = |metric: &super::table::Metric| {
        format!("| `{}` | {} | {} |", metric.name, metric.kind.name(), metric.help)
    };
    let rows: Vec<String> = METRICS.iter().map(row).collect();
    let page = include_str!("../../docs/metrics.md");
    let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `fanfare_")).collect();
    assert!(written == rows, "the table of docs/metrics.md should be\n{}", rows.join("\n"));
}

#[test]
fn the_board_asks_for_metrics_that_there_are() {
    let board = include_str!("../../docs/grafana.json");
    let board: serde_json::Value = serde_json::from_str(board).unwrap();
    let mut asked = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("fanfare_")));
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        let of_histogram = ["_bucket", "_sum", "_count"];
        let whole = of_histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let metric = METRICS.iter().find(|metric| metric.name == whole || metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(metric.kind == Kind::Histogram, metric.name != name, "{name}");
    }
}
