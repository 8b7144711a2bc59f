//! TLS that the server ends itself.

use super::Builder;
use crate::tls::TlsOptions;

impl Builder {
    /// Speaks TLS, 1.2 and 1.3, on every TCP address that the server listens on. Default: it does
    /// not, and a proxy in front may.
    ///
    /// Unix sockets stay as they are, for whoever may connect to them is on this machine; and so do
    /// connections that the application has accepted
    /// ([`Server::handle_connection`](crate::Server::handle_connection)). With
    /// [`proxy_protocol`](Builder::proxy_protocol) a trusted proxy says what it has to say in front
    /// of TLS. Within [`Limits::head_timeout`](crate::Limits::head_timeout) a handshake must have
    /// ended, and a request begun. ALPN is `http/1.1`; there is no early data.
    ///
    /// ```no_run
    /// use fanfare::{Server, TlsOptions};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let tls = TlsOptions::pem_files("chain.pem", "key.pem");
    /// let io = Server::builder().tls(tls).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls(mut self, options: TlsOptions) -> Builder {
        self.tls = Some(options);
        self
    }
}
