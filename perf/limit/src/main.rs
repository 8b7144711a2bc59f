//! `limit NAME --listen ADDRESS`: the plain WebSocket application with as little as possible
//! between it and the kernel, in several ways. What these servers cost is what no server can go
//! below. See the README beside this folder.

mod application;
mod backlog;
mod failure;
#[cfg(feature = "glommio")]
mod glommio;
#[cfg(any(feature = "glommio", feature = "monoio", feature = "tokio"))]
mod hub;
mod listener;
#[cfg(feature = "monoio")]
mod monoio;
mod ring;
mod rooms;
mod send;
mod sys;
#[cfg(feature = "tokio")]
mod tokio;
mod turn;
mod wire;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lexopt::{Arg, Parser, ValueExt};
use rustix::process::{Resource, getrlimit, setrlimit};

use failure::Failure;

/// Serves for ever, or says why it cannot.
type Serve = fn(TcpListener) -> Result<Infallible, Failure>;

/// The servers of this build.
const SERVERS: &[(&str, Serve)] = &[
    ("send", send::serve),
    ("ring", ring::serve),
    #[cfg(feature = "tokio")]
    ("tokio", tokio::serve),
    #[cfg(feature = "monoio")]
    ("monoio", monoio::serve),
    #[cfg(feature = "glommio")]
    ("glommio", glommio::serve),
];

fn main() -> ExitCode {
    let failure = match start() {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    eprintln!("limit: {failure}");
    ExitCode::from(failure.exit_code())
}

fn start() -> Result<Infallible, Failure> {
    let (serve, address) = arguments()?;
    raise_descriptor_limit()?;
    // A signal that comes between the two lines of a server's start must not be fatal either.
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGTERM, 0, always)
        .map_err(|error| Failure::unable("SIGTERM cannot be handled", error))?;
    serve(listener::listen(address)?)
}

fn arguments() -> Result<(Serve, SocketAddr), Failure> {
    let mut parser = Parser::from_env();
    let (mut serve, mut address) = (None, None);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Long("listen") => {
                let value = parser.value().map_err(usage)?;
                address = Some(value.parse().map_err(usage)?);
            }
            Arg::Value(name) if serve.is_none() => {
                let name = name.string().map_err(usage)?;
                let found = SERVERS.iter().find(|(each, _)| *each == name);
                let (_, found) = found.ok_or_else(|| usage(format!("no server `{name}`")))?;
                serve = Some(*found);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    serve.zip(address).ok_or_else(|| usage("a server and an address are needed"))
}

fn usage(fault: impl std::fmt::Display) -> Failure {
    let names: Vec<&str> = SERVERS.iter().map(|(name, _)| *name).collect();
    Failure::Usage(format!("{fault}\nusage: limit {} --listen ADDRESS:PORT", names.join("|")))
}

/// Every client takes a descriptor.
fn raise_descriptor_limit() -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| Failure::unable("the limit of descriptors cannot be raised", error))
}
