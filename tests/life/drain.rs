//! Signals (matrix 63).

use std::net::TcpStream;
use std::process::Command;

use fanfare::DriverKind;

use super::child::{BINARY, Child};
use crate::raw::Client;

fn binary() -> Child {
    Child::of(Command::new(BINARY).args(["--listen", "127.0.0.1:0", "--shards", "2"]))
}

fn crowd(child: &Child, count: usize) -> Vec<Client> {
    (0..count).map(|_| child.join()).collect()
}

#[test]
fn m63_sigterm_accepts_nobody_and_closes_each_client_in_order() {
    for signal in ["TERM", "INT"] {
        let mut child = binary();
        let mut clients = crowd(&child, 100);
        child.signal(signal);
        for client in &mut clients {
            client.expect_close(None);
        }
        assert!(TcpStream::connect(child.address).is_err());
        drop(clients);
        assert_eq!(child.wait().code(), Some(0));
    }
}

#[test]
fn m63_a_session_that_is_asked_for_during_a_drain_is_refused_with_a_time_to_come_back() {
    let child = Child::start(DriverKind::Auto);
    let mut client = Client::connect(child.address);
    let open = "/socket.io/?EIO=4&transport=polling";
    let opened = client.get(open).text().to_owned();
    let sid = opened.split('"').nth(3).unwrap();
    let session = format!("{open}&sid={sid}");
    assert_eq!(client.post(&session, "40\x1e420[\"wait\"]").status, 200);
    assert!(client.get(&session).text().starts_with("40"));
    child.signal("TERM");
    // It waits for the acknowledgement, so that there is somebody to ask.
    loop {
        let response = client.get(open);
        match response.status {
            200 => continue,
            status => assert_eq!((status, response.header("retry-after")), (503, Some("1"))),
        }
        break;
    }
}

#[test]
fn m63_a_second_signal_ends_the_process_at_once() {
    let mut child = binary();
    let mut clients = crowd(&child, 2_000);
    child.signal("TERM");
    // The first one has arrived, and two seconds of clients are to be sent away.
    while TcpStream::connect(child.address).is_ok() {
        std::thread::yield_now();
    }
    child.signal("TERM");
    assert_eq!(child.wait().code(), Some(128 + 15));
    let told = clients.iter_mut().filter_map(|client| (!client.rest().is_empty()).then_some(()));
    assert!(told.count() < 2_000, "most have heard nothing");
}
