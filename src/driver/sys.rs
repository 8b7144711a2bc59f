//! Linux calls that std does not offer, each behind a safe function that does nothing else.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::base::clock::Time;
use crate::base::limits::SLICES_PER_SEND;

/// Turns the answer of a call that reports failure as -1 into a result.
fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// The monotonic clock, counted from the first use in this process: every shard's times compare.
pub fn monotonic_time() -> Time {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    Time::ZERO.after(EPOCH.get_or_init(Instant::now).elapsed())
}

/// How long the machine has been running, with the time in which it was suspended.
///
/// # Errors
/// Those of `clock_gettime`: a sandbox forbids it.
pub fn time_since_boot() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a writable structure of the type that the call fills.
    check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) })?;
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
}

/// Fills `out` from the kernel's source of randomness, waiting until it is seeded.
///
/// # Errors
/// Those of `getrandom`: a sandbox forbids it.
pub fn fill_random(mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        // SAFETY: `out` is writable for its length, and the call writes no further.
        let taken = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
        match usize::try_from(taken) {
            Ok(taken) => out = &mut out[taken..],
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Raises the process's limit of open file descriptors as far as it may, and gives that limit.
///
/// # Errors
/// Those of `getrlimit` and `setrlimit`.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a writable structure of the type that the call fills.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is an initialised structure that the call only reads.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

/// The processor cores that this thread may run on, in ascending order.
///
/// # Errors
/// Those of `sched_getaffinity`: the machine has more cores than its set can name (1,024).
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: a core set is an array of integers, for which all-zero bytes are a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is writable for the size given; thread 0 means the calling one.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    let cores = 0..8 * size_of_val(&set);
    // SAFETY: every `core` is less than the number of bits of the set.
    Ok(cores.filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Binds the calling thread to one processor core.
///
/// # Errors
/// `InvalidInput` for a core that does not exist or that the process must not use.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: a core set is an array of integers, for which all-zero bytes are a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if core >= 8 * size_of_val(&set) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `core` is less than the number of bits of the set, as just checked.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is initialised and of the size given; thread 0 means the calling one.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// A new event counter, which never blocks whoever adds to it.
///
/// # Errors
/// Those of `eventfd`: no descriptor or no memory is left.
pub fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no memory.
    let descriptor = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A new stream socket, closed on exec. It blocks: an operation on the ring of a socket that does
/// not would fail with `EAGAIN` instead of waiting, and the direct calls here ask not to wait each.
///
/// # Errors
/// Those of `socket`: the address family is not supported, no descriptor is left.
pub fn stream_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no memory.
    let descriptor = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The size of a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: the call takes no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It fails for names that there are not, which this is none of.
    u64::try_from(bytes).unwrap_or(4_096)
}

/// Sets a socket option whose value is one integer.
///
/// # Errors
/// Those of `setsockopt`.
pub fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: `value` points to a live integer, whose size is the length given.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) })?;
    Ok(())
}

/// The value of a socket option that is one integer.
///
/// # Errors
/// Those of `getsockopt`: the descriptor is no socket.
pub fn option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    let place = (&raw mut value).cast();
    // SAFETY: `place` is a live integer, whose size is the length given: the call writes no more.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut length) })?;
    Ok(value)
}

/// Says whether operations on a socket wait, or fail when they would have to.
///
/// # Errors
/// Those of `fcntl`.
pub fn set_blocking(socket: BorrowedFd<'_>, blocks: bool) -> io::Result<()> {
    let flags = if blocks { 0 } else { libc::O_NONBLOCK };
    // SAFETY: a descriptor that is open takes these flags; the call takes no memory.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, flags) })?;
    Ok(())
}

/// Has a descriptor closed in programs that this one starts.
///
/// # Errors
/// Those of `fcntl`: nothing is open there.
pub fn close_on_exec(place: RawFd) -> io::Result<()> {
    // SAFETY: the call takes no memory and fails for what is not open.
    check(unsafe { libc::fcntl(place, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(())
}

/// Locks a file until its descriptor is closed. Answers whether nobody else had it locked.
///
/// # Errors
/// Those of `flock`.
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the call takes no memory.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        answer => answer.map(|_| true),
    }
}

/// Gives a socket its address, which is the kernel's structure of any family.
///
/// # Errors
/// Those of `bind`: the address is in use, not local, or not permitted.
pub fn bind<T: SocketAddress>(socket: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let address = ptr::from_ref(address).cast();
    // SAFETY: `address` points to a live structure of the length given, which the call reads.
    check(unsafe { libc::bind(socket.as_raw_fd(), address, length) })?;
    Ok(())
}

/// Connects a Unix socket. It does not wait for room among those that the other has to accept.
///
/// # Errors
/// Those of `connect`: `ConnectionRefused` when nobody listens there, `WouldBlock` when somebody
/// does and is busy.
pub fn connect(socket: BorrowedFd<'_>, address: &libc::sockaddr_un) -> io::Result<()> {
    let length = size_of_val(address) as libc::socklen_t;
    let address = ptr::from_ref(address).cast();
    set_blocking(socket, false)?;
    // SAFETY: `address` points to a live structure of the length given, which the call reads.
    check(unsafe { libc::connect(socket.as_raw_fd(), address, length) })?;
    Ok(())
}

/// The structures that [`bind`] takes.
pub trait SocketAddress {}
impl SocketAddress for libc::sockaddr_in {}
impl SocketAddress for libc::sockaddr_in6 {}
impl SocketAddress for libc::sockaddr_un {}

/// Lets a bound socket queue up to `backlog` connections.
///
/// # Errors
/// Those of `listen`: another socket that does not share the port listens already.
pub fn start_listening(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no memory.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(())
}

/// What follows the bytes of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nobody knows: they leave at once.
    More,
    /// The end of the connection, right away: they may travel with it.
    End,
}

impl Follows {
    /// Never wait, never raise a signal.
    fn flags(self) -> libc::c_int {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match self {
            Follows::More => flags,
            Follows::End => flags | libc::MSG_MORE,
        }
    }
}

/// Hands the first [`SLICES_PER_SEND`] slices to the kernel in one call that never waits and never
/// raises a signal, and says how many bytes were taken.
///
/// # Errors
/// `WouldBlock` when the socket has no room at all; else those of `sendmsg`.
pub fn send_slices<'a>(
    socket: BorrowedFd<'_>,
    mut slices: impl Iterator<Item = &'a [u8]>,
    follows: Follows,
) -> io::Result<usize> {
    let (first, second) = (slices.next().unwrap_or_default(), slices.next());
    let Some(second) = second else { return send_slice(socket, first, follows) };
    // Not initialised: 1 KiB of stores would cost every send of one short frame.
    let mut list = [const { MaybeUninit::<IoSlice<'a>>::uninit() }; SLICES_PER_SEND];
    let mut count = 0;
    for (place, slice) in list.iter_mut().zip([first, second].into_iter().chain(slices)) {
        place.write(IoSlice::new(slice));
        count += 1;
    }
    // SAFETY: a message header is integers and pointers, for which all-zero bytes are a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = list.as_mut_ptr().cast();
    header.msg_iovlen = count as _;
    repeat_interrupted(|| {
        // SAFETY: the first `count` elements of `list` were written above. Each has the layout of
        // an `iovec` (std promises that of `IoSlice`) and borrows its bytes for `'a`, which this
        // call does not outlive; the kernel only reads them.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, follows.flags()) }
    })
}

/// One slice needs no list of slices, which the kernel would have to copy and check.
fn send_slice(socket: BorrowedFd<'_>, slice: &[u8], follows: Follows) -> io::Result<usize> {
    let (start, length) = (slice.as_ptr().cast(), slice.len());
    repeat_interrupted(|| {
        // SAFETY: the kernel only reads `slice`, within its length, and only during the call.
        unsafe { libc::send(socket.as_raw_fd(), start, length, follows.flags()) }
    })
}

/// The result of a call that tells how many bytes it took, or -1 and why.
pub(super) fn repeat_interrupted(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(taken) => return Ok(taken),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// Throws away what a TCP socket has received and nobody has read. A socket that is closed with
/// such bytes resets the connection, and the peer would lose what it was still to be sent. (Not so
/// a Unix socket, which has no such flag: its peer reads what it was sent, and then of the reset.)
pub fn discard_unread(socket: BorrowedFd<'_>) {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let most = libc::c_int::MAX as usize;
    // SAFETY: with MSG_TRUNC a TCP socket drops the bytes and writes none of them (tcp(7)), so
    // that no buffer is needed; other sockets cannot write to none and fail. A failure means that
    // there was nothing to throw away, or that it may stay.
    unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), most, flags) };
}

/// Memory of our own, page-aligned and zero at first, that the kernel may be told to write to.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes.
    ///
    /// # Errors
    /// Those of `mmap`: `length` is 0, or there is no memory.
    pub fn new(length: usize) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }

    /// Where the memory begins.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Gives the memory from an offset on, a multiple of 4,096, back to the system until it is
    /// used again.
    ///
    /// # Safety
    /// All bytes from there on become zero: nobody may rely on them, or refer to them.
    pub unsafe fn discard(&mut self, offset: usize) {
        assert!(offset < self.length && offset.is_multiple_of(4096));
        // SAFETY: the range lies in the mapping, which is private and anonymous, and the caller
        // promises that nobody misses its bytes.
        let outcome = unsafe {
            let start = self.start.as_ptr().add(offset);
            libc::madvise(start.cast(), self.length - offset, libc::MADV_DONTNEED)
        };
        debug_assert_eq!(outcome, 0, "the range is one of an own mapping");
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it longer than from `self`.
        // Whoever gave its address to the kernel keeps it alive until the kernel is done.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn time_never_runs_backwards_and_all_threads_share_its_epoch() {
        let before = monotonic_time();
        let elsewhere = std::thread::spawn(monotonic_time).join().unwrap();
        assert!(before <= elsewhere && elsewhere <= monotonic_time());
    }

    #[test]
    fn random_bytes_fill_the_whole_slice() {
        let mut bytes = [0; 4096];
        fill_random(&mut bytes).unwrap();
        assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
        fill_random(&mut []).unwrap();
    }

    #[test]
    fn a_thread_can_be_pinned_to_each_core_it_may_use_and_to_no_other() {
        std::thread::spawn(|| {
            let cores = allowed_cores().unwrap();
            assert!(!cores.is_empty());
            pin_to_core(cores[0]).unwrap();
            assert_eq!(allowed_cores().unwrap(), cores[..1]);
            assert!(pin_to_core(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_descriptor_limit_is_raised_once_and_stays() {
        let raised = raise_descriptor_limit().unwrap();
        assert!(raised > 0);
        assert_eq!(raise_descriptor_limit().unwrap(), raised);
    }

    #[test]
    fn a_gathered_send_keeps_the_order_of_its_slices_and_takes_no_more_than_fit() {
        let (mut client, server) = connected();
        let slices = [b"one ".as_slice(), b"", b"two"];
        assert_eq!(send_slices(server.as_fd(), slices.into_iter(), Follows::More).unwrap(), 7);
        let mut bytes = [0; 7];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"one two");
        let many = std::iter::repeat_n(b"x".as_slice(), SLICES_PER_SEND + 9);
        assert_eq!(send_slices(server.as_fd(), many, Follows::More).unwrap(), SLICES_PER_SEND);
    }

    #[test]
    fn bytes_that_wait_for_the_end_leave_with_it() {
        let (mut client, server) = connected();
        let slices = [b"last".as_slice()];
        assert_eq!(send_slices(server.as_fd(), slices.into_iter(), Follows::End).unwrap(), 4);
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"last");
    }

    #[test]
    fn a_full_socket_answers_would_block() {
        let (_client, server) = connected();
        let chunk = vec![7; 1 << 20];
        let error = loop {
            match send_slices(server.as_fd(), [chunk.as_slice()].into_iter(), Follows::More) {
                Ok(taken) => assert!(taken > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn discarded_bytes_are_gone_and_those_that_follow_are_read() {
        let (mut client, mut server) = connected();
        client.write_all(b"unread").unwrap();
        server.peek(&mut [0]).unwrap();
        discard_unread(server.as_fd());
        client.write_all(b"next").unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"next");
    }

    #[test]
    fn a_mapping_is_page_aligned_and_an_empty_one_is_refused() {
        let mapping = Mapping::new(10_000).unwrap();
        assert_eq!(mapping.start().as_ptr().align_offset(4096), 0);
        assert_eq!(mapping.length(), 10_000);
        assert!(Mapping::new(0).is_err());
    }

    #[test]
    fn discarded_memory_is_zero_and_what_lies_before_it_stays() {
        let mut mapping = Mapping::new(10_000).unwrap();
        // SAFETY: the mapping is that long, and nobody else knows of it.
        let bytes = |mapping: &Mapping| unsafe {
            std::slice::from_raw_parts_mut(mapping.start().as_ptr(), mapping.length())
        };
        bytes(&mapping).fill(1);
        // SAFETY: there is no reference to the bytes.
        unsafe { mapping.discard(4096) };
        assert!(bytes(&mapping)[..4096].iter().all(|&byte| byte == 1));
        assert!(bytes(&mapping)[4096..].iter().all(|&byte| byte == 0));
    }
}
