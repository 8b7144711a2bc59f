//! Clients over TLS, which this server ends itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare::{Builder, Error, Server, Socket, TlsOptions};
use rustls::{ClientConfig, HandshakeKind};

use crate::authority::Authority;
use crate::raw::{Client, WEBSOCKET_HEADERS, request};
use crate::secure::{self, Secure};
use crate::site::{Site, on_io_with, sid_of};

/// Runs a test against a server with TLS, of one shard and of two.
fn on_tls(test: impl Fn(&mut Site, &Arc<ClientConfig>)) {
    on_tls_with(|builder| builder, test);
}

/// The same, with options.
fn on_tls_with(options: impl Fn(Builder) -> Builder, test: impl Fn(&mut Site, &Arc<ClientConfig>)) {
    let authority = Authority::new();
    let config = Arc::new(authority.client());
    on_io_with(
        |builder| options(builder).tls(secure::options(&authority)),
        |site| test(site, &config),
    );
}

/// The target of a session that a polling client has opened.
fn open(site: &Site, client: &mut Client) -> String {
    let open = client.get(&site.open_target("polling"));
    assert_eq!(open.status, 200);
    format!("{}&sid={}", site.open_target("polling"), sid_of(open.text()))
}

/// Makes a client one of a WebSocket.
fn upgrade(site: &Site, client: &mut Client) {
    let line = format!("GET {}", site.open_target("websocket"));
    assert_eq!(client.ask(request(&line, WEBSOCKET_HEADERS)).status, 101);
    assert!(client.text().starts_with("0{"));
    client.say("40");
    assert!(client.text().starts_with("40{"));
}

#[test]
fn a_client_polls_and_upgrades_over_tls() {
    on_tls(|site, config| {
        let mut client = secure::client(site.address, config);
        let polling = open(site, &mut client);
        assert_eq!(client.post(&polling, "40").text(), "ok");
        assert!(client.get(&polling).text().starts_with("40{\"sid\""));
        let mut socket = secure::client(site.address, config);
        let line = format!("GET {}", polling.replace("polling", "websocket"));
        assert_eq!(socket.ask(request(&line, WEBSOCKET_HEADERS)).status, 101);
        socket.say("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(client.get(&polling).text(), "6");
        socket.say("5");
        socket.say("42[\"echo\",1]");
        assert_eq!(socket.text(), "42[\"echo\",1]");
    });
}

#[test]
fn long_messages_go_both_ways() {
    on_tls(|site, config| {
        let mut client = secure::client(site.address, config);
        upgrade(site, &mut client);
        let message = format!("42[\"echo\",\"{}\"]", "long ".repeat(180_000));
        for _ in 0..3 {
            client.say(&message);
            assert!(client.text() == message);
        }
        let mut client = secure::client(site.address, config);
        let polling = open(site, &mut client);
        client.post(&polling, "40");
        client.get(&polling);
        assert_eq!(client.post(&polling, &message).text(), "ok");
        assert!(client.get(&polling).text() == message);
    });
}

#[test]
fn a_connection_follows_its_session_to_another_shard() {
    on_tls(|site, config| {
        let mut first = secure::client(site.address, config);
        let polling = open(site, &mut first);
        assert_eq!(first.post(&polling, "40").text(), "ok");
        assert!(first.get(&polling).text().starts_with("40"));
        // On two shards the kernel gives half of them to the other one.
        for number in 0..12 {
            let mut client = secure::client(site.address, config);
            let message = format!("42[\"echo\",{number}]");
            assert_eq!(client.post(&polling, &message).text(), "ok");
            assert_eq!(client.get(&polling).text(), message);
        }
    });
}

#[test]
fn a_client_is_sent_away_with_all_that_was_said_before() {
    on_tls(|site, config| {
        let mut client = secure::client(site.address, config);
        upgrade(site, &mut client);
        client.say("42[\"leave\",true]");
        assert_eq!([client.text(), client.text()], ["42[\"bye\",1]", "41"]);
        client.expect_close(None);
    });
}

#[test]
fn a_handshake_tells_whether_it_was_secure() {
    let authority = Authority::new();
    let config = Arc::new(authority.client());
    let path = authority.path("plain.sock");
    let io = Server::builder()
        .tls(secure::options(&authority))
        .listen(path.as_path())
        .shards(1)
        .serve_client(false)
        .build()
        .unwrap();
    io.of("/").on("secure", async |socket: Socket| {
        socket.emit("is", socket.handshake().unwrap().secure());
    });
    let running = io.spawn("127.0.0.1:0").unwrap();
    assert!(running.is_encrypted());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepted = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    io.handle_connection(listener.accept().unwrap().0, []).unwrap();
    let address = io.address().unwrap();
    for (mut client, is_secure) in [
        (secure::client(address, &config), true),
        (Client::on(UnixStream::connect(&path).unwrap()), false),
        (Client::on(accepted), false),
    ] {
        let line = "GET /socket.io/?EIO=4&transport=websocket";
        assert_eq!(client.ask(request(line, WEBSOCKET_HEADERS)).status, 101);
        client.text();
        client.say("40");
        client.text();
        client.say("42[\"secure\"]");
        assert_eq!(client.text(), format!("42[\"is\",{is_secure}]"));
    }
}

#[test]
fn what_is_not_tls_is_not_answered_as_http() {
    on_tls(|site, _| {
        let mut client = site.client();
        client.send(request(&format!("GET {}", site.open_target("polling")), ""));
        let answer = client.rest();
        assert_eq!((answer[0], answer.len()), (21, 7), "an alert: {answer:?}");
    });
}

#[test]
fn m02_m03_a_handshake_that_stalls_is_ended_in_time() {
    const TIMEOUT: Duration = Duration::from_millis(150);
    on_tls_with(
        |builder| builder.limits(|limits| limits.head_timeout = TIMEOUT),
        |site, config| {
            let hello = {
                let name = "localhost".try_into().unwrap();
                let mut tls = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
                let mut hello = Vec::new();
                tls.write_tls(&mut hello).unwrap();
                hello
            };
            for count in [0, 1, 5, hello.len() - 1, hello.len()] {
                let began = Instant::now();
                let mut client = site.client();
                client.send(&hello[..count]);
                let answer = client.rest();
                assert!(began.elapsed() >= TIMEOUT);
                assert_eq!(answer.is_empty(), count < hello.len());
            }
        },
    );
}

#[test]
fn the_certificates_are_read_again_and_wrong_ones_change_nothing() {
    let authority = Authority::new();
    let config = Arc::new(authority.client());
    let served = authority.server();
    let options = TlsOptions::pem_files(&served.chain, &served.key);
    let other = authority.certify("other", &["other.example.org"]);
    let options = options.host("other.example.org", &other.chain, &other.key);
    on_io_with(
        |builder| builder.tls(options.clone()),
        |site| {
            let connect = |name| Secure::connect(site.address, &config, name, b"").unwrap();
            let first = served.certificate();
            assert!(connect("localhost").certificate() == first);
            assert!(connect("other.example.org").certificate() == other.certificate());
            let mut before = connect("localhost").client();
            authority.certify("new", &["localhost", "127.0.0.1"]).replaces(&served);
            site.server().reload_certificates().unwrap();
            let second = served.certificate();
            assert!(first != second && connect("localhost").certificate() == second);
            std::fs::write(&other.key, "nonsense").unwrap();
            authority.server();
            let error = site.server().reload_certificates().unwrap_err();
            assert!(matches!(error, Error::Tls(file, _) if file == other.key));
            assert!(connect("localhost").certificate() == second, "all of them or none");
            assert_eq!(before.get(&site.open_target("polling")).status, 200);
            authority.certify("other", &["other.example.org"]);
        },
    );
    let plain = Server::builder().build().unwrap();
    assert!(matches!(plain.reload_certificates(), Err(Error::Option("tls", _))));
}

#[test]
fn a_client_that_comes_back_needs_no_whole_handshake_on_any_shard() {
    on_tls(|site, config| {
        let connect = || {
            let mut secure = Secure::connect(site.address, config, "localhost", b"").unwrap();
            let kind = secure.kind();
            // The tickets come behind the handshake: an answer shows that they are here. It ends
            // by a word of TLS, or this would be an error.
            let target = site.open_target("polling");
            let line = request(&format!("GET {target}"), "Connection: close\r\n");
            secure.stream().write_all(line.as_bytes()).unwrap();
            assert!(secure.stream().read_to_end(&mut Vec::new()).is_ok());
            kind
        };
        assert_eq!(connect(), HandshakeKind::Full);
        assert!((0..8).all(|_| connect() == HandshakeKind::Resumed));
        site.server().reload_certificates().unwrap();
        assert_eq!(connect(), HandshakeKind::Full, "a ticket is good for one set of files");
    });
}

#[test]
fn a_proxy_says_whom_a_connection_is_from_in_front_of_tls() {
    let preamble = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    let expected = |builder: Builder| builder.trusted_proxies(["127.0.0.1"]).proxy_protocol(true);
    on_tls_with(expected, |site, config| {
        site.server().of("/").on("who", async |socket: Socket| {
            socket.emit("you", socket.handshake().unwrap().address().unwrap().to_string());
        });
        let secure = Secure::connect(site.address, config, "localhost", preamble).unwrap();
        let mut client = secure.client();
        upgrade(site, &mut client);
        client.say("42[\"who\"]");
        assert_eq!(client.text(), "42[\"you\",\"192.0.2.1:56324\"]");
        assert!(Secure::connect(site.address, config, "localhost", b"").is_err());
    });
    let by_others = |builder: Builder| builder.trusted_proxies(["192.0.2.1"]).proxy_protocol(true);
    on_tls_with(by_others, |site, config| {
        assert!(Secure::connect(site.address, config, "localhost", preamble).is_err());
        let mut client = secure::client(site.address, config);
        open(site, &mut client);
    });
}

#[test]
fn b5_21_b5_22_b5_23_clients_must_have_a_certificate_where_they_are_asked_for_one() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let known = Arc::new(authority.client_with(&authority.certify("client", &["client"])));
    let unknown = Arc::new(authority.client_with(&stranger.certify("client", &["client"])));
    let nobody = Arc::new(authority.client());
    let options = secure::options(&authority);
    on_io_with(
        |builder| builder.tls(options.clone().client_authority(authority.file())),
        |site| {
            open(site, &mut secure::client(site.address, &known));
            upgrade(site, &mut secure::client(site.address, &known));
            for config in [&nobody, &unknown] {
                // A client of TLS 1.3 has ended its handshake before it is refused.
                let refused = Secure::connect(site.address, config, "localhost", b"");
                let answer = refused.and_then(|mut secure| {
                    secure.stream().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
                    secure.stream().read(&mut [0])
                });
                assert!(answer.is_err(), "{answer:?}");
            }
        },
    );
    // A client that knows the authority and has nothing to show, where nothing is asked for.
    on_io_with(
        |builder| builder.tls(options.clone()),
        |site| {
            open(site, &mut secure::client(site.address, &nobody));
        },
    );
}
