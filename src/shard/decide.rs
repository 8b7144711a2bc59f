//! Requests that the application is asked about before they are served.
//!
//! ```text
//!                 hooks that wait are a task
//! Stage::Head ─▶ Stage::Deciding ─▶ Stage::Decided ─▶ served as every other request
//!                       └─▶ the connection has ended, or the time is up: the task is dropped
//! ```
//! What the client sends meanwhile is kept, up to a limit, and nobody else waits. Without hooks
//! none of this is entered.

use std::rc::Rc;
use std::sync::Arc;

use ::http::{HeaderMap, Request, Version};
use async_task::Task;

use crate::base::slab::Key;
use crate::proto::http::{self, Cors, Fault, Field, FieldBuf, Head};
use crate::session::handshake::{Refusal, Route};

use super::aliases::Aliases;
use super::conn::{Role, Stage};
use super::context::Context;
use super::hooks::{ConnectionError, ErrorContext, Exchange, Hooks, Interruption};
use super::pressure::SHORT_OF_MEMORY;
use super::request::HttpStep;
use super::response::Rejected;
use super::state::{Job, State};
use super::watch::Label;

/// A request that the application is to be asked about.
pub struct Undecided {
    head: Rc<[u8]>,
    exchange: Exchange,
    hooks: Arc<Hooks>,
    keep_alive: bool,
    /// Whether it is for a file of the client bundle, which only `cors` is asked about.
    is_file: bool,
}

/// A request that the application was asked about.
#[derive(Debug)]
pub struct Decided {
    /// Its head.
    pub head: Rc<[u8]>,
    /// What its answer will hold besides its own headers.
    pub fields: Vec<FieldBuf>,
    /// What becomes of it.
    pub ruling: Ruling,
}

/// What becomes of a request that the application was asked about.
#[derive(Debug)]
pub enum Ruling {
    /// It is served. A session that it opens gets this id, if the application makes them.
    Serve(Option<String>),
    /// It is refused.
    Refuse(Rejected),
    /// It is refused as something that is no request.
    Fault(Fault),
    /// It was an OPTIONS: the whole answer to it.
    Options(Vec<u8>),
    /// The application has answered it, with a status and a body.
    Answer(u16, Vec<u8>),
}

impl Context {
    /// Asks the application about a request. The answer comes to [`State::decided`].
    pub(super) fn decide_request(self: &Rc<Self>, key: Key, mut undecided: Undecided) {
        let context = Rc::clone(self);
        let task = self.begin(async move {
            let head = Rc::clone(&undecided.head);
            let reply = Reply { context, connection: key, head: Some(head) };
            let mut fields = Vec::new();
            let context = Rc::clone(&reply.context);
            let asking = reply.context.rule(&mut undecided, &mut fields);
            let ruling = context.labelled(Label::HOOK, asking).await;
            reply.send(fields, ruling);
        });
        // One for which there is no use any more is dropped outside the state, as a task is.
        drop(task.and_then(|task| self.with(|state| state.deciding(key, task))));
    }

    async fn rule(&self, undecided: &mut Undecided, fields: &mut Vec<FieldBuf>) -> Ruling {
        let limits = &self.shared.settings.options.limits;
        let head = match Head::parse(&undecided.head, limits) {
            Ok(head) => head,
            Err(fault) => return Ruling::Fault(fault),
        };
        if let Some(cors) = &self.shared.settings.cors {
            match cross_origin(cors, &head, undecided.keep_alive) {
                Ok(granted) => fields.extend(granted),
                Err(ruling) => return ruling,
            }
        }
        if undecided.is_file {
            return Ruling::Serve(None);
        }
        let exchange = &mut undecided.exchange;
        let ruling = self.ask_hooks(&undecided.hooks, exchange, &head).await;
        fields.extend(owned_fields(&exchange.headers));
        ruling
    }

    /// Asks the hooks, in the order of the reference.
    async fn ask_hooks(&self, hooks: &Hooks, exchange: &mut Exchange, head: &Head<'_>) -> Ruling {
        for middleware in &hooks.middlewares {
            match middleware(exchange).await {
                Ok(()) => {}
                Err(Interruption::Answer(response)) => {
                    // What it says itself comes before what middlewares have added.
                    exchange.headers.extend(response.headers().clone());
                    return Ruling::Answer(response.status().as_u16(), response.body().to_vec());
                }
                Err(Interruption::Failure(why)) => {
                    return failed(ErrorContext::MiddlewareFailure(why));
                }
            }
        }
        let route = self.with(|state| state.foresee(head));
        let opens = route.as_ref().is_ok_and(Route::opens);
        // The reference asks before it looks at the protocol.
        if (opens || route == Err(Refusal::UnsupportedProtocol))
            && let Some(allow_request) = &hooks.allow_request
            && let Err(message) = allow_request(&exchange.request).await
        {
            let context = ErrorContext::Forbidden;
            return Ruling::Refuse(Rejected { refusal: Refusal::Forbidden, message, context });
        }
        if route.is_err() {
            // It is refused where it would be without hooks.
            return Ruling::Serve(None);
        }
        let id = match &hooks.generate_id {
            Some(generate_id) if opens => match generate_id(&exchange.request).await {
                Ok(id) if Aliases::is_fit(&id) => Some(id),
                Ok(_) => return failed(ErrorContext::IdGenerationError("it cannot be one".into())),
                Err(why) => return failed(ErrorContext::IdGenerationError(why)),
            },
            _ => None,
        };
        let first = hooks.initial_headers.iter().filter(|_| opens);
        for add in first.chain(&hooks.headers) {
            add(&mut exchange.headers, &exchange.request);
        }
        Ruling::Serve(id)
    }

    /// Tells the application of a request that was refused.
    pub(super) fn connection_refused(&self, error: &ConnectionError) {
        for hook in &self.shared.hooks.current().connection_error {
            self.isolated(|| hook(error));
        }
    }
}

fn failed(context: ErrorContext) -> Ruling {
    let refusal = Refusal::BadRequest;
    Ruling::Refuse(Rejected { refusal, message: String::new(), context })
}

/// What CORS adds to the answer to a request inside the path, or what becomes of the request
/// instead. The application may be asked about the origin.
pub(super) fn cross_origin(
    cors: &Cors,
    head: &Head<'_>,
    keep_alive: bool,
) -> Result<Vec<FieldBuf>, Ruling> {
    let origin = head.origin().map_err(Ruling::Fault)?;
    let mut answer = Vec::new();
    if cors.respond_to_options(&mut answer, head, origin, keep_alive) {
        return Err(Ruling::Options(answer));
    }
    if head.upgrade && !cors.allows_upgrade(origin) {
        let (refusal, context) = (Refusal::Forbidden, ErrorContext::ForbiddenOrigin);
        return Err(Ruling::Refuse(Rejected { refusal, message: String::new(), context }));
    }
    Ok(match head.method {
        // Of a server whose preflights are not answered by CORS.
        http::Method::Options => {
            cors.options_fields(head, origin).into_iter().map(FieldBuf::from).collect()
        }
        _ => cors.fields(origin).map(FieldBuf::from).collect(),
    })
}

/// Headers that the application has given, but for those that the server writes itself.
fn owned_fields(headers: &HeaderMap) -> impl Iterator<Item = FieldBuf> {
    let fields = headers.iter().map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
    fields.filter_map(Result::ok).map(FieldBuf::from)
}

/// Sees to it that a request is decided about, also when a hook panics.
struct Reply {
    context: Rc<Context>,
    connection: Key,
    /// `None` once it was sent.
    head: Option<Rc<[u8]>>,
}

impl Reply {
    fn send(mut self, fields: Vec<FieldBuf>, ruling: Ruling) {
        self.decided(fields, ruling);
    }

    fn decided(&mut self, fields: Vec<FieldBuf>, ruling: Ruling) {
        let Some(head) = self.head.take() else { return };
        let decided = Box::new(Decided { head, fields, ruling });
        let task = self.context.with(|state| state.request_decided(self.connection, decided));
        drop(task);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.decided(Vec::new(), failed(ErrorContext::Panic));
    }
}

impl State {
    /// Puts a request aside until the application has been asked about it.
    pub(super) fn put_aside(
        &mut self,
        key: Key,
        head: &Head<'_>,
        bytes: &[u8],
        is_file: bool,
    ) -> HttpStep {
        // What the application would be asked for nothing.
        if self.shared.pressure.is_high() && self.foresee(head).as_ref().is_ok_and(Route::opens) {
            self.stats.sessions_refused += 1;
            return self.refuse_fault(key, SHORT_OF_MEMORY);
        }
        let hooks = Arc::clone(self.hooks());
        let timeout = self.shared.settings.options.limits.decision_timeout;
        let is_closing = self.is_closing;
        let Some(conn) = self.connections.get_mut(key) else { return HttpStep::Wait };
        let Role::Http(http) = &mut conn.role else { return HttpStep::Wait };
        let mut request = match request_of(head) {
            Ok(request) => request,
            Err(fault) => return self.refuse_fault(key, fault),
        };
        if let Some(peer) = http.peer {
            request.extensions_mut().insert(peer);
        }
        http.stage = Stage::Deciding(None);
        let keep_alive = http.keep_alive && !is_closing;
        conn.deadline = self.now.after(timeout);
        self.rearm_connection(key);
        let exchange = Exchange { request, headers: HeaderMap::new() };
        let head = bytes.into();
        HttpStep::Decide(Box::new(Undecided { head, exchange, hooks, keep_alive, is_file }))
    }

    /// The hooks as they are.
    pub(super) fn hooks(&mut self) -> &Arc<Hooks> {
        let (hooks, former) = self.hooks.follow(&self.shared.hooks);
        if let Some(former) = former {
            self.jobs.push_back(Job::Drop(Box::new(former)));
        }
        hooks
    }

    /// A request waits for this task. Gives it back if it does not.
    fn deciding(&mut self, key: Key, task: Task<()>) -> Option<Task<()>> {
        match self.http_mut(key).map(|http| &mut http.stage) {
            Some(Stage::Deciding(place)) => place.replace(task),
            _ => Some(task),
        }
    }

    /// The application has been asked about a request: its connection goes on in the turn. Gives
    /// the task, which has ended.
    fn request_decided(&mut self, key: Key, decided: Box<Decided>) -> Option<Task<()>> {
        let stage = self.http_mut(key).map(|http| &mut http.stage)?;
        let Stage::Deciding(task) = stage else { return None };
        let task = task.take();
        *stage = Stage::Decided(decided);
        self.resumed.push_back(key);
        task
    }

    /// What a request will be routed to, and whether that is there.
    fn foresee(&self, head: &Head<'_>) -> Result<Route, Refusal> {
        let (route, protocol) = self.route(head)?;
        match &route {
            Route::OpenPolling(_) | Route::OpenWebSocket(_) => Ok(route),
            Route::Unfit(_) => Err(Refusal::BadRequest),
            Route::Poll(id) | Route::Post(id) | Route::Upgrade(id) => {
                let session = self.session_key(id).ok_or(Refusal::SessionUnknown)?;
                match self.speaks(session, protocol) {
                    true => Ok(route),
                    false => Err(Refusal::BadRequest),
                }
            }
        }
    }

    /// Tells the application that a request was refused, if it wants to know.
    pub(super) fn tell_of(&mut self, key: Key, head: &Head<'_>, rejected: &Rejected) {
        if self.hooks().connection_error.is_empty() {
            return;
        }
        // What cannot be put into words cannot be told.
        let Ok(mut request) = request_of(head) else { return };
        if let Some(peer) = self.http_mut(key).and_then(|http| http.peer) {
            request.extensions_mut().insert(peer);
        }
        self.jobs.push_back(Job::ConnectionError(Box::new(ConnectionError {
            request,
            code: rejected.refusal.code(),
            message: rejected.message().to_owned(),
            context: rejected.context.clone(),
        })));
    }
}

/// A head as applications know it.
pub(super) fn request_of(head: &Head<'_>) -> Result<Request<()>, Fault> {
    let version = match head.version {
        http::Version::Http10 => Version::HTTP_10,
        http::Version::Http11 => Version::HTTP_11,
    };
    let mut request =
        Request::builder().method(head.method.name()).uri(head.target).version(version);
    for (name, value) in head.headers() {
        request = request.header(name, value);
    }
    request.body(()).map_err(|_| Fault { status: 400, message: "Bad request target" })
}
