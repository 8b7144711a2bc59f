//! How a handle reaches the shards: its own at once, the others by their mailboxes, in order.

use std::rc::Rc;
use std::sync::MutexGuard;

use crate::base::frame::Wire;
use crate::base::offset::Offset;
use crate::command::{Command, SocketAddress, SocketCommand};
use crate::fanout::{Encoder, Encoding, Packets};
use crate::shard::Manner;
use crate::shard::context::Context as Shard;
use crate::shard::shared::{Post, Shared};

use super::emit::Emitted;
use super::socket::Socket;

/// The shard that this thread works for, if it is one of this server.
pub(crate) fn here(shared: &Shared) -> Option<Rc<Shard>> {
    Shard::current().filter(|context| context.shared.key == shared.key)
}

/// Asks something of one socket, on its shard or from elsewhere.
pub(crate) fn ask_socket(
    shared: &Shared,
    address: SocketAddress,
    command: SocketCommand,
) -> Emitted {
    ask_shard(shared, shared.moved.shard_of(address), Command::Socket(address, command))
}

/// Asks something of one shard, in order with what this thread's shard has asked of it before.
pub(crate) fn ask_shard(shared: &Shared, shard: u16, command: Command) -> Emitted {
    match (here(shared), shared.posts().get(usize::from(shard))) {
        (Some(context), _) => {
            context.post(shard, command);
            Emitted::Queued
        }
        (None, Some(post)) => {
            let posted = match command {
                Command::Socket(_, SocketCommand::Visit(_)) => post.mailbox.ask(command),
                command => post.mailbox.post(command),
            };
            match posted {
                Ok(()) => Emitted::Queued,
                Err(_) => not_posted(post),
            }
        }
        (None, None) => Emitted::Closed,
    }
}

/// What names an event, if those who miss it may be sent it again.
#[derive(Default)]
pub(crate) struct Numbered<'a> {
    pub(crate) offset: Option<Offset>,
    /// Held until all shards have it: they have what other threads emit in one order.
    _order: Option<MutexGuard<'a, u64>>,
}

impl Numbered<'_> {
    /// Names an event to many, or to one, and has its arguments end with the name.
    pub(crate) fn new<'a>(shared: &'a Shared, to_one: bool, args: &mut Vec<u8>) -> Numbered<'a> {
        if !shared.has_recovery() {
            return Numbered::default();
        }
        let (offset, order) = match here(shared) {
            Some(context) => (context.with(|state| state.next_offset(to_one)), None),
            None if to_one => (Some(shared.number_outside_to_one()), None),
            None => {
                let (offset, order) = shared.number_outside();
                (Some(offset), Some(order))
            }
        };
        if let Some(offset) = offset {
            offset.append_to(args);
        }
        Numbered { offset, _order: order }
    }
}

/// Sends a packet to one socket: at once if this thread works for its shard. `encode` is given the
/// id that the acknowledgement will have.
pub(crate) fn deliver(
    socket: &Socket,
    manner: Manner,
    encode: impl for<'a> FnOnce(Packets<'a, '_>, Option<u64>) -> Encoding<'a>,
) -> Emitted {
    let address = socket.address;
    if let Some(context) = socket.own_shard() {
        let queued = context.with(|state| state.emit_own(address, manner, encode));
        return queued.map_or_else(Emitted::from, Emitted::from);
    }
    let Some(shared) = socket.shared() else { return Emitted::Closed };
    let Some(definition) = shared.namespace(address.namespace) else { return Emitted::Closed };
    let Manner { is_volatile, ack, offset, key } = manner;
    let ack = ack.map(|(timeout, waiter)| definition.expected(timeout, waiter));
    let id = ack.as_ref().map(|expected| expected.id);
    let mut encoder = Encoder::default();
    match encode(encoder.packets(&shared.settings.form, &definition.name), id) {
        Ok(packet) => {
            let wire = Wire::from(packet).coalesced(key);
            let is_told =
                here(&shared).is_none_or(|context| context.with(|state| !state.is_telling));
            let emit = SocketCommand::Emit { wire, volatile: is_volatile, is_told, ack, offset };
            ask_socket(&shared, address, emit)
        }
        Err(inexpressible) => inexpressible.into(),
    }
}

/// Why the mailbox of a shard did not take a command.
fn not_posted(post: &Post) -> Emitted {
    match post.mailbox.is_closed() {
        true => Emitted::Closed,
        false => Emitted::Overloaded,
    }
}

/// Asks something of every shard: of this thread's own at once, of the others in order.
pub(crate) fn ask_all(
    shared: &Shared,
    mut ask: impl FnMut() -> Command,
    own: impl FnOnce(&Rc<Shard>),
) -> Emitted {
    let here = here(shared);
    let mut emitted = Emitted::Queued;
    if !shared.posts().is_empty() && shared.posts().iter().all(|post| post.mailbox.is_closed()) {
        emitted = Emitted::Closed;
    }
    for (index, post) in shared.posts().iter().enumerate() {
        match &here {
            Some(context) if usize::from(context.index) == index => {}
            Some(context) => context.with(|state| state.post(index, ask())),
            None => {
                if let Err(command) = post.mailbox.post(ask()) {
                    if !post.mailbox.is_closed() {
                        emitted = Emitted::Overloaded;
                    }
                    command.is_lost();
                }
            }
        }
    }
    if let Some(context) = &here {
        own(context);
    }
    emitted
}
