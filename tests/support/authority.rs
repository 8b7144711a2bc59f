//! Certificates that a test makes for itself, and TLS clients that trust them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Who signs the certificates of a test, in a folder of its own, which goes with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    root: String,
}

/// The files of a certificate and its key.
pub struct Certified {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfare-tls-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        fs::write(folder.join("authority.pem"), &root).unwrap();
        Authority { issuer: Issuer::new(params, key), folder, root }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a certificate for these names into files that are called so.
    pub fn certify(&self, file: &str, names: &[&str]) -> Certified {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let certified = Certified {
            chain: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&certified.chain, certificate.pem()).unwrap();
        fs::write(&certified.key, key.serialize_pem()).unwrap();
        certified
    }

    /// The certificate of a server for `localhost`.
    pub fn server(&self) -> Certified {
        self.certify("server", &["localhost", "127.0.0.1"])
    }

    /// A client that trusts this authority, without a certificate of its own.
    pub fn client(&self) -> ClientConfig {
        self.client_of(&[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    /// One that speaks these versions.
    pub fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// One with a certificate.
    pub fn client_with(&self, certified: &Certified) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&certified.chain).unwrap()],
                PrivateKeyDer::from_pem_file(&certified.key).unwrap(),
            )
            .unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        roots
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // It may be gone already; either way nothing of it stays behind.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Certified {
    /// Takes the place of another one.
    pub fn replaces(&self, other: &Certified) {
        fs::copy(&self.chain, &other.chain).unwrap();
        fs::copy(&self.key, &other.key).unwrap();
    }

    /// The certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        certificate(&self.chain)
    }
}

/// The first certificate of a file.
pub fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}
