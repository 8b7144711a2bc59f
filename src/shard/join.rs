//! From a CONNECT packet to a socket: the namespace that was made by name, or the parent that takes
//! the name, or a refusal.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::base::id::PrivateId;
use crate::base::slab::Key;
use crate::proto::engine::Protocol;
use crate::room::Memberships;
use crate::session::Violation;

use super::context::Context;
use super::handler::Definition;
use super::log;
use super::recovery::Recoverable;
use super::registry::{Candidate, NoChild};
use super::state::{Extra, Job, Socket, SocketPhase, State};
use super::time::Sleep;
use super::watch::Label;

/// Pause between two looks at what is there in a moment.
const PAUSE: Duration = Duration::from_millis(1);

/// Random bytes that the ids of a socket take at most.
const ID_BYTES: usize = size_of::<u64>() + PrivateId::SECRET_BYTES;

/// A name that a session has asked for, about which parents have not decided yet.
pub struct Question {
    name: Arc<str>,
    /// The task of the parents, which ends with the session.
    pub task: Option<Waker>,
}

impl Context {
    /// Asks the parents about a name that nobody has made; the first that takes it gets a child.
    pub(super) fn decide(self: &Rc<Self>, session: Key, candidate: Candidate) {
        let parents = self.with(|state| state.namespaces.parents());
        let (name, auth) = (Arc::clone(&candidate.name), candidate.auth.clone());
        // A panic ends this client's attempt: nobody takes the name.
        let undecided = Undecided { context: Rc::clone(self), session, name, auth, taken: None };
        let deciding = Rc::clone(self).taken(parents, candidate);
        let deciding = Box::pin(Rc::clone(self).labelled(Label::TASK, deciding));
        self.start(async move {
            let (mut undecided, mut deciding) = (undecided, deciding);
            let asked = poll_fn(|task| match undecided.is_asked(task.waker()) {
                true => deciding.as_mut().poll(task),
                false => Poll::Ready(None),
            });
            undecided.taken = asked.await;
        });
    }

    /// The namespace that a candidate gets, with one member more.
    async fn taken(
        self: Rc<Self>,
        parents: Vec<Arc<Definition>>,
        candidate: Candidate,
    ) -> Option<Arc<Definition>> {
        self.randomness().await;
        if let Some(there) = self.shared.registry.enter(&candidate.name) {
            return Some(there);
        }
        for parent in &parents {
            if parent.takes(&candidate).await {
                return self.child(parent, &candidate.name).await;
            }
        }
        None
    }

    /// Waits until a socket can be given an id: as many as wait for the same answer of a parent may
    /// go on in one turn.
    async fn randomness(self: &Rc<Self>) {
        while self.with(|state| state.random.len() < ID_BYTES) {
            Sleep::new(Rc::clone(self), PAUSE).await;
        }
    }

    /// The child of a parent, with one member more. Who makes it tells the application of it.
    async fn child(
        self: &Rc<Self>,
        parent: &Arc<Definition>,
        name: &str,
    ) -> Option<Arc<Definition>> {
        let children_max = self.shared.settings.options.limits.child_namespaces;
        loop {
            self.randomness().await;
            match self.shared.registry.define_child(name, parent, children_max) {
                Ok((child, false)) => return Some(child),
                Ok((child, true)) => {
                    log::child_created(name);
                    self.isolated(|| self.shared.namespace_made(&child));
                    return child.is_open().then_some(child);
                }
                Err(NoChild::Full) => return None,
                Err(NoChild::BeingMade) => Sleep::new(Rc::clone(self), PAUSE).await,
            }
        }
    }
}

/// A name about which the parents decide, for as long as they do.
struct Undecided {
    context: Rc<Context>,
    session: Key,
    name: Arc<str>,
    auth: Option<Arc<[u8]>>,
    taken: Option<Arc<Definition>>,
}

impl Undecided {
    /// Whether the session still asks. If so, `waker` is woken when it does not any more.
    fn is_asked(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let previous = self.context.with(|state| {
            let question = state.question(self.session, &self.name)?;
            Some(question.task.replace(waker))
        });
        // A waker is user code: it is dropped when the state is not borrowed.
        previous.is_some()
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        let (taken, auth) = (self.taken.take(), self.auth.as_deref());
        self.context.with(|state| state.decided(self.session, &self.name, taken, auth));
        self.context.run_jobs();
    }
}

impl State {
    /// The client of a session of protocol 3 is in `/` without having asked for it. Its socket has
    /// the nonce that the id of the session was made with.
    pub(super) fn connect_by_itself(&mut self, key: Key, nonce: u64) {
        match self.namespaces.named("/").map(|space| Arc::clone(&space.definition)) {
            Some(definition) => self.join_as(nonce, None, key, &definition, None),
            None => self.refuse_unknown(key, "/"),
        }
    }

    /// A client asks for a namespace.
    pub(super) fn connect_packet(&mut self, key: Key, name: &str, auth: Option<&[u8]>) {
        log::connecting(self.index, key, name);
        if self.may_not_ask(key, name) {
            return self.violation(key, Violation::State);
        }
        if self.random.len() < ID_BYTES {
            return self.ask_parents(key, name, auth);
        }
        let named = self.namespaces.named(name).map(|space| &space.definition);
        if let Some(definition) = named.filter(|definition| definition.parent_of().is_none()) {
            let definition = Arc::clone(definition);
            self.join_as_member(key, &definition, auth);
            return;
        }
        if let Some(definition) = self.shared.registry.enter(name) {
            if !self.join_as_member(key, &definition, auth) {
                self.forgo(definition);
            }
            return;
        }
        match self.namespaces.has_parents() {
            true => self.ask_parents(key, name, auth),
            false => self.refuse_unknown(key, name),
        }
    }

    /// Whether a session is in a namespace, has asked for it, or is in as many as it may be.
    fn may_not_ask(&self, key: Key, name: &str) -> bool {
        let most = self.shared.settings.options.limits.namespaces_per_session;
        let Some(entry) = self.sessions.get(key) else { return true };
        let joined = &entry.session.namespaces;
        let index = self.namespaces.named(name).map(|space| space.definition.index);
        let undecided = self.undecided.get(&key).map_or(&[][..], Vec::as_slice);
        index.is_some_and(|index| joined.find(index).is_some())
            || undecided.iter().any(|question| &*question.name == name)
            || joined.len() + undecided.len() >= most
    }

    fn ask_parents(&mut self, key: Key, name: &str, auth: Option<&[u8]>) {
        let name: Arc<str> = name.into();
        let session = self.sessions.get(key).map(|entry| &entry.session);
        let candidate = Candidate {
            name: Arc::clone(&name),
            auth: auth.map(Arc::from),
            request: session.and_then(|session| session.request.clone()),
        };
        self.undecided.entry(key).or_default().push(Question { name, task: None });
        self.jobs.push_back(Job::Decide(key, candidate));
    }

    fn question(&mut self, key: Key, name: &Arc<str>) -> Option<&mut Question> {
        let questions = self.undecided.get_mut(&key)?;
        questions.iter_mut().find(|question| Arc::ptr_eq(&question.name, name))
    }

    /// The parents have decided about a name. Whoever takes it has one member more.
    fn decided(
        &mut self,
        key: Key,
        name: &Arc<str>,
        taken: Option<Arc<Definition>>,
        auth: Option<&[u8]>,
    ) {
        let is_asked = self.withdraw(key, name);
        match taken {
            Some(definition) if !is_asked || !self.join_as_member(key, &definition, auth) => {
                self.forgo(definition);
            }
            None if is_asked => self.refuse_unknown(key, name),
            _ => {}
        }
    }

    /// Forgets a question. Answers whether the session still asked.
    fn withdraw(&mut self, key: Key, name: &Arc<str>) -> bool {
        let Some(questions) = self.undecided.get_mut(&key) else { return false };
        let asked = questions.iter().position(|question| Arc::ptr_eq(&question.name, name));
        let Some(asked) = asked.map(|at| questions.swap_remove(at)) else { return false };
        if questions.is_empty() {
            self.undecided.remove(&key);
        }
        self.jobs.extend(asked.task.map(|waker| Job::Drop(Box::new(waker))));
        self.sessions.get(key).is_some_and(|entry| entry.session.is_open())
    }

    /// A namespace has one member less, which has never been in it.
    fn forgo(&mut self, definition: Arc<Definition>) {
        let cleans_up = self.shared.settings.cleanup_empty_child_namespaces;
        self.shared.registry.leave(&definition, cleans_up);
        // This may be the last that holds it, and its handlers are user code.
        self.jobs.push_back(Job::Drop(Box::new(definition)));
    }

    /// Makes a session's socket in a namespace, whose middlewares are asked next. `false` when that
    /// cannot be.
    fn join_as_member(
        &mut self,
        key: Key,
        definition: &Arc<Definition>,
        auth: Option<&[u8]>,
    ) -> bool {
        if self.sessions.get(key).is_none() {
            return false;
        }
        let Some(nonce) = self.random_bytes().map(u64::from_be_bytes) else { return false };
        let recovers = self.recovery.is_some() && self.protocol(key) == Some(Protocol::V4);
        let secret = match recovers {
            true => match self.random_bytes() {
                Some(secret) => Some(secret),
                None => return false,
            },
            false => None,
        };
        self.join_as(nonce, secret, key, definition, auth);
        true
    }

    /// Makes the socket; one with a secret can be recovered, or be one that is.
    fn join_as(
        &mut self,
        nonce: u64,
        secret: Option<[u8; PrivateId::SECRET_BYTES]>,
        key: Key,
        definition: &Arc<Definition>,
        auth: Option<&[u8]>,
    ) {
        self.namespaces.ensure(definition);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let index = definition.index;
        let (slot, is_recoverable) = (self.sockets.next_key().index, secret.is_some());
        let recovery = secret
            .map(|secret| Box::new(Recoverable::new(PrivateId::new(self.index, slot, secret))));
        let extra = (auth.is_some() || recovery.is_some())
            .then(|| Box::new(Extra { auth: auth.map(Into::into), recovery, ..Extra::default() }));
        let socket = self.sockets.insert(Socket {
            nonce,
            session: key,
            namespace: index,
            phase: SocketPhase::Connecting,
            position: 0,
            memberships: Memberships::default(),
            extra,
        });
        entry.session.namespaces.add(index, socket);
        self.namespaces.hold(index);
        if let Some(address) = self.address(socket)
            && !(is_recoverable && self.claim(address, auth))
        {
            self.jobs.push_back(Job::Connect(address));
        }
    }

    /// Refuses a namespace that there is not.
    pub(super) fn refuse_unknown(&mut self, key: Key, name: &str) {
        log::namespace_denied(self.index, key, name);
        let limits = &self.shared.settings.options.limits;
        let (refusals_max, echo_max) = (limits.namespaces_per_session, limits.namespace_echo_bytes);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if entry.session.namespaces.refused() > refusals_max || name.len() > echo_max {
            return self.violation(key, Violation::State);
        }
        self.send_packet_of(key, name, |packets| packets.connect_error("Invalid namespace", None));
    }
}
