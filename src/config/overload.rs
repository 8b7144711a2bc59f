//! What the server does when it is asked for more than it can give.

use crate::base::limits::Limits;
use crate::base::network::{InvalidNetwork, Network};
use crate::base::shed::SendQueuePolicy;
use crate::error::{Error, Result};

use super::Builder;

impl Builder {
    /// Changes limits that Socket.IO has no option for.
    ///
    /// ```
    /// let builder = fanfare::Server::builder()
    ///     .limits(|limits| limits.send_queue_bytes = 8 * 1024 * 1024);
    /// ```
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Builder {
        change(&mut self.options.limits);
        self
    }

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

    /// The proxies in front of the server, as addresses or networks, whose word is taken on whom
    /// their connections are from: in `X-Forwarded-For`, of which the last address counts that is
    /// not such a proxy's, or in the [PROXY protocol](Builder::proxy_protocol). It is what
    /// [`Handshake::address`](crate::Handshake::address) tells (with port 0 when only the header
    /// names it), and what limits by address count. Proxies on a Unix socket are trusted where any
    /// are. Default: none, and the peer of the connection counts.
    ///
    /// ```
    /// let builder = fanfare::Server::builder()
    ///     .trusted_proxies(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])
    ///     .limits(|limits| {
    ///         limits.handshakes_per_address = Some(fanfare::Rate { burst: 50, per_second: 10 });
    ///     });
    /// ```
    pub fn trusted_proxies<S: Into<String>>(
        mut self,
        networks: impl IntoIterator<Item = S>,
    ) -> Builder {
        self.trusted_proxies = networks.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the [trusted proxies](Builder::trusted_proxies) begin each connection with the
    /// PROXY protocol, version 1 or 2 (`send-proxy` of HAProxy, `proxy_protocol on` of nginx). Then
    /// they must, or are answered 400; others must not. Default: false.
    pub fn proxy_protocol(mut self, begins: bool) -> Builder {
        self.proxy_protocol = begins;
        self
    }

    pub(super) fn proxies(&self) -> Result<Vec<Network>> {
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let why = "it is believed of trusted_proxies alone, and there are none";
            return Err(Error::Option("proxy_protocol", why.to_owned()));
        }
        let networks = self.trusted_proxies.iter().map(|network| network.parse());
        let networks: std::result::Result<_, InvalidNetwork> = networks.collect();
        networks.map_err(|error| Error::Option("trusted_proxies", error.to_string()))
    }
}
