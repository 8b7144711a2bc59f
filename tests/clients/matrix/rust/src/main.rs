//! Drives rust_socketio, unmodified, through the scenarios of the matrix: `matrix KIND PLAN`, where
//! KIND is `blocking` or `async`.

mod client;
mod scenarios;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Kind, Outcome};
use scenarios::{IMPLEMENTED, Peer, same};
use serde_json::{Value, json};

const SCENARIO_DEADLINE: Duration = Duration::from_secs(20);
/// Of the client, as Cargo.toml pins it.
const VERSION: &str = "0.6.0";

fn main() {
    let [kind, plan] = arguments();
    let kind = if kind == "async" { Kind::Async } else { Kind::Blocking };
    let plan: Value = serde_json::from_str(&plan).expect("a plan");
    let silence = Duration::from_millis(plan["silenceMs"].as_u64().expect("a time"));
    let url = plan["url"].as_str().expect("a URL");
    let runs = plan["runs"].as_array().expect("a list");

    println!("{}", json!({ "version": VERSION }));
    let peer = |run: &Value| {
        let transport = run["transport"].as_str().expect("a transport").to_owned();
        Peer { kind, url: url.to_owned(), transport }
    };
    let kept: Vec<Outcome<Kept>> = runs.iter().map(|run| Kept::open(&peer(run), silence)).collect();
    for run in runs {
        for name in run["scenarios"].as_array().expect("a list") {
            let found = IMPLEMENTED.iter().find(|(scenario, _)| name == scenario);
            let Some((name, scenario)) = found else { continue };
            let peer = peer(run);
            report(&run["transport"], name, move || scenario(&peer));
        }
    }
    for (run, kept) in runs.iter().zip(kept) {
        report(&run["transport"], "heartbeat", move || kept?.check());
    }
    // What a client left running must not keep the program from its end.
    std::process::exit(0);
}

fn arguments() -> [String; 2] {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    arguments.try_into().expect("KIND and PLAN")
}

/// Runs it on a thread, because nothing else bounds what a client's methods wait.
fn report(transport: &Value, scenario: &str, course: impl FnOnce() -> Outcome + Send + 'static) {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let error = course().err().map(|error| error.to_string());
        // Whoever waited may have given up.
        let _ = sender.send(error);
    });
    let error = receiver.recv_timeout(SCENARIO_DEADLINE).unwrap_or_else(|_| {
        let what = if thread.is_finished() { "panicked" } else { "was not done in time" };
        Some(what.to_owned())
    });
    println!("{}", json!({ "transport": transport, "scenario": scenario, "error": error }));
}

/// A client that must stay connected for longer than the server lets one be silent.
struct Kept {
    client: Client,
    id: String,
    until: Instant,
}

impl Kept {
    fn open(peer: &Peer, silence: Duration) -> Outcome<Kept> {
        let client = peer.connected()?;
        let id = scenarios::id(&client)?;
        Ok(Kept { client, id, until: Instant::now() + silence })
    }

    fn check(self) -> Outcome {
        thread::sleep(self.until.saturating_duration_since(Instant::now()));
        same(self.client.has("close"), false)?;
        same(scenarios::id(&self.client)?, self.id)
    }
}
