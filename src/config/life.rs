//! Options of the life of a server: how it is watched, and how it ends.

use std::time::Duration;

use super::Builder;

impl Builder {
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
    /// All clients of the shard wait as long as one handler computes, or waits in any other way than
    /// by `await`. The deadlines of clients wait, too: see [`Stats::stalls`](crate::Stats::stalls).
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
}
