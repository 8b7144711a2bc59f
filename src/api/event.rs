//! Events that are declared once, with their types, and what may stand where an event is named.
//!
//! [`Event`] is what users write. The traits are what methods ask for: [`Emits`] and [`Asks`] where
//! an event is sent, [`Heard`] where it is handled; [`Payload`] and [`Argument`] say what may be
//! sent, [`Suits`] what a handler may ask for.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;

use crate::proto::json::{Arguments, FromArguments, Raw};
use crate::proto::socket::is_reserved;

use super::extract::{Ack, Auth, Data, EventName, FromEvent, State, TryData};
use super::socket::Socket;

pub use super::extract::Untyped;

/// An event that is declared once, with the types of its arguments and of its acknowledgement, and
/// used wherever an event is named: what does not fit does not compile.
///
/// `Args` is what a handler gets ([`Data`]): a tuple is several arguments, `()` is none, everything
/// else is one. `Answer` is what its acknowledgement carries, by the same rule.
///
/// ```
/// use fanfare::{Ack, Data, Event, Server, Socket};
///
/// /// A line of chat: who, and what.
/// const CHAT: Event<(String, String), u64> = Event::new("chat");
/// const PEOPLE: Event<Vec<String>> = Event::new("people");
///
/// # fn main() -> fanfare::Result<()> {
/// let io = Server::builder().build()?;
/// let chat = async |socket: Socket, Data((who, what)): Data<(String, String)>, ack: Ack<u64>| {
///     socket.broadcast().emit(CHAT, (&who, &what));
///     ack.send(1);
/// };
/// io.of("/").on(CHAT, chat);
/// io.emit(PEOPLE, &vec!["alice".to_owned()]);
/// io.emit(CHAT, ("alice", "hello"));
/// # Ok(())
/// # }
/// ```
///
/// # What may be emitted
/// Owned values, and what they are borrowed as: for a declared `String` also `&str`, for a `Vec<T>`
/// also `&[T]`, for any `T` also `&T`, each of them also inside a tuple. A value of a type of your
/// own that is the only argument goes by reference: see [`Payload`].
///
/// ```compile_fail,E0277
/// # use fanfare::{Event, Server};
/// # const CHAT: Event<(String, String), u64> = Event::new("chat");
/// # let io = Server::builder().build().unwrap();
/// io.emit(CHAT, ("alice", 7)); // the second one is a `String`
/// ```
///
/// # What a handler may ask for
/// [`Data`] and [`TryData`] of `Args`, [`Ack`] of `Answer`, and everything that is not of the
/// event: see [`Suits`].
///
/// ```compile_fail,E0277
/// # use fanfare::{Data, Event, Server};
/// # const CHAT: Event<(String, String), u64> = Event::new("chat");
/// # let io = Server::builder().build().unwrap();
/// io.of("/").on(CHAT, async |Data(text): Data<String>| println!("{text}"));
/// ```
///
/// # What remains to be checked
/// Types are what this program says. A client may send anything: an event whose arguments are
/// something else is not handled, as with a name alone ([`Rejection`](crate::Rejection)).
pub struct Event<Args, Answer = ()> {
    name: &'static str,
    types: PhantomData<fn(Args) -> Answer>,
}

impl<Args, Answer> Event<Args, Answer> {
    /// Declares an event.
    ///
    /// # Panics
    /// When the name is one that Socket.IO reserves: `connect`, `connect_error`, `disconnect`,
    /// `disconnecting`, `newListener`, `removeListener`. In a `const` it does not compile then.
    pub const fn new(name: &'static str) -> Event<Args, Answer> {
        assert!(!is_reserved(name), "this name of an event is reserved by Socket.IO");
        Event { name, types: PhantomData }
    }

    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<Args, Answer> Clone for Event<Args, Answer> {
    fn clone(&self) -> Event<Args, Answer> {
        *self
    }
}

impl<Args, Answer> Copy for Event<Args, Answer> {}

impl<Args, Answer> fmt::Debug for Event<Args, Answer> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Event").field(&self.name).finish()
    }
}

/// What names an event: a string, or an [`Event`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an event",
    note = "an event is named by a `&str` or by a `fanfare::Event`"
)]
pub trait Named: sealed::Sealed {
    /// The name on the wire.
    fn name(&self) -> &str;
}

/// What names an event that carries `P`. A string carries any [`Arguments`], an [`Event`] every
/// [`Payload`] of its own arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an event",
    note = "an event is named by a `&str` or by a `fanfare::Event`"
)]
pub trait Emits<P>: Named {}

/// What names an event that carries `P` and is answered with `T`. A string is answered with
/// whatever the caller asks for, an [`Event`] with its own answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not answered with `{T}`",
    note = "the answer of an event is the second type of its `fanfare::Event`"
)]
pub trait Asks<P, T>: Emits<P> {}

/// What names an event that a handler of the extractors `A` can handle. A string can be handled by
/// any handler, an [`Event`] by one whose extractors all [suit](Suits) it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an event",
    note = "an event is named by a `&str` or by a `fanfare::Event`"
)]
pub trait Heard<A>: Named {}

/// What names an event whose arguments are read as `T`. A string is read as whatever the caller
/// asks for, an [`Event`] as its own arguments.
pub trait Carries<T>: Named {
    /// What its acknowledgement carries; [`Untyped`] for a string.
    type Answer;
}

impl<S: AsRef<str> + ?Sized> Named for &S {
    fn name(&self) -> &str {
        (**self).as_ref()
    }
}

impl<S: AsRef<str> + ?Sized, P: Arguments> Emits<P> for &S {}
impl<S: AsRef<str> + ?Sized, P: Arguments, T: FromArguments> Asks<P, T> for &S {}
impl<S: AsRef<str> + ?Sized, A> Heard<A> for &S {}
impl<S: AsRef<str> + ?Sized, T: FromArguments> Carries<T> for &S {
    type Answer = Untyped;
}

/// An event is passed as it is or by reference.
macro_rules! events {
    ($($event:ty),*) => {$(
        impl<Args, Answer> Named for $event {
            fn name(&self) -> &str {
                self.name
            }
        }

        impl<Args, Answer, P: Payload<Args>> Emits<P> for $event {}
        impl<Args, Answer, P: Payload<Args>> Asks<P, Answer> for $event {}
        impl<Args, Answer> Carries<Args> for $event {
            type Answer = Answer;
        }
    )*};
}

events!(Event<Args, Answer>, &Event<Args, Answer>);

mod sealed {
    pub trait Sealed {}

    impl<S: AsRef<str> + ?Sized> Sealed for &S {}
    impl<Args, Answer> Sealed for super::Event<Args, Answer> {}
    impl<Args, Answer> Sealed for &super::Event<Args, Answer> {}
}

/// What can be sent where an [`Event`] or an [`Ack`] declares `Args`:
///
/// | declared | sent |
/// |---|---|
/// | any `T` | `&T` |
/// | `String`, `Vec<T>`, numbers, `bool`, `Option<T>`, maps, `Value`, `Bytes`, `Raw` | itself |
/// | `String` | `&str` |
/// | `Vec<T>` | `&[T]` |
/// | a tuple of up to eight | a tuple of [`Argument`]s |
/// | [`Untyped`] | all [`Arguments`] |
///
/// A type of your own goes by reference, since the compiler cannot know that it is no tuple. Or you
/// say that it stands for itself:
///
/// ```
/// use fanfare::Event;
/// use fanfare::event::Payload;
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Move { x: u8, y: u8 }
///
/// impl Payload<Move> for Move {}
///
/// const MOVE: Event<Move> = Event::new("move");
///
/// # fn main() -> fanfare::Result<()> {
/// # let io = fanfare::Server::builder().build()?;
/// io.emit(MOVE, Move { x: 1, y: 2 });
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what is declared: `{Args}`",
    label = "the event or its acknowledgement is declared with `{Args}`",
    note = "a tuple has as many elements as are declared; a value of your own type is passed as \
            `&value`"
)]
pub trait Payload<Args>: Arguments {}

/// What can be sent as one argument among several, where an [`Event`] declares `T`: `T` itself,
/// `&T`, `&str` for a `String`, and slices and arrays for a `Vec`.
#[diagnostic::on_unimplemented(
    message = "the argument `{Self}` is not what is declared: `{T}`",
    label = "one of the arguments is declared as `{T}`"
)]
pub trait Argument<T>: Serialize {}

impl<T: Serialize> Argument<T> for T {}
impl<T: Serialize> Argument<T> for &T {}
impl Argument<String> for &str {}
impl<T: Serialize> Argument<Vec<T>> for &[T] {}
impl<T, const COUNT: usize> Argument<Vec<T>> for [T; COUNT] where [T; COUNT]: Serialize {}
impl<T, const COUNT: usize> Argument<Vec<T>> for &[T; COUNT] where [T; COUNT]: Serialize {}

impl<'a, T> Payload<T> for &'a T where &'a T: Arguments {}
impl Payload<String> for &str {}
impl<T: Serialize> Payload<Vec<T>> for &[T] {}
impl<P: Arguments> Payload<Untyped> for P {}

/// Types that are no tuples, so that they stand for themselves.
macro_rules! values {
    ($($type:ty $(where $($parameter:ident),*)?;)*) => {$(
        impl$(<$($parameter),*>)? Payload<$type> for $type where $type: Arguments {}
    )*};
}

values! {
    bool;
    char;
    u8; u16; u32; u64; u128; usize;
    i8; i16; i32; i64; i128; isize;
    f32; f64;
    String;
    Bytes;
    Raw;
    serde_json::Value;
    serde_json::Map<String, serde_json::Value>;
    Option<T> where T;
    Box<T> where T;
    Vec<T> where T;
    std::collections::VecDeque<T> where T;
    std::collections::BTreeSet<T> where T;
    std::collections::HashSet<T, S> where T, S;
    std::collections::BTreeMap<K, V> where K, V;
    std::collections::HashMap<K, V, S> where K, V, S;
}

/// Whether an extractor may stand in a handler of a typed event: [`Data`] and [`TryData`] of its
/// arguments, [`Ack`] of its answer, and those that have nothing to do with its types.
///
/// An extractor of your own says for which events it may be asked:
///
/// ```
/// use fanfare::event::Suits;
/// use fanfare::{Data, Event, EventParts, FromEvent, Rejection, Server, Socket};
///
/// const RENAME: Event<String> = Event::new("rename");
///
/// struct Caller(String);
///
/// impl FromEvent for Caller {
///     fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Caller, Rejection> {
///         Ok(Caller(Socket::from_event(parts)?.id().to_string()))
///     }
/// }
///
/// /// For all of them.
/// impl<Args, Answer> Suits<Event<Args, Answer>> for Caller {}
///
/// # fn main() -> fanfare::Result<()> {
/// # let io = Server::builder().build()?;
/// io.of("/").on(RENAME, async |Caller(id): Caller, Data(name): Data<String>| {
///     println!("{id} is {name}");
/// });
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not suit the event, which is `{E}`",
    label = "a handler of this event may not ask for `{Self}`",
    note = "`Data<Args>` and `Ack<Answer>` have the types of `Event<Args, Answer>`",
    note = "an extractor of your own implements `fanfare::event::Suits<Event<Args, Answer>>`"
)]
pub trait Suits<E>: FromEvent {}

impl<Args, Answer> Suits<Event<Args, Answer>> for Data<Args> where Data<Args>: FromEvent {}
impl<Args, Answer> Suits<Event<Args, Answer>> for TryData<Args> where TryData<Args>: FromEvent {}
impl<Args, Answer: 'static> Suits<Event<Args, Answer>> for Ack<Answer> {}
impl<Args, Answer, T> Suits<Event<Args, Answer>> for Auth<T> where Auth<T>: FromEvent {}
impl<Args, Answer, T> Suits<Event<Args, Answer>> for State<T> where State<T>: FromEvent {}
impl<Args, Answer> Suits<Event<Args, Answer>> for Socket {}
impl<Args, Answer> Suits<Event<Args, Answer>> for EventName {}
impl<Args, Answer> Suits<Event<Args, Answer>> for Raw {}

macro_rules! lists {
    ($(($($declared:ident $sent:ident),*))*) => {$(
        impl<Args, Answer, $($sent: Suits<Event<Args, Answer>>),*> Heard<($($sent,)*)>
            for Event<Args, Answer>
        {
        }

        impl<Args, Answer, $($sent: Suits<Event<Args, Answer>>),*> Heard<($($sent,)*)>
            for &Event<Args, Answer>
        {
        }

        impl<$($declared, $sent: Argument<$declared>),*> Payload<($($declared,)*)>
            for ($($sent,)*)
        {
        }
    )*};
}

lists! {
    ()
    (A P)
    (A P, B Q)
    (A P, B Q, C R)
    (A P, B Q, C R, D S)
    (A P, B Q, C R, D S, E T)
    (A P, B Q, C R, D S, E T, F U)
    (A P, B Q, C R, D S, E T, F U, G V)
    (A P, B Q, C R, D S, E T, F U, G V, H W)
}
