//! Certificates that are read again while the process serves.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use super::child::{BINARY, Child};
use crate::authority::Authority;
use crate::raw::request;
use crate::secure::Secure;

#[test]
fn sighup_has_the_binary_read_its_certificates_again() {
    let authority = Authority::new();
    let config = Arc::new(authority.client());
    let served = authority.server();
    let first = served.certificate();
    let child = Child::of(
        Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0", "--shards", "1", "--log", "socket.io:server=info"])
            .args(["--tls-certificate".as_ref(), served.chain.as_os_str()])
            .args(["--tls-key".as_ref(), served.key.as_os_str()]),
    );
    let connect = || Secure::connect(child.address, &config, "localhost", b"").unwrap();
    let before = connect();
    assert!(before.certificate() == first);
    authority.certify("new", &["localhost"]).replaces(&served);
    child.signal("HUP");
    child.expect_error("the certificates were read again");
    let second = served.certificate();
    assert!(connect().certificate() == second);
    fs::write(&served.key, "nonsense").unwrap();
    child.signal("HUP");
    let line = child.expect_error("the certificates stay as they were");
    assert!(line.contains("server.key"), "{line}");
    assert!(connect().certificate() == second);
    let answer = before.client().ask(request("GET /socket.io/?EIO=4&transport=polling", ""));
    assert_eq!(answer.status, 200);
}
