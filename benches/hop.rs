//! How long a shard that sleeps takes to answer another thread: the wake-up, one turn, the answer.
//!
//! Prints one line of JSON. The thread that asks spins, so that its own wake-up is not measured.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfare::Server;

/// Long enough for the shard to fall asleep.
const PAUSE: Duration = Duration::from_micros(300);

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let samples = if is_test { 20 } else { 5_000 };
    let io = Server::builder().shards(1).build().unwrap();
    let running = io.spawn("127.0.0.1:0").unwrap();
    let mut micros: Vec<f64> = (0..samples).map(|_| ask(&io).as_secs_f64() * 1e6).collect();
    io.close();
    running.join().unwrap();
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    println!(
        "{{\"samples\":{samples},\"hop_p50_us\":{:.2},\"hop_p99_us\":{:.2},\"hop_max_us\":{:.2}}}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// One question and its answer.
fn ask(io: &Server) -> Duration {
    let awake = Instant::now();
    while awake.elapsed() < PAUSE {
        std::hint::spin_loop();
    }
    let asked = Instant::now();
    let mut answer = pin!(io.stats());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(stats) => {
                let took = asked.elapsed();
                assert_eq!(stats.len(), 1, "the shard has answered");
                return took;
            }
            Poll::Pending => std::hint::spin_loop(),
        }
    }
}
