//! What a handler may ask for.

use std::any::TypeId;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;

use crate::proto::json::{self, ArgsError, Raw};
use crate::proto::socket::DisconnectReason;
use crate::shard::DisconnectDetail;
use crate::shard::handler::{AckTarget, Event as ShardEvent};

use super::emit::Emitted;
use super::event::Payload;
use super::socket::Socket;

/// An event before a handler runs: what extractors take their value from.
pub struct EventParts<'a, 'b>(pub(crate) &'a mut ShardEvent<'b>);

/// Why a handler does not get what it asks for. The event is then not handled by it, which is
/// counted ([`Stats::events_rejected`](crate::Stats)); a middleware refuses the client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// The client's arguments are not of the type that is asked for.
    Arguments(ArgsError),
    /// The caller asks for something that this kind of event does not have.
    Missing(&'static str),
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Arguments(error) => write!(formatter, "the client's arguments: {error}"),
            Rejection::Missing(what) => write!(formatter, "the event has no {what}"),
        }
    }
}

impl Error for Rejection {}

/// Something that a handler may ask for. Implement it for your own types by asking for others:
///
/// ```
/// use fanfare::{Auth, EventParts, FromEvent, Rejection};
///
/// #[derive(serde::Deserialize)]
/// struct Token { user: String }
///
/// struct User(String);
///
/// impl FromEvent for User {
///     fn from_event(parts: &mut EventParts<'_, '_>) -> Result<User, Rejection> {
///         let Auth(token) = Auth::<Token>::from_event(parts)?;
///         Ok(User(token.user))
///     }
/// }
///
/// # fn main() -> fanfare::Result<()> {
/// # let io = fanfare::Server::builder().build()?;
/// io.of("/").on("hello", async |User(name): User| println!("hello from {name}"));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from an event",
    note = "handlers may ask for `Socket`, `Data<T>`, `TryData<T>`, `Raw`, `Ack`, `Auth<T>`, \
            `State<T>`, `EventName`, `DisconnectReason`, `DisconnectDetail`, `Session`, and your \
            own `FromEvent` types"
)]
pub trait FromEvent: Sized + 'static {
    /// Takes the value out of the event.
    ///
    /// # Errors
    /// The event does not have it.
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Self, Rejection>;
}

impl FromEvent for Socket {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Socket, Rejection> {
        let address = parts.0.socket.ok_or(Rejection::Missing("socket"))?;
        Ok(Socket { server: parts.0.context.shared.key, address })
    }
}

/// The arguments as a value: the first one, or all of them when `T` is a tuple. Missing arguments
/// are `null`. Binary arguments are `bytes::Bytes`, or anything that asks serde for bytes, at any
/// depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<T>(pub T);

impl<T: DeserializeOwned + 'static> FromEvent for Data<T> {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Data<T>, Rejection> {
        let TryData(data) = TryData::from_event(parts)?;
        data.map(Data).map_err(Rejection::Arguments)
    }
}

/// The same as [`Data`], for a handler that wants to know when the arguments do not fit.
#[derive(Debug)]
pub struct TryData<T>(pub Result<T, ArgsError>);

impl<T: DeserializeOwned + 'static> FromEvent for TryData<T> {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<TryData<T>, Rejection> {
        Ok(TryData(json::from_args(parts.0.args, parts.0.attachments)))
    }
}

impl FromEvent for Raw {
    /// All arguments as they came, to be handed on without being parsed.
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Raw, Rejection> {
        let args = parts.0.context.copy(parts.0.args);
        Ok(Raw::scanned(args, parts.0.attachments.to_vec()))
    }
}

/// What the client sent when it joined the namespace (`socket.handshake.auth`); an empty object if
/// it sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<T>(pub T);

impl<T: DeserializeOwned + 'static> FromEvent for Auth<T> {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Auth<T>, Rejection> {
        let socket = Socket::from_event(parts)?;
        let auth =
            socket.with_state(|state, key| state.sockets.get(key)?.extra.as_ref()?.auth.clone());
        let auth = auth.flatten();
        let value = json::from_args(auth.as_deref().unwrap_or(b"{}"), &[]);
        value.map(Auth).map_err(Rejection::Arguments)
    }
}

/// What [`Builder::state`](crate::Builder::state) was given, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromEvent for State<T> {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<State<T>, Rejection> {
        let states = &parts.0.context.shared.settings.states;
        let value = states.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref::<T>());
        value.cloned().map(State).ok_or(Rejection::Missing("state of this type"))
    }
}

/// The name of the event; empty for connection and disconnection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(pub String);

impl FromEvent for EventName {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<EventName, Rejection> {
        Ok(EventName(parts.0.name.to_owned()))
    }
}

impl FromEvent for DisconnectReason {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<DisconnectReason, Rejection> {
        let departure = parts.0.departure;
        let departure = departure.ok_or(Rejection::Missing("reason: the client is connected"))?;
        Ok(departure.reason)
    }
}

impl FromEvent for DisconnectDetail {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<DisconnectDetail, Rejection> {
        let departure = parts.0.departure;
        let departure = departure.ok_or(Rejection::Missing("detail: the client is connected"))?;
        Ok(departure.detail)
    }
}

/// The acknowledgement that a client may ask for. An answer is sent once; dropped, it sends none.
///
/// In a handler of a typed event it is an `Ack` of the answer that the event declares
/// ([`Event`](crate::Event)); otherwise anything may be answered.
pub struct Ack<T = Untyped> {
    socket: Socket,
    target: Option<AckTarget>,
    answer: PhantomData<fn(T)>,
}

/// Marks an [`Ack`] for which no type is declared.
#[derive(Clone, Copy, Debug)]
pub enum Untyped {}

impl<T> Ack<T> {
    /// Answers, with arguments as for [`Socket::emit`]. Does nothing when the client did not ask,
    /// or another handler of the event has answered ([`Emitted::Dropped`]).
    pub fn send(self, args: impl Payload<T>) -> Emitted {
        let Some(target) = self.target else { return Emitted::Dropped };
        let was_used = target.used.is_some_and(|used| used.swap(true, Ordering::Relaxed));
        match was_used {
            true => Emitted::Dropped,
            false => self.socket.answer(target.id, &args),
        }
    }

    /// Whether the client has asked for it.
    pub fn is_requested(&self) -> bool {
        self.target.is_some()
    }
}

impl<T> fmt::Debug for Ack<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ack = formatter.debug_struct("Ack");
        ack.field("socket", &self.socket).field("target", &self.target).finish()
    }
}

impl<T: 'static> FromEvent for Ack<T> {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Ack<T>, Rejection> {
        let target = parts.0.ack.clone();
        Ok(Ack { socket: Socket::from_event(parts)?, target, answer: PhantomData })
    }
}
