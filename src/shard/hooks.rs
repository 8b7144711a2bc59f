//! What the application has to say about HTTP requests before they reach a session, and is told of
//! those that do not reach one.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

/// What the application is asked, as it waits on one shard.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A step in front of every request.
pub type HttpMiddleware =
    Arc<dyn for<'a> Fn(&'a mut Exchange) -> Asked<'a, Result<(), Interruption>> + Send + Sync>;

/// Whether a request may open a session, or the message that it is refused with.
pub type AllowRequest =
    Arc<dyn for<'a> Fn(&'a Request<()>) -> Asked<'a, Result<(), String>> + Send + Sync>;

/// The id of a new session, or why there is none.
pub type GenerateId =
    Arc<dyn for<'a> Fn(&'a Request<()>) -> Asked<'a, Result<String, String>> + Send + Sync>;

/// Adds headers to the answer to a request.
pub type AddHeaders = Arc<dyn Fn(&mut HeaderMap, &Request<()>) + Send + Sync>;

/// Is told of a request that was refused.
pub type OnConnectionError = Arc<dyn Fn(&ConnectionError) + Send + Sync>;

/// A request, and the headers that its answer will have.
pub struct Exchange {
    /// The request, whose body has not been read.
    pub request: Request<()>,
    /// What middlewares have added to the answer.
    pub headers: HeaderMap,
}

/// Why a middleware does not let a request go on.
pub enum Interruption {
    /// It has answered the request itself.
    Answer(Response<Bytes>),
    /// It has failed.
    Failure(String),
}

/// A request inside the path that was refused (`connection_error`).
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectionError {
    /// The request. Its extensions hold the address of the peer, a
    /// [`SocketAddr`](std::net::SocketAddr).
    pub request: Request<()>,
    /// The code that the client was told, 0 to 5 (protocol.md §2).
    pub code: u8,
    /// The message that the client was told.
    pub message: String,
    /// What was wrong.
    pub context: ErrorContext,
}

/// What was wrong with a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorContext {
    /// Code 0: the transport does not exist, or is not offered.
    UnknownTransport,
    /// Code 1: there is no session of this id, or not any more.
    UnknownSession,
    /// Code 2: only a GET opens a session.
    BadHandshakeMethod,
    /// Code 3: the `Origin` holds a character that it must not.
    InvalidOrigin,
    /// Code 3: the session is on another transport, or speaks another protocol.
    TransportMismatch,
    /// Code 3: a WebSocket without an upgrade, or an upgrade to something else.
    TransportHandshakeError,
    /// Code 3: `generate_id` has failed, or has made an id that cannot be one.
    IdGenerationError(String),
    /// Code 3: a middleware has failed.
    MiddlewareFailure(String),
    /// Code 3: a hook has panicked.
    Panic,
    /// Code 4: `allow_request` has refused.
    Forbidden,
    /// Code 4: `cors` covers upgrades, and not those of this origin.
    ForbiddenOrigin,
    /// Code 5: the protocol is none that the server speaks.
    UnsupportedProtocolVersion,
}

impl fmt::Display for ErrorContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ErrorContext::UnknownTransport => "the transport is not offered",
            ErrorContext::UnknownSession => "there is no such session",
            ErrorContext::BadHandshakeMethod => "only a GET opens a session",
            ErrorContext::InvalidOrigin => "the origin holds a control character",
            ErrorContext::TransportMismatch => "the session has another transport or protocol",
            ErrorContext::TransportHandshakeError => "the transport does not fit the upgrade",
            ErrorContext::IdGenerationError(why) => {
                return write!(formatter, "there is no id for the session: {why}");
            }
            ErrorContext::MiddlewareFailure(why) => {
                return write!(formatter, "a middleware has failed: {why}");
            }
            ErrorContext::Panic => "a hook of the application has panicked",
            ErrorContext::Forbidden => "the application does not allow it",
            ErrorContext::ForbiddenOrigin => "pages of its origin may not open a WebSocket",
            ErrorContext::UnsupportedProtocolVersion => "the protocol is not spoken",
        })
    }
}

/// All hooks of a server.
#[derive(Clone, Default)]
pub struct Hooks {
    /// In the order in which they run.
    pub middlewares: Vec<HttpMiddleware>,
    /// Asked about each new session.
    pub allow_request: Option<AllowRequest>,
    /// Asked for the id of each new session.
    pub generate_id: Option<GenerateId>,
    /// For the first answer of each session.
    pub initial_headers: Vec<AddHeaders>,
    /// For every answer of a session.
    pub headers: Vec<AddHeaders>,
    /// Told of requests that were refused.
    pub connection_error: Vec<OnConnectionError>,
}

impl Hooks {
    /// Whether the application is asked about requests before they are served.
    pub fn ask(&self) -> bool {
        !self.middlewares.is_empty()
            || self.allow_request.is_some()
            || self.generate_id.is_some()
            || !self.initial_headers.is_empty()
            || !self.headers.is_empty()
    }
}

/// The hooks of a server, which may change at any time.
#[derive(Default)]
pub struct Registered {
    hooks: RwLock<Arc<Hooks>>,
    /// Changes with them.
    version: AtomicU64,
}

impl Registered {
    /// Changes the hooks; requests that come from now on see it.
    pub fn change(&self, change: impl FnOnce(&mut Hooks)) {
        let mut hooks = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Hooks::clone(&hooks);
        change(&mut changed);
        let former = std::mem::replace(&mut *hooks, Arc::new(changed));
        self.version.fetch_add(1, Ordering::Release);
        drop(hooks);
        // Dropping what hooks have captured is user code, which may ask for the hooks.
        drop(former);
    }

    /// The hooks as they are.
    pub fn current(&self) -> Arc<Hooks> {
        Arc::clone(&self.hooks.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes with the hooks.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// The hooks as a shard has seen them last.
#[derive(Default)]
pub struct Followed {
    version: u64,
    hooks: Arc<Hooks>,
}

impl Followed {
    /// The hooks as they are. Gives those that were replaced, too: dropping them is user code.
    pub fn follow(&mut self, registered: &Registered) -> (&Arc<Hooks>, Option<Arc<Hooks>>) {
        let version = registered.version();
        let former = (version != self.version).then(|| {
            self.version = version;
            std::mem::replace(&mut self.hooks, registered.current())
        });
        (&self.hooks, former)
    }
}
