//! Shards on threads of their own, and their end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

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
use super::log;
use super::pressure::MemoryWatch;
use super::recovery::{Inheritance, Section, file};
use super::running::{End, Running};
#[cfg(feature = "tls")]
use super::secure;
use super::shared::{Post, Shared, Stage};
use super::succession::{self, Succession};
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
    ///
    /// A process that serves goes on until everything that may fail here has not.
    pub(crate) fn start(
        self,
        shared: &Arc<Shared>,
        addresses: &[ListenAddress],
    ) -> Result<Running> {
        // The limits that a driver sees at its start count for its whole life.
        shared.places.limit(net::descriptors_for_connections().map_err(Error::Driver)?);
        let wanted = self.wanted_driver()?;
        if let Some(file) = shared.settings.options.state_file() {
            file::check(file).map_err(|error| unwritable(file, error))?;
        }
        let (end, ends) = channel();
        let mut running = Running::new(Arc::clone(shared), ends);
        let (predecessor, theirs) = succession::predecessor(shared)?.unzip();
        let crew = self.recruit(shared, wanted, end, &mut running.threads)?;
        // A shard that is not ordered to run ends, so that an error here ends them all.
        let chosen = choose_driver(wanted, &crew.trials, self.shards)?;
        for choose in &crew.choices {
            // A thread that is gone reports nothing, which is seen right below.
            let _ = choose.send(chosen);
        }
        introduce(shared, &crew.reports, self.shards)?;
        watch(shared, &mut running)?;
        let mode = shared.settings.unix_socket_mode;
        let mut doors = Doors::open(addresses, mode, self.shards, theirs.unwrap_or_default())?;
        let succession = Succession::prepare(shared, predecessor.is_some())?;
        succession::succeed(shared, predecessor)?;
        doors.take_over();
        (running.endpoint, running.hand_over) = succession.begin(&doors, chosen.name())?;
        running.files = doors.files;
        log::listening(&doors.addresses, self.shards);
        shared.listens(doors.addresses);
        let mut inheritances = self.inheritances(shared).into_iter();
        for (order, listeners) in crew.orders.iter().zip(doors.listeners) {
            // A thread that is gone has closed the server.
            let _ = order.send(Order { listeners, inheritance: inheritances.next() });
        }
        log::notified(systemd::notify(&format!("READY=1\nMAINPID={}", std::process::id())));
        Ok(running)
    }

    /// Puts the shards on threads.
    fn recruit(
        &self,
        shared: &Arc<Shared>,
        wanted: DriverKind,
        end: Sender<End>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<Crew> {
        let ((trial, trials), (report, reports)) = (channel(), channel());
        let mut crew = Crew { trials, reports, choices: Vec::new(), orders: Vec::new() };
        for index in 0..self.shards {
            let ((choose, chosen), (order, ordered)) = (channel(), channel());
            crew.choices.push(choose);
            crew.orders.push(order);
            let core = self.cores.get(index).copied().filter(|_| self.pin);
            let (trial, report) = (trial.clone(), report.clone());
            let shards = self.shards;
            let start = Start { index, shards, core, trial, chosen, report, ordered };
            let (shared, end) = (Arc::clone(shared), end.clone());
            let thread = thread::Builder::new()
                .name(format!("fanfare-{index}"))
                .spawn(move || {
                    let ended = start.choose_and_run(&shared, wanted);
                    // Whoever would wait for it may have lost interest.
                    let _ = end.send((index, ended));
                })
                .map_err(Error::Thread)?;
            threads.push(thread);
        }
        Ok(crew)
    }

    /// What the shards take over from those of the server that ran before. Nobody else will.
    fn inheritances(&self, shared: &Arc<Shared>) -> Vec<Inheritance> {
        let Some(file) = shared.settings.options.state_file() else { return Vec::new() };
        let inheritances = file::read(shared, file, self.shards);
        if !inheritances.is_empty() {
            file::remove(file);
        }
        inheritances
    }
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

/// The drivers that there are.
#[derive(Clone, Copy)]
enum Chosen {
    Uring,
    Epoll,
}

impl Chosen {
    fn name(self) -> &'static str {
        match self {
            Chosen::Uring => DriverKind::IoUring.name(),
            Chosen::Epoll => DriverKind::Epoll.name(),
        }
    }
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

/// Shards on their threads, and how they are told what to do.
struct Crew {
    trials: Receiver<Trial>,
    choices: Vec<Sender<Chosen>>,
    reports: Receiver<Report>,
    orders: Vec<Sender<Order>>,
}

/// Has a shard run.
struct Order {
    listeners: Vec<Listener>,
    /// What it takes over from a shard that ran before.
    inheritance: Option<Inheritance>,
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
    /// Comes once it may run.
    ordered: Receiver<Order>,
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
        let Ok(order) = self.ordered.recv() else { return Ok(None) };
        if let Some(inheritance) = order.inheritance {
            shard.context().inherit(shard.now(), inheritance);
        }
        order.listeners.into_iter().for_each(|listener| shard.listen(listener));
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
