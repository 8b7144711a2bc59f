//! Emits to one socket.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;

use crate::base::shed::CoalesceKey;
use crate::command::{Unanswered, Waiter};
use crate::proto::json::{Arguments, FromArguments, Raw};
use crate::shard::Manner;

use super::ack::Acknowledgement;
use super::ask::{Numbered, deliver};
use super::emit::{Emitted, Emitter, Written};
use super::event::{Asks, Emits};
use super::socket::Socket;
use super::targets::IntoTargets;

/// An emit to one socket, and how.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct SocketEmitter {
    pub(crate) socket: Socket,
    pub(crate) is_volatile: bool,
    pub(crate) compress: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) coalesce: Option<Arc<str>>,
}

impl SocketEmitter {
    /// The packet is dropped when the client is not writable at this moment.
    pub fn volatile(mut self) -> SocketEmitter {
        self.is_volatile = true;
        self
    }

    /// Only the latest event of this key matters: see [`Emitter::coalesce`].
    pub fn coalesce(mut self, key: impl Into<Arc<str>>) -> SocketEmitter {
        self.coalesce = Some(key.into());
        self
    }

    /// Whether the packet may be compressed: see [`Emitter::compress`].
    pub fn compress(mut self, compress: bool) -> SocketEmitter {
        self.compress = compress;
        self
    }

    /// How long [`emit_with_ack`](SocketEmitter::emit_with_ack) waits. Default:
    /// [`Builder::ack_timeout`](crate::Builder::ack_timeout).
    pub fn timeout(mut self, timeout: Duration) -> SocketEmitter {
        self.timeout = Some(timeout);
        self
    }

    /// Sends an event. See [`Emitter::emit`] for the arguments.
    pub fn emit<P: Arguments>(self, event: impl Emits<P>, args: P) -> Emitted {
        self.send(event.name(), &args, None)
    }

    /// Sends an event and waits for the client's acknowledgement. The answer is its first argument,
    /// or all of them when `T` is a tuple.
    ///
    /// # Errors
    /// [`AckError`](crate::AckError) says why there is no answer.
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Acknowledgement<T> {
        let (sender, receiver) = oneshot::channel();
        let emitted = self.send(event.name(), &args, Some(sender));
        Acknowledgement { emitted, receiver, answer: PhantomData }
    }

    fn send(
        self,
        event: &str,
        args: &impl Arguments,
        sender: Option<oneshot::Sender<Result<Raw, Unanswered>>>,
    ) -> Emitted {
        let mut written = match Written::of_event(event, args) {
            Ok(written) => written,
            Err(error) => return Emitted::Refused(error),
        };
        let Some(shared) = self.socket.shared() else { return Emitted::Closed };
        let offset = match self.is_volatile || sender.is_some() {
            true => None,
            false => Numbered::new(&shared, true, &mut written.json).offset,
        };
        let name = self.coalesce.filter(|_| sender.is_none());
        let manner = Manner {
            is_volatile: self.is_volatile,
            key: CoalesceKey::new(self.socket.address.namespace, name),
            ack: sender.map(|sender| (self.timeout, Waiter::One(sender))),
            offset,
        };
        deliver(&self.socket, manner, |packets, id| {
            let packet = packets.event(id, event, &written.json, &written.attachments);
            packet.map(|packet| packet.compress(self.compress))
        })
    }
}

/// From one socket to others: modifiers in any order, as `socket.volatile.to("room")`.
///
/// # Panics
/// As [`Socket::nsp`].
impl SocketEmitter {
    /// Aims at everybody in the namespace but this client. See [`Socket::broadcast`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use fanfare::{Incomplete, Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on("positions?", async |socket: Socket| {
    ///     let others = socket.timeout(Duration::from_secs(5)).to("players").except("away");
    ///     let positions: Result<Vec<(f64, f64)>, Incomplete<_>> =
    ///         others.emit_with_ack("position?", ()).await;
    ///     println!("{positions:?}");
    ///     socket.volatile().broadcast().emit("has-asked", ());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn broadcast(self) -> Emitter {
        let mut emitter = self.socket.broadcast().compress(self.compress);
        emitter.coalesce = self.coalesce;
        if self.is_volatile {
            emitter = emitter.volatile();
        }
        match self.timeout {
            Some(timeout) => emitter.timeout(timeout),
            None => emitter,
        }
    }

    /// Aims at those in any of these rooms, but not at this client.
    pub fn to(self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().to(rooms)
    }

    /// The same as [`to`](SocketEmitter::to); `in` is a keyword of Rust.
    pub fn in_(self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().to(rooms)
    }

    /// Aims at those in none of these rooms, and not at this client.
    pub fn except(self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().except(rooms)
    }

    /// Aims at everybody of this process but this client.
    pub fn local(self) -> Emitter {
        self.broadcast().local()
    }
}
