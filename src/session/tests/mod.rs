//! Conversations with one session, as a peer and the shard between them would have them.

mod closing;
mod heartbeat;
mod ledger;
mod polling;
mod properties;
mod script;
mod upgrade;
