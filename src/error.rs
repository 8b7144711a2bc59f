//! What can go wrong outside of a connection, and who is at fault.

use std::error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::base::address::ListenAddress;

/// The result of building or running a server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server could not be built or run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller gave an option that makes no sense: which one, and why.
    Option(&'static str, String),
    /// The caller gave a pattern of namespaces that is no regular expression.
    Pattern(String),
    /// The caller named a folder for the client bundle that does not hold it.
    ClientBundle(PathBuf, io::Error),
    /// The caller gave an address that cannot be listened on, or the kernel refuses it.
    Listen(ListenAddress, io::Error),
    /// The caller gave something that is no address, or a host that is not found.
    Address(String, io::Error),
    /// The caller named a state file that cannot be written.
    StateFile(PathBuf, io::Error),
    /// The process that serves at this path cannot be taken over from, or no other can from this
    /// one.
    HandOver(PathBuf, io::Error),
    /// The caller named a file for TLS that cannot be read, or does not hold what it should: which
    /// one, and why.
    Tls(PathBuf, String),
    /// The caller has started this server before.
    Started,
    /// The kernel does not give a shard what it needs.
    Driver(io::Error),
    /// The kernel does not give a thread, or signals.
    Thread(io::Error),
    /// The kernel does not let a shard, by index, go on. The others were ended.
    ShardFailed(u16, io::Error),
    /// We are at fault: a shard, by index, has panicked, with this message. The others were ended.
    ShardPanicked(u16, String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Option(option, why) => write!(formatter, "option {option}: {why}"),
            Error::Pattern(why) => write!(formatter, "not a pattern of namespaces: {why}"),
            Error::ClientBundle(folder, error) => write!(
                formatter,
                "the client bundle is not in {}: {error}; `npm install socket.io-client` brings \
                 it, in node_modules/socket.io-client/dist",
                folder.display()
            ),
            Error::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(formatter, "cannot listen on {address}: another program does already")
            }
            Error::Listen(address, error) => {
                write!(formatter, "cannot listen on {address}: {error}")
            }
            Error::Address(name, error) => {
                write!(formatter, "{name:?} is no address to listen on: {error}")
            }
            Error::StateFile(path, error) => {
                write!(formatter, "cannot write the state file {}: {error}", path.display())
            }
            Error::HandOver(path, error) => {
                write!(formatter, "cannot hand over at {}: {error}", path.display())
            }
            Error::Tls(file, why) => write!(formatter, "TLS: {}: {why}", file.display()),
            Error::Started => formatter.write_str("this server was started before"),
            Error::Driver(error) => write!(formatter, "a shard cannot begin: {error}"),
            Error::Thread(error) => write!(formatter, "cannot start a thread: {error}"),
            Error::ShardFailed(shard, error) => {
                write!(formatter, "shard {shard} cannot go on: {error}")
            }
            Error::ShardPanicked(shard, why) => {
                write!(formatter, "shard {shard} has panicked, a bug in fanfare: {why}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::ClientBundle(_, error)
            | Error::Listen(_, error)
            | Error::Address(_, error)
            | Error::StateFile(_, error)
            | Error::HandOver(_, error)
            | Error::Driver(error)
            | Error::Thread(error)
            | Error::ShardFailed(_, error) => Some(error),
            Error::Option(..)
            | Error::Pattern(_)
            | Error::Tls(..)
            | Error::Started
            | Error::ShardPanicked(..) => None,
        }
    }
}
