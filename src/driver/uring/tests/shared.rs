//! Several drivers that accept from one Unix socket.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;

/// Two drivers on one socket, and its path.
fn pair(name: &str) -> (PathBuf, crate::driver::unix::SocketFile, [Uring; 2]) {
    let path = std::env::temp_dir().join(format!("fanfare-{}-{name}", std::process::id()));
    let (file, listeners) = net::listen_unix(&path, 0o600, 2).unwrap();
    let drivers: Vec<Uring> = listeners
        .into_iter()
        .map(|listener| {
            let mut driver = Uring::new(&limits(16, 1024)).unwrap();
            driver.listen(listener);
            driver
        })
        .collect();
    (path, file, drivers.try_into().ok().unwrap())
}

/// Turns until there are connections; gives how many.
fn accepted_by(drivers: &mut [Uring]) -> Vec<usize> {
    let mut counts = vec![0; drivers.len()];
    let deadline = Instant::now() + FAR;
    while counts.iter().all(|&count| count == 0) {
        assert!(Instant::now() < deadline, "nobody has accepted");
        for (driver, count) in drivers.iter_mut().zip(&mut counts) {
            let mut completions = Vec::new();
            driver.turn(Some(Time::ZERO), &mut completions).unwrap();
            *count += completions.len();
        }
    }
    counts
}

#[test]
fn drivers_that_share_a_socket_accept_by_turns() {
    let (path, _file, mut drivers) = pair("by-turns");
    let mut clients = Vec::new();
    let mut counts = [0; 2];
    for _ in 0..40 {
        // As a shard does before it sleeps.
        for driver in &mut drivers {
            driver.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
        }
        clients.push(UnixStream::connect(&path).unwrap());
        let accepted = accepted_by(&mut drivers);
        counts.iter_mut().zip(accepted).for_each(|(count, more)| *count += more);
    }
    assert_eq!(counts, [20, 20]);
}

#[test]
fn a_driver_that_stops_leaves_the_clients_to_the_other() {
    let (path, _file, [mut first, mut second]) = pair("alone");
    first.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    first.stop_listening();
    first.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    let clients: Vec<_> = (0..10).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut accepted = 0;
    while accepted < clients.len() {
        accepted += accepted_by(std::slice::from_mut(&mut second))[0];
    }
    second.stop_listening();
    second.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    assert!(UnixStream::connect(&path).is_err(), "the last one has closed the socket");
}

#[test]
fn a_unix_connection_has_no_address_and_carries_bytes_both_ways_to_its_end() {
    let (path, _file, [driver, _]) = pair("bytes");
    let address = SocketAddr::from(([0; 4], 0));
    let mut bench = Bench { driver, address, reported: VecDeque::new() };
    let mut client = UnixStream::connect(path).unwrap();
    let key = accepted(bench.next());
    assert_eq!(bench.driver.peer(key), None);
    bench.driver.receive(key);
    client.write_all(b"question").unwrap();
    assert_eq!(bench.bytes(), (key, b"question".to_vec()));
    let answer = stream(1, 1 << 20);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut queue = Queue::new(&answer, 10_000);
    while !queue.is_empty() {
        queue.flush(&mut bench.driver, key);
        if !queue.is_empty() {
            match bench.next() {
                Completion::Sent(_, Ok(count)) => queue.taken(count),
                other => panic!("{other:?}"),
            }
        }
    }
    bench.driver.shutdown(key);
    assert_eq!(reader.join().unwrap().unwrap(), answer);
    assert!(matches!(bench.next(), Completion::Ended(ended, _) if ended == key));
    bench.driver.close(key);
    bench.settle(0);
}
