//! What all connections of a server have in common: its certificates, and how tickets are sealed.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, server::danger::ClientCertVerifier};

use super::options::{Pair, TlsOptions};
use crate::error::{Error, Result};

/// TLS of a server.
pub struct Context {
    options: TlsOptions,
    current: RwLock<Arc<ServerConfig>>,
}

impl Context {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Tls`]: which of them is at fault.
    pub fn new(options: &TlsOptions) -> Result<Context> {
        let current = RwLock::new(Arc::new(read(options)?));
        Ok(Context { options: options.clone(), current })
    }

    /// Reads the files again. Connections that exist keep what they began with.
    ///
    /// # Errors
    /// As [`Context::new`]; what was read before stays.
    pub fn reload(&self) -> Result<()> {
        let new = Arc::new(read(&self.options)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// What a new connection begins with.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What is said in the handshake above TLS: browsers and Node.js offer HTTP/2 as well.
const PROTOCOL: &[u8] = b"http/1.1";

fn read(options: &TlsOptions) -> Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let mut hosts = Hosts {
        default: certified(&options.default, &provider)?,
        named: HashMap::with_capacity(options.hosts.len()),
    };
    for (name, pair) in &options.hosts {
        hosts.named.insert(name.clone(), certified(pair, &provider)?);
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| fault(&options.default.chain, error))?;
    let builder = match &options.client_authority {
        Some(file) => builder.with_client_cert_verifier(verifier(file, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(hosts));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Tickets carry what is needed to resume, so that nothing is kept of clients that are gone.
    // They are sealed anew with each reload: who was let in by a certificate has to show it again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(|error| fault(&options.default.key, error))?;
    Ok(config)
}

fn certified(pair: &Pair, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>> {
    let chain = certificates(&pair.chain)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| match error {
        pem::Error::NoItemsFound => fault(&pair.key, "there is no private key in it"),
        error => unreadable(&pair.key, error),
    })?;
    // Checks that the two belong together.
    let certified = CertifiedKey::from_der(chain, key, provider);
    Ok(Arc::new(certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            fault(&pair.key, format!("it is not the key of {}", pair.chain.display()))
        }
        rustls::Error::InvalidCertificate(error) => {
            fault(&pair.chain, format!("the first certificate is not valid: {error}"))
        }
        error => fault(&pair.key, error),
    })?))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, error))?;
    let chain: Vec<_> =
        read.collect::<std::result::Result<_, _>>().map_err(|error| unreadable(file, error))?;
    match chain.is_empty() {
        true => Err(fault(file, "there is no certificate in it")),
        false => Ok(chain),
    }
}

fn verifier(file: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| fault(file, error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| fault(file, error))
}

fn unreadable(file: &Path, error: pem::Error) -> Error {
    match error {
        pem::Error::Io(error) => fault(file, error),
        error => fault(file, format!("it is no PEM: {error}")),
    }
}

fn fault(file: &Path, why: impl fmt::Display) -> Error {
    Error::Tls(file.to_owned(), why.to_string())
}

/// The certificates by the names that clients ask for.
#[derive(Debug)]
struct Hosts {
    default: Arc<CertifiedKey>,
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Hosts {
    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let wildcard = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
        self.named.get(&name).or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Hosts {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.of(name))))
    }
}
