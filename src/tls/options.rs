//! Which certificates a server shows, and whose it wants to see.

use std::path::PathBuf;

/// TLS of a server ([`Builder::tls`](crate::Builder::tls)): where its certificates are, and the
/// keys to them. The files are PEM, and are read when the server is built, and again by
/// [`Server::reload_certificates`](crate::Server::reload_certificates).
///
/// ```no_run
/// use fanfare::{Server, TlsOptions};
///
/// fn main() -> fanfare::Result<()> {
///     let tls = TlsOptions::pem_files("/etc/live/chain.pem", "/etc/live/key.pem")
///         .host("chat.example.com", "/etc/live/chat.pem", "/etc/live/chat.key")
///         .host("*.example.org", "/etc/live/org.pem", "/etc/live/org.key");
///     let io = Server::builder().tls(tls).build()?;
///     io.listen("0.0.0.0:443")
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are given to a builder"]
pub struct TlsOptions {
    pub(super) default: Pair,
    pub(super) hosts: Vec<(String, Pair)>,
    pub(super) client_authority: Option<PathBuf>,
}

/// Where a certificate is, and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl TlsOptions {
    /// The certificate that clients are shown who name no host, or none of
    /// [`host`](TlsOptions::host): a file with the certificate and those that sign it, in this
    /// order, and one with its key, as PKCS#8, PKCS#1 or SEC1.
    pub fn pem_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> TlsOptions {
        let default = Pair { chain: chain.into(), key: key.into() };
        TlsOptions { default, hosts: Vec::new(), client_authority: None }
    }

    /// Another certificate for clients who name this host (SNI). `*.example.com` stands for every
    /// name with one more label, unless it has a certificate of its own.
    pub fn host(
        mut self,
        name: &str,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> TlsOptions {
        let pair = Pair { chain: chain.into(), key: key.into() };
        self.hosts.push((name.to_ascii_lowercase(), pair));
        self
    }

    /// Clients must have a certificate that one of these has signed (`requestCert`,
    /// `rejectUnauthorized` and `ca` of Node.js). Default: they are not asked for one.
    pub fn client_authority(mut self, certificates: impl Into<PathBuf>) -> TlsOptions {
        self.client_authority = Some(certificates.into());
        self
    }
}
