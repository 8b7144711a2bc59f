//! A server that runs, and how one waits for its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::address::ListenAddress;
use crate::driver::unix::SocketFile;
use crate::error::{Error, Result};

use super::endpoint::Endpoint;
use super::hand_over::HandOver;
use super::pressure::MemoryWatch;
use super::recovery::{Section, file};
use super::run::unwritable;
use super::shared::Shared;
use super::watch::Watchdog;

/// How long the shards of a server may take to end when one of them has died. One that a handler
/// blocks is left behind then.
const PATIENCE: Duration = Duration::from_millis(500);

/// How a shard, by index, has ended, and what it leaves.
pub(super) type End = (usize, Result<Option<Section>>);

/// A server whose shards run. Dropping it closes the server and waits for them.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// One of each thread, unless it has died while it was taken apart.
    ends: Receiver<End>,
    /// Ends with the server.
    pub(super) watchdog: Option<Watchdog>,
    /// Ends with the server, too.
    pub(super) memory: Option<MemoryWatch>,
    /// Answers those who watch the server, and ends with it as well.
    pub(super) endpoint: Option<Endpoint>,
    /// Waits for the next process.
    pub(super) hand_over: Option<HandOver>,
    /// Removed when the threads have ended.
    pub(super) files: Vec<SocketFile>,
}

impl Running {
    pub(super) fn new(shared: Arc<Shared>, ends: Receiver<End>) -> Running {
        Running {
            shared,
            threads: Vec::new(),
            ends,
            watchdog: None,
            memory: None,
            endpoint: None,
            hand_over: None,
            files: Vec::new(),
        }
    }

    /// The first TCP address that the server listens on, with the port that was taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.address()
    }

    /// All that the server listens on, in the order in which it was told to, with the ports that
    /// were taken.
    pub fn addresses(&self) -> &[ListenAddress] {
        self.shared.addresses()
    }

    /// Where those who watch it are answered ([`Builder::metrics`](crate::Builder::metrics)), with
    /// the port that was taken.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.shared.observed_at()
    }

    /// Whether the TCP addresses speak TLS ([`Builder::tls`](crate::Builder::tls)).
    #[cfg(feature = "tls")]
    pub fn is_encrypted(&self) -> bool {
        self.shared.settings.tls.is_some()
    }

    /// Waits until the server has been closed and all its shards have ended.
    ///
    /// # Errors
    /// What ended a shard before its time. The others are ended then, without a word to their
    /// clients; it does not wait for those that a handler blocks.
    pub fn join(mut self) -> Result<()> {
        self.join_threads()
    }

    fn join_threads(&mut self) -> Result<()> {
        let threads = std::mem::take(&mut self.threads);
        let sections = self.sections(threads.len());
        if sections.is_ok() {
            // They have nothing left to do, and nothing to report.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        let is_awaited = || self.hand_over.as_ref().is_none_or(HandOver::awaits_state);
        let result = match (self.shared.settings.options.state_file(), sections) {
            (Some(file), Ok(sections)) if !sections.is_empty() && is_awaited() => {
                let written = file::write(&self.shared, file, sections);
                written.map_err(|error| unwritable(file, error))
            }
            (_, sections) => sections.map(drop),
        };
        (self.watchdog, self.memory, self.endpoint) = (None, None, None);
        let files = self.files.drain(..);
        match self.shared.is_handing_over() {
            true => files.for_each(SocketFile::leave),
            false => files.for_each(drop),
        }
        // Nothing is left of the server: the next process may begin.
        self.hand_over = None;
        self.shared.forget_handlers();
        result
    }

    /// Waits for the end of so many shards. Gives what they leave; nothing, if one has never run.
    fn sections(&self, shards: usize) -> Result<Vec<Section>> {
        let mut ended: Vec<(usize, Option<Section>)> = Vec::with_capacity(shards);
        while ended.len() < shards {
            // Without a word: what a shard held has panicked while it was dropped.
            let silent = || Error::ShardPanicked(u16::MAX, "it has left no word".to_owned());
            let (index, end) = self.ends.recv().map_err(|_| silent())?;
            match end {
                Ok(section) => ended.push((index, section)),
                Err(error) => {
                    self.wait_for_others(shards - ended.len() - 1);
                    return Err(error);
                }
            }
        }
        ended.sort_unstable_by_key(|(index, _)| *index);
        let sections: Option<Vec<Section>> = ended.into_iter().map(|(_, it)| it).collect();
        Ok(sections.unwrap_or_default())
    }

    fn wait_for_others(&self, shards: usize) {
        let until = Instant::now() + PATIENCE;
        for _ in 0..shards {
            let left = until.saturating_duration_since(Instant::now());
            if self.ends.recv_timeout(left).is_err() {
                return;
            }
        }
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
        formatter
            .debug_struct("Shared")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}
