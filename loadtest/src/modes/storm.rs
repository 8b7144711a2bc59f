//! All clients are cut off at once and come back as fast as they can; then again, until the time
//! is over. What is measured ends when the last one is back.

use super::Mode;
use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::Faults;
use crate::page::{Page, Stage};
use crate::plan::{Plan, Share};
use crate::sys;

pub struct Storm<'a> {
    plan: &'a Plan,
    share: &'a Share,
    page: &'a Page,
    measures: Measures,
    faults: Faults,
    is_on: bool,
    /// How many storms there were; the page counts them for all processes.
    storms: u32,
    began_ns: u64,
    /// How many clients are back from the last one.
    back: usize,
    /// After which storm it was last told that all are.
    told: u32,
}

impl<'a> Storm<'a> {
    pub fn new(plan: &'a Plan, share: &'a Share, page: &'a Page) -> Storm<'a> {
        Storm {
            plan,
            share,
            page,
            measures: Measures::default(),
            faults: Faults::default(),
            is_on: false,
            storms: 0,
            began_ns: 0,
            back: 0,
            told: 0,
        }
    }

    /// Cuts off everybody.
    fn strike(&mut self, clients: &mut Clients) {
        self.storms += 1;
        self.back = 0;
        self.began_ns = sys::now_ns();
        for client in 0..self.share.clients {
            clients.drop_client(client);
        }
        for client in 0..self.share.clients {
            clients.dial(client);
        }
    }
}

impl Mode for Storm<'_> {
    fn stage(&mut self, clients: &mut Clients, stage: Stage, _now_ns: u64) {
        self.is_on = stage == Stage::Measure;
        clients.dial_at_once();
    }

    fn pace(&mut self, clients: &mut Clients) {
        if !self.is_on {
            return;
        }
        let until_ns = self.page.begin_ns() + (self.plan.seconds * 1e9) as u64;
        let may_begin = self.share.worker == 0 && self.page.under_way() == 0;
        if may_begin && sys::now_ns() < until_ns {
            self.page.publish();
        }
        if self.storms < self.page.published() {
            self.strike(clients);
        }
    }

    fn live(&mut self, _clients: &mut Clients, _client: usize, now_ns: u64) -> Result<(), Failure> {
        if self.storms == 0 {
            return Ok(());
        }
        self.measures.came(now_ns);
        self.measures.completed(self.began_ns, now_ns);
        self.back += 1;
        if self.back == self.share.clients && self.told < self.storms {
            self.told = self.storms;
            self.page.arrived(self.storms - 1, self.plan.processes);
        }
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
        why: &str,
    ) -> Result<(), Failure> {
        if self.storms == 0 {
            return super::unexpected_end(client, ending, why, &mut self.faults);
        }
        self.faults.disconnected += 1;
        // A client that came back counts once, even if it has to do so again.
        self.back -= usize::from(ending == Ending::Lost);
        clients.dial(client);
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.storms == self.page.published() && self.page.under_way() == 0
    }

    fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    fn faults(&mut self, _clients: &Clients) -> Faults {
        self.faults
    }
}
