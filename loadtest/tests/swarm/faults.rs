//! A check that was never seen failing proves nothing: each fault is made by a server on purpose,
//! and has to be found, counted right, and said by the exit code.

use std::net::{SocketAddr, TcpListener};

use super::http;
use super::misbehaving::{Fault, server};
use super::run::{Faults, Run, faults};

/// A run that is long enough for the fault to be made, and does not wait forever for what never
/// comes.
fn against(target: SocketAddr, arguments: &str) -> Run {
    Run::against(target, &format!("--seconds 0.2 --drain 0.8 {arguments}"))
}

/// A swarm finds exactly this.
#[track_caller]
fn finds_in(mode: &str, fault: Fault, expected: Faults) {
    let run = against(server(fault), mode);
    let found = faults(&run.json());
    assert_eq!(found, expected, "{fault:?} in {mode}: {}\n{}", run.stdout, run.stderr);
    assert_eq!(run.code, i32::from(expected != Faults::default()));
}

/// A swarm of four clients finds exactly this, by whatever protocol, in one process and in two.
#[track_caller]
fn finds(fault: Fault, expected: Faults) {
    for how in ["--protocol socketio", "--protocol websocket", "--processes 2"] {
        finds_in(&format!("fanout --clients 4 --window 4 {how}"), fault, expected);
    }
}

#[test]
fn a_server_without_fault_has_none() {
    finds(Fault::None, Faults::default());
}

#[test]
fn a_message_that_never_comes_is_lost() {
    finds(Fault::Drop, Faults { lost: 1, ..Faults::default() });
}

#[test]
fn a_message_that_comes_twice_is_repeated() {
    finds(Fault::Repeat, Faults { repeated: 1, ..Faults::default() });
}

#[test]
fn a_message_that_comes_again_later_is_repeated() {
    finds(Fault::RepeatLate, Faults { repeated: 1, ..Faults::default() });
}

#[test]
fn a_message_behind_a_later_one_is_reordered() {
    finds(Fault::Swap, Faults { reordered: 1, ..Faults::default() });
}

#[test]
fn a_message_instead_of_another_one_is_repeated_and_the_other_one_lost() {
    finds(Fault::Replace, Faults { lost: 1, repeated: 1, ..Faults::default() });
}

#[test]
fn a_message_with_one_byte_changed_is_damaged_wherever_that_byte_is() {
    // In its stream, its number, its due time, its checksum, and the filler.
    let expected = Faults { lost: 1, damaged: 1, ..Faults::default() };
    for at in [0, 15, 40, 63] {
        finds_in("fanout --clients 4 --window 4", Fault::Flip(at), expected);
    }
    finds(Fault::Flip(20), expected);
}

#[test]
fn a_message_without_its_last_byte_is_damaged() {
    finds(Fault::Shorten, Faults { lost: 1, damaged: 1, ..Faults::default() });
}

#[test]
fn a_client_that_is_hung_up_on_is_disconnected_and_the_others_go_on() {
    for fault in [Fault::HangUp, Fault::BadFrame] {
        let run = against(server(fault), "fanout --clients 4 --window 1");
        let report = run.json();
        let expected = Faults { lost: 1, disconnected: 1, ..Faults::default() };
        assert_eq!((faults(&report), run.code), (expected, 1), "{fault:?}");
        assert!(report["deliveries"].as_u64() > Some(50), "it stopped: {}", run.stdout);
        assert!(run.stderr.contains("was disconnected"), "{}", run.stderr);
    }
}

#[test]
fn what_another_room_was_sent_is_damage() {
    let run = against(server(Fault::Leak), "rooms --clients 4 --room-size 2 --window 4");
    let found = faults(&run.json());
    assert!(found.damaged > 0, "{found:?}");
    assert_eq!((Faults { damaged: 0, ..found }, run.code), (Faults::default(), 1));
}

#[test]
fn replies_are_checked_as_broadcasts_are() {
    for (fault, expected) in [
        (Fault::None, Faults::default()),
        (Fault::Drop, Faults { lost: 1, ..Faults::default() }),
        (Fault::Repeat, Faults { repeated: 1, ..Faults::default() }),
        (Fault::Swap, Faults { reordered: 1, ..Faults::default() }),
        (Fault::Flip(30), Faults { lost: 1, damaged: 1, ..Faults::default() }),
        (Fault::HangUp, Faults { lost: 4, disconnected: 1, ..Faults::default() }),
    ] {
        // Under Socket.IO a reply carries a number of its own, which has to fit as well.
        let run = against(server(fault), "echo --clients 4 --window 4 --protocol websocket");
        assert_eq!(faults(&run.json()), expected, "{fault:?}");
        assert_eq!(run.code, i32::from(expected != Faults::default()));
    }
    let run = against(server(Fault::Replace), "echo --clients 2");
    assert_eq!(faults(&run.json()), Faults { lost: 1, damaged: 1, ..Faults::default() });
}

#[test]
fn cycles_that_do_not_end_are_lost() {
    finds_in("churn --clients 3", Fault::Silent, Faults { lost: 3, ..Faults::default() });
    let closed = Faults { disconnected: 1, ..Faults::default() };
    let run = against(server(Fault::CloseAtOnce), "churn --clients 1");
    let found = faults(&run.json());
    assert!(found.disconnected > 0, "{found:?}");
    assert_eq!((Faults { disconnected: 1, ..found }, run.code), (closed, 1));
}

#[test]
fn bytes_that_come_one_by_one_are_put_together() {
    finds(Fault::Dribble, Faults::default());
}

#[test]
fn heartbeats_are_answered_between_messages() {
    let run = against(server(Fault::Heartbeats), "fanout --clients 3 --window 2");
    run.is_clean();
}

#[test]
fn a_client_whose_message_is_refused_is_disconnected() {
    let run = against(http::server(http::Manner::RefusesFifth).address, "polling --clients 2");
    let found = faults(&run.json());
    assert_eq!((found, run.code), (Faults { lost: 1, disconnected: 1, ..Faults::default() }, 1));
    assert!(run.stderr.contains("status 400"), "{}", run.stderr);
}

#[test]
fn a_target_that_is_not_there_or_refuses_is_said_to() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (target, says) in [
        (nobody, "nobody listens"),
        (server(Fault::Refuse), "HTTP/1.1 503 Service Unavailable"),
        (server(Fault::CloseAtOnce), "refused"),
    ] {
        for processes in [1, 2] {
            let run = against(target, &format!("idle --clients 2 --processes {processes}"));
            assert_eq!((run.code, &*run.stdout), (3, ""), "{}", run.stderr);
            assert!(run.stderr.contains(says), "{}", run.stderr);
        }
    }
}

#[test]
fn wrong_usage_is_said_before_anything_is_done() {
    for (arguments, says) in [
        ("fanout", "--target"),
        ("fanout --target 192.0.2.1:80", "loopback"),
        ("fanout --target 127.0.0.1:9 --payload 47", "--payload"),
        ("fanout --target 127.0.0.1:9 --clients 100000000", "--processes"),
        ("idle --target 127.0.0.1:9 --server-pid 4194305", "--server-pid"),
    ] {
        let run = Run::bare(arguments);
        assert_eq!((run.code, &*run.stdout), (2, ""), "{arguments}");
        assert!(run.stderr.contains(says), "{arguments}: {}", run.stderr);
    }
}
