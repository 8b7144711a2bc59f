//! Why a server does not run, and how the process says so to who started it.

use std::fmt;
use std::io;

/// Why a server does not run.
#[derive(Debug)]
pub enum Failure {
    /// Whoever called us made a mistake.
    Usage(String),
    /// This machine does not let the server start.
    Unable(String),
    /// The server ran, and then the kernel refused something.
    Broken(String),
}

impl Failure {
    /// The server cannot start, because of an error of the kernel or of a runtime.
    pub fn unable(what: &str, error: impl fmt::Display) -> Failure {
        Failure::Unable(format!("{what}: {error}"))
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Unable(_) => 3,
            Failure::Broken(_) => 1,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let error = match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => {
                format!("more clients than RLIMIT_NOFILE allows ({error})")
            }
            _ => error.to_string(),
        };
        Failure::Broken(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Failure {
        io::Error::from(error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => formatter.write_str(text),
            Failure::Unable(text) => write!(formatter, "cannot run here: {text}"),
            Failure::Broken(text) => write!(formatter, "stopped: {text}"),
        }
    }
}
