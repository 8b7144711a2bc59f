//! What holds in every order in which the threads of a server can come.

use std::sync::Arc;

use fanfare_models::mailbox::{Mailbox, ReadyQueue};
use fanfare_models::{Sleeper, explore};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A mailbox, and the shard that takes from it.
fn mailbox(capacity: usize) -> (Arc<Mailbox<Arc<u32>>>, Sleeper) {
    let sleeper = Sleeper::new();
    (Arc::new(Mailbox::new(capacity, Arc::clone(&sleeper.bell))), sleeper)
}

/// A thread that posts these values, and gives those that it could not.
fn poster(mailbox: &Arc<Mailbox<Arc<u32>>>, values: &[u32]) -> thread::JoinHandle<Vec<Arc<u32>>> {
    let mailbox = Arc::clone(mailbox);
    let values: Vec<Arc<u32>> = values.iter().copied().map(Arc::new).collect();
    thread::spawn(move || values.into_iter().filter_map(|it| mailbox.post(it).err()).collect())
}

#[test]
fn what_is_posted_by_one_thread_is_never_slept_over_and_comes_in_order() {
    explore(4, || {
        let (mailbox, shard) = mailbox(4);
        let poster = poster(&mailbox, &[1, 2]);
        let mut taken = Vec::new();
        while taken.len() < 2 {
            shard.turn(|| !mailbox.is_empty());
            taken.extend(std::iter::from_fn(|| mailbox.take()).map(|value| *value));
        }
        assert_eq!(taken, [1, 2]);
        assert!(poster.join().unwrap().is_empty());
    });
}

#[test]
fn what_is_posted_by_two_threads_is_never_slept_over() {
    explore(2, || {
        let (mailbox, shard) = mailbox(4);
        let posters = [poster(&mailbox, &[1]), poster(&mailbox, &[2])];
        let mut sum = 0;
        while sum < 3 {
            shard.turn(|| !mailbox.is_empty());
            sum += std::iter::from_fn(|| mailbox.take()).map(|value| *value).sum::<u32>();
        }
        posters.into_iter().for_each(|poster| assert!(poster.join().unwrap().is_empty()));
    });
}

#[test]
fn a_full_mailbox_gives_back_what_it_does_not_take() {
    explore(2, || {
        let (mailbox, _shard) = mailbox(1);
        let posters = [poster(&mailbox, &[1]), poster(&mailbox, &[2])];
        let early = mailbox.take();
        let refused: usize = posters.map(|poster| poster.join().unwrap().len()).iter().sum();
        let late: Vec<_> = std::iter::from_fn(|| mailbox.take()).collect();
        assert!(late.len() <= 1, "more than it holds");
        assert_eq!(usize::from(early.is_some()) + late.len() + refused, 2);
        mailbox.post(Arc::new(3)).expect("there is room again, whatever was refused");
    });
}

#[test]
fn nothing_stays_in_a_mailbox_that_is_closed() {
    explore(2, || {
        let (mailbox, _shard) = mailbox(4);
        let values = [Arc::new(1), Arc::new(2)];
        let posters = values.each_ref().map(|value| {
            let (mailbox, value) = (Arc::clone(&mailbox), Arc::clone(value));
            thread::spawn(move || drop(mailbox.post(value)))
        });
        mailbox.close();
        while mailbox.take().is_some() {}
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        values.iter().for_each(|value| assert_eq!(Arc::strong_count(value), 1, "it is kept"));
    });
}

#[test]
fn what_becomes_ready_is_never_slept_over() {
    explore(2, || {
        let shard = Sleeper::new();
        let ready = Arc::new(ReadyQueue::new(Arc::clone(&shard.bell)));
        let wakers = [1, 2].map(|task| {
            let ready = Arc::clone(&ready);
            thread::spawn(move || ready.push(task))
        });
        let mut sum = 0;
        while sum < 3 {
            shard.turn(|| !ready.is_empty());
            sum += std::iter::from_fn(|| ready.take()).sum::<u32>();
        }
        assert!(ready.is_empty());
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
    });
}

#[test]
fn the_stage_of_a_server_is_never_slept_over() {
    explore(2, || {
        let shard = Sleeper::new();
        let stage = Arc::new(AtomicUsize::new(0));
        let others = [1, 2].map(|next| {
            let (stage, bell) = (Arc::clone(&stage), Arc::clone(&shard.bell));
            thread::spawn(move || {
                stage.fetch_max(next, Ordering::AcqRel);
                bell.ring();
            })
        });
        let mut followed = 0;
        while followed < 2 {
            shard.turn(|| stage.load(Ordering::Acquire) != followed);
            followed = stage.load(Ordering::Acquire);
        }
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_wake_up_that_writes_nothing_is_seen_by_the_one_that_is_under_way() {
    explore(2, || {
        let shard = Sleeper::new();
        let work = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let others = [0, 1].map(|own| {
            let (work, waker) = (Arc::clone(&work), shard.waker());
            thread::spawn(move || {
                // The wake-up alone makes it visible.
                work[own].store(1, Ordering::Relaxed);
                waker.wake();
            })
        });
        while work.iter().any(|each| each.load(Ordering::Relaxed) == 0) {
            shard.wait();
        }
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
