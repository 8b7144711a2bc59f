//! Options of the life of a server: how it is watched, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::address::ListenAddress;

use super::Builder;

impl Builder {
    /// A Unix socket at which the next process of this server asks for what this one listens on, so
    /// that no client is refused and no connection reset while one takes the place of the other.
    /// Default: none.
    ///
    /// A server that starts connects to it first. If one serves there, as the same user, it gets
    /// its listeners; when it can serve itself the other accepts no more, and drains as
    /// [`Server::drain`](crate::Server::drain) says. Then it waits at this path itself. Both have
    /// to be told the same addresses; they may have different numbers of shards.
    ///
    /// With a [state file](crate::StateFile) the other ends at once, within half a second, and what
    /// is in the file is there when this one begins: clients that come back are recovered.
    /// Meanwhile connections wait in the kernel.
    ///
    /// ```no_run
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().hand_over_at("/run/live/hand-over").build()?;
    /// io.listen("0.0.0.0:3000")
    /// # }
    /// ```
    pub fn hand_over_at(mut self, path: impl Into<PathBuf>) -> Builder {
        self.hand_over_at = Some(path.into());
        self
    }

    /// How long [`Server::drain`](crate::Server::drain) may take, and with it the end of a process
    /// by SIGTERM. Default: 30 s. Clients who are left then are sent away at once, and a second
    /// later the server has ended.
    pub fn drain_timeout(mut self, timeout: Duration) -> Builder {
        self.drain_timeout = timeout;
        self
    }

    /// How long a turn of a shard may take before a line at level `warn` tells which shard it is,
    /// and which handler blocks it; once for each such turn. Default: 1 s. `None`: nobody watches.
    ///
    /// All clients of the shard wait as long as one handler computes, or waits in any other way
    /// than by `await`. The deadlines of clients wait, too: see
    /// [`Stats::stalls`](crate::Stats::stalls).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = fanfare::Server::builder().watchdog(Duration::from_millis(200));
    /// ```
    pub fn watchdog(mut self, limit: impl Into<Option<Duration>>) -> Builder {
        self.watchdog = limit.into();
        self
    }

    /// Where the server answers those who watch it, on threads of their own: `/metrics` is all that
    /// it counts, for Prometheus, `/live` whether it should be started again, `/ready` whether it
    /// takes new clients. A TCP address; a port alone is one of 127.0.0.1. Default: none.
    ///
    /// What is told there is nothing that a client has sent, but the address need not be known to
    /// clients: the server never answers for it on the addresses that it
    /// [listens](Builder::listen) on. There is neither a password nor encryption.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().metrics("9100").build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(mut self, address: impl Into<ListenAddress>) -> Builder {
        self.metrics = Some(address.into());
        self
    }
}
