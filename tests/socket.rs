//! Whole servers, driven through the public API on one side and by clients on real sockets on the
//! other. What they prove is in the names: `b24_3` is a line of the inventory of upstream tests,
//! `m38` a row of the matrix of faults and abuse, `p14_5` a section of the protocol.

#[path = "support/client.rs"]
mod client;
#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/msgpack.rs"]
mod msgpack;

#[path = "socket/acks.rs"]
mod acks;
#[path = "socket/adapter.rs"]
mod adapter;
#[path = "socket/api.rs"]
mod api;
#[path = "socket/batches.rs"]
mod batches;
#[path = "socket/binary.rs"]
mod binary;
#[path = "socket/broadcast.rs"]
mod broadcast;
#[path = "socket/connect.rs"]
mod connect;
#[path = "socket/departures.rs"]
mod departures;
#[path = "socket/disconnect.rs"]
mod disconnect;
#[path = "socket/drained.rs"]
mod drained;
#[path = "socket/dynamic.rs"]
mod dynamic;
#[path = "socket/events.rs"]
mod events;
#[path = "socket/fetch.rs"]
mod fetch;
#[path = "socket/listeners.rs"]
mod listeners;
#[path = "socket/messagepack.rs"]
mod messagepack;
#[path = "socket/middleware.rs"]
mod middleware;
#[path = "socket/names.rs"]
mod names;
#[path = "socket/old_clients.rs"]
mod old_clients;
#[path = "socket/panics.rs"]
mod panics;
#[path = "socket/parser.rs"]
mod parser;
#[path = "socket/predicates.rs"]
mod predicates;
#[path = "socket/recovery.rs"]
mod recovery;
#[path = "socket/restart.rs"]
mod restart;
#[path = "socket/rooms.rs"]
mod rooms;
#[path = "socket/sessions.rs"]
mod sessions;
#[path = "socket/threads.rs"]
mod threads;
#[path = "socket/transports.rs"]
mod transports;
#[path = "socket/violations.rs"]
mod violations;
#[path = "socket/vulnerabilities.rs"]
mod vulnerabilities;
