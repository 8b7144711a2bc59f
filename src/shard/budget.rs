//! What clients may send in a time. Only a server that limits it has any of this.

use crate::base::rate::{Allowance, Rate};
use crate::base::slab::Key;
use crate::proto::socket::DisconnectReason;
use crate::proto::websocket::CloseCode;
use crate::session::departure::{Cause, DisconnectLimit};

use super::state::State;

/// What one client may still send.
pub struct Budget {
    packets: Allowance,
    bytes: Allowance,
}

/// What is not limited.
const ANY: Rate = Rate { burst: u32::MAX, per_second: u32::MAX };

impl State {
    /// Charges a client for a packet. One that has sent too much is disconnected: `false`.
    pub(super) fn affords(&mut self, session: Key, bytes: usize) -> bool {
        let limits = &self.shared.settings.options.limits;
        let (packets, of_bytes) = match (limits.packets_per_client, limits.bytes_per_client) {
            (None, None) => return true,
            (packets, bytes) => (packets.unwrap_or(ANY), bytes.unwrap_or(ANY)),
        };
        // Of a session that has ended meanwhile nothing is kept: nobody would ever forget it.
        if self.sessions.get(session).is_none() {
            return true;
        }
        let now = self.now;
        let budget = self.budgets.entry(session).or_insert_with(|| Budget {
            packets: Allowance::full(packets.burst, now),
            bytes: Allowance::full(of_bytes.burst, now),
        });
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let limit = match budget.packets.take(packets, now) {
            false => DisconnectLimit::PacketsPerClient,
            true if !budget.bytes.take_some(bytes, of_bytes, now) => {
                DisconnectLimit::BytesPerClient
            }
            true => return true,
        };
        self.stats.clients_limited += 1;
        let websocket = self.sessions.get(session).and_then(|entry| entry.session.websocket());
        self.because(Cause::limit(limit), |state| match websocket {
            Some(key) => state.websocket_fault(key, session, CloseCode::POLICY_VIOLATION),
            None => state.end_session(session, DisconnectReason::TransportError),
        });
        false
    }
}
