//! Sockets that a service manager has opened, and what it is told.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{BINARY, Child};

/// Has its own standard input as descriptor 3, and knows its own number, as a manager would see to.
const ACTIVATE: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 </dev/null"#;

#[test]
fn a_socket_of_the_service_manager_is_served_and_outlives_the_server() {
    let path = std::env::temp_dir().join(format!("fanfare-{}-notify", std::process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for listen in ["systemd", "systemd:web"] {
        let socket = OwnedFd::from(listener.try_clone().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", ACTIVATE, BINARY, "--listen", listen, "--shards", "2"]);
        command.env("LISTEN_FDNAMES", "web").env("NOTIFY_SOCKET", &path);
        let mut child = Child::with_stdin(&mut command, Stdio::from(socket));
        assert_eq!(child.address, listener.local_addr().unwrap());
        assert!(told().starts_with("READY=1\nMAINPID="));
        let mut clients: Vec<_> = (0..4).map(|_| child.join()).collect();
        child.signal("TERM");
        assert_eq!(told(), "STOPPING=1");
        clients.iter_mut().for_each(|client| client.expect_close(None));
        drop(clients);
        assert_eq!(child.wait().code(), Some(0));
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_server_that_was_started_without_such_a_socket_says_so() {
    let output = Command::new(BINARY).args(["--listen", "systemd"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("started with no such socket"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
