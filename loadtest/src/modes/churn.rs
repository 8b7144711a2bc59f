//! Clients that connect, enter a room, leave, and begin again. Each time the room is a new one, so
//! that a server which forgets to forget rooms grows.

use std::collections::VecDeque;

use super::Mode;
use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::Faults;
use crate::page::Stage;
use crate::plan::Share;
use crate::sys;

/// How long a server may take to end a connection that its client has ended; then it is broken.
const LEAVE_MAX_NS: u64 = 1_000_000_000;

pub struct Churn<'a> {
    share: &'a Share,
    measures: Measures,
    faults: Faults,
    /// How many cycles each slot has begun.
    cycles: Vec<u32>,
    /// How many slots are in one.
    under_way: usize,
    is_over: bool,
    /// Those that leave: until when, who, and in which cycle.
    leaving: VecDeque<(u64, usize, u32)>,
}

impl<'a> Churn<'a> {
    pub fn new(share: &'a Share) -> Churn<'a> {
        Churn {
            share,
            measures: Measures::default(),
            faults: Faults::default(),
            cycles: vec![0; share.clients],
            under_way: share.clients,
            is_over: false,
            leaving: VecDeque::new(),
        }
    }

    fn again(&mut self, clients: &mut Clients, client: usize) {
        self.cycles[client] = self.cycles[client].wrapping_add(1);
        match self.is_over {
            true => self.under_way -= 1,
            false => clients.dial(client),
        }
    }

    fn left(&mut self, clients: &mut Clients, client: usize) {
        let now_ns = sys::now_ns();
        self.measures.came(now_ns);
        self.measures.completed(clients.begun_ns(client), now_ns);
        self.again(clients, client);
    }
}

impl Mode for Churn<'_> {
    fn room(&self, client: usize) -> Option<String> {
        Some(format!("churn-{}-{}", self.share.first_client + client, self.cycles[client]))
    }

    fn stage(&mut self, clients: &mut Clients, stage: Stage, _now_ns: u64) {
        if stage == Stage::Warmup {
            clients.dial_at_once();
        }
        self.is_over = stage >= Stage::Drain;
    }

    fn pace(&mut self, clients: &mut Clients) {
        let Some(&(until_ns, client, cycle)) = self.leaving.front() else { return };
        let is_gone = self.cycles[client] != cycle || !clients.is_leaving(client);
        if !is_gone && sys::now_ns() < until_ns {
            return;
        }
        self.leaving.pop_front();
        if !is_gone {
            clients.drop_client(client);
            self.left(clients, client);
        }
    }

    fn live(&mut self, clients: &mut Clients, client: usize, now_ns: u64) -> Result<(), Failure> {
        clients.leave(client);
        self.leaving.push_back((now_ns + LEAVE_MAX_NS, client, self.cycles[client]));
        Ok(())
    }

    fn heard(&mut self, _: &mut Clients, _: usize, _: &Heard, _image: &[u8], _now_ns: u64) {
        self.faults.damaged += 1;
    }

    fn ended(
        &mut self,
        clients: &mut Clients,
        client: usize,
        ending: Ending,
        _why: &str,
    ) -> Result<(), Failure> {
        if ending == Ending::Left {
            self.left(clients, client);
        } else {
            self.faults.disconnected += 1;
            self.again(clients, client);
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.under_way == 0
    }

    fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    fn faults(&mut self, _clients: &Clients) -> Faults {
        // Those whose cycle has not come to its end, though the run waited for it.
        self.faults.lost += self.under_way as u64;
        self.faults
    }
}
