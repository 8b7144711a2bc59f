//! Connection state recovery over a restart of the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fanfare::parser::Form;
use fanfare::{Builder, ConnectionStateRecovery, DisconnectReason, Error, Result, StateFile};
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::client::{Client, Received};
use crate::fixture::{Events, Fixture, each, options, wait_until};
use crate::recovery::{Known, connected, each_way, gone_from, in_a_room, serve};

/// A state file of one test.
struct Site(PathBuf);

impl Site {
    fn new(name: &str) -> Site {
        let folder = std::env::temp_dir().join(format!("fanfare-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Site(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("clients.state")
    }

    fn options(&self, shards: usize) -> Builder {
        self.options_with(shards, StateFile::new(self.path()))
    }

    fn options_with(&self, shards: usize, file: StateFile) -> Builder {
        options(shards).connection_state_recovery(ConnectionStateRecovery {
            state_file: Some(file),
            ..ConnectionStateRecovery::default()
        })
    }

    fn start(&self, shards: usize) -> (Fixture, Events) {
        serve(self.options(shards))
    }

    /// Writes the file anew, so that it is whole.
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.path()).unwrap();
        let end = text.iter().rposition(|&byte| byte == b'\n').unwrap();
        let mut document: Value = serde_json::from_slice(&text[..end]).unwrap();
        change(&mut document);
        let document = serde_json::to_string(&document).unwrap();
        let checksum = BASE64.encode(Sha1::digest(&document));
        fs::write(self.path(), format!("{document}\n{checksum}")).unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Closes a server in order.
fn close(mut server: Fixture) -> Result<()> {
    server.io.close();
    server.running.take().unwrap().join()
}

/// Closes a server in order while a client is connected, which sees it.
fn close_under(mut client: Client, mut server: Fixture) {
    server.io.close();
    assert!(matches!(client.receive(), Received::Closed(_) | Received::Lost));
    drop(client);
    server.running.take().unwrap().join().unwrap();
}

fn comes_back(server: &Fixture, known: &Known) -> bool {
    let mut client = server.open_on(0);
    client.send(&known.claim());
    loop {
        let text = client.text();
        if let Some(reply) = text.strip_prefix("40") {
            return reply.contains(&known.sid);
        }
    }
}

#[test]
fn p15_a_client_comes_back_after_a_restart_with_what_it_has_missed() {
    each_way(|shards, back_on| {
        let site = Site::new("restart");
        let (server, events) = site.start(shards);
        let mut known = gone_from(&server, &events);
        server.io.to("room").emit("before", 1);
        server.io.to("other room").emit("to others", 2);
        server.io.to(&known.sid).emit("to it", 3);
        close(server).unwrap();
        let mode = fs::metadata(site.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds secrets");

        let (server, events) = site.start(shards);
        assert!(!site.path().exists(), "nobody else may come back with it");
        server.io.to("room").emit("after", 4);
        server.io.except("room").emit("to others", 5);
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["before", "to it", "after"]);
        let back = connected(&mut client);
        assert_eq!((&back.sid, &back.pid), (&known.sid, &known.pid));
        events.expect(&["connected true [\"room\"] None"]);
        server.io.to("room").emit("to the room", 6);
        server.io.to(&known.sid).emit("to it", 7);
        known.expect(&mut client, &["to the room", "to it"]);
        client.expect_quiet();
    });
}

#[test]
fn p15_those_who_were_connected_miss_nothing_of_what_was_sent_while_the_server_closed() {
    each_way(|shards, back_on| {
        let site = Site::new("closing");
        let (server, events) = site.start(shards);
        let io = server.io.clone();
        server.io.of("/").on_disconnect(async move |_: DisconnectReason| {
            io.to("room").emit("farewell", 1);
        });
        let (client, mut known) = in_a_room(&server, &events);
        close_under(client, server);
        events.expect(&["gone: server shutting down"]);

        let (server, events) = site.start(shards);
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["farewell"]);
        assert_eq!(connected(&mut client).sid, known.sid);
        events.expect(&["connected true [\"room\"] None"]);
    });
}

#[test]
fn p15_a_client_comes_back_over_as_many_restarts_as_there_are() {
    each_way(|shards, back_on| {
        let site = Site::new("restarts");
        let (server, events) = site.start(shards);
        let mut known = gone_from(&server, &events);
        close(server).unwrap();
        for round in 0..4 {
            let (server, events) = site.start(shards);
            server.io.to("room").emit("missed", round);
            let mut client = server.open_on(if round % 2 == 0 { back_on } else { 0 });
            client.send(&known.claim());
            // It does not receive it this time, but the next.
            let due = if round == 0 { 1 } else { 2 };
            known.expect(&mut client, &vec!["missed"; due - 1]);
            assert!(client.text().starts_with("42[\"missed\","));
            assert_eq!(connected(&mut client).sid, known.sid);
            events.expect(&["connected true [\"room\"] None"]);
            close_under(client, server);
            events.expect(&["gone: server shutting down"]);
        }
    });
}

#[test]
fn p15_data_is_kept_over_a_restart_where_it_is_of_the_type_that_was_named() {
    let site = Site::new("data");
    let file = || StateFile::new(site.path());
    for (file, kept) in [(file().data::<u64>(), "Some(7)"), (file().data::<String>(), "None")] {
        let (server, events) = serve(site.options_with(1, file.clone()));
        let known = gone_from(&server, &events);
        close(server).unwrap();
        let (server, events) = serve(site.options_with(1, file));
        assert!(comes_back(&server, &known));
        events.expect(&[&format!("connected true [\"room\"] {kept}")]);
    }
}

#[test]
fn p15_the_time_of_the_restart_counts_as_time_away() {
    let site = Site::new("time");
    for (away_ms, is_back) in [(100_000, true), (121_000, false)] {
        let (server, events) = site.start(1);
        let known = gone_from(&server, &events);
        close(server).unwrap();
        site.change(|document| {
            let written = &mut document["written"];
            // As if the machine had been started anew.
            written["since_boot"] = Value::Null;
            written["since_1970_ms"] =
                (written["since_1970_ms"].as_u64().unwrap() - away_ms).into();
        });
        let (server, _events) = site.start(1);
        assert_eq!(comes_back(&server, &known), is_back, "{away_ms}");
    }
}

#[test]
fn m66_a_wall_clock_that_jumps_over_a_restart_changes_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    let site = Site::new("wall clock");
    // The second clock is that of a server on a machine that was started anew.
    for (ahead_ms, is_told_the_boot, is_back) in [
        (-24 * HOUR_MS, true, true),
        (2 * HOUR_MS, true, true),
        (2 * HOUR_MS, false, true),
        (-24 * HOUR_MS, false, false),
    ] {
        let (server, events) = site.start(1);
        let mut known = gone_from(&server, &events);
        server.io.to("room").emit("missed", 1);
        close(server).unwrap();
        site.change(|document| {
            let written = &mut document["written"];
            let moved_ms = written["since_1970_ms"].as_i64().unwrap() + ahead_ms;
            written["since_1970_ms"] = moved_ms.into();
            if !is_told_the_boot {
                written["since_boot"] = Value::Null;
            }
        });
        let (server, events) = site.start(1);
        let mut client = server.open_on(0);
        client.send(&known.claim());
        if is_back {
            known.expect(&mut client, &["missed"]);
        }
        let back = connected(&mut client);
        assert_eq!(back.sid == known.sid, is_back, "{ahead_ms} {is_told_the_boot}");
        events.expect(&[match is_back {
            true => "connected true [\"room\"] None",
            false => "connected false [] None",
        }]);
    }
}

#[test]
fn m66_nobody_is_kept_longer_over_a_restart_than_the_new_server_allows() {
    let site = Site::new("shorter");
    let (server, events) = site.start(1);
    let known = gone_from(&server, &events);
    close(server).unwrap();
    let text = fs::read(site.path()).unwrap();
    for left_ms in [120_000, u64::MAX] {
        fs::write(site.path(), &text).unwrap();
        site.change(|document| document["shards"][0]["sessions"][0]["left_ms"] = left_ms.into());
        let short = ConnectionStateRecovery {
            max_disconnection_duration: Duration::from_millis(20),
            state_file: Some(StateFile::new(site.path())),
            ..ConnectionStateRecovery::default()
        };
        let (server, _events) = serve(options(1).connection_state_recovery(short));
        wait_until(|| server.count(|stats| stats.sessions_expired) == 1);
        assert!(!comes_back(&server, &known));
        // It writes a file of its own.
        close(server).unwrap();
    }
}

#[test]
fn p15_clients_of_namespaces_that_a_pattern_takes_come_back_and_those_of_unknown_ones_do_not() {
    each(|shards| {
        let site = Site::new("names");
        let start = |names: &[&str], pattern: Option<&str>| {
            let io = site.options(shards).build().unwrap();
            names.iter().for_each(|name| drop(io.of(name).adapter()));
            if let Some(pattern) = pattern {
                io.of_pattern(pattern).unwrap();
            }
            let running = io.spawn("127.0.0.1:0").unwrap();
            let address = running.address().unwrap();
            Fixture { io, running: Some(running), address }
        };
        let server = start(&["/named", "/forgotten"], Some("^/dynamic-[0-9]+$"));
        let names = ["/named", "/forgotten", "/dynamic-7"];
        let gone = names.map(|name| {
            let mut client = server.open_on(0);
            client.send(&format!("40{name},"));
            let reply = client.text();
            let reply: Value = serde_json::from_str(reply.split_once(',').unwrap().1).unwrap();
            reply
        });
        close(server).unwrap();
        // In another order, so that they have other indexes.
        let server = start(&["/other", "/named"], Some("^/dynamic-[0-9]+$"));
        for (name, known) in names.iter().zip(gone) {
            let mut client = server.open_on(0);
            client.send(&format!("40{name},{{\"pid\":{}}}", known["pid"]));
            let reply = client.text();
            let is_back = reply.contains(known["sid"].as_str().unwrap());
            assert_eq!(is_back, *name != "/forgotten", "{reply}");
        }
    });
}

#[test]
fn m44_a_state_file_that_cannot_be_used_is_left_alone_and_the_server_starts() {
    let site = Site::new("unusable");
    let (server, events) = site.start(2);
    let known = gone_from(&server, &events);
    close(server).unwrap();
    let whole = fs::read(site.path()).unwrap();
    let forged = String::from_utf8(whole.clone()).unwrap().replace("\"room\"", "\"mayor\"");
    let cut = whole[..whole.len() / 2].to_vec();
    for text in [&b""[..], b"\n", b"{}\n", &cut, forged.as_bytes(), &[0xff; 100]] {
        fs::write(site.path(), text).unwrap();
        let (server, _events) = site.start(2);
        assert!(!comes_back(&server, &known));
        assert_eq!(fs::read(site.path()).unwrap(), text);
    }
    let others = [site.options(1), site.options(2).parser(Form::MessagePack)];
    for options in others {
        fs::write(site.path(), &whole).unwrap();
        let (server, _events) = serve(options);
        drop(server.open());
        assert!(site.path().exists());
        // What it writes itself when it is closed is another matter.
        drop(server);
    }
    fs::write(site.path(), &whole).unwrap();
    site.change(|document| document["version"] = 99.into());
    let (server, _events) = site.start(2);
    assert!(!comes_back(&server, &known));
    drop(server);
    fs::write(site.path(), &whole).unwrap();
    site.change(|document| document["events"] = serde_json::json!({}));
    let (server, _events) = site.start(2);
    assert!(!comes_back(&server, &known), "the events are missing");
    drop(server);
    fs::write(site.path(), &whole).unwrap();
    let (server, _events) = site.start(2);
    assert!(comes_back(&server, &known));
}

#[test]
fn a_state_file_that_cannot_be_written_is_an_error_of_the_caller() {
    let site = Site::new("unwritable");
    let file = StateFile::new(site.path().join("no folder").join("clients.state"));
    let io = site.options_with(1, file.clone()).build().unwrap();
    let error = io.spawn("127.0.0.1:0").unwrap_err();
    assert!(matches!(&error, Error::StateFile(path, _) if path == file.path()), "{error}");

    let (server, events) = site.start(1);
    let known = gone_from(&server, &events);
    fs::create_dir(site.path()).unwrap();
    let error = close(server).unwrap_err();
    assert!(matches!(&error, Error::StateFile(path, _) if *path == site.path()), "{error}");
    assert_eq!(fs::read_dir(&site.0).unwrap().count(), 1, "nothing unfinished is left");
    fs::remove_dir(site.path()).unwrap();
    let (server, _events) = site.start(1);
    assert!(!comes_back(&server, &known));
}

#[test]
fn p15_a_server_that_could_not_listen_takes_nothing_away_from_the_next_one() {
    let site = Site::new("busy");
    let (server, events) = site.start(1);
    let known = gone_from(&server, &events);
    close(server).unwrap();
    let other = Fixture::start(1, |_| {});
    let io = site.options(1).build().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(io.spawn(taken.local_addr().unwrap()).is_err());
    drop((io, other));
    let (server, _events) = site.start(1);
    assert!(comes_back(&server, &known));
}
