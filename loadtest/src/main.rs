//! A swarm of Socket.IO or WebSocket clients in one process, which measures a server and checks
//! every byte that it sends. README.md says what for.
//!
//! ```text
//! arguments ─▶ plan ─▶ worker (turns: poller ─▶ clients ─▶ mode) ─▶ report
//!                        │ page
//!                      conductor (stages; process, slab: readings of the server)
//! ```

mod arguments;
mod clients;
mod codec;
mod conductor;
mod failure;
mod family;
mod latency;
mod ledger;
mod modes;
mod page;
mod payload;
mod plan;
mod poller;
mod process;
mod report;
mod slab;
mod sys;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;

use conductor::Conductor;
use failure::{Doing, Failure};
use page::Page;
use plan::Plan;
use report::Report;

/// Something was lost, repeated, reordered, damaged, or disconnected.
const FAULTY: u8 = 1;
/// The run was ended before its time.
const INTERRUPTED: u8 = 3;

fn main() -> ExitCode {
    let plan = match arguments::read(lexopt::Parser::from_env()) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(failure) => {
            eprintln!("swarm: {failure}\n\n{}", arguments::USAGE);
            return ExitCode::from(failure.exit_code());
        }
    };
    match run(&plan) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("swarm: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(plan: &Plan) -> Result<u8, Failure> {
    let limit = sys::raise_descriptor_limit(plan.descriptors()).doing("reading limits")?;
    if limit < plan.descriptors() {
        return Err(Failure::Usage(format!(
            "{} descriptors are needed and {limit} permitted: divide the clients with --processes, \
             or raise `ulimit -n`",
            plan.descriptors()
        )));
    }
    let page = Page::new().doing("sharing memory")?;
    let mut conductor = Conductor::new(plan, &page, limit)?;
    let outcome = family::run(plan, &page, &mut conductor)?;
    let readings = conductor.readings;
    let report = Report::new(plan, &readings, &outcome);
    if let Some(path) = &plan.json {
        report.append(path).doing("writing --json")?;
    }
    let table = report.table();
    // Whoever has closed the other end does not want to read it.
    let _ = match plan.json.as_deref() {
        Some("-") => io::stderr().write_all(table.as_bytes()),
        _ => io::stdout().write_all(table.as_bytes()),
    };
    Ok(match (report.has_faults(), readings.was_interrupted) {
        (true, _) => FAULTY,
        (false, true) => INTERRUPTED,
        (false, false) => 0,
    })
}
