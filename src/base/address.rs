//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// What the text of a Unix socket's address begins with.
const UNIX_PREFIX: &str = "unix:";

/// The text of a socket that the service manager has opened.
const SYSTEMD: &str = "systemd";

/// Where a server listens: a TCP address, or the path of a Unix socket.
///
/// ```
/// use fanfare::ListenAddress;
///
/// let tcp = ListenAddress::from("127.0.0.1:3000");
/// assert_eq!(tcp, ListenAddress::Tcp(([127, 0, 0, 1], 3000).into()));
/// let unix = ListenAddress::from("unix:/run/live/fanfare.sock");
/// assert_eq!(unix, ListenAddress::Unix("/run/live/fanfare.sock".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An address and a port; port 0 lets the kernel choose one. `[::]` takes IPv4, too.
    Tcp(SocketAddr),
    /// A host and a port, such as `localhost:3000`. It is looked up when the server starts, which
    /// listens on the first address that is found.
    Named(String),
    /// A socket that the service manager has opened (`sd_listen_fds`, `LISTEN_FDS`): the one of
    /// this name, as `FileDescriptorName=` of a systemd socket unit, or all there are. They go on
    /// listening while the service restarts: connections wait.
    Systemd(Option<String>),
    /// The path of a Unix socket, relative to the working directory or not. Of the bytes of such a
    /// path, the kernel takes 107.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    /// As it is read: `127.0.0.1:3000`, `localhost:3000`, `unix:/run/fanfare.sock`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(formatter),
            ListenAddress::Named(name) => formatter.write_str(name),
            ListenAddress::Systemd(None) => formatter.write_str(SYSTEMD),
            ListenAddress::Systemd(Some(name)) => write!(formatter, "{SYSTEMD}:{name}"),
            ListenAddress::Unix(path) => write!(formatter, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl From<&str> for ListenAddress {
    /// `unix:` and a path, `systemd`, alone or with a colon and a name, an address and a port, or
    /// else a host and a port.
    fn from(text: &str) -> ListenAddress {
        if let Some(rest) = text.strip_prefix(SYSTEMD) {
            match rest.strip_prefix(':') {
                // A host of that name has a port.
                Some(name) if name.parse::<u16>().is_err() => {
                    return ListenAddress::Systemd(Some(name.to_owned()));
                }
                None if rest.is_empty() => return ListenAddress::Systemd(None),
                _ => {}
            }
        }
        match (text.strip_prefix(UNIX_PREFIX), text.parse()) {
            (Some(path), _) => ListenAddress::Unix(path.into()),
            (None, Ok(address)) => ListenAddress::Tcp(address),
            (None, Err(_)) => ListenAddress::Named(text.to_owned()),
        }
    }
}

impl From<String> for ListenAddress {
    fn from(text: String) -> ListenAddress {
        text.as_str().into()
    }
}

impl From<&String> for ListenAddress {
    fn from(text: &String) -> ListenAddress {
        text.as_str().into()
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::Tcp(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for ListenAddress {
    fn from(address: (I, u16)) -> ListenAddress {
        ListenAddress::Tcp(address.into())
    }
}

impl From<&Path> for ListenAddress {
    fn from(path: &Path) -> ListenAddress {
        ListenAddress::Unix(path.to_owned())
    }
}

impl From<PathBuf> for ListenAddress {
    fn from(path: PathBuf) -> ListenAddress {
        ListenAddress::Unix(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let addresses = ["127.0.0.1:0", "[::1]:3000", "localhost:3000", "unix:/run/a", "unix:a:1"];
        let addresses = [&addresses[..], &["systemd", "systemd:web", "systemd:80"]].concat();
        for text in addresses {
            assert_eq!(ListenAddress::from(text).to_string(), text);
        }
        assert!(matches!(ListenAddress::from("[::1]:3000"), ListenAddress::Tcp(_)));
        assert!(matches!(ListenAddress::from("localhost:3000"), ListenAddress::Named(_)));
        assert!(matches!(ListenAddress::from("systemd:80"), ListenAddress::Named(_)));
        assert_eq!(ListenAddress::from("systemd"), ListenAddress::Systemd(None));
        let web = ListenAddress::Systemd(Some("web".to_owned()));
        assert_eq!(ListenAddress::from("systemd:web"), web);
    }

    #[test]
    fn what_is_an_address_already_needs_no_text() {
        let address = SocketAddr::from(([1, 2, 3, 4], 5));
        assert_eq!(ListenAddress::from(([1, 2, 3, 4], 5)), address.into());
        assert_eq!(ListenAddress::from(Path::new("a")), PathBuf::from("a").into());
    }
}
