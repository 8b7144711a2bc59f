//! Every call that needs `unsafe`: those of the kernel that std does not offer.

use std::fs::File;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;

pub use libc::epoll_event as Event;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn length_of<T>(_: &T) -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Now, by CLOCK_MONOTONIC: the same for all processes of this machine.
pub fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The processor time that this process used so far.
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the write. Both clocks exist since Linux 2.6.12, so that the call
    // cannot fail; had it failed, `time` would still be initialised.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn set_option<T>(socket: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let pointer = ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `length_of(value)` bytes, which is the size of what the reference
    // points at; every caller passes a plain C struct or an integer.
    checked(unsafe { libc::setsockopt(socket, level, name, pointer, length_of(value)) })?;
    Ok(())
}

fn address(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    }
}

/// Begins to connect, without waiting for it. The port is chosen by the kernel when it knows the
/// target, so that each source address has all its ports for each target.
pub fn connect(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let number = checked(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the kernel has just given this number, and nobody else owns it.
    let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    set_option(number, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32)?;
    set_option(number, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32)?;
    let from = address(source, 0);
    // SAFETY: `from` is a socket address of the length that is passed.
    checked(unsafe { libc::bind(number, ptr::from_ref(&from).cast(), length_of(&from)) })?;
    let to = address(*target.ip(), target.port());
    // SAFETY: `to` is a socket address of the length that is passed.
    let begun =
        checked(unsafe { libc::connect(number, ptr::from_ref(&to).cast(), length_of(&to)) });
    match begun {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// From now on, closing this socket breaks the connection at once instead of ending it in order.
pub fn break_on_close(socket: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// A set of sockets that are watched.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no memory is passed.
        let number = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just given this number, and nobody else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    pub fn add(&self, socket: &impl AsRawFd, interest: i32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), interest, token)
    }

    pub fn change(&self, socket: &impl AsRawFd, interest: i32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_raw_fd(), interest, token)
    }

    pub fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, 0)
    }

    fn control(&self, what: i32, socket: RawFd, interest: i32, token: u64) -> io::Result<()> {
        let mut event = Event { events: interest as u32, u64: token };
        // SAFETY: `event` is valid for the read that the kernel makes of it during the call.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, socket, &raw mut event) };
        checked(result)?;
        Ok(())
    }

    /// Fills `events` from its front and says how many there are. Does not wait for any.
    pub fn look(&self, events: &mut [Event]) -> io::Result<usize> {
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events to the front of `events`, which has at
        // least as many.
        let result = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        counted(result)
    }

    /// The same, but waits for so long until there is one.
    pub fn wait(&self, events: &mut [Event], wait_ns: u64) -> io::Result<usize> {
        let time = libc::timespec {
            tv_sec: (wait_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (wait_ns % 1_000_000_000) as libc::c_long,
        };
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        let (epoll, pointer) = (self.0.as_raw_fd(), events.as_mut_ptr());
        // SAFETY: as in `look`; `time` outlives the call, and no signal mask is passed.
        let result =
            unsafe { libc::epoll_pwait2(epoll, pointer, room, &raw const time, ptr::null()) };
        counted(result)
    }
}

/// How many events a wait has found.
fn counted(result: libc::c_int) -> io::Result<usize> {
    match checked(result) {
        Ok(count) => Ok(count as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Keeps this process on one processor.
pub fn pin(processor: usize) -> io::Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a set of processors is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `processor` is below CPU_SETSIZE, so that its bit lies within the set.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the kernel reads the size of the set that is passed.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// How many descriptors this process may have, after it was raised to what is permitted: to
/// `wanted` where this process may raise the hard limit, to the hard limit elsewhere.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the write.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let set = |soft: u64, hard: u64| {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: `limit` is valid for the read.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).is_ok()
    };
    if wanted > limit.rlim_max && set(wanted, wanted) {
        return Ok(wanted);
    }
    let raised = set(limit.rlim_max, limit.rlim_max);
    Ok(if raised { limit.rlim_max } else { limit.rlim_cur })
}

/// SIGINT and SIGTERM as something to read instead of the end of the process.
pub fn interrupts() -> io::Result<File> {
    let set = interrupt_set();
    // SAFETY: `set` is an initialised set of signals; the old one is not asked for.
    checked(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })?;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: `set` is an initialised set of signals; -1 asks for a new descriptor.
    let number = checked(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: the kernel has just given this number, and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// From now on these signals end the process again.
pub fn allow_interrupts() {
    let set = interrupt_set();
    // SAFETY: as in `interrupts`.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

fn interrupt_set() -> libc::sigset_t {
    // SAFETY: a set of signals is an array of integers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for the writes, and the signals exist.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
    }
    set
}

/// Which of the two processes that a fork makes this one is.
pub enum Fork {
    Parent(ChildProcess),
    Child,
}

/// A process that this one has started; it does not outlive it.
pub struct ChildProcess {
    pid: libc::pid_t,
    has_ended: bool,
}

/// Makes a copy of this process, which must have no other thread.
pub fn fork() -> io::Result<Fork> {
    let parent = std::process::id();
    // SAFETY: no memory is passed. This program starts no threads, so that no lock can be held by
    // one that the copy lacks, and the copy may do whatever this process may.
    let pid = checked(unsafe { libc::fork() })?;
    if pid > 0 {
        return Ok(Fork::Parent(ChildProcess { pid, has_ended: false }));
    }
    // SAFETY: no memory is passed; the kernel only notes the number of a signal.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // Had the parent ended before that call, its signal would never come.
    if std::os::unix::process::parent_id() != parent {
        std::process::exit(0);
    }
    Ok(Fork::Child)
}

impl ChildProcess {
    /// Waits for its end.
    pub fn wait(&mut self) {
        // SAFETY: the status is not asked for. The process is a child of this one that nobody has
        // waited for, so that its number is still its own.
        unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) };
        self.has_ended = true;
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if !self.has_ended {
            // SAFETY: no memory is passed. Nobody has waited for this child, so that the number
            // cannot be another process'.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.wait();
        }
    }
}

/// Numbers that this process shares with those it forks. They are 0 at first.
pub struct SharedMemory {
    place: ptr::NonNull<AtomicU64>,
    length: usize,
}

impl SharedMemory {
    pub fn new(length: usize) -> io::Result<SharedMemory> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let bytes = length * size_of::<AtomicU64>();
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory in use.
        let place = unsafe { libc::mmap(ptr::null_mut(), bytes, rights, kind, -1, 0) };
        match ptr::NonNull::new(place) {
            Some(place) if place.as_ptr() != libc::MAP_FAILED => {
                Ok(SharedMemory { place: place.cast(), length })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for SharedMemory {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `length` numbers, begins at a page and so is aligned for them,
        // was zeroes at first, and is never unmapped. Whoever else writes to it does so by these
        // same atomics.
        unsafe { slice::from_raw_parts(self.place.as_ptr(), self.length) }
    }
}
