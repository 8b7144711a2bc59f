//! What a service manager hands over and wants to know: the protocols of `sd_listen_fds(3)` and
//! `sd_notify(3)`, which are environment variables and one datagram.

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

use super::sys;

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// Sockets that this process was started with; those of a name (`FileDescriptorName=`), or all.
/// They are copies: the manager's own goes on listening when they are closed.
///
/// # Errors
/// `NotFound`: there are none. `InvalidInput`: what is handed over is not open.
pub fn listeners(name: Option<&str>) -> io::Result<Vec<OwnedFd>> {
    let number = |variable| env::var(variable).ok()?.parse::<u32>().ok();
    let count = match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(id), Some(count)) if id == process::id() => count,
        _ => 0,
    };
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let wanted = selected(count, &names, name);
    if wanted.is_empty() {
        let why = "this process was started with no such socket";
        return Err(io::Error::new(ErrorKind::NotFound, why));
    }
    wanted.into_iter().map(copy).collect()
}

/// The descriptors of a name, or all.
fn selected(count: u32, names: &str, name: Option<&str>) -> Vec<RawFd> {
    let names = names.split(':').map(Some).chain(std::iter::repeat(None));
    let all = (FIRST..).take(count as usize).zip(names);
    all.filter(|(_, other)| name.is_none() || *other == name).map(|(place, _)| place).collect()
}

fn copy(place: RawFd) -> io::Result<OwnedFd> {
    sys::close_on_exec(place)?;
    // SAFETY: it is open, as the call before has found, and nobody closes what was handed over.
    unsafe { BorrowedFd::borrow_raw(place) }.try_clone_to_owned()
}

/// Tells the manager what has become of this process, if there is one that wants to know.
///
/// # Errors
/// Nobody listens where it said.
pub fn notify(state: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_selected_by_their_names() {
        assert_eq!(selected(3, "a:b:a", None), [3, 4, 5]);
        assert_eq!(selected(3, "a:b:a", Some("a")), [3, 5]);
        assert_eq!(selected(2, "", None), [3, 4]);
        assert_eq!(selected(2, "a", Some("b")), [0; 0]);
        assert_eq!(selected(0, "a", None), [0; 0]);
    }

    #[test]
    fn a_process_that_was_started_with_no_socket_has_none() {
        assert_eq!(listeners(None).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
