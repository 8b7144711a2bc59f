//! What a process does besides its shards when it takes the place of another.
//!
//! Until that one hears of it anything may fail, and it goes on serving. From then on nobody else
//! accepts connections, so that this one serves in any case: what it cannot have now it is told to
//! be without, and tries to have later.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};

use super::doors::Doors;
use super::endpoint::{self, Endpoint};
use super::hand_over::{Door, HandOver, Predecessor};
use super::log;
use super::shared::Shared;

/// Who serves until this process does, with its listeners.
pub(super) fn predecessor(shared: &Shared) -> Result<Option<(Predecessor, Vec<Door>)>> {
    let Some(path) = &shared.settings.hand_over_at else { return Ok(None) };
    Predecessor::ask(path).map_err(|error| Error::HandOver(path.clone(), error))
}

/// Takes the place of whoever serves, if anybody does: from here on there is no way back.
///
/// # Errors
/// [`Error::HandOver`]: it goes on serving.
pub(super) fn succeed(shared: &Shared, predecessor: Option<Predecessor>) -> Result<()> {
    let path = shared.settings.hand_over_at.as_deref();
    let (Some(path), Some(predecessor)) = (path, predecessor) else { return Ok(()) };
    log::takes_over();
    predecessor.take_over(path).map_err(|error| Error::HandOver(path.to_owned(), error))
}

/// What two processes cannot have both, and one of them needs not: where those come who watch the
/// server, and where the next process asks.
pub(super) struct Succession<'a> {
    shared: &'a Arc<Shared>,
    is_successor: bool,
    /// Whoever serves may have the address, and leave it to this one.
    observed_at: Option<TcpListener>,
}

impl<'a> Succession<'a> {
    /// Before another process, if there is one, is told to end.
    ///
    /// # Errors
    /// [`Error::Listen`] and [`Error::Address`].
    pub(super) fn prepare(shared: &'a Arc<Shared>, is_successor: bool) -> Result<Succession<'a>> {
        let opened = shared.settings.metrics.as_ref().map(endpoint::listen).transpose();
        let observed_at = match opened {
            Err(Error::Listen(_, error))
                if is_successor && error.kind() == ErrorKind::AddrInUse =>
            {
                None
            }
            opened => opened?,
        };
        Ok(Succession { shared, is_successor, observed_at })
    }

    /// When it has been told. A successor fails no more.
    ///
    /// # Errors
    /// [`Error::HandOver`], and there is no thread.
    pub(super) fn begin(
        mut self,
        doors: &Doors,
        driver: &'static str,
    ) -> Result<(Option<Endpoint>, Option<HandOver>)> {
        let endpoint = self.start_endpoint(driver);
        let path = self.shared.settings.hand_over_at.as_deref();
        let hand_over = path.map(|path| self.wait_for_next(doors, path));
        Ok((self.forgive(endpoint)?, self.forgive(hand_over.transpose())?))
    }

    fn start_endpoint(&mut self, driver: &'static str) -> Result<Option<Endpoint>> {
        let Some(address) = &self.shared.settings.metrics else { return Ok(None) };
        let listener = self.observed_at.take().map_or_else(|| endpoint::listen(address), Ok);
        match listener {
            Err(error) if self.is_successor => {
                log::succeeds_without(&error);
                Endpoint::start_later(self.shared, driver).map(Some)
            }
            listener => Endpoint::start(self.shared, listener?, driver).map(Some),
        }
    }

    fn wait_for_next(&self, doors: &Doors, path: &Path) -> Result<HandOver> {
        let failed = |error| Error::HandOver(path.to_owned(), error);
        let copies = doors.copies().map_err(failed)?;
        *self.shared.doors.lock().unwrap_or_else(PoisonError::into_inner) = copies;
        HandOver::start(self.shared, path, self.is_successor).map_err(failed)
    }

    /// What a successor cannot have it is without.
    fn forgive<T>(&self, result: Result<Option<T>>) -> Result<Option<T>> {
        match result {
            Err(error) if self.is_successor => {
                log::succeeds_without(&error);
                Ok(None)
            }
            result => result,
        }
    }
}
