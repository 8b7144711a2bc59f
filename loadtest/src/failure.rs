//! Why there is no report: each reason says who is at fault, and is an exit code.

use std::fmt;
use std::io;

#[derive(Debug)]
pub enum Failure {
    /// Whoever called: what was asked for is wrong, or does not fit this machine.
    Usage(String),
    /// The target: it cannot be reached, or refuses.
    Target(String),
    /// Nobody in particular: something took longer than its limit.
    Time(String),
    /// One process of several could not go on.
    Worker(usize, String),
    /// The kernel refused what was being done.
    Kernel(&'static str, io::Error),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Target(_) | Failure::Time(_) | Failure::Worker(..) | Failure::Kernel(..) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) => write!(formatter, "{what}"),
            Failure::Target(what) => write!(formatter, "target: {what}"),
            Failure::Time(what) => write!(formatter, "out of time: {what}"),
            Failure::Worker(worker, what) => write!(formatter, "process {worker}: {what}"),
            Failure::Kernel(doing, error) => write!(formatter, "{doing}: {error}"),
        }
    }
}

/// Says what was being done when the kernel refused.
pub trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Kernel(what, error))
    }
}
