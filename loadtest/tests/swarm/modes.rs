//! Each mode, end to end, against the server of this repository.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::run::Run;
use super::{http, misbehaving};
use fanfare::{Ack, Data, Raw, Server, Socket};
use serde_json::Value;

/// The application of examples/benchmark.rs, on a server of its own for each run: what is
/// published to everybody would reach the clients of other runs.
fn fanfare() -> SocketAddr {
    let io = Server::builder().shards(1).build().unwrap();
    let root = io.of("/");
    root.on("echo", async |payload: Raw, ack: Ack| ack.send(payload));
    root.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(());
    });
    let everybody = root.emitter();
    root.on("publish", async move |payload: Raw| {
        everybody.emit("broadcast", payload);
    });
    let namespace = root.clone();
    root.on("publish_room", async move |arguments: Raw| {
        let (room, payload) = arguments.split_first::<String>().unwrap();
        namespace.to(room).emit("broadcast", payload);
    });
    let running = io.spawn("127.0.0.1:0").unwrap();
    let address = running.address().expect("a TCP address");
    // It serves until the tests' process ends.
    std::mem::forget((io, running));
    address
}

/// A clean run against it, in which something was measured.
#[track_caller]
fn measures(arguments: &str) -> Value {
    let report = Run::against(fanfare(), arguments).is_clean();
    assert!(report["deliveries"].as_u64() > Some(0), "{report}");
    assert!(report["latency_p50_ms"].as_f64() > Some(0.0), "{report}");
    assert!(report["latency_max_ms"].as_f64() >= report["latency_p99_ms"].as_f64(), "{report}");
    report
}

#[test]
fn fanout_delivers_to_everybody() {
    for arguments in ["", "--window 16", "--payload 1000", "--rate 200", "--processes 2"] {
        let report = measures(&format!("fanout --clients 10 {arguments}"));
        assert!(report["delivery_p99_ms"].as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn rooms_deliver_to_their_members() {
    for arguments in ["", "--window 16", "--rate 500", "--processes 2 --window 2"] {
        measures(&format!("rooms --clients 13 --room-size 3 {arguments}"));
    }
}

#[test]
fn echo_brings_everything_back() {
    for arguments in ["", "--window 16", "--payload 70000", "--rate 500", "--processes 2"] {
        measures(&format!("echo --clients 5 {arguments}"));
    }
}

#[test]
fn polling_is_an_echo_and_whatever_else_as_well() {
    assert_eq!(measures("polling --clients 5 --window 3")["transport"], "polling");
    measures("fanout --transport polling --clients 5 --window 3");
    measures("rooms --transport polling --clients 4 --room-size 2");
}

#[test]
fn polling_copes_with_every_manner_of_connections() {
    for manner in [http::Manner::ClosesEach, http::Manner::Chunks] {
        let run = Run::against(http::server(manner).address, "polling --clients 3 --window 2");
        assert!(run.is_clean()["deliveries"].as_u64() > Some(0), "{manner:?}");
    }
    let server = http::server(http::Manner::HangsUpPosts);
    Run::against(server.address, "idle --transport polling --clients 3").is_clean();
    assert!(server.posts() > 6, "{} heartbeats were answered", server.posts());
}

#[test]
fn churn_counts_cycles() {
    for transport in ["websocket", "polling"] {
        let report = measures(&format!("churn --clients 3 --transport {transport}"));
        assert_eq!(report["connect_seconds"], Value::Null);
    }
}

#[test]
fn storms_end_when_everybody_is_back() {
    for arguments in ["", "--transport polling", "--processes 2"] {
        let report = measures(&format!("storm --clients 20 {arguments}"));
        assert_eq!(report["deliveries"].as_u64().map(|count| count % 20), Some(0), "{report}");
    }
}

#[test]
fn idle_clients_are_all_there_is() {
    for arguments in ["", "--transport polling", "--processes 2"] {
        let pid = std::process::id();
        let line = format!("idle --clients 30 --server-pid {pid} {arguments}");
        let report = Run::against(fanfare(), &line).is_clean();
        assert!(report["connects_per_s"].as_f64() > Some(0.0), "{report}");
        assert!(report["rss_kib"].as_u64() > Some(0), "{report}");
        assert!(report["server_busy"].is_number(), "{report}");
        assert_eq!(report["deliveries"], Value::Null);
    }
}

#[test]
fn every_mode_spins_as_it_sleeps() {
    let run = Run::bare(&format!("echo --clients 2 --seconds 0.05 --target {}", fanfare()));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("replies"), "no table: {}", run.stdout);
}

#[test]
fn plain_websocket_has_the_same_modes() {
    for mode in ["idle", "fanout", "rooms --room-size 2", "echo", "storm"] {
        let target = misbehaving::server(misbehaving::Fault::None);
        Run::against(target, &format!("{mode} --protocol websocket --clients 4")).is_clean();
    }
}

#[test]
fn a_line_is_appended_to_a_file() {
    let path = std::env::temp_dir().join(format!("swarm-{}.json", std::process::id()));
    for _ in 0..2 {
        let line = format!(
            "echo --clients 1 --seconds 0.05 --warmup 0 --target {} --json {}",
            fanfare(),
            path.display()
        );
        assert_eq!(Run::bare(&line).code, 0);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["mode"]), (2, &Value::from("echo")));
}

#[test]
fn the_line_has_exactly_the_figures_that_the_readme_explains() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## Every figure\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let cells = section.lines().filter_map(|row| row.strip_prefix("| `")?.split_once(" |"));
    let explained = cells.flat_map(|(cell, _)| cell.split(['`', ',', ' ']));
    let mut explained: Vec<&str> = explained.filter(|word| !word.is_empty()).collect();
    let report = Run::against(fanfare(), "echo --clients 1").is_clean();
    let mut fields: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    explained.sort_unstable();
    assert_eq!(fields, explained);
}

#[test]
fn an_interrupted_run_says_what_there_is() {
    let mut swarm = Command::new(env!("CARGO_BIN_EXE_swarm"))
        .args(["echo", "--clients", "3", "--seconds", "60", "--warmup", "0", "--sleep"])
        .args(["--json", "-", "--target", &fanfare().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says how it goes once a second: then it measures.
    let mut stderr = BufReader::new(swarm.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("measure: 3 clients"), "{said}");
    let interrupt = Command::new("kill").args(["-INT", &swarm.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let output = swarm.wait_with_output().unwrap();
    let run = Run::from(output);
    assert_eq!(run.code, 3);
    let report = run.json();
    assert!(report["seconds"].as_f64() < Some(30.0), "{report}");
    assert!(report["deliveries"].as_u64() > Some(0), "{report}");
}
