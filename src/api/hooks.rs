//! The engine below a server: what the application does with HTTP requests before they are clients.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use crate::shard::handler::{Place, Trigger};
use crate::shard::hooks::{
    Asked, ConnectionError, Exchange, GenerateId, HttpMiddleware, Interruption,
};
use crate::shard::shared::Shared;
use crate::shard::watch::Label;

use super::handler::{Handler, recipe};

/// The engine below a server (`io.engine`). Cheap to clone, usable from any thread.
///
/// What is registered here may be registered at any time, and counts for the requests that come
/// from then on. Hooks run on the shard that received the request and must not block. Those that
/// are async may wait: the other clients of the shard go on, the hook is given up when its client
/// goes away, and all that a request waits for together must not take longer than
/// [`decision_timeout`](crate::Limits::decision_timeout), or the client is answered 503. What the
/// client sends behind its request meanwhile is kept.
///
/// The extensions of a request hold the address of the peer, a
/// [`SocketAddr`](std::net::SocketAddr).
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// Why a middleware does not let a request go on.
///
/// Every error can be one: the client is then answered 400 with code 3, and is not told what the
/// error was.
pub struct Interrupt(Interruption);

impl Interrupt {
    /// The middleware has answered the request. A connection that was to become a WebSocket is
    /// closed behind the answer.
    pub fn answer(response: Response<impl Into<Bytes>>) -> Interrupt {
        Interrupt(Interruption::Answer(response.map(Into::into)))
    }
}

impl<E: std::error::Error> From<E> for Interrupt {
    fn from(error: E) -> Interrupt {
        Interrupt(Interruption::Failure(error.to_string()))
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Interruption::Answer(response) => {
                formatter.debug_tuple("Answer").field(&response.status()).finish()
            }
            Interruption::Failure(why) => formatter.debug_tuple("Failure").field(why).finish(),
        }
    }
}

impl Engine {
    /// How many clients there are (`engine.clientsCount`): Engine.IO sessions, whether they have
    /// joined a namespace or not. Clients that come and go meanwhile may be missed.
    pub fn clients_count(&self) -> usize {
        let posts = self.shared.posts().iter();
        posts.map(|post| post.clients.load(Ordering::Relaxed)).sum()
    }

    /// Runs `handler` for each client that has connected (`connection`), before it has joined a
    /// namespace. It may ask for a [`Session`](crate::Session).
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// use fanfare::{DisconnectDetail, Server, Session};
    ///
    /// let io = Server::builder().build()?;
    /// io.engine().on_connection(async |conn: Session| {
    ///     conn.on_close(async |detail: DisconnectDetail| println!("{detail:?}"));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connection<A>(&self, handler: impl Handler<A>) -> &Engine {
        let root = self.shared.define("/");
        let recipe = recipe(Label::of("engine", &Trigger::Session), handler);
        root.add_handler(Trigger::Session, Place::Last, recipe);
        self.shared.changed();
        self
    }

    /// Adds a middleware (`engine.use`): it is asked about every request inside the path, be it a
    /// handshake, a poll, a POST or an upgrade, after those that were added before and after CORS.
    /// It is not asked about the files of the client, nor about what other sites' pages may do.
    ///
    /// It may add headers to the answer, or answer the request itself with
    /// [`Interrupt::answer`]; an error refuses the request. What it changes of the request only
    /// other hooks see. Headers that say where a response ends are the server's alone and ignored.
    ///
    /// ```
    /// use fanfare::{Interrupt, Server};
    /// use http::{HeaderValue, Response, header};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.engine().use_(async |request, headers| {
    ///     headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    ///     match request.headers().contains_key(header::AUTHORIZATION) {
    ///         true => Ok(()),
    ///         false => {
    ///             Err(Interrupt::answer(Response::builder().status(401).body("log in first")?))
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn use_<F>(&self, middleware: F) -> &Engine
    where
        F: AsyncFn(&mut Request<()>, &mut HeaderMap) -> Result<(), Interrupt>
            + Send
            + Sync
            + 'static,
    {
        let middleware = Arc::new(middleware);
        let middleware = erased_middleware(move |exchange| {
            let middleware = Arc::clone(&middleware);
            Box::pin(async move {
                let Exchange { request, headers } = exchange;
                middleware(request, headers).await.map_err(|interrupt| interrupt.0)
            })
        });
        self.change(|hooks| hooks.middlewares.push(middleware))
    }

    /// Makes the ids of sessions (`engine.generateId`). Default: ids that cannot be guessed and say
    /// where their session is, so that none has to be looked up; ids of the application are kept in
    /// a table.
    ///
    /// Who knows the id of a session can read and send as its client: it must not be guessable. It
    /// has from 1 to 256 bytes and no control characters. When it is not, when another session has
    /// it, or for an error, the client is answered 400 with code 3.
    ///
    /// ```
    /// # fn random_text() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.engine().generate_id(async |_request| random_text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate_id<F, E>(&self, generate_id: F) -> &Engine
    where
        F: AsyncFn(&Request<()>) -> Result<String, E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        let generate_id = Arc::new(generate_id);
        let generate_id: GenerateId = Arc::new(move |request| {
            let generate_id = Arc::clone(&generate_id);
            Box::pin(async move { generate_id(request).await.map_err(|error| error.to_string()) })
        });
        self.change(|hooks| hooks.generate_id = Some(generate_id))
    }

    /// Adds headers to the first answer of each session (`initial_headers`): that to the polling
    /// handshake, or the 101 of a WebSocket.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.engine().on_initial_headers(|headers, _request| {
    ///     headers.insert("set-cookie", http::HeaderValue::from_static("seen=yes"));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_initial_headers(
        &self,
        add: impl Fn(&mut HeaderMap, &Request<()>) + Send + Sync + 'static,
    ) -> &Engine {
        self.change(|hooks| hooks.initial_headers.push(Arc::new(add)))
    }

    /// Adds headers to every answer of a session, and to the 101 (`headers`). It is called when the
    /// request has come, also when the answer to it has to wait for packets.
    pub fn on_headers(
        &self,
        add: impl Fn(&mut HeaderMap, &Request<()>) + Send + Sync + 'static,
    ) -> &Engine {
        self.change(|hooks| hooks.headers.push(Arc::new(add)))
    }

    /// Calls `listener` for each request inside the path that was refused (`connection_error`).
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.engine().on_connection_error(|error| {
    ///     eprintln!("{} {}: {}", error.code, error.message, error.context);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connection_error(
        &self,
        listener: impl Fn(&ConnectionError) + Send + Sync + 'static,
    ) -> &Engine {
        self.change(|hooks| hooks.connection_error.push(Arc::new(listener)))
    }

    fn change(&self, change: impl FnOnce(&mut crate::shard::hooks::Hooks)) -> &Engine {
        self.shared.hooks.change(change);
        self
    }
}

/// Names the type of a middleware, without which its lifetimes are not inferred.
fn erased_middleware(
    middleware: impl for<'a> Fn(&'a mut Exchange) -> Asked<'a, Result<(), Interruption>>
    + Send
    + Sync
    + 'static,
) -> HttpMiddleware {
    Arc::new(middleware)
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").field("clients", &self.clients_count()).finish()
    }
}
