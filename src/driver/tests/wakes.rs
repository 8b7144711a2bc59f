//! How long a turn waits, and what ends it: its deadline, and other threads.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::bench::{FAR, Subject, bench};
use crate::base::limits::Limits;
use crate::driver::epoll::Epoll;
use crate::driver::uring::Uring;
use crate::driver::{Driver, DriverStats};

on_every_driver!(
    a_turn_ends_at_its_deadline_and_not_before,
    a_waker_ends_a_turn_that_waits,
    wake_ups_before_a_turn_are_one_and_it_does_not_wait,
    work_posted_with_a_wake_up_is_seen_by_the_turn_that_it_ends,
    a_waker_may_outlive_its_driver,
    a_driver_that_was_just_made_has_seen_nothing,
    randomness_differs,
);

fn a_turn_ends_at_its_deadline_and_not_before<S: Subject>() {
    let mut bench = bench::<S>();
    for wait in [Duration::from_micros(1_500), Duration::from_millis(30)] {
        let until = bench.driver.now().after(wait);
        bench.turn(until);
        assert!(bench.driver.now() >= until);
    }
    let before = Instant::now();
    bench.poll();
    assert!(bench.reported.is_empty());
    assert!(before.elapsed() < Duration::from_secs(1), "a deadline in the past does not wait");
}

fn a_waker_ends_a_turn_that_waits<S: Subject>() {
    let mut bench = bench::<S>();
    let waker = bench.driver.waker();
    let (ready, wait) = mpsc::channel();
    let other = thread::spawn(move || {
        for () in wait {
            waker.wake_by_ref();
        }
    });
    for _ in 0..2_000 {
        ready.send(()).unwrap();
        let mut completions = Vec::new();
        let far = bench.driver.now().after(FAR);
        bench.driver.turn(Some(far), &mut completions).unwrap();
        assert!(bench.driver.now() < far && completions.is_empty());
    }
    drop(ready);
    other.join().unwrap();
}

fn wake_ups_before_a_turn_are_one_and_it_does_not_wait<S: Subject>() {
    let mut bench = bench::<S>();
    let waker = bench.driver.waker();
    for _ in 0..3 {
        (0..1_000).for_each(|_| waker.wake_by_ref());
        let far = bench.driver.now().after(FAR);
        bench.turn(far);
        assert!(bench.driver.now() < far);
        let soon = bench.driver.now().after(Duration::from_millis(2));
        bench.turn(soon);
        assert!(bench.driver.now() >= soon, "the wake-ups were used up");
    }
}

fn work_posted_with_a_wake_up_is_seen_by_the_turn_that_it_ends<S: Subject>() {
    const POSTS: u64 = 20_000;
    let mut bench = bench::<S>();
    let (waker, posted) = (bench.driver.waker(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&posted);
    let other = thread::spawn(move || {
        for _ in 0..POSTS {
            counter.fetch_add(1, Ordering::Release);
            waker.wake_by_ref();
        }
    });
    while posted.load(Ordering::Acquire) < POSTS {
        let far = bench.driver.now().after(FAR);
        bench.turn(far);
        assert!(bench.driver.now() < far, "a wake-up was lost");
    }
    other.join().unwrap();
}

fn a_waker_may_outlive_its_driver<S: Subject>() {
    let waker = bench::<S>().driver.waker();
    thread::spawn(move || waker.wake()).join().unwrap();
}

fn a_driver_that_was_just_made_has_seen_nothing<S: Subject>() {
    let driver = S::make(&Limits::default());
    assert_eq!(driver.stats(), DriverStats::default());
}

fn randomness_differs<S: Subject>() {
    let mut bench = bench::<S>();
    let mut draw = || {
        let mut bytes = [0; 16];
        bench.driver.random(&mut bytes);
        bytes
    };
    assert_ne!(draw(), draw());
}

#[test]
fn receive_buffers_that_one_driver_refuses_every_driver_refuses() {
    for (count, bytes_each) in [(0, 64), (3, 64), (8, 0), (8, usize::MAX)] {
        let limits = Limits {
            receive_buffers: count,
            receive_buffer_bytes: bytes_each,
            ..Limits::default()
        };
        for error in [Uring::new(&limits).err(), Epoll::new(&limits).err()] {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("receive_buffer"));
        }
    }
}
