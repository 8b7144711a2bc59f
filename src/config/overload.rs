//! What the server does when it is asked for more than it can give.

use crate::base::shed::SendQueuePolicy;

use super::Builder;

impl Builder {
    /// What becomes of what is queued for a client that does not take it as fast as it comes.
    /// Default: [`SendQueuePolicy::Disconnect`]. Socket.IO on Node.js has no such option: there
    /// everything waits, without a limit.
    ///
    /// [`Emitter::volatile`](crate::Emitter::volatile) and
    /// [`Emitter::coalesce`](crate::Emitter::coalesce) say the same of single events;
    /// [`Session::on_lagged`](crate::Session::on_lagged) tells of clients that are behind, and
    /// [`Session::drained`](crate::Session::drained) waits for one.
    ///
    /// ```
    /// use fanfare::{SendQueuePolicy, Server};
    ///
    /// let builder = Server::builder()
    ///     .send_queue_policy(SendQueuePolicy::DropOldest)
    ///     .limits(|limits| limits.send_queue_soft_bytes = 256 * 1024);
    /// ```
    pub fn send_queue_policy(mut self, policy: SendQueuePolicy) -> Builder {
        self.send_queue_policy = policy;
        self
    }
}
