//! Which sockets an emit would reach.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;

use crate::base::id::SocketId;
use crate::command::{Audience, Command, Found, SocketCommand};
use crate::proto::json::Arguments;
use crate::room::Target;
use crate::shard::shared::Shared;

use super::ask::here;
use super::emit::Emitted;
use super::event::Emits;
use super::handshake::Handshake;
use super::socket::Socket;
use super::socket_emitter::SocketEmitter;
use super::targets::IntoTargets;

/// A socket as it was when it was asked for ([`Emitter::fetch_sockets`]), on whatever shard.
///
/// [`Emitter::fetch_sockets`]: crate::Emitter::fetch_sockets
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    socket: Socket,
    rooms: Vec<Target>,
    handshake: Option<Handshake>,
}

impl RemoteSocket {
    /// Its public id.
    pub fn id(&self) -> SocketId {
        self.socket.id()
    }

    /// Its handle.
    pub fn socket(&self) -> Socket {
        self.socket
    }

    /// Sends it an event. See [`Socket::emit`].
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) -> Emitted {
        self.socket.emit(event, args)
    }

    /// How long the `emit_with_ack` that follows waits. See [`Socket::timeout`].
    pub fn timeout(&self, timeout: Duration) -> SocketEmitter {
        self.socket.timeout(timeout)
    }

    /// Has it join rooms. See [`Socket::join`].
    pub fn join(&self, rooms: impl IntoTargets) -> bool {
        self.socket.join(rooms)
    }

    /// Has it leave a room. See [`Socket::leave`].
    pub fn leave(&self, room: &str) -> bool {
        self.socket.leave(room)
    }

    /// Disconnects it. See [`Socket::disconnect`].
    pub fn disconnect(&self, close: bool) -> bool {
        self.socket.disconnect(close)
    }

    /// The rooms it was in: first the one that is named by its id, then those it had joined, in no
    /// particular order.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.iter().map(|room| &**room)
    }

    /// A copy of what the application keeps with it ([`Socket::data`]), if that is of this type.
    /// Unlike its rooms this is asked now, of its shard. `None` as well when it has gone since.
    ///
    /// ```
    /// # async fn names(io: fanfare::Server) {
    /// for found in io.in_("room1").fetch_sockets().await {
    ///     let name: Option<String> = found.data().await;
    ///     println!("{} is {name:?}", found.id());
    /// }
    /// # }
    /// ```
    pub async fn data<T: Clone + Send + 'static>(&self) -> Option<T> {
        let socket = self.socket;
        if socket.own_shard().is_some() {
            return socket.data().get();
        }
        let (sender, receiver) = oneshot::channel();
        let visit = Box::new(move || drop(sender.send(socket.data().get())));
        // Who does not run it drops it, and that is an answer.
        socket.ask(SocketCommand::Visit(visit));
        receiver.await.ok().flatten()
    }

    /// The request that opened its session. `None` when it is not kept
    /// ([`Builder::keep_handshake`](crate::Builder::keep_handshake)).
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }
}

/// The sockets that are meant, to be awaited on any thread. It was asked before it is awaited.
#[derive(Debug)]
#[must_use = "the sockets come when it is awaited"]
pub struct FetchSockets {
    server: u32,
    shards: Vec<oneshot::Receiver<Vec<Found>>>,
    found: Vec<Found>,
}

impl FetchSockets {
    /// Nobody was asked yet.
    pub(super) fn of(server: u32) -> FetchSockets {
        FetchSockets { server, shards: Vec::new(), found: Vec::new() }
    }

    /// Asks every shard; this thread's own at once.
    pub(super) fn ask(&mut self, shared: &Shared, audience: Audience) {
        let (audience, here) = (Arc::new(audience), here(shared));
        for (index, post) in shared.posts().iter().enumerate() {
            if let Some(context) = here.as_ref().filter(|own| usize::from(own.index) == index) {
                self.found.extend(context.with(|state| state.found(&audience)));
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            let command = Command::Fetch(Arc::clone(&audience), sender);
            match &here {
                Some(context) => context.with(|state| state.post(index, command)),
                // A shard that is gone has no sockets.
                None => drop(post.mailbox.ask(command)),
            }
            self.shards.push(receiver);
        }
    }

    fn socket(&self, found: Found) -> RemoteSocket {
        let socket = Socket { server: self.server, address: found.address };
        let handshake = found.request.map(|request| Handshake::new(request, found.auth));
        RemoteSocket { socket, rooms: found.rooms, handshake }
    }
}

impl Future for FetchSockets {
    type Output = Vec<RemoteSocket>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(receiver) = self.shards.last_mut() {
            match Pin::new(receiver).poll(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(found) => {
                    self.found.extend(found.unwrap_or_default());
                    self.shards.pop();
                }
            }
        }
        let found = std::mem::take(&mut self.found);
        Poll::Ready(found.into_iter().map(|found| self.socket(found)).collect())
    }
}
