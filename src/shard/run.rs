//! Shards on threads of their own, and their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::base::limits::SHARDS_MAX;
use crate::driver::uring::Uring;
use crate::driver::{net, sys};
use crate::error::{Error, Result};

use super::shared::{Post, Shared};
use super::turn::Shard;

/// How the shards are to run.
pub struct Plan {
    cores: Vec<usize>,
    shards: usize,
    pin: bool,
}

/// A server whose shards run. Dropping it closes the server and waits for them.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Plan {
    /// So many shards, or one for each core that this process may use; pinned to them or not.
    pub(crate) fn new(shards: Option<usize>, pin: bool) -> Result<Plan> {
        let cores = sys::allowed_cores().map_err(Error::Driver)?;
        let shards = shards.unwrap_or(cores.len()).clamp(1, SHARDS_MAX);
        Ok(Plan { cores, shards, pin })
    }

    /// Starts the shards. Each makes its own ring, which belongs to its thread; none listens before
    /// all of them are there, so that a connection may be handed to any of them.
    pub(crate) fn start(self, shared: &Arc<Shared>, address: SocketAddr) -> Result<Running> {
        let vacant = net::check_vacant(address);
        vacant.map_err(|error| Error::Listen(address, error))?;
        // The limits that a driver sees at its start count for its whole life.
        sys::raise_descriptor_limit().map_err(Error::Driver)?;
        let mut running = Running { address, shared: Arc::clone(shared), threads: Vec::new() };
        let (report, reports) = channel();
        let mut orders = Vec::new();
        for index in 0..self.shards {
            let (order, ordered) = channel();
            orders.push(order);
            let core = self.cores.get(index).copied().filter(|_| self.pin);
            let start = Start { index, shards: self.shards, core, report: report.clone(), ordered };
            let shared = Arc::clone(shared);
            let thread = thread::Builder::new()
                .name(format!("fanfare-{index}"))
                .spawn(move || start.run(&shared))
                .map_err(Error::Thread)?;
            running.threads.push(thread);
        }
        let result = introduce(shared, &reports, &orders, address);
        running.address = match result {
            Ok(address) => address,
            Err(error) => {
                drop(orders);
                return Err(error);
            }
        };
        shared.listens(running.address);
        Ok(running)
    }
}

/// What a shard reports while the server starts.
enum Report {
    Ready(usize, Arc<Post>),
    Listening(SocketAddr),
    Failed(Error),
}

/// What a shard is told while the server starts.
enum Order {
    Listen(SocketAddr),
    Run,
}

/// Makes the shards known to each other, and has them listen.
fn introduce(
    shared: &Shared,
    reports: &Receiver<Report>,
    orders: &[Sender<Order>],
    address: SocketAddr,
) -> Result<SocketAddr> {
    let mut posts: Vec<Option<Arc<Post>>> = orders.iter().map(|_| None).collect();
    for _ in orders {
        if let Report::Ready(index, post) = next_report(reports)? {
            posts[index] = Some(post);
        }
    }
    shared.start(posts.into_iter().flatten().collect());
    let mut address = address;
    // One after the other: the first learns which port it is, the others join it.
    for order in orders {
        // A thread that is gone has reported why.
        let _ = order.send(Order::Listen(address));
        if let Report::Listening(actual) = next_report(reports)? {
            address = actual;
        }
    }
    for order in orders {
        let _ = order.send(Order::Run);
    }
    Ok(address)
}

fn next_report(reports: &Receiver<Report>) -> Result<Report> {
    match reports.recv() {
        Ok(Report::Failed(error)) => Err(error),
        Ok(report) => Ok(report),
        Err(_) => Err(Error::ShardPanicked(0)),
    }
}

struct Start {
    index: usize,
    shards: usize,
    core: Option<usize>,
    report: Sender<Report>,
    ordered: Receiver<Order>,
}

/// Closes the server when its shard ends, however it ends: no server serves half.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Start {
    fn run(self, shared: &Arc<Shared>) -> Result<()> {
        let _close = CloseOnExit(Arc::clone(shared));
        // A core that may not be used is no reason not to serve.
        let _ = self.core.map(sys::pin_to_core);
        let limits = &shared.settings.options.limits;
        let driver = match Uring::new(limits) {
            Ok(driver) => driver,
            Err(error) => return self.fail(Error::Driver(error)),
        };
        let post = Shard::post(&driver, limits);
        let index = u16::try_from(self.index).unwrap_or(u16::MAX);
        // The receiver lives until every shard has reported.
        let _ = self.report.send(Report::Ready(self.index, Arc::clone(&post)));
        let mut shard = Shard::new(driver, index, self.shards, Arc::clone(shared), post);
        while let Ok(order) = self.ordered.recv() {
            match order {
                Order::Listen(address) => match shard.listen(address) {
                    Ok(actual) => drop(self.report.send(Report::Listening(actual))),
                    Err(error) => return self.fail(Error::Listen(address, error)),
                },
                Order::Run => return shard.run().map_err(Error::Driver),
            }
        }
        Ok(())
    }

    fn fail(&self, error: Error) -> Result<()> {
        let _ = self.report.send(Report::Failed(error));
        Ok(())
    }
}

impl Running {
    /// Where the server listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has been closed and all its shards have ended.
    ///
    /// # Errors
    /// What ended a shard before its time; the others were closed then.
    pub fn join(mut self) -> Result<()> {
        self.join_threads()
    }

    fn join_threads(&mut self) -> Result<()> {
        let mut result = Ok(());
        for (index, thread) in self.threads.drain(..).enumerate() {
            let ended = thread.join();
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            result = result.and(ended.unwrap_or(Err(Error::ShardPanicked(index))));
        }
        self.shared.forget_handlers();
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.close();
        // Whoever wants to know calls `join`.
        drop(self.join_threads());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("address", &self.address()).finish_non_exhaustive()
    }
}
