//! What clients do when they live: one file a mode.

pub mod broadcast;
pub mod churn;
pub mod echo;
pub mod idle;
mod schedule;
pub mod storm;

use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::Faults;
use crate::page::Stage;

/// One way to use a server. Events of clients come in; what clients shall do goes out by
/// `Clients`. `now_ns` is when the event was read.
pub trait Mode {
    /// Which room a client is in before it is live.
    fn room(&self, _client: usize) -> Option<String> {
        None
    }

    /// How many bytes at the front are, byte for byte, the message that this client is due next.
    /// They are then taken; nothing else is done with them.
    fn recognise(&mut self, _client: usize, _bytes: &[u8], _now_ns: u64) -> usize {
        0
    }

    /// The run is at another stage.
    fn stage(&mut self, clients: &mut Clients, stage: Stage, now_ns: u64);

    /// Something happened, or nothing for a moment: the mode may go on.
    fn pace(&mut self, _clients: &mut Clients) {}

    /// A client is connected.
    fn live(
        &mut self,
        _clients: &mut Clients,
        _client: usize,
        _now_ns: u64,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// A live client got a message; `image` is how it came, when others can be compared with it.
    fn heard(
        &mut self,
        clients: &mut Clients,
        client: usize,
        heard: &Heard,
        image: &[u8],
        now_ns: u64,
    );

    /// A client is no longer connected.
    fn ended(
        &mut self,
        clients: &mut Clients,
        client: usize,
        ending: Ending,
        why: &str,
    ) -> Result<(), Failure>;

    /// Whether nothing is under way.
    fn is_settled(&self) -> bool {
        true
    }

    /// When the mode has something to do even if nothing happens.
    fn next_ns(&self) -> u64 {
        u64::MAX
    }

    fn measures(&mut self) -> &mut Measures;

    /// What went wrong, with what has not come by now.
    fn faults(&mut self, clients: &Clients) -> Faults;
}

/// What most modes make of an end: nobody may be turned away, and whoever is lost is counted.
fn unexpected_end(
    client: usize,
    ending: Ending,
    why: &str,
    faults: &mut Faults,
) -> Result<(), Failure> {
    match ending {
        Ending::Refused => Err(Failure::Target(format!("client {client} was refused: {why}"))),
        Ending::Lost | Ending::Left => {
            faults.disconnected += 1;
            Ok(())
        }
    }
}
