//! A shard with its driver: turns.

mod arrivals;
mod observe;
mod stages;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::base::frame::Frame;
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::command::{Command, SessionCommand};
use crate::driver::{Completion, Driver};
use crate::mailbox::{Bell, Mailbox, ReadyQueue};
use crate::proto::socket::DisconnectReason;

use super::clock::Clock;
use super::conn::Origin;
use super::context::Context;
use super::crowd::Crowd;
use super::dismissal::Dismissal;
use super::queue::Outgoing;
use super::shared::{Post, Shared, Stage};
use super::state::{Action, State};
use super::watch::Pulse;

/// One shard.
pub struct Shard<D: Driver> {
    driver: D,
    context: Rc<Context>,
    completions: Vec<Completion<D::Handle>>,
    /// Connections that were accepted and wait for their turn.
    accepted: VecDeque<Key>,
    /// How far it has followed the server.
    stage: Stage,
    /// When a closing shard stops waiting for its clients, by the driver: that is promised to
    /// whoever waits for the end.
    close_by: Option<Time>,
    clock: Clock,
    /// Who is still to be sent away, when the server drains.
    dismissal: Option<Dismissal>,
    /// Clients that have come and may have left.
    crowd: Crowd,
}

/// What a shard waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It has work: the next turn must not wait.
    Busy,
    /// Nothing until then, unless the kernel or another thread has news.
    Idle(Option<Time>),
    /// The server was closed, and all its clients are gone; or it has died.
    Finished,
}

/// Random bytes that are put aside before user code runs.
const RANDOM_POOL: usize = 4_096;

impl<D: Driver> Shard<D> {
    /// How others will reach a shard with this driver.
    pub fn post(driver: &D, limits: &Limits) -> Arc<Post> {
        let bell = Arc::new(Bell::new(driver.waker()));
        Arc::new(Post {
            mailbox: Mailbox::new(limits.mailbox_commands, Arc::clone(&bell)),
            ready: ReadyQueue::new(bell),
            clients: AtomicUsize::new(0),
            pulse: Pulse::default(),
        })
    }

    /// One of `shards` shards of a server.
    pub fn new(driver: D, index: u16, shards: usize, shared: Arc<Shared>, post: Arc<Post>) -> Self {
        let context = Context::new(index, shards, shared, post);
        Shard {
            driver,
            context,
            completions: Vec::new(),
            accepted: VecDeque::new(),
            stage: Stage::default(),
            close_by: None,
            clock: Clock::default(),
            dismissal: None,
            crowd: Crowd::default(),
        }
    }

    /// Starts to accept connections.
    pub fn listen(&mut self, listener: D::Listener) {
        self.driver.listen(listener);
    }

    /// The shard without its driver.
    pub fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// The time of its deadlines: see [`Clock`].
    pub fn now(&self) -> Time {
        self.clock.at(self.driver.now())
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Works until the server is closed.
    ///
    /// # Errors
    /// Those of [`Driver::turn`]: this shard cannot go on.
    pub fn run(&mut self) -> io::Result<()> {
        self.clock.starts(self.driver.now());
        let mut until = Some(Time::ZERO);
        loop {
            match self.turn(until)? {
                Outlook::Busy => until = Some(Time::ZERO),
                Outlook::Idle(due) => until = due,
                Outlook::Finished => return Ok(()),
            }
        }
    }

    /// One turn. Waits for the kernel until a moment if there is nothing to do before.
    ///
    /// # Errors
    /// Those of [`Driver::turn`].
    pub fn turn(&mut self, until: Option<Time>) -> io::Result<Outlook> {
        let bell = Arc::clone(self.context.post.mailbox.bell());
        bell.announce_sleep();
        let post = &self.context.post;
        let has_news = !post.mailbox.is_empty()
            || !post.ready.is_empty()
            || self.context.shared.stage() != self.stage;
        let until = if has_news { Some(Time::ZERO) } else { until };
        self.clock.waits(until);
        self.driver.turn(until, &mut self.completions)?;
        bell.awake();
        if self.context.shared.stage() == Stage::Abandoned {
            return Ok(Outlook::Finished);
        }
        let context = Rc::clone(&self.context);
        let outlook = context.enter(|| self.work());
        let ended = self.driver.now();
        context.with(|state| {
            let took = self.clock.ends(ended, &mut state.stats);
            state.turn_ends(took, ended);
        });
        context.post.pulse.ends();
        Ok(outlook)
    }

    fn work(&mut self) -> Outlook {
        let context = Rc::clone(&self.context);
        let woke = self.driver.now();
        context.post.pulse.begins(woke);
        context.with(|state| {
            state.now = self.clock.woke(woke, &mut state.stats);
            if let Some(stall) = self.clock.tell() {
                state.resumed(stall);
            }
            state.follow_registrations();
            state.follow_pressure();
            state.surplus.turn_begins();
        });
        self.take_surplus();
        self.take_completions();
        self.take_commands();
        self.take_timers();
        self.refill_random();
        context.run_ready();
        context.run_jobs();
        self.take_backlog();
        self.follow_stage();
        context.announce_packets();
        self.flush()
    }

    fn refill_random(&mut self) {
        let missing = self.context.with(|state| RANDOM_POOL.saturating_sub(state.random.len()));
        if missing > RANDOM_POOL / 2 {
            let mut bytes = [0; RANDOM_POOL];
            self.driver.random(&mut bytes[..missing]);
            self.context.with(|state| state.random.extend(&bytes[..missing]));
        }
    }

    fn take_surplus(&mut self) {
        for _ in 0..self.context.with(|state| state.surplus.ready()) {
            if self.context.with(|state| state.is_congested()) {
                break;
            }
            self.refill_random();
            self.context.pump_surplus();
        }
    }

    fn take_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        let mut rest = completions.drain(..);
        // What is left while other shards are behind keeps its receive buffers, and when those are
        // used up the kernel makes the clients wait.
        while !self.context.with(|state| state.is_congested()) {
            let Some(completion) = rest.next() else { break };
            self.refill_random();
            match completion {
                Completion::Accepted(key) => self.accepted.push_back(key),
                Completion::Received { connection, buffer, length } => {
                    let bytes = &mut self.driver.buffer(buffer)[..length];
                    self.context.received(connection, bytes);
                    self.driver.release(buffer);
                }
                Completion::Ended(key, _) => {
                    self.context.with(|state| state.ended(key));
                    self.context.run_jobs();
                }
                Completion::Sent(key, result) => self.context.with(|state| state.sent(key, result)),
                Completion::Detached(key, handle) => {
                    let leaving = self.context.with(|state| state.detached(key));
                    // One that was given up meanwhile is closed with its handle.
                    if let Some((shard, bytes, peer)) = leaving {
                        self.context.post(shard, Command::Adopt(Box::new(handle), bytes, peer));
                    }
                }
            }
        }
        let left: Vec<_> = rest.collect();
        completions.extend(left);
        self.completions = completions;
        let most = self.context.shared.settings.options.limits.accepts_per_turn;
        for _ in 0..most.min(self.accepted.len()) {
            self.accepted.pop_front().into_iter().for_each(|key| self.accept(key));
        }
    }

    fn take_commands(&mut self) {
        let most = self.context.shared.settings.options.limits.mailbox_commands_per_turn;
        for _ in 0..most {
            let Some(command) = self.context.post.mailbox.take() else { break };
            match command {
                Command::Adopt(handle, bytes, peer) => {
                    if let Ok(handle) = handle.downcast() {
                        self.refill_random();
                        let key = self.driver.adopt(*handle);
                        self.adopted(key, bytes, peer, Origin::Shard);
                    }
                }
                Command::Attach(handle, bytes, peer) => {
                    self.refill_random();
                    if self.context.with(State::admits)
                        && let Some(key) = self.driver.attach(handle)
                    {
                        self.adopted(key, bytes, peer, Origin::Application);
                    }
                }
                Command::Observe(who) => self.tell(&who),
                Command::Relieve(bytes) => self.relieve(bytes),
                other => self.context.with(|state| {
                    state.obey(other);
                    state.look_after_arrivals();
                }),
            }
            self.context.run_jobs();
        }
    }

    fn take_timers(&mut self) {
        let now = self.context.with(|state| state.now);
        while let Some(owner) = self.context.with(|state| state.timers.expire(now)) {
            let waker = self.context.with(|state| state.came_up(owner));
            if let Some(waker) = waker {
                waker.wake();
            }
            self.context.run_jobs();
        }
    }

    fn take_backlog(&mut self) {
        for _ in 0..self.context.with(|state| state.backlog.len()) {
            self.refill_random();
            let Some(work) = self.context.with(|state| state.backlog.pop_front()) else { break };
            let connection = work.connection;
            if self.context.payload(work) {
                self.context.pump_http(connection);
            }
        }
        for _ in 0..self.context.with(|state| state.resumed.len()) {
            self.refill_random();
            let Some(key) = self.context.with(|state| state.resumed.pop_front()) else { break };
            self.context.pump_http(key);
        }
    }

    /// Sends what was queued, has the driver do what it has to, and says what comes next.
    fn flush(&mut self) -> Outlook {
        let driver = &mut self.driver;
        let outlook = self.context.with(|state| {
            let most = state.shared.settings.options.limits.flushes_per_turn;
            state.flush_batch(driver, most);
            for session in std::mem::take(&mut state.dirty_sessions) {
                state.flush_session(session);
            }
            state.stopwatch.queued(state.batch.tally(), state.dirty.len());
            let flushed = most.min(state.dirty.len());
            for _ in 0..flushed {
                let Some(key) = state.dirty.pop_front() else { break };
                state.flush_connection(key, driver);
            }
            state.stopwatch.flushed(flushed);
            state.joined.clear();
            state.compression.iter_mut().for_each(|compression| compression.turn_ends());
            for action in std::mem::take(&mut state.actions) {
                match action {
                    Action::Close(key) => driver.close(key),
                    Action::Shutdown(key) => driver.shutdown(key),
                    Action::Detach(key) => driver.detach(key),
                    Action::Pause(key) => driver.pause(key),
                    Action::Receive(key) => driver.receive(key),
                }
            }
            let is_behind = state.retry_outbox();
            state.outlook(is_behind)
        });
        self.outlook(outlook)
    }

    /// What comes next for the whole shard, by the time of the driver.
    fn outlook(&mut self, of_state: Outlook) -> Outlook {
        let is_deserted = of_state != Outlook::Busy
            && self.context.tasks() == 0
            && self.context.with(|state| state.is_deserted());
        if self.close_by.is_some() && (is_deserted || self.is_overdue()) {
            return Outlook::Finished;
        }
        match of_state {
            Outlook::Idle(_) if !self.accepted.is_empty() => Outlook::Busy,
            Outlook::Idle(_) if !self.context.post.ready.is_empty() => Outlook::Busy,
            Outlook::Idle(due) => {
                let due = due.into_iter().chain(self.fit()).min();
                let due = due.map(|due| self.clock.by_driver(due));
                let dismissal = self.dismissal.as_ref().filter(|_| self.close_by.is_none());
                let next = dismissal.map(Dismissal::next);
                Outlook::Idle(due.into_iter().chain(next).chain(self.close_by).min())
            }
            outlook => outlook,
        }
    }

    /// Gives back what was grown by for a crowd that has left, or says when that is to be done.
    fn fit(&mut self) -> Option<Time> {
        let (clients, now) = self.context.with(|state| (state.clients(), state.now));
        if self.crowd.shrinks(clients) {
            self.fit_lists(clients.max(LEAST_FITTED));
        }
        let due = self.crowd.gone_by(clients, now)?;
        if due > now {
            return Some(due);
        }
        self.crowd = Crowd::of(clients);
        let least = if clients == 0 { 0 } else { clients.max(LEAST_FITTED) };
        self.fit_lists(least);
        self.driver.fit(least);
        self.context.relax(least);
        None
    }

    fn fit_lists(&mut self, least: usize) {
        self.completions.fit(least);
        self.accepted.fit(least);
        self.context.with(|state| state.fit(least));
    }

    fn is_overdue(&self) -> bool {
        self.close_by.is_some_and(|close_by| close_by <= self.driver.now())
    }
}

impl<D: Driver> Drop for Shard<D> {
    fn drop(&mut self) {
        // Tasks hold the context, which holds their queue: run what is left of them, cancelled.
        let context = Rc::clone(&self.context);
        context.enter(|| {
            // Each task holds the shard, and the shard holds what wakes the task.
            drop(context.with(State::dismantle));
            while let Some(runnable) = context.post.ready.take() {
                drop(runnable);
            }
            // Connections that others still hand over are theirs to close from now on.
            context.post.mailbox.close();
            while let Some(command) = context.post.mailbox.take() {
                match command {
                    // Its client may have a session on a shard that still says farewell.
                    Command::Attach(..) => context.shared.pass_on(command),
                    command => command.is_lost(),
                }
            }
        });
    }
}

/// Lists for fewer are not worth a look.
const LEAST_FITTED: usize = 64;

/// Pause between two tries to post to a full mailbox.
const OUTBOX_RETRY: Duration = Duration::from_millis(1);

impl State {
    /// Whether so much waits for shards that are behind that nothing more may be taken in.
    fn is_congested(&self) -> bool {
        let most = self.shared.settings.options.limits.outbox_commands;
        self.outbox.iter().any(|outbox| outbox.len() >= most)
    }

    /// Whether the application may hand over another connection. It is the one that has accepted
    /// it, so that unlike those of the driver it cannot be left waiting.
    fn admits(&mut self) -> bool {
        let most = self.shared.settings.options.limits.connections;
        let admits = most == 0 || self.connections.len() < most;
        let stats = &mut self.stats;
        stats.connections_accepted += u64::from(admits);
        stats.connections_refused += u64::from(!admits);
        admits
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt(..)
            | Command::Attach(..)
            | Command::Observe(_)
            | Command::Relieve(_) => {}
            Command::Broadcast(broadcast) => self.broadcast(&broadcast),
            Command::Socket(socket, command) => self.command(socket, command),
            Command::Members(members) => self.change_members(&members),
            Command::Session(address, SessionCommand::Send(wire)) => {
                self.send(address.key, Outgoing::Shared(Frame::own(wire)), false);
            }
            Command::Session(address, SessionCommand::Close) => {
                self.close_session(address.key, DisconnectReason::ForcedClose);
            }
            Command::Session(address, SessionCommand::Drained(waiter)) => {
                self.await_drain(address.key, waiter);
            }
            // Whoever asked may have lost interest; that is no fault.
            Command::Fetch(audience, sender) => drop(sender.send(self.found(&audience))),
            Command::Recover(request) => self.recover(request),
            Command::Recovered(answer) => self.recovered(*answer),
            Command::Stats(sender) => drop(sender.send(self.stats())),
        }
    }

    /// Whether it has no clients.
    fn is_deserted(&self) -> bool {
        self.connections.is_empty() && self.sessions.is_empty()
    }

    /// What comes next, by the time of the shard.
    fn outlook(&mut self, is_behind: bool) -> Outlook {
        let is_busy = !self.batch.is_empty()
            || !self.dirty.is_empty()
            || !self.dirty_sessions.is_empty()
            || !self.backlog.is_empty()
            || !self.resumed.is_empty()
            || self.surplus.is_ready()
            || !self.jobs.is_empty();
        if is_busy {
            return Outlook::Busy;
        }
        let retry = is_behind.then(|| self.now.after(OUTBOX_RETRY));
        Outlook::Idle(self.timers.next().into_iter().chain(retry).min())
    }
}
