//! Moves a run from stage to stage, reads the server's process at the right moments, and says how
//! it goes. There is one for all processes of a swarm.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::failure::{Doing, Failure};
use crate::page::{Page, Stage, Worker};
use crate::plan::{ModeName, Plan, Transport};
use crate::process::{Cpu, Memory, Process};
use crate::slab::{Cost, Ends, Slab};
use crate::sys;

const SECOND_NS: u64 = 1_000_000_000;
/// For so long nobody may connect before a run is given up.
const CONNECT_STALL_NS: u64 = 15 * SECOND_NS;
/// How long connecting may take: this, and so much a client.
const CONNECT_MAX_NS: u64 = 30 * SECOND_NS;
const CONNECT_MAX_CLIENT_NS: u64 = 10_000_000;
/// How long clients may take to come back behind the end of what is measured.
const OVERTIME_MAX_NS: u64 = 60 * SECOND_NS;
const LOOK_INTERVAL_NS: u64 = 10_000_000;

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// What was read, and when. What a run did not get to is absent.
#[derive(Default)]
pub struct Readings {
    pub connect_began_ns: u64,
    pub connected_ns: Option<u64>,
    pub connect_cpu: [Option<Cpu>; 2],
    pub baseline: Option<Memory>,
    /// When clients are connected, and the server had a moment.
    pub settled: Option<Memory>,
    pub begin_ns: Option<u64>,
    pub end_ns: Option<u64>,
    pub cpu: [Option<Cpu>; 2],
    pub memory: [Option<Memory>; 2],
    /// What a connection costs in the kernel.
    pub kernel: Option<Cost>,
    pub was_interrupted: bool,
}

pub struct Conductor<'a> {
    plan: &'a Plan,
    page: &'a Page,
    server: Option<Process>,
    interrupts: File,
    pub readings: Readings,
    /// What the kernel held before anybody connected, and what the swarm's own ends cost.
    slab: Option<(Slab, Ends)>,
    stage_began_ns: u64,
    /// How many were connected, and since when it is that many.
    live: u64,
    live_since_ns: u64,
    next_look_ns: u64,
    next_word_ns: u64,
    said_deliveries: u64,
}

impl<'a> Conductor<'a> {
    /// `descriptors` is how many this process may have.
    pub fn new(plan: &'a Plan, page: &'a Page, descriptors: u64) -> Result<Conductor<'a>, Failure> {
        let server = plan.server_pid.map(Process::new).transpose()?;
        let now_ns = sys::now_ns();
        let mut conductor = Conductor {
            plan,
            page,
            server,
            interrupts: sys::interrupts().doing("watching signals")?,
            readings: Readings::default(),
            slab: None,
            stage_began_ns: now_ns,
            live: 0,
            live_since_ns: now_ns,
            next_look_ns: 0,
            next_word_ns: now_ns + SECOND_NS,
            said_deliveries: 0,
        };
        if plan.mode == ModeName::Idle && plan.transport == Transport::WebSocket {
            let ends = Ends::measure(descriptors).doing("connecting with itself")?;
            conductor.slab = Slab::read().zip(ends);
        }
        conductor.readings.baseline = conductor.memory();
        conductor.readings.connect_cpu[0] = conductor.cpu();
        conductor.readings.connect_began_ns = sys::now_ns();
        Ok(conductor)
    }

    fn memory(&self) -> Option<Memory> {
        self.server.as_ref().and_then(Process::memory)
    }

    fn cpu(&self) -> Option<Cpu> {
        self.server.as_ref().and_then(Process::cpu)
    }

    fn kernel(&self) -> Option<Cost> {
        let (before, ends) = self.slab.as_ref()?;
        let cost = Slab::read()?.cost(before, self.plan.clients as u64, ends);
        if cost.is_none() {
            eprintln!("kernel memory: others made or freed sockets meanwhile, so nothing is known");
        }
        cost
    }

    fn workers(&self) -> impl Iterator<Item = Worker<'a>> + use<'a> {
        let page = self.page;
        (0..self.plan.processes).map(move |worker| page.worker(worker))
    }

    fn sum(&self, of: impl Fn(Worker) -> u64) -> u64 {
        self.workers().map(of).sum()
    }

    fn is_settled(&self) -> bool {
        let stage = self.page.stage();
        self.workers().all(|worker| worker.is_settled(stage))
    }

    /// Called often. Moves the run on when it is time.
    pub fn turn(&mut self, now_ns: u64) -> Result<(), Failure> {
        if now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns + LOOK_INTERVAL_NS;
            self.look(now_ns);
        }
        let since_ns = now_ns.saturating_sub(self.stage_began_ns);
        match self.page.stage() {
            Stage::Connect => self.connect(now_ns, since_ns)?,
            Stage::Settle if since_ns >= self.settle_ns() => {
                if self.plan.mode == ModeName::Idle {
                    self.readings.settled = self.memory();
                    self.readings.kernel = self.kernel();
                }
                self.go(Stage::Warmup, now_ns);
            }
            Stage::Warmup if since_ns >= self.warmup_ns() => self.begin(),
            Stage::Measure if since_ns >= nanoseconds(self.plan.seconds) => {
                if self.plan.mode != ModeName::Storm || self.is_settled() {
                    self.end();
                } else if since_ns >= nanoseconds(self.plan.seconds) + OVERTIME_MAX_NS {
                    let live = self.sum(|worker| worker.live.load(Relaxed));
                    return Err(Failure::Time(format!("{live} clients came back, no more")));
                }
            }
            Stage::Drain if self.is_settled() || since_ns >= nanoseconds(self.plan.drain) => {
                self.go(Stage::Done, now_ns);
            }
            _ => {}
        }
        Ok(())
    }

    fn go(&mut self, stage: Stage, now_ns: u64) {
        self.stage_began_ns = now_ns;
        self.page.set_stage(stage);
    }

    fn settle_ns(&self) -> u64 {
        if self.plan.mode == ModeName::Idle { nanoseconds(self.plan.settle) } else { 0 }
    }

    fn warmup_ns(&self) -> u64 {
        match self.plan.mode {
            ModeName::Idle | ModeName::Storm => 0,
            _ => nanoseconds(self.plan.warmup),
        }
    }

    fn connect(&mut self, now_ns: u64, since_ns: u64) -> Result<(), Failure> {
        if self.plan.mode == ModeName::Churn {
            self.go(Stage::Warmup, now_ns);
            return Ok(());
        }
        let live = self.sum(|worker| worker.live.load(Relaxed));
        if live != self.live {
            (self.live, self.live_since_ns) = (live, now_ns);
        }
        let clients = self.plan.clients as u64;
        let limit_ns = CONNECT_MAX_NS + clients * CONNECT_MAX_CLIENT_NS;
        if live >= clients {
            self.readings.connected_ns = Some(now_ns);
            self.readings.connect_cpu[1] = self.cpu();
            self.go(Stage::Settle, sys::now_ns());
        } else if now_ns.saturating_sub(self.live_since_ns) >= CONNECT_STALL_NS {
            return Err(Failure::Time(format!(
                "{live} of {clients} clients connected, and no more for {} s",
                CONNECT_STALL_NS / SECOND_NS
            )));
        } else if since_ns >= limit_ns {
            let seconds = limit_ns / SECOND_NS;
            return Err(Failure::Time(format!("{live} of {clients} connected in {seconds} s")));
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.readings.memory[0] = self.memory();
        self.readings.cpu[0] = self.cpu();
        let begin_ns = sys::now_ns();
        self.readings.begin_ns = Some(begin_ns);
        self.page.set_begin(begin_ns);
        self.go(Stage::Measure, begin_ns);
    }

    fn end(&mut self) {
        let end_ns = sys::now_ns();
        self.readings.end_ns = Some(end_ns);
        self.page.set_end(end_ns);
        self.readings.cpu[1] = self.cpu();
        self.readings.memory[1] = self.memory();
        self.go(Stage::Drain, sys::now_ns());
    }

    /// Looks for what somebody wants, and says how it goes.
    fn look(&mut self, now_ns: u64) {
        let mut signal = [0; 128];
        if matches!(self.interrupts.read(&mut signal), Ok(1..)) {
            self.interrupt(now_ns);
        }
        if now_ns >= self.next_word_ns {
            self.next_word_ns += SECOND_NS;
            self.say();
        }
    }

    /// The run ends early, with what there is. The next signal ends the process.
    fn interrupt(&mut self, now_ns: u64) {
        self.readings.was_interrupted = true;
        sys::allow_interrupts();
        match self.page.stage() {
            Stage::Measure => self.end(),
            Stage::Drain | Stage::Done => {}
            _ => self.go(Stage::Done, now_ns),
        }
    }

    fn say(&mut self) {
        let deliveries = self.sum(|worker| worker.deliveries.load(Relaxed));
        let per_second = deliveries - self.said_deliveries;
        self.said_deliveries = deliveries;
        let live = self.sum(|worker| worker.live.load(Relaxed));
        let stage = self.page.stage();
        let clients = self.plan.clients;
        if stage == Stage::Connect {
            eprintln!("connect: {live} of {clients} clients");
            return;
        }
        let worst_ms = |of: fn(Worker<'a>) -> &'a AtomicU64| {
            let values = self.workers().map(|worker| of(worker).load(Relaxed));
            values.max().unwrap_or_default() as f64 / 1e6
        };
        let p50 = worst_ms(|worker| worker.latency_p50_ns);
        let p99 = worst_ms(|worker| worker.latency_p99_ns);
        let stage = format!("{stage:?}").to_lowercase();
        eprintln!("{stage}: {live} clients, {per_second}/s, p50 {p50:.2} ms, p99 {p99:.2} ms");
    }
}
