//! Which of the kernel's interfaces the shards use.

use std::fmt;
use std::str::FromStr;

/// The kernel's interface for connections ([`Builder::driver`](crate::Builder::driver)).
///
/// - io_uring needs Linux 5.19, and does more at a time from 6.0 and 6.1 on. Neither the sysctl
///   `kernel.io_uring_disabled` nor a seccomp filter, such as the default one of containers, may
///   forbid it; and since Linux 6.14 `RLIMIT_MEMLOCK` must leave about 90 KiB for each shard.
/// - epoll needs Linux 4.5.
///
/// Clients cannot tell them apart. On epoll a shard takes more calls for the same work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// What the environment variable `FANFARE_DRIVER` says (`io_uring` or `epoll`); without it,
    /// io_uring if every shard can have it, else epoll. The default.
    #[default]
    Auto,
    /// io_uring, or no start: [`Error::Driver`](crate::Error::Driver) says what is missing or
    /// forbids it.
    IoUring,
    /// epoll, which every Linux of use has and every sandbox allows.
    Epoll,
}

impl DriverKind {
    const ALL: [DriverKind; 3] = [DriverKind::Auto, DriverKind::IoUring, DriverKind::Epoll];

    pub(crate) fn name(self) -> &'static str {
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
