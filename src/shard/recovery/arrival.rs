//! Those who come back.

use std::rc::Rc;

use serde::Deserialize;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::id::PrivateId;
use crate::base::offset::Offset;
use crate::base::slab::Key;
use crate::command::{Command, Recover, Recovered, Returning, SocketAddress};
use crate::room::Target;
use crate::session::recovery::{Course, Missed};
use crate::shard::context::Context;
use crate::shard::queue::Outgoing;
use crate::shard::state::{Job, SocketPhase, State};

use super::store::Kept;
use super::{Member, Pending, Recoverable};

/// How long a shard may take to see what the old shard of a client has seen.
const ARRIVAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// Times that a request is sent on to where its session has moved.
const HOPS_MAX: u8 = 4;

/// A socket that its old shard has given away, before this shard has seen as much.
pub(super) struct Arrival {
    asker: SocketAddress,
    returning: Returning,
    /// Where the log stood when it came.
    position: u64,
    due: Time,
}

impl Arrival {
    pub(super) fn is_of(&self, socket: SocketAddress) -> bool {
        self.returning.address.nonce == socket.nonce
    }
}

/// What a client that comes back sends with its CONNECT.
#[derive(Deserialize)]
struct Claim<'a> {
    pid: &'a str,
    offset: Option<&'a str>,
}

impl Context {
    /// Answers the shard of a client that asks for a socket.
    pub(in crate::shard) fn answer_recovery(self: &Rc<Self>, request: Box<Recover>) {
        self.with(|state| state.answer_recovery(request));
    }
}

impl State {
    /// Asks for the socket that a client has had before. `false` when it does not say which.
    pub(in crate::shard) fn claim(&mut self, asker: SocketAddress, auth: Option<&[u8]>) -> bool {
        if self.recovery.is_none() {
            return false;
        }
        let claim = auth.and_then(|auth| serde_json::from_slice::<Claim<'_>>(auth).ok());
        let Some(claim) = claim else { return false };
        let Some(pid) = PrivateId::parse(claim.pid.as_bytes()) else { return false };
        let offset = match claim.offset.map(|offset| Offset::parse(offset.as_bytes())) {
            Some(None) => return false,
            offset => offset.flatten(),
        };
        let shard = self.shared.moved.shard_of_session(&pid);
        if usize::from(shard) >= self.shared.posts().len() {
            return false;
        }
        let namespace = asker.namespace;
        let request = Recover { pid, offset, namespace, asker, hops: 0 };
        self.post(usize::from(shard), Command::Recover(Box::new(request)));
        true
    }

    fn answer_recovery(&mut self, mut request: Box<Recover>) {
        let asker = request.asker;
        let returning = self.give_away(&request);
        let Some(returning) = returning else {
            let shard = self.shared.moved.shard_of_session(&request.pid);
            if shard != self.index && request.hops < HOPS_MAX {
                request.hops += 1;
                return self.post(usize::from(shard), Command::Recover(request));
            }
            return match self.is_coming(&request.pid) {
                true => self.follow(request),
                false => self.answer_that_there_is_none(asker),
            };
        };
        let Returning { address, pid, moves, .. } = returning;
        let answer = Recovered { asker, returning: Some(returning) };
        self.post(usize::from(asker.shard), Command::Recovered(Box::new(answer)));
        // Only then, so that what is sent to the new shard comes after the answer.
        self.shared.moved.insert(address, pid, asker.shard, moves);
    }

    fn answer_that_there_is_none(&mut self, asker: SocketAddress) {
        let answer = Recovered { asker, returning: None };
        self.post(usize::from(asker.shard), Command::Recovered(Box::new(answer)));
    }

    /// Whether a socket is on its way to this shard: a client that has lost another connection
    /// before it was accepted asks for it once more.
    fn is_coming(&self, pid: &PrivateId) -> bool {
        let Some(recovery) = &self.recovery else { return false };
        recovery.arrivals.iter().any(|arrival| arrival.returning.pid == *pid)
            || self.shared.moved.has_moved_to(pid, self.index)
                && !recovery.stored.contains_key(pid)
                && !recovery.adopted_pids.contains_key(pid)
    }

    fn follow(&mut self, request: Box<Recover>) {
        let due = self.now.after(ARRIVAL_TIMEOUT);
        if let Some(recovery) = &mut self.recovery {
            recovery.followers.push((due, request));
            self.arm_recovery();
        }
    }

    /// Goes on with those who have asked for what has come.
    fn look_after_followers(&mut self) {
        let now = self.now;
        let Some(recovery) = &mut self.recovery else { return };
        let followers = std::mem::take(&mut recovery.followers);
        let waits =
            |(due, request): &(Time, Box<Recover>)| *due > now && self.is_coming(&request.pid);
        let (waiting, ready): (Vec<_>, Vec<_>) = followers.into_iter().partition(waits);
        if let Some(recovery) = &mut self.recovery {
            recovery.followers = waiting;
        }
        for (_, request) in ready {
            match self.is_coming(&request.pid) {
                true => self.answer_that_there_is_none(request.asker),
                false => self.recover(request),
            }
        }
    }

    /// Another shard has said what became of a client's wish to have its socket back.
    pub(in crate::shard) fn recovered(&mut self, answer: Recovered) {
        let Recovered { asker, returning } = answer;
        let Some(returning) = returning else { return self.join_afresh(asker) };
        self.shared.moved.insert(returning.address, returning.pid, self.index, returning.moves);
        let due = self.now.after(ARRIVAL_TIMEOUT);
        if let Some(recovery) = &mut self.recovery {
            let position = recovery.log.end();
            recovery.arrivals.push(Arrival { asker, returning, position, due });
        }
        self.arm_recovery();
        self.look_after_arrivals();
    }

    /// A client has a new socket, as if it had none before.
    pub(in crate::shard) fn join_afresh(&mut self, asker: SocketAddress) {
        if self.socket_key(asker).is_some() {
            self.jobs.push_back(Job::Connect(asker));
        }
    }

    /// Takes in those whose old shard had seen no more than this one has by now.
    pub(in crate::shard) fn look_after_arrivals(&mut self) {
        let now = self.now;
        let Some(recovery) = &mut self.recovery else { return };
        if recovery.arrivals.is_empty() && recovery.followers.is_empty() {
            return;
        }
        let seen = recovery.log.seen();
        let is_ready = |arrival: &mut Arrival| seen.covers(&arrival.returning.seen);
        let ready: Vec<Arrival> = recovery.arrivals.extract_if(.., is_ready).collect();
        let late: Vec<Arrival> =
            recovery.arrivals.extract_if(.., |arrival| arrival.due <= now).collect();
        ready.into_iter().for_each(|arrival| self.take_in(arrival));
        for Arrival { asker, returning, .. } in late {
            self.shared.moved.remove(returning.address, &returning.pid);
            self.jobs.push_back(Job::Drop(Box::new(returning.data)));
            self.join_afresh(asker);
        }
        self.look_after_followers();
    }

    fn take_in(&mut self, arrival: Arrival) {
        let Arrival { asker, returning, position, .. } = arrival;
        let Returning { pid, address, rooms, data, moves, missed, seen } = returning;
        let pending = Pending { missed, seen, position };
        let Some(key) = self.socket_key(asker).filter(|&key| self.is_joining(key)) else {
            // The client has gone meanwhile. It will be back.
            return match self.course_of(address, &rooms, pending) {
                Some(course) => self.store(pid, Kept { address, rooms, data, moves, course }),
                None => self.shared.moved.remove(address, &pid),
            };
        };
        self.join(asker, &rooms);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.nonce = address.nonce;
        let extra = socket.extra.get_or_insert_default();
        extra.recovery = Some(Box::new(Recoverable {
            pid,
            address: Some(address),
            moves,
            course: Course::default(),
            data: Some(data),
            pending: Some(pending),
        }));
        if let Some(recovery) = &mut self.recovery {
            recovery.adopted.insert(address.nonce, key);
            recovery.adopted_pids.insert(pid, key);
        }
        self.jobs.push_back(Job::Connect(address));
    }

    fn is_joining(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| socket.phase == SocketPhase::Connecting)
    }

    /// What a socket that comes back is due at this moment.
    pub(super) fn due(
        &self,
        address: SocketAddress,
        rooms: &[Target],
        pending: Pending,
    ) -> Option<Vec<Missed>> {
        let Pending { mut missed, seen, position } = pending;
        let id = address.id().to_string();
        let member = Member::new(address, &id, rooms);
        let log = &self.recovery.as_ref()?.log;
        missed.extend(log.beyond(&seen, position, |scope| member.is_concerned(scope))?);
        Some(missed)
    }

    /// Whether the middlewares of a socket's namespace are not asked about it.
    pub(in crate::shard) fn skips_middlewares(&self, socket: SocketAddress) -> bool {
        self.recovery_options().is_some_and(|options| options.skip_middlewares)
            && self.adopted(socket.nonce).is_some()
    }

    /// A socket has joined: it is sent what it has missed, if it has come back. `false` when that
    /// is not known any more.
    pub(in crate::shard) fn resume(&mut self, key: Key) -> bool {
        if self.recovery.is_none() {
            return true;
        }
        let Some(address) = self.address(key) else { return false };
        let Some(recoverable) = self.recoverable(key) else { return true };
        let missed = match recoverable.pending.take() {
            Some(pending) => self.due(address, &self.joined_rooms(key), pending),
            None => Some(Vec::new()),
        };
        let Some(missed) = missed else { return false };
        if let Some(session) = self.sockets.get(key).map(|socket| socket.session) {
            for event in &missed {
                let frame = Frame::shared(std::sync::Arc::clone(&event.wire));
                self.send(session, Outgoing::Shared(frame), false);
            }
        }
        self.begin_course(key, missed);
        true
    }

    /// Whether a socket has come back.
    pub fn has_come_back(&self, key: Key) -> bool {
        let extra = self.sockets.get(key).and_then(|socket| socket.extra.as_ref());
        let recoverable = extra.and_then(|extra| extra.recovery.as_ref());
        recoverable.is_some_and(|recoverable| recoverable.address.is_some())
    }

    fn recoverable(&mut self, key: Key) -> Option<&mut Recoverable> {
        self.sockets.get_mut(key)?.extra.as_mut()?.recovery.as_deref_mut()
    }

    fn begin_course(&mut self, key: Key, carried: Vec<Missed>) {
        let most = self.shared.settings.options.limits.recovery_resumed_events;
        let due = self.now.after(self.silence());
        let Some(recovery) = &mut self.recovery else { return };
        let course = Course::begin(&recovery.log, carried);
        if course.carried() > 0 {
            recovery.resumed_events += course.carried();
            recovery.resumed.push_back((due, key, course.carried()));
        }
        if let Some(recoverable) = self.recoverable(key) {
            recoverable.course = course;
        }
        // What many have been sent again at once is held for each of them.
        while self.recovery.as_ref().is_some_and(|recovery| recovery.resumed_events > most) {
            self.forget_oldest_resumed(false);
        }
        self.arm_recovery();
    }
}
