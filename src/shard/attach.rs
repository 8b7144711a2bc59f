//! Connections that the application has accepted, and hands over to the server.

use std::error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use crate::command::Command;
use crate::driver::net::Handle;

use super::shared::Shared;

/// A connection that the server does not take, and why.
#[derive(Debug)]
pub struct HandOverError {
    /// Why.
    pub reason: HandOverReason,
    /// The connection, as it was.
    pub stream: OwnedFd,
    /// What had been read from it.
    pub read: Vec<u8>,
}

/// Why the server does not take a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandOverReason {
    /// The server was not started, or it has ended.
    Closed,
    /// Every shard is so far behind that its mailbox is full.
    Busy,
    /// The caller gave a descriptor that is no stream socket, or one that the kernel refuses.
    Stream(io::Error),
    /// The caller gave more bytes than a request may have.
    TooLong,
}

impl fmt::Display for HandOverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            HandOverReason::Closed => formatter.write_str("the server does not run"),
            HandOverReason::Busy => formatter.write_str("every shard of the server is behind"),
            HandOverReason::Stream(error) => write!(formatter, "not a connection: {error}"),
            HandOverReason::TooLong => {
                write!(formatter, "{} bytes are more than a request may have", self.read.len())
            }
        }
    }
}

impl error::Error for HandOverError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.reason {
            HandOverReason::Stream(error) => Some(error),
            _ => None,
        }
    }
}

impl Shared {
    /// Gives a connection to one of the shards, with what was read from it. The peer is the one
    /// that the kernel names, unless the caller knows better.
    pub(crate) fn attach(
        &self,
        stream: OwnedFd,
        read: Vec<u8>,
        peer: Option<SocketAddr>,
    ) -> Result<(), HandOverError> {
        if read.len() > self.settings.options.limits.request_bytes() {
            return Err(HandOverError { reason: HandOverReason::TooLong, stream, read });
        }
        match Handle::new(stream) {
            Ok(handle) => self.post_connection(handle, read, peer),
            Err((error, stream)) => {
                Err(HandOverError { reason: HandOverReason::Stream(error), stream, read })
            }
        }
    }

    /// Gives a connection that a shard which ends was given to one that does not. It is closed if
    /// there is none.
    pub fn pass_on(&self, connection: Command) {
        let mut connection = connection;
        for post in self.posts() {
            match post.mailbox.post(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
    }

    /// By turns; a shard that cannot take it is passed over.
    fn post_connection(
        &self,
        handle: Handle,
        read: Vec<u8>,
        peer: Option<SocketAddr>,
    ) -> Result<(), HandOverError> {
        let posts = self.posts();
        let first = self.attached.fetch_add(1, Ordering::Relaxed) % posts.len().max(1);
        let (before, behind) = posts.split_at(first);
        let mut command = Command::Attach(Box::new(handle), read, peer);
        for post in behind.iter().chain(before) {
            match post.mailbox.post(command) {
                Ok(()) => return Ok(()),
                Err(back) => command = back,
            }
        }
        let reason = match posts.iter().all(|post| post.mailbox.is_closed()) {
            true => HandOverReason::Closed,
            false => HandOverReason::Busy,
        };
        if let Command::Attach(handle, read, _) = command
            && let Ok(handle) = handle.downcast::<Handle>()
        {
            return Err(HandOverError { reason, stream: handle.into_socket(), read });
        }
        unreachable!("a mailbox gives back what was posted")
    }
}
