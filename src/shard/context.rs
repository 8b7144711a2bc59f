//! The shard that this thread is working for, as handlers and handles see it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_task::Task;
use bytes::Bytes;

use crate::base::slab::{Key, Slab};
use crate::command::{Command, SocketAddress};

use super::copies::Copies;
use super::drains;
use super::handler::{Event, Handler, Parked, Started};
use super::shared::{Post, Shared};
use super::state::{Job, State};
use super::watch::{AtWork, Label};

/// One shard without its driver.
pub struct Context {
    /// Which one.
    pub index: u16,
    /// The server.
    pub shared: Arc<Shared>,
    /// How others reach this shard.
    pub post: Arc<Post>,
    state: RefCell<State>,
    copies: RefCell<Copies>,
    /// Where packets of MessagePack become text.
    pub(super) texts: Cell<Vec<u8>>,
    /// Tasks that have not finished.
    tasks: Cell<usize>,
    /// The sockets whose handlers wait, and may still acknowledge an event.
    pub(super) owed: RefCell<Slab<SocketAddress>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

/// Makes the previous context current again when it is dropped.
struct Entered(Option<Rc<Context>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl Context {
    /// The context of a shard that has not begun.
    pub fn new(index: u16, shards: usize, shared: Arc<Shared>, post: Arc<Post>) -> Rc<Context> {
        let state = RefCell::new(State::new(index, shards, Arc::clone(&shared)));
        let (copies, texts, tasks) = (RefCell::default(), Cell::default(), Cell::new(0));
        let owed = RefCell::default();
        Rc::new(Context { index, shared, post, state, copies, texts, tasks, owed })
    }

    /// The shard that this thread is working for.
    pub fn current() -> Option<Rc<Context>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Makes this shard the current one while `work` runs.
    pub fn enter<R>(self: &Rc<Self>, work: impl FnOnce() -> R) -> R {
        let _entered = Entered(CURRENT.replace(Some(Rc::clone(self))));
        work()
    }

    /// Works on the state. No user code may run inside: it would find the state borrowed.
    pub fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.borrow_mut())
    }

    /// A copy of what was received, for handlers to keep.
    pub fn copy(&self, bytes: &[u8]) -> Bytes {
        self.copies.borrow_mut().copy(bytes)
    }

    /// Asks something of another shard, or of this one when it comes to its mailbox.
    pub fn post(&self, shard: u16, command: Command) {
        self.with(|state| state.post(usize::from(shard), command));
    }

    /// Calls handlers, one after the other, each up to where it waits. Answers what still waits.
    pub fn call(&self, handlers: &[Handler], event: &mut Event<'_>) -> Vec<Parked> {
        let mut waiting = Vec::new();
        for handler in handlers {
            match catch_unwind(AssertUnwindSafe(|| handler(event))) {
                Ok(Started::Done) => {}
                Ok(Started::Waiting(parked)) => waiting.push(parked),
                Ok(Started::Rejected) => self.with(|state| state.stats.events_rejected += 1),
                Err(panic) => self.handler_panicked(panic),
            }
        }
        waiting
    }

    /// Polls user code once; what waits becomes a task of this shard.
    pub fn start(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) {
        self.begin(future).into_iter().for_each(Task::detach);
    }

    /// Polls user code once. What waits becomes a task of this shard, which ends when it is
    /// dropped.
    pub fn begin(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) -> Option<Task<()>> {
        let mut parked: Parked = Box::pin(future);
        let mut context = std::task::Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| parked.as_mut().poll(&mut context))) {
            Ok(std::task::Poll::Ready(())) => {}
            Ok(std::task::Poll::Pending) => return Some(self.spawn(parked)),
            Err(panic) => self.handler_panicked(panic),
        }
        None
    }

    /// Makes user code that waits a task of this shard. It is polled again at once, since until now
    /// it had no waker that counts.
    pub fn park(self: &Rc<Self>, parked: Parked) {
        self.spawn(parked).detach();
    }

    fn spawn(self: &Rc<Self>, parked: Parked) -> Task<()> {
        let post = Arc::clone(&self.post);
        let context = Rc::clone(self);
        self.tasks.set(self.tasks.get() + 1);
        let counted = async move {
            let _counted = Counted(context);
            parked.await;
        };
        let schedule = move |runnable| post.ready.push(runnable);
        let (runnable, task) = async_task::spawn_local(counted, schedule);
        runnable.schedule();
        task
    }

    /// Runs the tasks that can go on, each once.
    pub fn run_ready(&self) {
        for _ in 0..self.post.ready.len() {
            let Some(runnable) = self.post.ready.take() else { break };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runnable.run())) {
                self.handler_panicked(panic);
            }
        }
    }

    /// Tasks that have not finished.
    pub fn tasks(&self) -> usize {
        self.tasks.get()
    }

    /// Runs the user code that is due.
    pub fn run_jobs(self: &Rc<Self>) {
        while let Some(job) = self.with(|state| state.jobs.pop_front()) {
            match job {
                Job::Connect(socket) => self.connect(socket),
                Job::Decide(session, candidate) => self.decide(session, candidate),
                Job::Disconnecting(socket, departure) => self.disconnecting(socket, departure),
                Job::Recover(request) => self.answer_recovery(request),
                Job::SessionExpired(expired) => {
                    self.isolated(|| self.shared.session_expired(&expired));
                }
                Job::Outgoing(socket, frame) => self.outgoing(socket, &frame),
                Job::Disconnect(socket, departure) => self.disconnect(socket, departure),
                Job::EngineOpen(session) => self.engine_opened(session),
                Job::EngineClose(session, departure) => self.engine_closed(session, departure),
                Job::Session(happening) => self.happened(*happening),
                Job::Resolve(waiter, answer) => {
                    self.isolated(|| waiter.resolve(answer));
                }
                Job::Drained(waiters, result) => {
                    for waiter in waiters {
                        self.isolated(|| drains::tell(waiter, result));
                    }
                }
                Job::Room(change) => self.room_changed(&change),
                Job::Wake(waker) => self.isolated(|| waker.wake()),
                Job::Visit(visit) => self.isolated(visit),
                Job::Drop(value) => self.isolated(|| drop(value)),
                Job::ConnectionError(error) => self.connection_refused(&error),
                Job::Lost(Command::Recover(request)) => {
                    self.with(|state| state.join_afresh(request.asker));
                }
                Job::Lost(command) => self.isolated(|| command.is_lost()),
            }
        }
    }

    /// Has the watchdog know what runs, until what it gives is dropped.
    pub fn runs(&self, label: Label) -> AtWork<'_> {
        self.post.pulse.runs(label)
    }

    /// User code that the watchdog knows by a name whenever it is polled.
    pub async fn labelled<T>(self: Rc<Self>, label: Label, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let poll = |task: &mut std::task::Context<'_>| {
            let _runs = self.runs(label);
            future.as_mut().poll(task)
        };
        poll_fn(poll).await
    }

    /// Runs user code whose panic must not spread.
    pub(super) fn isolated(&self, work: impl FnOnce()) {
        let _runs = self.runs(Label::CALLBACK);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.handler_panicked(panic);
        }
    }

    /// Gives back what else has grown for a crowd that is gone, and tells the application.
    pub fn relax(&self, least: usize) {
        drop((self.copies.take(), self.texts.take()));
        self.with(|state| state.relax(least));
        if let Some(crowd_left) = &self.shared.settings.crowd_left {
            self.isolated(|| crowd_left());
        }
    }

    fn handler_panicked(&self, panic: Box<dyn std::any::Any + Send>) {
        // The payload is user code, too: its own drop may panic.
        drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
        self.with(|state| state.stats.handlers_panicked += 1);
        super::log::handler_panicked(self.index);
    }
}

/// Counts a task while it exists.
struct Counted(Rc<Context>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get().saturating_sub(1));
    }
}

/// Releases a socket when its last disconnect handler has ended, however it ends.
pub(super) struct Release {
    pub(super) context: Rc<Context>,
    pub(super) socket: Key,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.context.with(|state| state.release(self.socket));
    }
}
