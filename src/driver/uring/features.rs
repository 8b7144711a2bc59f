//! What the io_uring of older kernels lacks, each found out by trying, and what takes its place.
//!
//! | missing | came with | instead |
//! |---|---|---|
//! | completions that wait until the ring is entered | Linux 6.1 | they come at any call |
//! | a receive that goes on | 6.0 | of a busy connection, too, one for each arrival |
//! | an accept that goes on | 5.19 | one for each connection |
//! | rings of provided buffers | 5.19 | none: [`super::Uring::new`] fails |
//!
//! Without rings of buffers each connection that waits would hold a buffer, or io_uring would only
//! report what is ready; that is what epoll is there for, and does for less.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{opcode, squeue, types};

use super::buffers;
use super::ring::{Ring, Work};
use crate::base::slab::Key;
use crate::driver::sys;
use crate::driver::token::{Kind, Token};

/// How long an operation that fails at once may take. Then it counts as missing.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What an io_uring can do, of what the driver can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Completions wait until the ring is entered (`IORING_SETUP_DEFER_TASKRUN`).
    pub deferred_work: bool,
    /// An accept goes on after a connection (`IORING_ACCEPT_MULTISHOT`).
    pub multishot_accept: bool,
    /// A receive goes on after bytes have come (`IORING_RECV_MULTISHOT`).
    pub multishot_receive: bool,
}

impl Features {
    /// What Linux 6.1 has.
    pub const ALL: Features =
        Features { deferred_work: true, multishot_accept: true, multishot_receive: true };
}

/// Names what is missing, and the version of Linux that has it.
impl fmt::Display for Features {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = [
            (self.deferred_work, "deferred work (Linux 6.1)"),
            (self.multishot_receive, "multishot receive (6.0)"),
            (self.multishot_accept, "multishot accept (5.19)"),
        ];
        let mut missing = missing.into_iter().filter(|(is_there, _)| !is_there);
        match missing.next() {
            None => formatter.write_str("nothing"),
            Some((_, first)) => {
                formatter.write_str(first)?;
                missing.try_for_each(|(_, more)| write!(formatter, ", {more}"))
            }
        }
    }
}

/// Sets a ring up, and finds out how much of what is wanted the kernel has.
///
/// # Errors
/// Those of [`Ring::new`].
pub fn set_up(wanted: Features) -> io::Result<(Ring, Features)> {
    let (mut ring, deferred_work) = first_that_is_known(wanted.deferred_work, Ring::new)?;
    // An operation's flags are looked at before what it is for; this is no socket.
    let counter = sys::event_counter()?;
    let no_socket = types::Fd(counter.as_raw_fd());
    let accept = opcode::AcceptMulti::new(no_socket).build();
    let receive = opcode::RecvMulti::new(no_socket, buffers::GROUP).build();
    // SAFETY: neither operation has memory: nobody asks for an address, and there is no provided
    // buffer yet.
    let [accept, receive] = unsafe { are_known(&mut ring, [accept, receive]) }?;
    let features = Features {
        deferred_work,
        multishot_accept: wanted.multishot_accept && accept,
        multishot_receive: wanted.multishot_receive && receive,
    };
    Ok((ring, features))
}

/// Makes a ring whose work is deferred, or else one whose work is not.
fn first_that_is_known<T>(
    is_wanted: bool,
    make: impl Fn(Work) -> io::Result<T>,
) -> io::Result<(T, bool)> {
    if is_wanted {
        match make(Work::Deferred) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            made => return made.map(|ring| (ring, true)),
        }
    }
    make(Work::Cooperative).map(|ring| (ring, false))
}

/// Whether the kernel knows operations for sockets, which are given something else: those fail
/// because of that alone.
///
/// # Safety
/// As for [`Ring::push`].
unsafe fn are_known<const COUNT: usize>(
    ring: &mut Ring,
    operations: [squeue::Entry; COUNT],
) -> io::Result<[bool; COUNT]> {
    for (index, operation) in (0..).zip(operations) {
        // SAFETY: the caller promises the same.
        unsafe { ring.push(operation, Token::new(Kind::Accept, Key { index, generation: 0 })) };
    }
    let mut are_known = [false; COUNT];
    let (mut reaped, mut left) = (Vec::new(), COUNT);
    let deadline = sys::monotonic_time().after(TRIAL_TIMEOUT);
    while left > 0 && sys::monotonic_time() < deadline {
        ring.enter(Some(TRIAL_TIMEOUT))?;
        ring.reap(&mut reaped);
        for entry in reaped.drain(..) {
            left -= 1;
            // The low half of a token is the index.
            if let Some(is_known) = are_known.get_mut(entry.user_data() as u32 as usize) {
                *is_known = entry.result() == -libc::ENOTSOCK;
            }
        }
    }
    Ok(are_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_know_deferred_work_is_asked_for_less() {
        let old = |error: i32| {
            move |work| match work {
                Work::Deferred => Err(io::Error::from_raw_os_error(error)),
                Work::Cooperative => Ok("ring"),
            }
        };
        assert_eq!(first_that_is_known(true, old(libc::EINVAL)).unwrap(), ("ring", false));
        assert_eq!(first_that_is_known(true, |_| Ok("ring")).unwrap(), ("ring", true));
        assert_eq!(first_that_is_known(false, |_| Ok("ring")).unwrap(), ("ring", false));
        let error = first_that_is_known(true, old(libc::EPERM)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "forbidden is forbidden");
    }

    #[test]
    fn this_kernel_has_what_is_wanted_of_it() {
        for deferred_work in [true, false] {
            let wanted = Features { deferred_work, ..Features::ALL };
            assert_eq!(set_up(wanted).unwrap().1, wanted);
        }
    }

    #[test]
    fn an_operation_that_the_kernel_does_not_know_is_told_from_one_that_fails() {
        let mut ring = Ring::new(Work::Deferred).unwrap();
        let counter = sys::event_counter().unwrap();
        let known = opcode::AcceptMulti::new(types::Fd(counter.as_raw_fd())).build();
        // No kernel knows an accept that takes a provided buffer.
        let unknown = known.clone().flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the operations have no memory.
        let are_known = unsafe { are_known(&mut ring, [unknown, known]) };
        assert_eq!(are_known.unwrap(), [false, true]);
    }

    #[test]
    fn what_is_missing_is_named_with_the_version_that_has_it() {
        assert_eq!(Features::ALL.to_string(), "nothing");
        let some = Features { deferred_work: false, multishot_receive: false, ..Features::ALL };
        assert_eq!(some.to_string(), "deferred work (Linux 6.1), multishot receive (6.0)");
    }
}
