//! Shards on threads of their own, and their end.

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;

use crate::base::address::ListenAddress;
use crate::base::driver_kind::{DriverKind, UnknownDriver};
use crate::base::limits::SHARDS_MAX;
use crate::driver::Driver;
use crate::driver::epoll::Epoll;
use crate::driver::memory::MemoryGauge;
use crate::driver::net::{self, Handle, Listener};
use crate::driver::sys;
use crate::driver::systemd;
use crate::driver::uring::{Features, Uring};
use crate::error::{Error, Result};
use crate::session::recovery::StateFile;

use super::doors::Doors;
use super::endpoint::{self, Endpoint};
use super::hand_over::{Door, HandOver, Predecessor};
use super::log;
use super::pressure::MemoryWatch;
use super::recovery::{Inheritance, Section, file};
use super::running::Running;
#[cfg(feature = "tls")]
use super::secure;
use super::shared::{Post, Shared, Stage};
use super::turn::Shard;
use super::watch::Watchdog;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// The environment variable that decides about the driver where the application leaves it open.
const DRIVER_VARIABLE: &str = "FANFARE_DRIVER";

/// How the shards are to run.
pub struct Plan {
    cores: Vec<usize>,
    shards: usize,
    pin: bool,
    driver: DriverKind,
}

impl Plan {
    /// So many shards, or one for each core that this process may use; pinned to them or not.
    pub(crate) fn new(shards: Option<usize>, pin: bool, driver: DriverKind) -> Result<Plan> {
        let cores = sys::allowed_cores().map_err(Error::Driver)?;
        let shards = shards.unwrap_or(cores.len()).clamp(1, SHARDS_MAX);
        Ok(Plan { cores, shards, pin, driver })
    }

    /// What the application says, or else the environment.
    fn wanted_driver(&self) -> Result<DriverKind> {
        match (self.driver, std::env::var(DRIVER_VARIABLE)) {
            (DriverKind::Auto, Ok(name)) if !name.is_empty() => name
                .parse()
                .map_err(|error: UnknownDriver| Error::Option(DRIVER_VARIABLE, error.to_string())),
            (driver, _) => Ok(driver),
        }
    }

    /// Starts the shards. Each makes its own driver, which belongs to its thread, and all make one
    /// of the same kind. None listens before all of them are there, so that a connection may be
    /// handed to any of them.
    pub(crate) fn start(
        self,
        shared: &Arc<Shared>,
        addresses: &[ListenAddress],
    ) -> Result<Running> {
        // The limits that a driver sees at its start count for its whole life.
        shared.places.limit(net::descriptors_for_connections().map_err(Error::Driver)?);
        let (end, ends) = channel();
        let mut running = Running::new(Arc::clone(shared), ends);
        let state_file = shared.settings.options.state_file();
        if let Some(file) = state_file {
            file::check(file).map_err(|error| unwritable(file, error))?;
        }
        let (mut predecessor, theirs) = self.predecessor(shared)?.unzip();
        if state_file.is_some() {
            // What it leaves is what this one begins with.
            predecessor.take().map_or(Ok(()), |predecessor| succeed(shared, predecessor))?;
        }
        let inherited = state_file.map(|file| (file, file::read(shared, file, self.shards)));
        let (used, inheritances) = inherited.filter(|(_, shards)| !shards.is_empty()).unzip();
        let mut inheritances = inheritances.into_iter().flatten();
        let wanted = self.wanted_driver()?;
        let ((trial, trials), (report, reports)) = (channel(), channel());
        let mut orders = Vec::new();
        for index in 0..self.shards {
            let ((choose, chosen), (order, ordered)) = (channel(), channel());
            orders.push((choose, order));
            let core = self.cores.get(index).copied().filter(|_| self.pin);
            let (trial, report) = (trial.clone(), report.clone());
            let (shards, inheritance) = (self.shards, inheritances.next());
            let start = Start { index, shards, core, trial, chosen, report, ordered, inheritance };
            let (shared, end) = (Arc::clone(shared), end.clone());
            let thread = thread::Builder::new()
                .name(format!("fanfare-{index}"))
                .spawn(move || {
                    let ended = start.choose_and_run(&shared, wanted);
                    // Whoever would wait for it may have lost interest.
                    let _ = end.send((index, ended));
                })
                .map_err(Error::Thread)?;
            running.threads.push(thread);
        }
        drop((trial, report, end));
        // A shard that is not ordered to run ends, so that an error here ends them all.
        let chosen = choose_driver(wanted, &trials, self.shards)?;
        for (choose, _) in &orders {
            // A thread that is gone reports nothing, which is seen right below.
            let _ = choose.send(chosen);
        }
        introduce(shared, &reports, self.shards)?;
        watch(shared, &mut running)?;
        let mode = shared.settings.unix_socket_mode;
        let doors = Doors::open(addresses, mode, self.shards, theirs.unwrap_or_default())?;
        let observed = open_endpoint(shared, predecessor.is_some())?;
        predecessor.map_or(Ok(()), |predecessor| succeed(shared, predecessor))?;
        running.endpoint = start_endpoint(shared, observed, chosen)?;
        running.hand_over = wait_for_successor(shared, &doors)?;
        running.files = doors.files;
        log::listening(&doors.addresses, self.shards);
        shared.listens(doors.addresses);
        used.into_iter().for_each(file::remove);
        for ((_, order), listeners) in orders.iter().zip(doors.listeners) {
            // A thread that is gone has closed the server.
            let _ = order.send(listeners);
        }
        log::notified(systemd::notify(&format!("READY=1\nMAINPID={}", std::process::id())));
        Ok(running)
    }

    /// Who serves until this one does, with its listeners.
    fn predecessor(&self, shared: &Shared) -> Result<Option<(Predecessor, Vec<Door>)>> {
        let Some(path) = &shared.settings.hand_over_at else { return Ok(None) };
        Predecessor::ask(path).map_err(|error| Error::HandOver(path.clone(), error))
    }
}

/// Takes the place of whoever serves: from here on there is no way back.
fn succeed(shared: &Shared, predecessor: Predecessor) -> Result<()> {
    log::takes_over();
    let path = shared.settings.hand_over_at.clone().unwrap_or_default();
    predecessor.take_over().map_err(|error| Error::HandOver(path, error))
}

/// Starts those who look after the shards, and after the memory.
fn watch(shared: &Arc<Shared>, running: &mut Running) -> Result<()> {
    let watchdog = shared.settings.watchdog.map(|limit| Watchdog::start(shared, limit));
    running.watchdog = watchdog.transpose()?;
    let gauge = MemoryGauge::new(shared.settings.options.limits.memory_limit());
    let memory = gauge.map(|gauge| MemoryWatch::start(shared, gauge));
    running.memory = memory.transpose()?;
    Ok(())
}

/// Opens what those come to who watch the server; not if whoever serves until this one does may
/// have it, who leaves it to this one.
fn open_endpoint(shared: &Shared, has_predecessor: bool) -> Result<Option<TcpListener>> {
    let Some(address) = &shared.settings.metrics else { return Ok(None) };
    match endpoint::listen(address) {
        Err(Error::Listen(_, error))
            if has_predecessor && error.kind() == io::ErrorKind::AddrInUse =>
        {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn start_endpoint(
    shared: &Arc<Shared>,
    opened: Option<TcpListener>,
    chosen: Chosen,
) -> Result<Option<Endpoint>> {
    let Some(address) = &shared.settings.metrics else { return Ok(None) };
    let listener = opened.map_or_else(|| endpoint::listen(address), Ok)?;
    let driver = match chosen {
        Chosen::Uring => DriverKind::IoUring,
        Chosen::Epoll => DriverKind::Epoll,
    };
    Endpoint::start(shared, listener, driver.name()).map(Some)
}

fn wait_for_successor(shared: &Arc<Shared>, doors: &Doors) -> Result<Option<HandOver>> {
    let Some(path) = &shared.settings.hand_over_at else { return Ok(None) };
    let failed = |error| Error::HandOver(path.clone(), error);
    *shared.doors.lock().unwrap_or_else(PoisonError::into_inner) =
        doors.copies().map_err(failed)?;
    HandOver::start(shared, path).map(Some).map_err(failed)
}

/// The drivers that there are.
#[derive(Clone, Copy)]
enum Chosen {
    Uring,
    Epoll,
}

/// What came of a shard's attempt to have a ring.
type Trial = io::Result<Features>;

/// Chooses io_uring if every shard has got a ring: limits may allow some of them only.
fn choose_driver(wanted: DriverKind, trials: &Receiver<Trial>, shards: usize) -> Result<Chosen> {
    if wanted == DriverKind::Epoll {
        log::epoll_is_wanted();
        return Ok(Chosen::Epoll);
    }
    let mut features = Features::ALL;
    for _ in 0..shards {
        match trials.recv() {
            Ok(Ok(found)) => features = found,
            // That there is none is no fault: there is epoll.
            Ok(Err(error)) if wanted == DriverKind::Auto => {
                log::epoll_takes_its_place(&error);
                return Ok(Chosen::Epoll);
            }
            Ok(Err(error)) => return Err(Error::Driver(error)),
            Err(_) => return Err(gone()),
        }
    }
    log::uring(features);
    Ok(Chosen::Uring)
}

/// A thread has ended and has not said why.
fn gone() -> Error {
    Error::Driver(io::ErrorKind::BrokenPipe.into())
}

pub(super) fn unwritable(file: &StateFile, error: std::io::Error) -> Error {
    Error::StateFile(file.path().to_owned(), error)
}

/// What a shard reports when it can run, or cannot.
type Report = Result<(usize, Arc<Post>)>;

/// Makes the shards known to each other, when all of them are there.
fn introduce(shared: &Shared, reports: &Receiver<Report>, shards: usize) -> Result<()> {
    let mut posts: Vec<Option<Arc<Post>>> = vec![None; shards];
    for _ in 0..shards {
        let (index, post) = reports.recv().unwrap_or_else(|_| Err(gone()))?;
        posts[index] = Some(post);
    }
    shared.start(posts.into_iter().flatten().collect());
    Ok(())
}

struct Start {
    index: usize,
    shards: usize,
    core: Option<usize>,
    /// To say whether there is a ring.
    trial: Sender<Trial>,
    /// The driver of all shards.
    chosen: Receiver<Chosen>,
    report: Sender<Report>,
    /// Where to listen, once it may run.
    ordered: Receiver<Vec<Listener>>,
    /// What it takes over from a shard that ran before.
    inheritance: Option<Inheritance>,
}

/// Closes the server when its shard ends before it was told to: no server serves half.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        // One that drains has shards that are done before others.
        if self.0.stage() == Stage::Serving {
            self.0.close();
        }
    }
}

impl Start {
    /// Tries to have a ring, and runs on the driver that was chosen with that in view.
    fn choose_and_run(self, shared: &Arc<Shared>, wanted: DriverKind) -> Result<Option<Section>> {
        let _close = CloseOnExit(Arc::clone(shared));
        // A core that may not be used is no reason not to serve.
        let _ = self.core.map(sys::pin_to_core);
        let limits = &shared.settings.options.limits;
        let mut uring = None;
        if wanted != DriverKind::Epoll {
            let made = Uring::new(limits);
            // The receiver lives until the driver is chosen.
            let _ = self.trial.send(made.map(|made| uring.insert(made).features()));
        }
        let driver = match (self.chosen.recv(), uring) {
            (Ok(Chosen::Uring), Some(uring)) => return self.run_secure(shared, uring),
            (Ok(Chosen::Epoll), uring) => {
                drop(uring);
                Epoll::new(limits)
            }
            _ => return Ok(None),
        };
        match driver {
            Ok(epoll) => self.run_secure(shared, epoll),
            Err(error) => {
                let _ = self.report.send(Err(Error::Driver(error)));
                Ok(None)
            }
        }
    }

    /// Runs with TLS, if the server has that.
    fn run_secure<D>(self, shared: &Arc<Shared>, driver: D) -> Result<Option<Section>>
    where
        D: Driver<Handle = Handle, Listener = Listener>,
    {
        #[cfg(feature = "tls")]
        if let Some(context) = &shared.settings.tls {
            let preamble = secure::preamble(shared);
            return self.run(shared, Tls::new(driver, Arc::clone(context), preamble));
        }
        self.run(shared, driver)
    }

    fn run<D>(self, shared: &Arc<Shared>, driver: D) -> Result<Option<Section>>
    where
        D: Driver<Listener = Listener>,
    {
        let limits = &shared.settings.options.limits;
        let post = Shard::post(&driver, limits);
        let index = u16::try_from(self.index).unwrap_or(u16::MAX);
        // The receiver lives until every shard has reported.
        let _ = self.report.send(Ok((self.index, Arc::clone(&post))));
        let mut shard = Shard::new(driver, index, self.shards, Arc::clone(shared), post);
        if let Some(inheritance) = self.inheritance {
            shard.context().inherit(shard.now(), inheritance);
        }
        let Ok(listeners) = self.ordered.recv() else { return Ok(None) };
        listeners.into_iter().for_each(|listener| shard.listen(listener));
        serve(&mut shard, index)?;
        Ok(shared.settings.options.state_file().map(|file| shard.context().section(file)))
    }
}

/// Runs a shard to its end. If that comes before its time it is said at once, and the others end,
/// too: what is dropped behind it may take a while, or panic as well.
fn serve<D: Driver>(shard: &mut Shard<D>, index: u16) -> Result<()> {
    let died = match catch_unwind(AssertUnwindSafe(|| shard.run())) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => Error::ShardFailed(index, error),
        Err(panic) => Error::ShardPanicked(index, message_of(&*panic).to_owned()),
    };
    log::shard_died(&died);
    shard.context().shared.abandon();
    Err(died)
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it said nothing")
}
