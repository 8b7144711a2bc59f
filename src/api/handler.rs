//! Async closures and functions as handlers.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use crate::shard::context::Context;
use crate::shard::dismissal::Owed;
use crate::shard::handler::{Decision, Event, HandlerRecipe, MiddlewareRecipe, Refused, Started};
use crate::shard::watch::Label;

use super::extract::{EventParts, FromEvent, Rejection};
use super::socket::Socket;

/// Something that can handle an event: an async function or closure whose arguments all implement
/// [`FromEvent`], up to eight of them, in any order. What it returns is ignored.
///
/// It need not be `Send` while it runs: it stays on the shard of its socket. It is shared by all
/// shards, so what it captures must be `Send` and `Sync`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "must be an async closure or function of up to eight extractors",
    note = "write `async |socket: Socket, Data(text): Data<String>, ack: Ack| {{ … }}`",
    note = "every argument must implement `fanfare::FromEvent`, and captures must be `Send + Sync`"
)]
pub trait Handler<A>: Send + Sync + 'static {
    /// Takes the arguments out of the event and begins; `None` when the event does not have them.
    #[doc(hidden)]
    fn begin(
        self: &Arc<Self>,
        parts: &mut EventParts<'_, '_>,
    ) -> Option<impl Future<Output = ()> + 'static + use<Self, A>>;
}

/// Something that decides whether a client may join a namespace, or an event is handled: an async
/// function or closure whose first argument is `&Socket`, followed by up to four extractors, and
/// which returns `Result<(), Refuse>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a middleware",
    label = "must be an async closure of `&Socket` and up to four extractors",
    note = "write `async |socket: &Socket, Auth(auth): Auth<Token>| -> Result<(), Refuse> {{ … }}`"
)]
pub trait Middleware<A>: Send + Sync + 'static {
    /// Takes the arguments out of the event and begins.
    #[doc(hidden)]
    fn begin(
        self: &Arc<Self>,
        parts: &mut EventParts<'_, '_>,
    ) -> impl Future<Output = Result<(), Refuse>> + 'static + use<Self, A>;
}

/// Why a client may not join a namespace, or an event is not handled. A client that may not join
/// gets it as the argument of `connect_error`; that of an event is told to
/// [`Namespace::on_refused`](crate::Namespace::on_refused) alone.
#[derive(Clone, Debug)]
pub struct Refuse(Refused);

impl Refuse {
    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Refuses with a `message`.
    pub fn new(message: impl Into<String>) -> Refuse {
        Refuse(Refused { message: message.into(), data: None })
    }

    /// Adds `data` for the client. A value that JSON cannot express is left out.
    ///
    /// ```
    /// let refuse = fanfare::Refuse::new("try later").data(&serde_json::json!({ "seconds": 30 }));
    /// ```
    pub fn data(mut self, data: &impl serde::Serialize) -> Refuse {
        self.0.data = serde_json::to_vec(data).ok();
        self
    }
}

impl FromEvent for Refuse {
    /// Why a middleware has refused the event: for handlers of
    /// [`Namespace::on_refused`](crate::Namespace::on_refused).
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Refuse, Rejection> {
        let refused =
            parts.0.refused.ok_or(Rejection::Missing("refusal: nobody has refused it"))?;
        Ok(Refuse(refused.clone()))
    }
}

macro_rules! handlers {
    ($($argument:ident),*) => {
        impl<F, R, $($argument),*> Handler<($($argument,)*)> for F
        where
            F: AsyncFn($($argument),*) -> R + Send + Sync + 'static,
            R: 'static,
            $($argument: FromEvent,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn begin(
                self: &Arc<Self>,
                parts: &mut EventParts<'_, '_>,
            ) -> Option<impl Future<Output = ()> + 'static + use<F, R, $($argument),*>> {
                $(let $argument = $argument::from_event(parts).ok()?;)*
                let handler = Arc::clone(self);
                Some(async move {
                    handler($($argument),*).await;
                })
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A, B);
handlers!(A, B, C);
handlers!(A, B, C, D);
handlers!(A, B, C, D, E);
handlers!(A, B, C, D, E, G);
handlers!(A, B, C, D, E, G, H);
handlers!(A, B, C, D, E, G, H, I);

macro_rules! middlewares {
    ($($argument:ident),*) => {
        impl<F, $($argument),*> Middleware<($($argument,)*)> for F
        where
            F: AsyncFn(&Socket, $($argument),*) -> Result<(), Refuse> + Send + Sync + 'static,
            $($argument: FromEvent,)*
        {
            #[allow(non_snake_case)]
            fn begin(
                self: &Arc<Self>,
                parts: &mut EventParts<'_, '_>,
            ) -> impl Future<Output = Result<(), Refuse>> + 'static + use<F, $($argument),*> {
                let socket = Socket::from_event(parts);
                $(let $argument = $argument::from_event(parts);)*
                let middleware = Arc::clone(self);
                async move {
                    let socket = socket.map_err(|rejection| Refuse::new(rejection.to_string()))?;
                    $(
                        let $argument = $argument
                            .map_err(|rejection| Refuse::new(rejection.to_string()))?;
                    )*
                    middleware(&socket, $($argument),*).await
                }
            }
        }
    };
}

middlewares!();
middlewares!(A);
middlewares!(A, B);
middlewares!(A, B, C);
middlewares!(A, B, C, D);

/// How each shard makes its own of a handler.
pub(crate) fn recipe<A, H: Handler<A>>(label: Label, handler: H) -> HandlerRecipe {
    let handler = Arc::new(handler);
    Arc::new(move || {
        let handler = Arc::clone(&handler);
        reusing_a_place(label, move |event| handler.begin(&mut EventParts(event)))
    })
}

/// How each shard makes its own of a middleware.
pub(crate) fn middleware_recipe<A, M: Middleware<A>>(
    label: Label,
    middleware: M,
) -> MiddlewareRecipe {
    let middleware = Arc::new(middleware);
    Arc::new(move || {
        let middleware = Arc::clone(&middleware);
        Rc::new(move |event: &mut Event<'_>| -> Decision {
            let context = Rc::clone(event.context);
            let runs = context.runs(label);
            let decision = middleware.begin(&mut EventParts(event));
            drop(runs);
            let decision = async move { decision.await.map_err(|refuse| refuse.0) };
            Box::pin(context.labelled(label, decision))
        })
    })
}

/// The place of a future, which outlives it.
type Place<F> = Pin<Box<Option<F>>>;

/// A handler whose futures all begin in the same place, so that an event whose handler does not
/// wait costs no allocation. One that waits keeps its place, and the next event makes a new one.
fn reusing_a_place<F: Future<Output = ()> + 'static>(
    label: Label,
    begin: impl Fn(&mut Event<'_>) -> Option<F> + 'static,
) -> Rc<dyn Fn(&mut Event<'_>) -> Started> {
    let vacant: RefCell<Option<Place<F>>> = RefCell::new(None);
    Rc::new(move |event| {
        let context = event.context;
        let _runs = context.runs(label);
        // While this one runs the place is taken: an event inside an event makes another.
        let mut place = vacant.take().unwrap_or_else(|| Box::pin(None));
        // Into its place right away: a future is as large as all that it was given.
        place.as_mut().set(begin(event));
        let Some(future) = place.as_mut().as_pin_mut() else {
            vacant.replace(Some(place));
            return Started::Rejected;
        };
        match future.poll(&mut TaskContext::from_waker(Waker::noop())) {
            Poll::Ready(()) => {
                place.as_mut().set(None);
                vacant.replace(Some(place));
                Started::Done
            }
            Poll::Pending => {
                let answers = event.socket.filter(|_| event.ack.is_some());
                let owed = answers.map(|socket| context.owes(socket));
                let waiting = Waiting { place, label, context: Rc::clone(context), _owed: owed };
                Started::Waiting(Box::pin(waiting))
            }
        }
    })
}

/// A handler that has begun and waits.
struct Waiting<F> {
    place: Place<F>,
    label: Label,
    context: Rc<Context>,
    _owed: Option<Owed>,
}

impl<F: Future<Output = ()>> Future for Waiting<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let _runs = this.context.runs(this.label);
        match this.place.as_mut().as_pin_mut() {
            Some(future) => future.poll(task),
            None => Poll::Ready(()),
        }
    }
}
