//! A shard that dies takes the process with it, quickly and loudly (matrix 62).

use std::time::{Duration, Instant};

use fanfare::DriverKind;

use super::child::Child;

/// From the death of a shard to the end of its process. A second is promised: the rest is for
/// machines that have much else to do.
const SOON: Duration = Duration::from_secs(2);

/// There it takes longer at times, but not every time.
const ATTEMPTS: usize = 5;

/// Has a shard die, by what begins a server and breaks it, until the process has ended soon.
fn ends_soon(die: impl Fn() -> (Child, Instant)) {
    let mut took = Vec::new();
    while took.len() < ATTEMPTS {
        let (mut child, begun) = die();
        assert_eq!(child.wait().code(), Some(1));
        match begun.elapsed() {
            elapsed if elapsed < SOON => return,
            elapsed => took.push(elapsed),
        }
    }
    panic!("it has ended in {took:?} only");
}

#[test]
fn m62_a_shard_that_panics_ends_the_process_and_says_why() {
    for driver in [DriverKind::Auto, DriverKind::Epoll] {
        let mut child = Child::start(driver);
        let mut clients: Vec<_> = (0..6).map(|_| child.join()).collect();
        child.tell("break 1");
        let line = child.expect_error("a shard has died");
        assert!(line.contains("ERROR") && line.contains("shard 1 has panicked"), "{line}");
        assert!(line.contains("a test wants it to"), "{line}");
        assert_eq!(child.wait().code(), Some(1));
        for client in &mut clients {
            assert!(!client.rest().contains(&0x88), "nobody is told by a close frame");
        }
    }
}

#[test]
fn m62_a_process_with_a_dead_shard_ends_soon() {
    for driver in [DriverKind::Auto, DriverKind::Epoll] {
        ends_soon(|| {
            let mut child = Child::start(driver);
            let _clients: Vec<_> = (0..6).map(|_| child.join()).collect();
            let begun = Instant::now();
            child.tell("break 1");
            (child, begun)
        });
    }
}

/// The handler blocks the shard for a minute.
#[test]
fn m62_a_shard_that_a_handler_blocks_is_not_waited_for() {
    ends_soon(|| {
        let mut child = Child::start(DriverKind::Auto);
        // Some are on each shard; so one of them is blocked by a client of its own.
        let mut clients: Vec<_> = (0..6).map(|_| child.join()).collect();
        clients[0].say(r#"42["block",60000]"#);
        let line = child.expect_error("a handler blocks its shard");
        let blocked = line.split_once("shard=").map(|(_, rest)| &rest[..1]);
        let other = if blocked == Some("0") { 1 } else { 0 };
        let begun = Instant::now();
        child.tell(&format!("break {other}"));
        child.expect_error("a shard has died");
        (child, begun)
    });
}

#[test]
fn m62_a_shard_that_the_kernel_refuses_ends_the_process() {
    for driver in [DriverKind::Auto, DriverKind::Epoll] {
        ends_soon(|| {
            let mut child = Child::start(driver);
            let client = child.join();
            child.tell("take the kernel away");
            // Whichever shard notices: something has to happen to it.
            while std::net::TcpStream::connect(child.address).is_ok() {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            let line = child.expect_error("a shard has died");
            assert!(line.contains("ERROR") && line.contains("cannot go on"), "{line}");
            drop(client);
            (child, begun)
        });
    }
}
