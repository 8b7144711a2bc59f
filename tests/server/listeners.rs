//! Several addresses of one server: ports and Unix sockets.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use fanfare::{Builder, Error, ListenAddress, Server, Socket};

use crate::raw::{Client, WEBSOCKET_HEADERS, request};
use crate::site::{shard_of, sid_of};

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

/// A path that no other test has, at which nothing is.
fn path(name: &str) -> PathBuf {
    let name = format!("fanfare-{}-{name}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = fs::remove_file(&path);
    path
}

fn options(shards: usize) -> Builder {
    Server::builder().shards(shards).pin_shards(false).serve_client(false)
}

fn unix_client(path: &PathBuf) -> Client {
    Client::on(UnixStream::connect(path).unwrap())
}

#[test]
fn b28_21_b28_22_one_server_has_the_clients_of_all_its_addresses() {
    for shards in [1, 2] {
        let path = path("all");
        let builder = options(shards).listen("127.0.0.1:0").listen(path.as_path());
        let io = builder.build().unwrap();
        assert!(io.addresses().is_empty(), "it listens nowhere yet");
        let running = io.spawn("127.0.0.1:0").unwrap();
        let [ListenAddress::Tcp(first), ListenAddress::Unix(unix), ListenAddress::Tcp(second)] =
            running.addresses()
        else {
            panic!("{:?}", running.addresses());
        };
        assert_eq!((running.address(), unix), (Some(*first), &path));
        assert_eq!((io.addresses(), io.address()), (running.addresses(), Some(*first)));
        assert!(first.port() != 0 && second.port() != 0 && first != second);
        let open = Client::connect(*first).get(OPEN);
        let target = format!("{OPEN}&sid={}", sid_of(open.text()));
        assert_eq!(unix_client(&path).post(&target, "40").text(), "ok");
        assert!(Client::connect(*second).get(&target).text().starts_with("40{\"sid\""));
        io.close();
        running.join().unwrap();
        assert!(!path.exists(), "the file goes with the server");
    }
}

#[test]
fn a_client_on_a_unix_socket_is_one_without_an_address() {
    for shards in [1, 2] {
        let (seen, addresses) = channel();
        let path = path("client");
        let io = options(shards).build().unwrap();
        io.of("/").on_connect(async move |socket: Socket| {
            seen.send(socket.handshake().unwrap().address()).unwrap();
        });
        let running = io.spawn(format!("unix:{}", path.display())).unwrap();
        assert_eq!((running.address(), running.addresses().len()), (None, 1));
        let mut client = unix_client(&path);
        let line = "GET /socket.io/?EIO=4&transport=websocket";
        assert_eq!(client.ask(request(line, WEBSOCKET_HEADERS)).status, 101);
        client.text();
        client.say("40");
        assert!(client.text().starts_with("40{"));
        assert_eq!(addresses.recv().unwrap(), None);
        io.close();
        assert_eq!(client.close_code(), None);
    }
}

#[test]
fn the_clients_of_a_unix_socket_are_spread_over_the_shards() {
    let path = path("spread");
    let io = options(2).build().unwrap();
    let _running = io.spawn(path.as_path()).unwrap();
    let mut clients = [0; 2];
    for _ in 0..200 {
        let sid = sid_of(unix_client(&path).get(OPEN).text());
        clients[usize::from(shard_of(&sid))] += 1;
        if !clients.contains(&0) {
            return;
        }
    }
    panic!("200 connections, and all on one shard: {clients:?}");
}

#[test]
fn the_permissions_of_a_unix_socket_are_an_option() {
    for (mode, expected) in [(None, 0o660), (Some(0o600), 0o600), (Some(0o777), 0o777)] {
        let path = path("mode");
        let options = options(1);
        let options = match mode {
            Some(mode) => options.unix_socket_mode(mode),
            None => options,
        };
        let _running = options.build().unwrap().spawn(path.as_path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected);
    }
}

#[test]
fn a_server_that_cannot_have_all_addresses_has_none() {
    for shards in [1, 2] {
        let (free, live) = (path("free"), path("live"));
        let _owner = UnixListener::bind(&live).unwrap();
        let builder = options(shards).listen(free.as_path()).listen(live.as_path());
        let error = builder.build().unwrap().start().unwrap_err();
        let expected = format!("cannot listen on unix:{}: ", live.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(!free.exists(), "it is given up again");
        UnixStream::connect(&live).expect("it is not stolen");
        fs::remove_file(&live).unwrap();
    }
}

#[test]
fn an_address_is_not_taken_twice_by_one_server() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = options(2).listen(taken).build().unwrap().spawn(taken).unwrap_err();
    assert!(matches!(error, Error::Listen(ListenAddress::Tcp(address), _) if address == taken));
}

#[test]
fn a_host_is_looked_up_and_one_that_is_not_found_is_named() {
    let running = options(1).build().unwrap().spawn("localhost:0").unwrap();
    assert!(running.address().unwrap().ip().is_loopback());
    let error = options(1).build().unwrap().spawn("no port").unwrap_err();
    assert!(matches!(&error, Error::Address(name, _) if name == "no port"));
    assert!(error.to_string().contains("\"no port\""), "{error}");
}

/// The kernel takes a ring down some time after its end, and interrupts for that whoever made it.
#[test]
fn a_thread_that_starts_a_server_is_not_interrupted_by_that() {
    let (mut idle, _peer) = UnixStream::pair().unwrap();
    idle.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let io = options(1).build().unwrap();
    let running = io.spawn("127.0.0.1:0").unwrap();
    let error = idle.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    io.close();
    running.join().unwrap();
}
