//! Where the server meets TLS: what comes in front of it, and its certificates.

use std::sync::Arc;

use super::log;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::proto::proxy_protocol::{self, NoPreamble};
use crate::tls::{Front, Preamble};

/// Says what a proxy has said in front of TLS, if some do: the shard reads it.
pub(super) fn preamble(shared: &Arc<Shared>) -> Option<Preamble> {
    let shared = Arc::clone(shared);
    shared.settings.proxy_protocol.then(|| -> Preamble {
        Box::new(move |peer, bytes| {
            // Only a Unix socket has no peer, and those are not encrypted: it has just gone.
            if peer.is_none() || !shared.settings.trusts(peer) {
                return Front::Plain(0);
            }
            match proxy_protocol::decode(bytes) {
                Ok(Some(preamble)) => Front::Plain(preamble.length),
                Ok(None) => Front::Incomplete,
                Err(NoPreamble) => Front::Malformed,
            }
        })
    })
}

impl Shared {
    /// Reads the certificates again, for connections that come from now on.
    pub(crate) fn reload_certificates(&self) -> Result<()> {
        let none = || Error::Option("tls", "this server has no certificates".to_owned());
        let reloaded = self.settings.tls.as_ref().ok_or_else(none)?.reload();
        log::certificates_were_read(&reloaded);
        reloaded
    }
}
