//! One process of a swarm: the turns of its clients, through all stages of a run.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::clients::Clients;
use crate::failure::{Doing, Failure};
use crate::latency::Measures;
use crate::ledger::Faults;
use crate::modes::Mode;
use crate::modes::broadcast::Broadcast;
use crate::modes::churn::Churn;
use crate::modes::echo::Echo;
use crate::modes::idle::Idle;
use crate::modes::storm::Storm;
use crate::page::{Page, Stage};
use crate::plan::{ModeName, Plan, Share, Transport};
use crate::sys;

/// One read takes so much at most. A message has to fit, and by polling all that waited.
const BUFFER_LENGTH: usize = 256 * 1024;
const BUFFER_LENGTH_POLLING: usize = 16 * 1024 * 1024;
/// For so long nothing may come before a run is over: a message that is repeated comes late.
const QUIET_NS: u64 = 50_000_000;
const TELL_INTERVAL_NS: u64 = 250_000_000;

/// What one process found.
#[derive(Default, Serialize, Deserialize)]
pub struct Outcome {
    pub measures: Measures,
    pub faults: Faults,
    /// Processor time in the window, without that of asking in vain.
    pub busy_ns: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.measures.add(&other.measures);
        self.faults.add(&other.faults);
        self.busy_ns += other.busy_ns;
    }
}

/// Does one process' share. `conduct` is called every turn with the time.
pub fn work(
    plan: &Plan,
    share: &Share,
    page: &Page,
    conduct: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    match plan.mode {
        ModeName::Idle => Worker::new(plan, share, page, Idle::default())?.run(conduct),
        ModeName::Fanout | ModeName::Rooms => {
            Worker::new(plan, share, page, Broadcast::new(plan, share, page))?.run(conduct)
        }
        ModeName::Echo | ModeName::Polling => {
            Worker::new(plan, share, page, Echo::new(plan, share))?.run(conduct)
        }
        ModeName::Churn => Worker::new(plan, share, page, Churn::new(share))?.run(conduct),
        ModeName::Storm => {
            Worker::new(plan, share, page, Storm::new(plan, share, page))?.run(conduct)
        }
    }
}

/// Time that a process spent.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall_ns: u64,
    cpu_ns: u64,
    /// Of the wall's time, what went by asking in vain.
    idle_ns: u64,
}

impl Spent {
    /// The processor time of a part, less what went by asking in vain. Others may have had the
    /// processor in the meantime: they took it from asking and working alike.
    fn busy_ns_since(&self, before: &Spent) -> u64 {
        let wall_ns = self.wall_ns.saturating_sub(before.wall_ns).max(1);
        let idle_ns = self.idle_ns.saturating_sub(before.idle_ns).min(wall_ns);
        let cpu_ns = self.cpu_ns.saturating_sub(before.cpu_ns);
        (cpu_ns as f64 * (wall_ns - idle_ns) as f64 / wall_ns as f64) as u64
    }
}

struct Worker<'a, M> {
    share: &'a Share,
    page: &'a Page,
    clients: Clients<'a>,
    mode: M,
    buffer: Vec<u8>,
    stage: Stage,
    /// Time spent until the window began.
    spent: Spent,
    busy_ns: u64,
    last_event_ns: u64,
    next_tell_ns: u64,
}

impl<'a, M: Mode> Worker<'a, M> {
    fn new(plan: &'a Plan, share: &'a Share, page: &'a Page, mode: M) -> Result<Self, Failure> {
        let buffer_length = match plan.transport {
            Transport::WebSocket => BUFFER_LENGTH,
            Transport::Polling => BUFFER_LENGTH_POLLING,
        };
        Ok(Worker {
            share,
            page,
            clients: Clients::new(plan, share).doing("making an epoll set")?,
            mode,
            // The largest message has room, with everything that is around a payload.
            buffer: vec![0; buffer_length.max(plan.payload * 2)],
            stage: Stage::Connect,
            spent: Spent::default(),
            busy_ns: 0,
            last_event_ns: 0,
            next_tell_ns: 0,
        })
    }

    fn run(
        mut self,
        conduct: &mut dyn FnMut(u64) -> Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        for client in 0..self.share.clients {
            self.clients.dial(client);
        }
        let mut now_ns = sys::now_ns();
        loop {
            conduct(now_ns)?;
            self.follow(now_ns);
            if self.stage == Stage::Done {
                break;
            }
            now_ns = self.turn(now_ns)?;
            self.tell(now_ns);
        }
        let faults = self.mode.faults(&self.clients);
        // Connections that end in order would keep their ports for a minute, and the next run
        // would have to search for free ones.
        for client in 0..self.share.clients {
            self.clients.drop_client(client);
        }
        let measures = std::mem::take(self.mode.measures());
        Ok(Outcome { measures, faults, busy_ns: self.busy_ns })
    }

    /// Lets everybody go on, and gives the time at which it was done.
    fn turn(&mut self, began_ns: u64) -> Result<u64, Failure> {
        self.mode.pace(&mut self.clients);
        self.clients.dial_due(began_ns)?;
        self.clients.flush()?;
        let until_ns = self.mode.next_ns().min(self.clients.next_dial_ns());
        let now_ns = self.clients.poller.look(began_ns, until_ns).doing("waiting for sockets")?;
        let found = self.clients.poller.found();
        if found == 0 {
            return Ok(now_ns);
        }
        for index in 0..found {
            let ready = self.clients.poller.ready(index);
            self.clients.ready(ready, &mut self.buffer, &mut self.mode)?;
            self.mode.pace(&mut self.clients);
            self.clients.flush()?;
        }
        self.last_event_ns = sys::now_ns();
        Ok(self.last_event_ns)
    }

    /// Takes note of the stage that the run is at.
    fn follow(&mut self, now_ns: u64) {
        let stage = self.page.stage();
        if stage == self.stage {
            return;
        }
        let spent =
            Spent { wall_ns: now_ns, cpu_ns: sys::cpu_ns(), idle_ns: self.clients.poller.idle_ns };
        if self.stage < Stage::Measure && stage >= Stage::Measure {
            self.mode.measures().begin(self.page.begin_ns());
            self.spent = spent;
        }
        if self.stage < Stage::Drain && stage >= Stage::Drain {
            self.mode.measures().end(self.page.end_ns());
            self.busy_ns = spent.busy_ns_since(&self.spent);
        }
        self.stage = stage;
        self.last_event_ns = now_ns;
        self.mode.stage(&mut self.clients, stage, now_ns);
    }

    /// Says how far this process is.
    fn tell(&mut self, now_ns: u64) {
        let told = self.page.worker(self.share.worker);
        told.live.store(self.clients.live() as u64, Relaxed);
        let is_quiet = self.stage != Stage::Drain || now_ns > self.last_event_ns + QUIET_NS;
        told.set_settled(self.stage, is_quiet && self.mode.is_settled());
        if now_ns < self.next_tell_ns {
            return;
        }
        self.next_tell_ns = now_ns + TELL_INTERVAL_NS;
        let measures = self.mode.measures();
        told.deliveries.store(measures.total, Relaxed);
        let quantile_ns = |part| measures.latency.quantile_ns(part).unwrap_or_default();
        told.latency_p50_ns.store(quantile_ns(0.5), Relaxed);
        told.latency_p99_ns.store(quantile_ns(0.99), Relaxed);
    }
}
