//! Several processes that are one swarm: when the descriptors or the processor of one do not
//! suffice. They are forks of this one, which conducts them and adds up what they found.

use std::io::{PipeReader, Read, Write, pipe};

use crate::conductor::Conductor;
use crate::failure::{Doing, Failure};
use crate::page::Page;
use crate::plan::Plan;
use crate::poller::Poller;
use crate::sys::{self, Fork};
use crate::worker::{self, Outcome};

const READ_LENGTH: usize = 64 * 1024;

/// One of the processes, as the first one sees it.
struct Child {
    process: sys::ChildProcess,
    results: PipeReader,
    /// What it has told of its outcome, and the outcome when it has told all.
    told: Vec<u8>,
    outcome: Option<Outcome>,
}

/// Does the whole plan, in as many processes as it says.
pub fn run(plan: &Plan, page: &Page, conductor: &mut Conductor) -> Result<Outcome, Failure> {
    if plan.processes == 1 {
        pin(plan, 0)?;
        let share = plan.share(0);
        return worker::work(plan, &share, page, &mut |now_ns| conductor.turn(now_ns));
    }
    let mut poller = Poller::new(true).doing("making an epoll set")?;
    let mut children = Vec::new();
    for worker in 0..plan.processes {
        let child = start(plan, page, worker)?;
        poller.watch(&child.results, worker as u64).doing("watching a process")?;
        children.push(child);
    }
    let mut now_ns = sys::now_ns();
    while children.iter().any(|child| child.outcome.is_none()) {
        conductor.turn(now_ns)?;
        now_ns = poller.look(now_ns, u64::MAX).doing("waiting for processes")?;
        for index in 0..poller.found() {
            let worker = poller.ready(index).token as usize;
            children[worker].listen(worker, &poller)?;
        }
    }
    let mut sum = Outcome::default();
    for outcome in children.iter().filter_map(|child| child.outcome.as_ref()) {
        sum.add(outcome);
    }
    Ok(sum)
}

fn pin(plan: &Plan, worker: usize) -> Result<(), Failure> {
    plan.cpu.map_or(Ok(()), |processor| sys::pin(processor + worker)).doing("--cpu")
}

fn start(plan: &Plan, page: &Page, worker: usize) -> Result<Child, Failure> {
    let (results, mut teller) = pipe().doing("making a pipe")?;
    match sys::fork().doing("starting a process")? {
        Fork::Parent(process) => Ok(Child { process, results, told: Vec::new(), outcome: None }),
        Fork::Child => {
            let share = plan.share(worker);
            let outcome = pin(plan, worker)
                .and_then(|()| worker::work(plan, &share, page, &mut |_| Ok(())))
                .map_err(|failure| failure.to_string());
            // When the first process is gone, nobody is left to be told.
            let _ = serde_json::to_vec(&outcome).map(|told| teller.write_all(&told));
            std::process::exit(0)
        }
    }
}

impl Child {
    /// Takes what the process tells. A process that fails ends the run.
    fn listen(&mut self, worker: usize, poller: &Poller) -> Result<(), Failure> {
        let mut buffer = [0; READ_LENGTH];
        let count = self.results.read(&mut buffer).doing("reading results")?;
        self.told.extend_from_slice(&buffer[..count]);
        if count > 0 {
            return Ok(());
        }
        poller.forget(&self.results).doing("watching a process")?;
        self.process.wait();
        let outcome: Result<Outcome, String> = serde_json::from_slice(&self.told)
            .unwrap_or_else(|_| Err("it ended without a word".to_owned()));
        self.outcome = Some(outcome.map_err(|what| Failure::Worker(worker, what))?);
        Ok(())
    }
}
