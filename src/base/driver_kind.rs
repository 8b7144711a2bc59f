//! Which of the kernel's interfaces the shards use.

use std::fmt;
use std::str::FromStr;

/// The kernel's interface for connections ([`Builder::driver`](crate::Builder::driver)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// io_uring where the kernel has it and the process may use it, else epoll; or what the
    /// environment variable `FANFARE_DRIVER` says. The default.
    #[default]
    Auto,
    /// io_uring, or no start: Linux 6.1 is needed, and that neither `kernel.io_uring_disabled` nor
    /// a seccomp filter, such as that of containers, forbids it.
    IoUring,
    /// epoll, which every Linux of use has and every sandbox allows.
    Epoll,
}

impl DriverKind {
    const ALL: [DriverKind; 3] = [DriverKind::Auto, DriverKind::IoUring, DriverKind::Epoll];

    fn name(self) -> &'static str {
        match self {
            DriverKind::Auto => "auto",
            DriverKind::IoUring => "io_uring",
            DriverKind::Epoll => "epoll",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The caller gave a text that is no [`DriverKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDriver(String);

impl fmt::Display for UnknownDriver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is none of auto, io_uring and epoll", self.0)
    }
}

impl std::error::Error for UnknownDriver {}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    /// Reads `auto`, `io_uring` or `epoll`.
    fn from_str(text: &str) -> Result<DriverKind, UnknownDriver> {
        let found = DriverKind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownDriver(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kind_is_called_is_read_as_that_kind_and_nothing_else_is_one() {
        for kind in DriverKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "uring".parse::<DriverKind>().unwrap_err();
        assert_eq!(error.to_string(), "\"uring\" is none of auto, io_uring and epoll");
    }
}
