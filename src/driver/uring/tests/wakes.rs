//! Wake-ups from other threads.

use std::sync::mpsc;

use super::*;

#[test]
fn a_waker_ends_a_turn_that_waits() {
    let mut bench = Bench::new();
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

#[test]
fn wake_ups_before_a_turn_are_one_and_it_does_not_wait() {
    let mut bench = Bench::new();
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

#[test]
fn work_posted_with_a_wake_up_is_seen_by_the_turn_that_it_ends() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const POSTS: u64 = 20_000;
    let mut bench = Bench::new();
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

#[test]
fn a_waker_may_outlive_its_driver() {
    let waker = Bench::new().driver.waker();
    thread::spawn(move || waker.wake()).join().unwrap();
}
