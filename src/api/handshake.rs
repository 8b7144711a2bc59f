//! The request that opened a session.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::base::limits::Limits;
use crate::proto::http::{Head, Query};
use crate::proto::json::ArgsError;

/// The request that opened a session, and what the client sent when it joined the namespace
/// (`socket.handshake`). It is kept as it came and parsed when it is asked.
#[derive(Clone, Debug)]
pub struct Handshake {
    request: Arc<[u8]>,
    auth: Option<Box<[u8]>>,
}

impl Handshake {
    pub(crate) fn new(request: Arc<[u8]>, auth: Option<Box<[u8]>>) -> Handshake {
        Handshake { request, auth }
    }

    /// The address of the peer: the client, or a proxy in front of the server, unless that is one
    /// of [`Builder::trusted_proxies`](crate::Builder::trusted_proxies) and tells the client's. A
    /// peer on a Unix socket has none.
    pub fn address(&self) -> Option<SocketAddr> {
        crate::shard::split_request(&self.request).peer
    }

    /// Whether the request came by TLS that this server ends, so that nobody between it and the
    /// peer could read it ([`Builder::tls`](crate::Builder::tls)). What a proxy that ends TLS says
    /// of that is in a header, such as `X-Forwarded-Proto`.
    pub fn secure(&self) -> bool {
        crate::shard::split_request(&self.request).is_encrypted
    }

    /// The request target, such as `/socket.io/?EIO=4&transport=polling`.
    pub fn url(&self) -> String {
        self.with_head(|head| head.target.to_owned()).unwrap_or_default()
    }

    /// The first header of a name, in any case, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.with_head(|head| {
            let value = head.header(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        })?
    }

    /// All headers in order, names as they came.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let copy = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
        self.with_head(|head| head.headers().map(copy).collect()).unwrap_or_default()
    }

    /// A query parameter, decoded; the last one when it is repeated.
    pub fn query(&self, name: &str) -> Option<String> {
        self.with_head(|head| {
            Query::parse(head.target).value(name).map(|value| value.into_owned())
        })?
    }

    /// What the client sent when it joined the namespace (`auth` of the client); `{}` if nothing.
    ///
    /// # Errors
    /// It is no `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        crate::proto::json::from_args(self.auth.as_deref().unwrap_or(b"{}"), &[])
    }

    fn with_head<R>(&self, read: impl FnOnce(&Head<'_>) -> R) -> Option<R> {
        let head = crate::shard::split_request(&self.request).head;
        // It was accepted under the server's limits, which may be wider than these; what counts
        // here is only how it is read.
        let limits =
            Limits { head_bytes: head.len(), target_bytes: head.len(), ..Limits::default() };
        Head::parse(head, &limits).ok().map(|head| read(&head))
    }
}
