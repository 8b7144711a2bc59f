//! Drives rust_socketio, unmodified, through the scenarios of the matrix: `matrix KIND PLAN`, where
//! KIND is `blocking` or `async`.
//!
//! Each scenario has a process of its own, `matrix KIND PLAN TRANSPORT SCENARIO`: a blocking client
//! that has been disconnected leaves a thread behind that spins until its process ends.

mod client;
mod scenarios;

use std::error::Error;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use client::{Kind, Outcome};
use scenarios::{IMPLEMENTED, Peer, same};
use serde_json::{Value, json};

const SCENARIO_DEADLINE: Duration = Duration::from_secs(60);
/// Of the client, as Cargo.toml pins it.
const VERSION: &str = "0.6.0";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [kind, plan] => run(kind, plan),
        [kind, plan, transport, scenario] => {
            let plan: Value = serde_json::from_str(plan).expect("a plan");
            let outcome = tried(kind, &plan, transport, scenario);
            print!("{}", json!(outcome.err().map(|error| described(&*error))));
            // Neither what a client left running nor its end matter any more.
            std::process::exit(0);
        }
        _ => panic!("KIND and PLAN"),
    }
}

/// Runs what is planned and reports each scenario as it ends.
fn run(kind: &str, plan_json: &str) {
    let plan: Value = serde_json::from_str(plan_json).expect("a plan");
    println!("{}", json!({ "version": VERSION }));
    let start = |transport: &str, scenario: &str| {
        let program = std::env::current_exe().expect("a path");
        let arguments = [kind, plan_json, transport, scenario];
        let child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn();
        child.expect("a process")
    };
    let planned: Vec<(&str, &str)> = planned(&plan).collect();
    let (kept, others): (Vec<_>, Vec<_>) =
        planned.into_iter().partition(|(_, scenario)| *scenario == "heartbeat");
    let kept: Vec<_> =
        kept.into_iter().map(|(transport, name)| (transport, start(transport, name))).collect();
    for (transport, scenario) in others {
        report(transport, scenario, start(transport, scenario));
    }
    for (transport, child) in kept {
        report(transport, "heartbeat", child);
    }
}

/// Each transport with each of its scenarios.
fn planned(plan: &Value) -> impl Iterator<Item = (&str, &str)> {
    plan["runs"].as_array().expect("a list").iter().flat_map(|run| {
        let transport = run["transport"].as_str().expect("a transport");
        let scenarios = run["scenarios"].as_array().expect("a list");
        scenarios.iter().map(move |name| (transport, name.as_str().expect("a name")))
    })
}

fn report(transport: &str, scenario: &str, child: Child) {
    let error = ended(child).unwrap_or_else(|error| json!(error.to_string()));
    println!("{}", json!({ "transport": transport, "scenario": scenario, "error": error }));
}

/// What a scenario's process says.
fn ended(mut child: Child) -> Outcome<Value> {
    let mut output = child.stdout.take().ok_or("no output")?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut said = String::new();
        let read = output.read_to_string(&mut said).map(|_| said);
        // Whoever waited may have given up.
        let _ = sender.send(read);
    });
    let said = receiver.recv_timeout(SCENARIO_DEADLINE);
    if said.is_err() {
        child.kill()?;
    }
    child.wait()?;
    Ok(serde_json::from_str(&said.map_err(|_| "was not done in time")??)?)
}

fn tried(kind: &str, plan: &Value, transport: &str, scenario: &str) -> Outcome {
    let kind = if kind == "async" { Kind::Async } else { Kind::Blocking };
    let url = |value: &Value| value.as_str().map(str::to_owned).ok_or("a URL is missing");
    let peer = Peer {
        kind,
        url: url(&plan["url"])?,
        heartbeat_url: url(&plan["heartbeatUrl"])?,
        relay_url: url(&plan["relayUrl"])?,
        cut_url: url(&plan["cutUrls"][transport])?,
        transport: transport.to_owned(),
    };
    if scenario == "heartbeat" {
        let silence = plan["silenceMs"].as_u64().ok_or("a time is missing")?;
        return heartbeat(&peer, Duration::from_millis(silence));
    }
    let found = IMPLEMENTED.iter().find(|(name, _)| *name == scenario);
    let (_, scenario) = found.ok_or("there is no such scenario")?;
    scenario(&peer)
}

/// An error with all that caused it.
fn described(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", described(cause)),
        None => error.to_string(),
    }
}

/// A client stays connected for longer than the server lets one be silent. It says nothing itself,
/// not even to ask for its id: that might meet a pong on its way.
fn heartbeat(peer: &Peer, silence: Duration) -> Outcome {
    let client = peer.connected_to(&peer.heartbeat_url)?;
    same(client.gets("close", silence), false)?;
    same(client.has("connect"), false)
}
