//! Clients that connect and then say nothing but what heartbeats ask for.

use super::{Mode, unexpected_end};
use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::Faults;
use crate::page::Stage;

#[derive(Default)]
pub struct Idle {
    measures: Measures,
    faults: Faults,
}

impl Mode for Idle {
    fn stage(&mut self, _clients: &mut Clients, _stage: Stage, _now_ns: u64) {}

    fn heard(&mut self, _: &mut Clients, _: usize, _: &Heard, _image: &[u8], _now_ns: u64) {
        self.faults.damaged += 1;
    }

    fn ended(
        &mut self,
        _clients: &mut Clients,
        client: usize,
        ending: Ending,
        why: &str,
    ) -> Result<(), Failure> {
        unexpected_end(client, ending, why, &mut self.faults)
    }

    fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    fn faults(&mut self, _clients: &Clients) -> Faults {
        self.faults
    }
}
