//! Emits: to whom, with what, and what became of them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::frame::Wire;
use crate::base::id::SocketId;
use crate::base::shed::CoalesceKey;
use crate::command::{Audience, Broadcast, Change, Collector, Command, Members};
use crate::fanout::{Encoder, Inexpressible};
use crate::proto::json::{Arguments, FromArguments};
use crate::proto::socket::is_reserved;
use crate::room::Selection;
use crate::shard::Queued;
use crate::shard::handler::Definition;
use crate::shard::shared::Shared;

use super::ack::Acknowledgements;
use super::ask::{Numbered, ask_all, here};
use super::event::{Asks, Emits};
use super::fetch::{FetchSockets, RemoteSocket};
use super::targets::{IntoTargets, targets};

/// What became of an emit. It can be ignored: nothing waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Emitted {
    /// It waits for the end of the shard's turn, or for the shards to come to it.
    Queued,
    /// It was volatile and the client not writable.
    Dropped,
    /// There is no such client any more, or the server has ended.
    Closed,
    /// The mailbox of a shard is full; clients of that shard do not get it.
    Overloaded,
    /// The caller's event or arguments cannot be sent: see [`EmitError`].
    Refused(EmitError),
}

/// Why an emit was refused. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The name is one that Socket.IO reserves, such as `disconnect`.
    ReservedEvent,
    /// An argument cannot be expressed in JSON, such as a map whose keys are no strings.
    Arguments,
    /// The [`parser`](crate::Builder::parser) of the server cannot express the packet: one of the
    /// application's own refused it, or for MessagePack it is nested too deeply or too large.
    Parser,
    /// The answers of all children of a namespace cannot be gathered: ask each of them.
    ParentNamespace,
}

impl Emitted {
    /// Whether it will be sent.
    pub fn is_queued(self) -> bool {
        self == Emitted::Queued
    }
}

impl From<Inexpressible> for Emitted {
    fn from(_: Inexpressible) -> Emitted {
        Emitted::Refused(EmitError::Parser)
    }
}

impl From<Queued> for Emitted {
    fn from(queued: Queued) -> Emitted {
        match queued {
            Queued::Yes => Emitted::Queued,
            Queued::Dropped => Emitted::Dropped,
            Queued::Gone => Emitted::Closed,
        }
    }
}

thread_local! {
    /// Arguments are written here first: serialization is user code, which must not run while the
    /// state of a shard is borrowed.
    static ARGUMENTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Arguments as bytes; gives its buffer back when it is dropped.
pub(crate) struct Written {
    pub(crate) json: Vec<u8>,
    pub(crate) attachments: Vec<Bytes>,
}

impl Written {
    /// Serializes arguments.
    pub(crate) fn new(args: &impl Arguments) -> Result<Written, EmitError> {
        let mut written = Written { json: ARGUMENTS.take(), attachments: Vec::new() };
        written.json.clear();
        match args.write(&mut written.json, &mut written.attachments) {
            Ok(()) => Ok(written),
            Err(_) => Err(EmitError::Arguments),
        }
    }

    /// Serializes the arguments of an event.
    pub(crate) fn of_event(event: &str, args: &impl Arguments) -> Result<Written, EmitError> {
        match is_reserved(event) {
            true => Err(EmitError::ReservedEvent),
            false => Written::new(args),
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Not one that a single large event has grown.
        if self.json.capacity() <= 64 * 1024 {
            ARGUMENTS.replace(std::mem::take(&mut self.json));
        }
    }
}

/// An emit to many sockets of one namespace: whom it means, and how. Every method gives a new one,
/// so that one can be kept and used again.
///
/// ```
/// # fn main() -> fanfare::Result<()> {
/// let io = fanfare::Server::builder().build()?;
/// let staff = io.to("staff").except("off-duty");
/// staff.emit("alarm", "kitchen");
/// staff.clone().volatile().emit("temperature", 21.5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Emitter {
    shared: Arc<Shared>,
    definition: Arc<Definition>,
    selection: Selection,
    is_volatile: bool,
    compress: bool,
    timeout: Option<Duration>,
    pub(super) coalesce: Option<Arc<str>>,
}

impl Emitter {
    pub(crate) fn new(shared: Arc<Shared>, definition: Arc<Definition>) -> Emitter {
        Emitter {
            shared,
            definition,
            selection: Selection::default(),
            is_volatile: false,
            compress: true,
            timeout: None,
            coalesce: None,
        }
    }

    /// Only sockets that are in any of these rooms. A socket's id is the name of a room of its own.
    /// Each socket gets one copy, in however many of the rooms it is.
    pub fn to(mut self, rooms: impl IntoTargets) -> Emitter {
        rooms.add_to(&mut self.selection.to);
        self
    }

    /// The same as [`to`](Emitter::to); `in` is a keyword of Rust.
    pub fn in_(self, rooms: impl IntoTargets) -> Emitter {
        self.to(rooms)
    }

    /// No sockets that are in any of these rooms.
    pub fn except(mut self, rooms: impl IntoTargets) -> Emitter {
        rooms.add_to(&mut self.selection.except);
        self
    }

    /// Clients that are not writable at this moment do not get it: those to which earlier packets
    /// are still on their way, and polling clients without a waiting request.
    pub fn volatile(mut self) -> Emitter {
        self.is_volatile = true;
        self
    }

    /// Of all events with this key, in this namespace, only the latest one matters: one that still
    /// waits for a client is dropped when the next one is queued for it, which goes to the end of
    /// what waits. A client that takes everything at once gets them all; one that is behind gets
    /// the current price, position or score, and not those that it had missed. At most the latest
    /// 256 packets that wait are searched, and an event that is to be acknowledged is not dropped.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.to("prices").coalesce("EURUSD").emit("price", ("EURUSD", 1.0842));
    /// # Ok(())
    /// # }
    /// ```
    pub fn coalesce(mut self, key: impl Into<Arc<str>>) -> Emitter {
        self.coalesce = Some(key.into());
        self
    }

    /// Whether the packet may be compressed, where the server and a client do that. Default: true.
    /// False saves the time for what does not get shorter, such as pictures.
    pub fn compress(mut self, compress: bool) -> Emitter {
        self.compress = compress;
        self
    }

    /// Only sockets of this process. A server that is not part of a cluster has no others.
    pub fn local(self) -> Emitter {
        self
    }

    /// How long [`emit_with_ack`](Emitter::emit_with_ack) waits. Default:
    /// [`Builder::ack_timeout`](crate::Builder::ack_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Emitter {
        self.timeout = Some(timeout);
        self
    }

    /// Sends an event: one of this name, or an [`Event`](crate::Event) with exactly its arguments.
    /// A tuple is several arguments, `()` is none, everything else is one; see [`Arguments`]. It is
    /// encoded once, whatever the number of recipients, and never blocks.
    ///
    /// On a thread of the server it takes effect at once for the sockets of that shard, and in
    /// order for those of the others.
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) -> Emitted {
        self.for_each_namespace(|emitter| emitter.broadcast(event.name(), &args, None))
    }

    /// Sends an event and gathers what every recipient acknowledges.
    ///
    /// ```no_run
    /// # async fn example(io: fanfare::Server) {
    /// use std::time::Duration;
    ///
    /// let votes = io.to("jury").timeout(Duration::from_secs(5));
    /// match votes.emit_with_ack::<bool, _>("guilty?", ()).await {
    ///     Ok(votes) => println!("{votes:?}"),
    ///     Err(incomplete) => println!("{:?} did not vote", incomplete.missing),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Incomplete`](crate::Incomplete) when a recipient did not answer in time, went away, or
    /// answered something that is no `T`; it holds the answers that came.
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        &self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Acknowledgements<T> {
        let (collector, receiver) = Collector::new(self.shared.posts().len());
        let emitted = match self.shared.posts() {
            [] => Emitted::Closed,
            _ if self.definition.is_gone() => Emitted::Closed,
            _ if self.definition.is_parent() => Emitted::Refused(EmitError::ParentNamespace),
            _ => {
                let id = self.definition.packet_id();
                self.broadcast(event.name(), &args, Some((id, self.timeout, collector)))
            }
        };
        Acknowledgements { emitted, receiver, answer: PhantomData }
    }

    /// Makes all matching sockets join rooms (`socketsJoin`).
    pub fn sockets_join(&self, rooms: impl IntoTargets) -> Emitted {
        self.change(&Change::Join(targets(rooms)))
    }

    /// Makes all matching sockets leave rooms (`socketsLeave`).
    pub fn sockets_leave(&self, rooms: impl IntoTargets) -> Emitted {
        self.change(&Change::Leave(targets(rooms)))
    }

    /// Disconnects all matching sockets (`disconnectSockets`), with `close` their whole sessions.
    pub fn disconnect_sockets(&self, close: bool) -> Emitted {
        self.change(&Change::Disconnect(close))
    }

    /// Tells which sockets are meant, on every shard (`fetchSockets`): where they are, their rooms,
    /// and the requests that opened their sessions.
    ///
    /// ```no_run
    /// # async fn example(io: fanfare::Server) {
    /// for member in io.to("lobby").fetch_sockets().await {
    ///     println!("{} is in {:?}", member.id(), member.rooms().collect::<Vec<_>>());
    ///     member.socket().emit("hello", ());
    /// }
    /// # }
    /// ```
    pub fn fetch_sockets(&self) -> FetchSockets {
        let mut asked = FetchSockets::of(self.shared.key);
        for definition in self.namespaces() {
            let (namespace, selection) = (definition.index, self.selection.clone());
            asked.ask(&self.shared, Audience { namespace, selection });
        }
        asked
    }

    /// The ids of the sockets that are meant, on every shard (`allSockets`), to be awaited on any
    /// thread.
    pub async fn all_sockets(&self) -> HashSet<SocketId> {
        self.fetch_sockets().await.iter().map(RemoteSocket::id).collect()
    }

    fn change(&self, change: &Change) -> Emitted {
        self.for_each_namespace(|emitter| {
            let (namespace, selection) = (emitter.definition.index, emitter.selection.clone());
            let members = Arc::new(Members { namespace, selection, change: change.clone() });
            ask_all(
                &emitter.shared,
                || Command::Members(Arc::clone(&members)),
                |context| context.with(|state| state.change_members(&members)),
            )
        })
    }

    /// The namespaces that are meant: this one, or the children of a parent.
    fn namespaces(&self) -> Vec<Arc<Definition>> {
        match self.definition.is_parent() {
            true => self.shared.registry.children(&self.definition),
            // The index of one that is gone may be another one's.
            false if self.definition.is_gone() => Vec::new(),
            false => vec![Arc::clone(&self.definition)],
        }
    }

    /// Does something for each namespace that is meant. The answer is the last one that is not
    /// [`Emitted::Queued`].
    fn for_each_namespace(&self, mut emit: impl FnMut(&Emitter) -> Emitted) -> Emitted {
        match self.definition.is_parent() {
            false if self.definition.is_gone() => return Emitted::Closed,
            false => return emit(self),
            true => {}
        }
        let of_children = self
            .namespaces()
            .into_iter()
            .map(|definition| emit(&Emitter { definition, ..self.clone() }));
        of_children.filter(|emitted| !emitted.is_queued()).last().unwrap_or(Emitted::Queued)
    }

    fn broadcast(
        &self,
        event: &str,
        args: &impl Arguments,
        ack: Option<(u64, Option<Duration>, Arc<Collector>)>,
    ) -> Emitted {
        let id = ack.as_ref().map(|(id, _, _)| *id);
        let mut written = match Written::of_event(event, args) {
            Ok(written) => written,
            Err(error) => return Emitted::Refused(error),
        };
        let numbered = match self.is_volatile || id.is_some() {
            true => Numbered::default(),
            false => Numbered::new(&self.shared, false, &mut written.json),
        };
        let encode = |encoder: &mut Encoder| {
            let packets = encoder.packets(&self.shared.settings.form, &self.definition.name);
            let packet = packets.event(id, event, &written.json, &written.attachments);
            let name = self.coalesce.clone().filter(|_| id.is_none());
            let key = CoalesceKey::new(self.definition.index, name);
            packet.map(|packet| Wire::from(packet.compress(self.compress)).coalesced(key))
        };
        let (encoded, is_told, begun) = match here(&self.shared) {
            Some(context) => context.with(|state| {
                let begun = context.post.pulse.since();
                (encode(&mut state.encoder), !state.is_telling, begun)
            }),
            None => (encode(&mut Encoder::default()), true, None),
        };
        let wire = match encoded {
            Ok(wire) => wire,
            Err(inexpressible) => return inexpressible.into(),
        };
        let broadcast = Arc::new(Broadcast {
            namespace: self.definition.index,
            selection: self.selection.clone(),
            wire: Arc::new(wire),
            volatile: self.is_volatile,
            is_told,
            ack,
            offset: numbered.offset,
            begun,
        });
        ask_all(
            &self.shared,
            || Command::Broadcast(Arc::clone(&broadcast)),
            |context| {
                context.with(|state| state.broadcast(&broadcast));
            },
        )
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            EmitError::ReservedEvent => "the caller's event name is reserved",
            EmitError::Arguments => "the caller's arguments cannot be expressed in JSON",
            EmitError::Parser => "the caller's arguments cannot be expressed by the parser",
            EmitError::ParentNamespace => "the caller asks all children of a namespace at once",
        })
    }
}

impl Error for EmitError {}

impl fmt::Debug for Emitter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut emitter = formatter.debug_struct("Emitter");
        emitter.field("namespace", &self.definition.name).field("selection", &self.selection);
        emitter.finish_non_exhaustive()
    }
}
