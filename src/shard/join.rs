//! From a CONNECT packet to a socket: the namespace that was made by name, or the parent that takes
//! the name, or a refusal.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::id::PrivateId;
use crate::base::slab::Key;
use crate::proto::socket::{self, Body};
use crate::room::Memberships;
use crate::session::Violation;

use super::context::Context;
use super::handler::Definition;
use super::log;
use super::recovery::Recoverable;
use super::registry::Candidate;
use super::state::{Extra, Job, Socket, SocketPhase, State};

impl Context {
    /// Asks the parents about a name that nobody has made; the first that takes it gets a child.
    pub(super) fn decide(self: &Rc<Self>, session: Key, candidate: Candidate) {
        let parents = self.with(|state| state.namespaces.parents());
        let name = Arc::clone(&candidate.name);
        // A panic ends this client's attempt: nobody takes the name.
        let undecided = Undecided { context: Rc::clone(self), session, name, taker: None };
        self.start(async move {
            let mut undecided = undecided;
            for parent in parents {
                if parent.takes(&candidate).await {
                    undecided.taker = Some((parent, candidate.auth));
                    return;
                }
            }
        });
    }

    /// The parents have decided.
    fn decided(self: &Rc<Self>, session: Key, name: &Arc<str>, taker: Option<Taker>) {
        if !self.with(|state| state.is_decided(session, name)) {
            return;
        }
        let children_max = self.shared.settings.options.limits.child_namespaces;
        let registry = &self.shared.registry;
        let child = taker.and_then(|(parent, auth)| {
            registry.define_child(name, &parent, children_max).ok().map(|child| (child, auth))
        });
        let Some(((child, is_new), auth)) = child else {
            return self.with(|state| state.refuse_unknown(session, name));
        };
        if is_new {
            log::child_created(&child.name);
            self.shared.namespace_made(&child);
        }
        self.with(|state| {
            if !state.join_as_member(session, &child, auth.as_deref()) {
                let cleans_up = state.shared.settings.cleanup_empty_child_namespaces;
                state.shared.registry.leave(&child, cleans_up);
            }
        });
        self.run_jobs();
    }
}

/// The parent that takes a name, and what the client sent.
type Taker = (Arc<Definition>, Option<Arc<[u8]>>);

/// A name about which the parents decide, for as long as they do.
struct Undecided {
    context: Rc<Context>,
    session: Key,
    name: Arc<str>,
    taker: Option<Taker>,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.context.decided(self.session, &self.name, self.taker.take());
    }
}

impl State {
    /// A client asks for a namespace.
    pub(super) fn connect_packet(&mut self, key: Key, packet: &socket::Packet<'_>) {
        let auth = match packet.body {
            Body::Connect(auth) if auth != b"{}" => Some(auth),
            _ => None,
        };
        log::connecting(self.index, key, packet.namespace);
        if self.may_not_ask(key, packet.namespace) {
            return self.violation(key, Violation::State);
        }
        let named = self.namespaces.named(packet.namespace).map(|space| &space.definition);
        if let Some(definition) = named.filter(|definition| definition.parent_of().is_none()) {
            let definition = Arc::clone(definition);
            self.join_as_member(key, &definition, auth);
            return;
        }
        if let Some(definition) = self.shared.registry.enter(packet.namespace) {
            if !self.join_as_member(key, &definition, auth) {
                let cleans_up = self.shared.settings.cleanup_empty_child_namespaces;
                self.shared.registry.leave(&definition, cleans_up);
            }
            return;
        }
        match self.namespaces.has_parents() {
            true => self.ask_parents(key, packet.namespace, auth),
            false => self.refuse_unknown(key, packet.namespace),
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
            || undecided.iter().any(|other| &**other == name)
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
        self.undecided.entry(key).or_default().push(name);
        self.jobs.push_back(Job::Decide(key, candidate));
    }

    /// The parents have decided about a name. Answers whether the session still asks for it.
    fn is_decided(&mut self, key: Key, name: &Arc<str>) -> bool {
        let Some(names) = self.undecided.get_mut(&key) else { return false };
        names.retain(|other| !Arc::ptr_eq(other, name));
        if names.is_empty() {
            self.undecided.remove(&key);
        }
        self.sessions.get(key).is_some_and(|entry| entry.session.is_open())
    }

    /// Makes a session's socket in a namespace, whose middlewares are asked next. `false` when that
    /// cannot be.
    fn join_as_member(
        &mut self,
        key: Key,
        definition: &Arc<Definition>,
        auth: Option<&[u8]>,
    ) -> bool {
        let Some(nonce) = self.random_bytes().map(u64::from_be_bytes) else { return false };
        let secret = match self.recovery.is_some() {
            true => match self.random_bytes() {
                Some(secret) => Some(secret),
                None => return false,
            },
            false => None,
        };
        self.namespaces.ensure(definition);
        let Some(entry) = self.sessions.get_mut(key) else { return false };
        let index = definition.index;
        let slot = self.sockets.next_key().index;
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
            && !self.claim(address, auth)
        {
            self.jobs.push_back(Job::Connect(address));
        }
        true
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
        self.send_own(key, |encoder| {
            encoder.packet(&[], |out| {
                socket::write_connect_error(out, name, "Invalid namespace", None);
            })
        });
    }
}
