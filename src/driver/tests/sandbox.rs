//! Where io_uring is forbidden or hidden, as in containers: it says so, and epoll takes its place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bench::{SKIPPED, in_child_process};
use crate::base::limits::Limits;
use crate::driver::uring::Uring;
use crate::{DriverKind, Error, Server};

/// What a sandbox answers to a call.
struct Sandbox {
    calls: &'static [libc::c_long],
    error: i32,
}

/// More than there are cores, so that limits meet them at different times.
const SHARDS: usize = 4;

/// It takes milliseconds, but on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(5);

const URING_CALLS: &[libc::c_long] =
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

impl Sandbox {
    /// Puts the calling thread, and all that it starts, into it for ever.
    fn enter(&self) {
        let statement =
            |code: u32, value: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value };
        // The number of the call is the first field of what a filter looks at.
        let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
        let refusal = libc::SECCOMP_RET_ERRNO | self.error as u32;
        for &call in self.calls {
            let is_call = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32);
            filter.push(libc::sock_filter { jf: 1, ..is_call });
            filter.push(statement(libc::BPF_RET | libc::BPF_K, refusal));
        }
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the call takes no memory.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        let (operation, mode) = (libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER);
        // SAFETY: the program, and the filter in it, live until the call returns, which reads them.
        assert_eq!(unsafe { libc::prctl(operation, mode, &raw const program) }, 0);
    }
}

/// What was logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server starts on epoll, and says in one line why that is.
fn serves_on_epoll(why: &[&str]) {
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Sink);
    lines.with_max_level(tracing_subscriber::filter::LevelFilter::INFO).init();
    let before = Instant::now();
    let io = Server::builder().shards(SHARDS).serve_client(false).build().unwrap();
    let running = io.spawn("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(running.address().unwrap()).unwrap();
    client
        .write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut status = [0; 15];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    assert!(before.elapsed() < SOON, "it takes long to find out");
    drop(running);
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let line: Vec<&str> = log.lines().filter(|line| line.contains("the shards are on")).collect();
    assert!(
        line.len() == 1
            && line[0].contains("epoll")
            && why.iter().all(|part| line[0].contains(part)),
        "{log}"
    );
}

/// A server that asks for io_uring does not start, and says why.
fn asked_for_it_fails(why: &[&str]) {
    let before = Instant::now();
    let io = Server::builder()
        .shards(SHARDS)
        .driver(DriverKind::IoUring)
        .serve_client(false)
        .build()
        .unwrap();
    let error = io.spawn("127.0.0.1:0").unwrap_err();
    assert!(matches!(error, Error::Driver(_)), "{error:?}");
    assert!(why.iter().all(|part| error.to_string().contains(part)), "{error}");
    assert!(before.elapsed() < SOON, "it takes long to find out");
}

/// What the kernel answers where it is not to be used at all, and what is said of it.
fn forbidden(error: i32, why: &[&str]) {
    Sandbox { calls: URING_CALLS, error }.enter();
    asked_for_it_fails(why);
    serves_on_epoll(why);
}

#[test]
fn m50_where_io_uring_is_forbidden_epoll_serves() {
    let test = concat!(module_path!(), "::m50_where_io_uring_is_forbidden_epoll_serves");
    in_child_process(test, || {
        forbidden(libc::EPERM, &["forbidden", "kernel.io_uring_disabled", "seccomp"]);
    });
}

#[test]
fn m50_where_the_kernel_has_no_io_uring_epoll_serves() {
    let test = concat!(module_path!(), "::m50_where_the_kernel_has_no_io_uring_epoll_serves");
    in_child_process(test, || forbidden(libc::ENOSYS, &["no io_uring", "Linux 5.19"]));
}

#[test]
fn m50_where_the_kernel_is_too_old_for_any_ring_epoll_serves() {
    let test =
        concat!(module_path!(), "::m50_where_the_kernel_is_too_old_for_any_ring_epoll_serves");
    in_child_process(test, || forbidden(libc::EINVAL, &["too old", "Linux 5.19"]));
}

#[test]
fn m50_where_there_are_no_rings_of_buffers_epoll_serves() {
    let test = concat!(module_path!(), "::m50_where_there_are_no_rings_of_buffers_epoll_serves");
    in_child_process(test, || {
        // As Linux 5.18, which has io_uring and no such registration.
        Sandbox { calls: &[libc::SYS_io_uring_register], error: libc::EINVAL }.enter();
        asked_for_it_fails(&["too old", "Linux 5.19"]);
        serves_on_epoll(&["too old", "Linux 5.19"]);
    });
}

/// Rings count as locked memory since Linux 6.14, those of all shards together.
fn with_locked_memory(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the call only reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    // SAFETY: the call takes no memory. Root may lock memory in spite of the limit, and becomes
    // somebody who owns nothing else; others cannot, and need not.
    unsafe { libc::setuid(54_321) };
    let rings: Vec<_> = (0..SHARDS).map(|_| Uring::new(&Limits::default())).collect();
    if rings.iter().any(Result::is_err) {
        drop(rings);
        asked_for_it_fails(&["RLIMIT_MEMLOCK"]);
        serves_on_epoll(&["RLIMIT_MEMLOCK"]);
    } else {
        println!("{SKIPPED} rings do not count as locked memory here, as before Linux 6.14");
    }
}

#[test]
fn m50_where_no_memory_may_be_locked_epoll_serves() {
    let test = concat!(module_path!(), "::m50_where_no_memory_may_be_locked_epoll_serves");
    in_child_process(test, || with_locked_memory(0));
}

#[test]
fn m50_where_only_some_shards_may_have_a_ring_epoll_serves_all() {
    let test =
        concat!(module_path!(), "::m50_where_only_some_shards_may_have_a_ring_epoll_serves_all");
    in_child_process(test, || with_locked_memory(200 * 1024));
}
