//! Each of the rarer faults alone, always.

use super::*;

#[test]
fn the_slot_of_a_closed_connection_is_used_again_while_the_kernel_works_for_the_old_one() {
    let faults = Faults { cancels_late: 1_000, slots_reused: 1_000, ..Faults::none() };
    let (network, mut sim, address) = world(faults);
    let mut client = network.connect(address);
    let old = accept(&mut sim);
    sim.receive(old);
    sim.close(old);
    client.write(b"for nobody");
    let _second = network.connect(address);
    let new = accept(&mut sim);
    assert_eq!((new.index, network.counters().connections), (old.index, 2));
    assert_ne!(new.generation, old.generation);
    sim.receive(new);
    network.advance(Duration::from_millis(5));
    assert!(turn(&mut sim).is_empty(), "no completion names a key after close");
    assert!(client.is_closed());
    assert_eq!((network.counters().connections, network.counters().buffers), (1, 0));
}

#[test]
fn a_send_that_fails_leaves_the_connection_as_it_was() {
    let (network, mut sim, address) = world(Faults { sends_failed: 1_000, ..Faults::none() });
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    let error = match send(&mut sim, key, b"lost") {
        Sent::Failed(error) => error,
        other => panic!("{other:?}"),
    };
    assert!([libc::ENOBUFS, libc::ENOMEM, libc::EPIPE, libc::ECANCELED].contains(&error));
    network.set_faults(Faults::none());
    assert_eq!(send(&mut sim, key, b"taken"), Sent::Now(5));
    assert_eq!(client.read(), b"taken");
}

#[test]
fn a_send_in_flight_may_fail_as_well() {
    let (network, mut sim, address) = world(Faults { sends_deferred: 1_000, ..Faults::none() });
    let _client = network.connect(address);
    let key = accept(&mut sim);
    assert_eq!(send(&mut sim, key, b"lost"), Sent::Later);
    assert_eq!(sim.sends_in_flight(), [(key, 4)]);
    network.set_faults(Faults { sends_failed: 1_000, ..Faults::none() });
    network.advance(Duration::from_millis(5));
    assert!(matches!(turn(&mut sim)[..], [Completion::Sent(sent, Err(_))] if sent == key));
    assert!(sim.sends_in_flight().is_empty());
}

#[test]
fn a_turn_gives_no_more_completions_than_it_may_and_the_others_later() {
    let (network, mut sim, address) = world(Faults { completions_max: 2, ..Faults::none() });
    let _clients: Vec<Client> = (0..5).map(|_| network.connect(address)).collect();
    let turns: Vec<usize> = (0..4).map(|_| turn(&mut sim).len()).collect();
    assert_eq!(turns, [2, 2, 1, 0]);
}

#[test]
fn an_end_comes_later_than_the_last_bytes() {
    let (network, mut sim, address) = world(Faults { ends_late: 1_000, ..Faults::none() });
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    client.write(b"last");
    client.shutdown();
    let completions = turn(&mut sim);
    assert_eq!((completions.len(), bytes(&mut sim, &completions)), (1, b"last".to_vec()));
    network.set_faults(Faults::none());
    assert!(turn(&mut sim).is_empty(), "not before its time");
    network.advance(Duration::from_millis(5));
    assert!(matches!(turn(&mut sim)[..], [Completion::Ended(ended, None)] if ended == key));
}

#[test]
fn a_buffer_that_is_released_late_is_filled_after_the_next_turn_has_begun() {
    let faults = Faults { receive_buffers: 1, releases_late: 1_000, ..Faults::none() };
    let (network, mut sim, address) = world(faults);
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    for word in [b"one", b"two"] {
        client.write(word);
        assert!(sim.is_ready());
        let completions = turn(&mut sim);
        assert_eq!(bytes(&mut sim, &completions), word);
        assert_eq!(network.counters().buffers, 0);
    }
}

#[test]
fn a_client_that_was_accepted_before_the_listener_went_is_reported_after_that() {
    let (network, mut sim, address) = world(Faults { accepts_late: 1_000, ..Faults::none() });
    let mut client = network.connect(address);
    sim.stop_listening();
    assert!(sim.is_ready() && network.counters().unaccepted == 1);
    let key = accept(&mut sim);
    assert_eq!(send(&mut sim, key, b"503"), Sent::Now(3));
    assert_eq!(client.read(), b"503");
}

#[test]
fn clients_that_come_in_a_burst_are_accepted_in_one_turn() {
    let (network, mut sim, address) = world(Faults { accepts_in_bursts: 1_000, ..Faults::none() });
    let mut clients = Vec::new();
    for _ in 0..9 {
        network.advance(Duration::from_millis(1));
        clients.push(network.connect(address));
        assert!(turn(&mut sim).is_empty());
    }
    network.advance(Duration::from_millis(1));
    assert_eq!(turn(&mut sim).len(), clients.len());
}

#[test]
fn a_waker_is_noticed_late_and_never_forgotten() {
    let (network, mut sim, _) = world(Faults { wakes_late: 1_000, ..Faults::none() });
    sim.waker().wake();
    assert!(!sim.is_ready());
    let due = network.next_event().expect("it is noticed at some time");
    network.advance(due.since(network.now()));
    assert!(sim.is_woken() && sim.is_ready());
    turn(&mut sim);
    assert!(!sim.is_ready() && network.next_event().is_none());
}

#[test]
fn a_stall_lets_time_pass_within_a_turn() {
    let (network, mut sim, _) = world(Faults { stalls: 1_000, ..Faults::none() });
    (0..10).for_each(|_| drop(turn(&mut sim)));
    assert!(network.now() > Time::ZERO && network.now() < Time::ZERO.after(Duration::from_secs(3)));
}
