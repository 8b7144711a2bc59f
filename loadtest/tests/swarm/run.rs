//! Runs the binary, and gives what it said.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::Value;

/// What a run came to.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs with these arguments and nothing else.
    pub fn bare(arguments: &str) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_swarm"))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        Run::from(output)
    }

    /// A short run against a server, with its line of JSON on stdout.
    pub fn against(target: SocketAddr, arguments: &str) -> Run {
        Run::bare(&format!(
            "--target {target} --json - --sleep --seconds 0.1 --warmup 0.02 --settle 0.02 \
             {arguments}"
        ))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no report: {}", self.stderr))
    }

    /// Everything went well; and this is the report.
    #[track_caller]
    pub fn is_clean(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        let report = self.json();
        assert_eq!(faults(&report), Faults::default(), "{}", self.stderr);
        report
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The counts of a report that should be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub repeated: u64,
    pub reordered: u64,
    pub damaged: u64,
    pub disconnected: u64,
}

pub fn faults(report: &Value) -> Faults {
    let count = |name: &str| report[name].as_u64().unwrap();
    Faults {
        lost: count("lost"),
        repeated: count("repeated"),
        reordered: count("reordered"),
        damaged: count("damaged"),
        disconnected: count("disconnected"),
    }
}
