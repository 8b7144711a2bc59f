//! The rules of a driver, under TLS.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::base::limits::{TLS_KEPT_BYTES, TLS_SEND_BYTES};
use crate::driver::sim::{Counters, End};
use crate::tls::Front;

#[test]
fn bytes_go_both_ways_in_either_version_to_a_clean_end() {
    for version in [&TLS12, &TLS13] {
        let mut bench = Bench::new(Faults::none());
        let config = Arc::new(authority().client_of(&[version]));
        let (key, mut peer) = bench.connect_as(&config);
        assert_eq!(peer.tls.protocol_version(), Some(version.version));
        assert_eq!(peer.tls.alpn_protocol(), None);
        assert!(bench.driver.is_encrypted(key));
        peer.say(b"question");
        bench.turn();
        assert_eq!(bench.bytes(), b"question");
        assert_eq!(bench.send(key, b"answer"), Sent::Now(6));
        bench.driver.shutdown(key);
        bench.settle(&mut peer);
        assert_eq!((&peer.received[..], peer.is_finished), (&b"answer"[..], true));
        assert_eq!(peer.client.end(), Some(End::Finished));
        peer.tls.send_close_notify();
        peer.pump();
        bench.turn();
        bench.ends(key, None);
        peer.client.shutdown();
        bench.turn();
        assert!(bench.reported.is_empty(), "an end is reported once");
        bench.driver.close(key);
        bench.turn();
        assert_eq!(bench.network.counters(), Counters::default());
    }
}

#[test]
fn m31_what_comes_byte_by_byte_is_read_as_if_it_came_at_once() {
    let mut bench = Bench::new(Faults::none());
    let mut peer = Peer::by_default(&bench.network);
    let key = bench.accept();
    peer.tls.writer().write_all(b"early").unwrap();
    while peer.tls.is_handshaking() || peer.tls.wants_write() {
        for byte in peer.outgoing() {
            bench.driver.receive(key);
            peer.client.write(&[byte]);
            bench.turn();
        }
        let arrived = peer.client.read();
        peer.take(&arrived);
    }
    assert_eq!(bench.bytes(), b"early");
    let long = stream(40_000);
    peer.tls.writer().write_all(&long).unwrap();
    for byte in peer.outgoing() {
        peer.client.write(&[byte]);
        bench.turn();
    }
    assert_eq!(bench.bytes(), long);
}

#[test]
fn records_that_come_together_are_reported_together_and_long_ones_whole() {
    // A record is twice as long as the buffer that its end comes in.
    for receive_buffer_bytes in [8 * 1024, 512] {
        let limits = Limits { receive_buffer_bytes, ..Limits::default() };
        let mut bench = Bench::with(Faults::none(), &limits, None);
        let (_, mut peer) = bench.connect();
        for word in ["one ", "two ", "three"] {
            peer.tls.writer().write_all(word.as_bytes()).unwrap();
        }
        peer.pump();
        bench.turn();
        assert_eq!(bench.reported.len(), 1);
        assert_eq!(bench.bytes(), b"one two three");
        let long = stream(200_000);
        peer.say(&long);
        let mut bytes = Vec::new();
        while bytes.len() < long.len() {
            peer.pump();
            bench.turn();
            bytes.extend(bench.bytes());
        }
        assert!(bytes == long);
        assert_eq!(bench.network.counters().buffers, 0);
    }
}

#[test]
fn a_peer_that_reads_slowly_gets_every_byte_in_order() {
    for room in [64, 5_000, 100_000] {
        let faults = Faults { socket_buffer_bytes: 1 << 18, ..Faults::none() };
        let mut bench = Bench::new(faults.clone());
        let (key, mut peer) = bench.connect();
        bench.network.set_faults(Faults { socket_buffer_bytes: room, ..faults });
        let long = stream(if room < 1_000 { 40_000 } else { 1_000_000 });
        bench.send_all(key, &long, &mut peer);
        bench.settle(&mut peer);
        assert!(peer.received == long, "{} of {}", peer.received.len(), long.len());
    }
}

#[test]
fn one_send_takes_one_record_at_most() {
    let mut bench = Bench::new(Faults::none());
    let (key, _peer) = bench.connect();
    assert_eq!(bench.send(key, &stream(TLS_SEND_BYTES + 1)), Sent::Now(TLS_SEND_BYTES));
}

#[test]
fn what_is_sent_before_the_end_of_the_handshake_waits_for_it() {
    let mut bench = Bench::new(Faults::none());
    let mut peer = Peer::by_default(&bench.network);
    let key = bench.accept();
    assert_eq!(bench.send(key, b"early"), Sent::Later);
    bench.settle(&mut peer);
    let sent = bench.reported.pop_front();
    assert!(matches!(sent, Some(Completion::Sent(sent, Ok(5))) if sent == key));
    assert_eq!(peer.received, b"early");
}

#[test]
fn a_send_that_waits_for_a_handshake_fails_with_it() {
    for is_garbage in [true, false] {
        let mut bench = Bench::new(Faults::none());
        let mut client = bench.network.connect(address());
        let key = bench.accept();
        assert_eq!(bench.send(key, b"early"), Sent::Later);
        match is_garbage {
            true => client.write(b"GET / HTTP/1.1\r\n\r\n"),
            false => client.shutdown(),
        }
        bench.turn();
        let sent = bench.reported.pop_front();
        assert!(matches!(sent, Some(Completion::Sent(sent, Err(_))) if sent == key));
        bench.ends(key, is_garbage.then_some(libc::EPROTO));
        let late = bench.send(key, b"late");
        assert_eq!(late, Sent::Failed(libc::EPIPE));
    }
}

#[test]
fn what_is_not_tls_is_told_so_and_ends() {
    let http = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
    for garbage in [&http[..], &[0; 100], &[0x16, 3, 1, 0xff, 0xff, 0, 0], &[0xff; 100_000]] {
        let mut bench = Bench::new(Faults::none());
        let mut client = bench.network.connect(address());
        let key = bench.accept();
        client.write(garbage);
        bench.turn();
        bench.ends(key, Some(libc::EPROTO));
        let answer = client.read();
        assert_eq!((answer[0], answer.len(), answer[5]), (21, 7, 2), "a fatal alert: {answer:?}");
        client.write(b"more");
        bench.turn();
        assert!(bench.reported.is_empty());
        bench.driver.close(key);
        bench.turn();
        assert_eq!(bench.network.counters(), Counters::default());
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection() {
    let mut bench = Bench::new(Faults::none());
    let (key, mut peer) = bench.connect();
    peer.tls.writer().write_all(b"untouched").unwrap();
    peer.pump();
    peer.tls.writer().write_all(b"changed").unwrap();
    let mut record = peer.outgoing();
    record[10] ^= 1;
    peer.client.write(&record);
    bench.turn();
    assert_eq!(bench.bytes(), b"untouched");
    bench.ends(key, Some(libc::EPROTO));
    let arrived = peer.client.read();
    peer.tls.read_tls(&mut &arrived[..]).unwrap();
    let told = peer.tls.process_new_packets();
    let bad_record = rustls::AlertDescription::BadRecordMac;
    assert_eq!(told, Err(rustls::Error::AlertReceived(bad_record)));
}

#[test]
fn a_peer_that_leaves_without_a_word_has_ended_like_any_other() {
    let mut bench = Bench::new(Faults::none());
    let (key, mut peer) = bench.connect();
    peer.say(b"last");
    peer.client.shutdown();
    bench.turn();
    assert_eq!(bench.bytes(), b"last");
    bench.ends(key, None);
    assert_eq!(bench.send(key, b"reply"), Sent::Now(5));
    bench.driver.close(key);
    let mut client = bench.network.connect(address());
    let key = bench.accept();
    client.write(&[0x16, 3, 1]);
    bench.turn();
    client.reset();
    bench.turn();
    bench.ends(key, Some(libc::ECONNRESET));
}

#[test]
fn the_last_bytes_are_followed_by_a_word_of_farewell() {
    let mut bench = Bench::new(Faults::none());
    let (key, mut peer) = bench.connect();
    let last = [Frame::raw(b"last")];
    let sent = bench.driver.send_last(key, Gather { head: &last, tail: &[], skip: 0 });
    assert_eq!(sent, Sent::Now(4));
    bench.driver.close(key);
    bench.settle(&mut peer);
    assert_eq!((&peer.received[..], peer.is_finished), (&b"last"[..], true));
    let (key, mut peer) = bench.connect();
    bench.driver.close(key);
    bench.settle(&mut peer);
    assert!(!peer.is_finished, "one that is cut off must not look as if it had been told all");
}

#[test]
fn a_peer_that_asks_for_new_keys_without_end_is_ended() {
    let mut bench = Bench::new(Faults { socket_buffer_bytes: 4_096, ..Faults::none() });
    let (key, mut peer) = bench.connect_as(&Arc::new(authority().client_of(&[&TLS13])));
    peer.tls.refresh_traffic_keys().unwrap();
    peer.say(b"with new keys");
    bench.turn();
    assert_eq!(bench.bytes(), b"with new keys");
    assert_eq!(bench.send(key, b"on both sides"), Sent::Now(13));
    bench.settle(&mut peer);
    assert_eq!(peer.received, b"on both sides");
    for _ in 0..100 {
        peer.tls.refresh_traffic_keys().unwrap();
        let outgoing = peer.outgoing();
        peer.client.write(&outgoing);
        bench.turn();
    }
    bench.ends(key, Some(libc::EPROTO));
    assert!(bench.reported.is_empty());
}

#[test]
fn a_message_of_the_handshake_is_not_kept_without_end() {
    let mut bench = Bench::new(Faults::none());
    let mut client = bench.network.connect(address());
    let key = bench.accept();
    // A greeting of 60,000 bytes, in records of one byte.
    let message = [&[1, 0, 0xea, 0x60][..], &[0; 60_000]].concat();
    for (position, byte) in message.iter().enumerate() {
        client.write(&[0x16, 3, 1, 0, 1, *byte]);
        bench.turn();
        if !bench.reported.is_empty() {
            let bytes = position * 6;
            assert!((TLS_KEPT_BYTES - 6..TLS_KEPT_BYTES + 12).contains(&bytes), "{bytes}");
            return bench.ends(key, Some(libc::EPROTO));
        }
    }
    panic!("it was kept")
}

#[test]
fn a_connection_changes_its_driver_in_the_middle_of_a_record() {
    let mut here = Bench::new(Faults::none());
    let mut there = here.another();
    let (mut key, mut peer) = here.connect();
    let mut expected = Vec::new();
    let mut arrived = Vec::new();
    for hop in 0..6 {
        let part = stream(300 + hop);
        expected.extend_from_slice(&part);
        peer.tls.writer().write_all(&part).unwrap();
        let record = peer.outgoing();
        let (first, rest) = record.split_at(hop * 50);
        peer.client.write(first);
        here.turn();
        arrived.extend(here.bytes());
        here.driver.detach(key);
        assert_eq!(here.send(key, b"late"), Sent::Failed(libc::EBADF));
        here.turn();
        let Some(Completion::Detached(detached, handle)) = here.reported.pop_front() else {
            panic!("it stays")
        };
        assert_eq!(detached, key);
        key = there.driver.adopt(handle);
        assert!(there.driver.is_encrypted(key));
        there.driver.receive(key);
        peer.client.write(rest);
        there.turn();
        arrived.extend(there.bytes());
        assert_eq!(there.send(key, b"."), Sent::Now(1));
        std::mem::swap(&mut here, &mut there);
    }
    peer.pump();
    assert_eq!((arrived, &peer.received[..]), (expected, &b"......"[..]));
}

#[test]
fn an_end_that_was_reported_is_reported_again_after_a_change_of_drivers() {
    for is_polite in [true, false] {
        let mut here = Bench::new(Faults::none());
        let mut there = here.another();
        let (key, mut peer) = here.connect();
        match is_polite {
            true => peer.tls.send_close_notify(),
            false => peer.client.shutdown(),
        }
        if is_polite {
            peer.pump();
        }
        here.turn();
        here.ends(key, None);
        here.driver.detach(key);
        here.turn();
        let Some(Completion::Detached(_, handle)) = here.reported.pop_front() else { panic!() };
        let key = there.driver.adopt(handle);
        there.turn();
        assert!(there.reported.is_empty(), "nobody receives from it");
        there.driver.receive(key);
        there.driver.receive(key);
        there.turn();
        there.ends(key, None);
        there.driver.receive(key);
        there.turn();
        assert!(there.reported.is_empty());
    }
}

#[test]
fn m48_an_end_to_be_reported_again_is_not_that_of_the_next_connection_in_its_place() {
    let mut here = Bench::new(Faults::none());
    let mut there = here.another();
    let mut peers = Vec::new();
    let [first, second] = [(); 2].map(|()| {
        let (key, mut peer) = here.connect();
        peer.client.shutdown();
        peers.push(peer);
        here.turn();
        here.ends(key, None);
        here.driver.detach(key);
        here.turn();
        match here.reported.pop_front() {
            Some(Completion::Detached(_, handle)) => handle,
            _ => panic!("it stays"),
        }
    });
    let old = there.driver.adopt(first);
    there.driver.receive(old);
    there.driver.close(old);
    let new = there.driver.adopt(second);
    assert_eq!(new.index, old.index);
    there.turn();
    assert!(there.reported.is_empty(), "one is closed, and nobody receives from the other");
    there.driver.receive(new);
    there.turn();
    there.ends(new, None);
}

#[test]
fn a_connection_leaves_when_what_it_has_to_answer_was_taken() {
    // There is no room for the tickets that end a handshake of the server's.
    let mut bench = Bench::new(Faults::none());
    let mut peer = Peer::by_default(&bench.network);
    let key = bench.accept();
    peer.pump();
    bench.turn();
    let arrived = peer.client.read();
    peer.take(&arrived);
    bench.network.set_faults(Faults { socket_buffer_bytes: 0, ..Faults::none() });
    peer.say(b"question");
    bench.turn();
    assert_eq!(bench.bytes(), b"question");
    bench.driver.detach(key);
    bench.turn();
    assert!(bench.reported.is_empty(), "it has to send its tickets");
    bench.network.set_faults(Faults::none());
    bench.turn();
    bench.turn();
    let Some(Completion::Detached(_, handle)) = bench.reported.pop_front() else { panic!() };
    let key = bench.driver.adopt(handle);
    assert_eq!(bench.send(key, b"answer"), Sent::Now(6));
    bench.settle(&mut peer);
    assert_eq!(peer.received, b"answer");
}

#[test]
fn what_a_connection_has_to_answer_while_it_leaves_is_sent_by_its_next_driver() {
    let mut here = Bench::new(Faults { cancels_late: 1_000, ..Faults::none() });
    let mut there = here.another();
    let mut peer = Peer::by_default(&here.network);
    let key = here.accept();
    peer.pump();
    here.turn();
    here.driver.detach(key);
    // The end of the handshake comes before the kernel lets go; tickets are the answer to it.
    peer.say(b"question");
    let before = peer.client.readable_bytes();
    here.turn();
    assert_eq!(here.bytes(), b"question");
    assert_eq!(peer.client.readable_bytes(), before);
    let handle = loop {
        here.network.advance(Duration::from_millis(10));
        here.turn();
        if let Some(Completion::Detached(_, handle)) = here.reported.pop_front() {
            break handle;
        }
    };
    let key = there.driver.adopt(handle);
    assert!(peer.client.readable_bytes() > before);
    assert_eq!(there.send(key, b"answer"), Sent::Now(6));
    peer.pump();
    assert_eq!(peer.received, b"answer");
}

#[test]
fn what_a_proxy_says_in_front_of_tls_is_given_on_as_it_is() {
    let preamble = |until_end: usize| -> Preamble {
        Box::new(move |peer, bytes| {
            assert!(peer.is_some());
            match bytes {
                [b'x', ..] => Front::Malformed,
                bytes if bytes.len() < until_end => Front::Incomplete,
                _ => Front::Plain(until_end),
            }
        })
    };
    for split in [0, 3, 8, 20] {
        let mut bench = Bench::with(Faults::none(), &Limits::default(), Some(preamble(8)));
        let mut peer = Peer::by_default(&bench.network);
        let key = bench.accept();
        let said = [&b"preamble"[..], &peer.outgoing()].concat();
        peer.client.write(&said[..split]);
        bench.turn();
        assert_eq!(bench.reported.len(), usize::from(split >= 8));
        peer.client.write(&said[split..]);
        bench.turn();
        assert_eq!(bench.bytes(), b"preamble");
        bench.settle(&mut peer);
        peer.say(b"question");
        bench.turn();
        assert_eq!(bench.bytes(), b"question");
        assert!(bench.driver.is_encrypted(key));
    }
    let mut bench = Bench::with(Faults::none(), &Limits::default(), Some(preamble(8)));
    let mut client = bench.network.connect(address());
    let key = bench.accept();
    client.write(b"xyz");
    bench.turn();
    bench.ends(key, Some(libc::EPROTO));
}

#[test]
fn a_connection_of_the_application_is_plain() {
    let mut bench = Bench::new(Faults::none());
    let mut sim = bench.network.driver(&Limits::default());
    let plain = SocketAddr::from(([127, 0, 0, 1], 80));
    sim.listen(plain);
    let mut client = bench.network.connect(plain);
    let mut completions = Vec::new();
    sim.turn(None, &mut completions).unwrap();
    let Some(Completion::Accepted(key)) = completions.pop() else { panic!("nobody") };
    sim.detach(key);
    sim.turn(None, &mut completions).unwrap();
    let Some(Completion::Detached(_, handle)) = completions.pop() else { panic!("it stays") };
    let key = bench.driver.attach(Box::new(handle)).unwrap();
    assert!(!bench.driver.is_encrypted(key));
    bench.driver.receive(key);
    client.write(b"question");
    bench.turn();
    assert_eq!(bench.bytes(), b"question");
    assert_eq!(bench.send(key, b"answer"), Sent::Now(6));
    assert_eq!(client.read(), b"answer");
    assert!(bench.driver.attach(Box::new(7)).is_none());
}
