//! Each client asks for its own messages back. Each is a stream of its own.

use super::schedule::Schedule;
use super::{Mode, unexpected_end};
use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::{Arrival, Faults, Ledger};
use crate::page::Stage;
use crate::payload::{self, Header};
use crate::plan::{Plan, Share};
use crate::sys;

pub struct Echo<'a> {
    plan: &'a Plan,
    share: &'a Share,
    ledger: Ledger,
    measures: Measures,
    /// How many each client has asked for.
    asked: Vec<u32>,
    /// How many replies have not come.
    under_way: u64,
    is_asking: bool,
    /// With an open loop: what is due when, and who is next.
    schedule: Option<Schedule>,
    cursor: usize,
    payload: Vec<u8>,
}

impl<'a> Echo<'a> {
    pub fn new(plan: &'a Plan, share: &'a Share) -> Echo<'a> {
        Echo {
            plan,
            share,
            ledger: Ledger::new(share.clients),
            measures: Measures::default(),
            asked: vec![0; share.clients],
            under_way: 0,
            is_asking: false,
            schedule: None,
            cursor: 0,
            payload: Vec::new(),
        }
    }

    fn stream(&self, client: usize) -> u32 {
        (self.share.first_client + client) as u32
    }

    fn ask(&mut self, clients: &mut Clients, client: usize, due_ns: u64) {
        let sequence = self.asked[client];
        self.asked[client] += 1;
        self.under_way += 1;
        let header = Header { stream: self.stream(client), sequence, due_ns };
        self.payload.clear();
        payload::write(header, self.plan.payload, &mut self.payload);
        clients.say(client, |protocol, out| protocol.echo(sequence, &self.payload, out));
    }

    /// The message that a reply brings back, if it is one that this client has sent.
    fn verified(&self, client: usize, heard: &Heard) -> Option<Header> {
        let Heard::Reply { id, payload } = heard else { return None };
        let header = payload::verify(payload).filter(|_| payload.len() == self.plan.payload)?;
        let is_own = header.stream == self.stream(client)
            && header.sequence < self.asked[client]
            && id.is_none_or(|id| id == header.sequence);
        is_own.then_some(header)
    }

    /// Nothing more comes to a client.
    fn close(&mut self, client: usize) {
        self.under_way -= self.ledger.missing(client, self.asked[client]);
        self.ledger.close(client, self.asked[client]);
    }
}

impl Mode for Echo<'_> {
    fn stage(&mut self, clients: &mut Clients, stage: Stage, now_ns: u64) {
        self.is_asking = matches!(stage, Stage::Warmup | Stage::Measure);
        if stage != Stage::Warmup {
            return;
        }
        if let Some(rate) = self.share.rate {
            self.schedule = Some(Schedule::new(rate, now_ns));
            return;
        }
        for client in 0..self.share.clients {
            for _ in 0..self.plan.window {
                self.ask(clients, client, sys::now_ns());
            }
        }
    }

    fn pace(&mut self, clients: &mut Clients) {
        while self.is_asking && clients.live() > 0 {
            let Some(schedule) = &mut self.schedule else { return };
            let due_ns = schedule.next_ns();
            if due_ns > sys::now_ns() {
                return;
            }
            if clients.is_live(self.cursor) {
                schedule.take();
                self.ask(clients, self.cursor, due_ns);
            }
            self.cursor = (self.cursor + 1) % self.share.clients;
        }
    }

    fn heard(
        &mut self,
        clients: &mut Clients,
        client: usize,
        heard: &Heard,
        _image: &[u8],
        now_ns: u64,
    ) {
        let Some(header) = self.verified(client, heard) else {
            self.ledger.faults.damaged += 1;
            return;
        };
        if self.ledger.came(client, header.sequence) == Arrival::Again {
            return;
        }
        self.under_way -= 1;
        self.measures.came(now_ns);
        self.measures.completed(header.due_ns, now_ns);
        if self.is_asking && self.schedule.is_none() {
            self.ask(clients, client, now_ns);
        }
    }

    fn ended(
        &mut self,
        _clients: &mut Clients,
        client: usize,
        ending: Ending,
        why: &str,
    ) -> Result<(), Failure> {
        self.close(client);
        unexpected_end(client, ending, why, &mut self.ledger.faults)
    }

    fn is_settled(&self) -> bool {
        self.under_way == 0
    }

    fn next_ns(&self) -> u64 {
        self.schedule.as_ref().filter(|_| self.is_asking).map_or(u64::MAX, Schedule::next_ns)
    }

    fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    fn faults(&mut self, _clients: &Clients) -> Faults {
        for client in 0..self.share.clients {
            self.close(client);
        }
        self.ledger.faults
    }
}
