//! The ends of sessions and of the server (protocol.md §9, matrix 32).

use std::net::TcpListener;
use std::time::{Duration, Instant};

use fanfare::proto::websocket::Opcode;
use fanfare::{Builder, Server};

use crate::raw::{Client, frame, request, text};
use crate::site::{Polling, Site, on_engine, on_engine_with, on_io_with};

fn plain(builder: Builder) -> Builder {
    builder
}

#[test]
fn b4_7_a_server_that_closes_answers_the_held_poll() {
    on_engine(|site| {
        let mut session = site.polling();
        let mut held = session.hold();
        session.send("4close:");
        assert_eq!(held.response().text(), "1");
        assert_eq!(site.reason(), "forced close");
        session.expect_gone();
    });
}

#[test]
fn b4_37_what_was_queued_goes_out_before_the_end() {
    on_engine(|site| {
        let mut session = site.polling();
        session.send("4send and close:\x1e4ignored");
        // Still valid, and without effect.
        assert_eq!(session.post("4close:").status, 200);
        assert_eq!(session.poll(), "4one\x1e4two\x1e4three");
        assert_eq!(session.poll(), "6\x1e1");
        assert_eq!(site.reason(), "forced close");
        session.expect_gone();
    });
}

#[test]
fn b5_2_the_last_of_several_messages_comes_with_the_end() {
    on_engine(|site| {
        let mut session = site.polling();
        session.send("4a");
        assert_eq!(session.poll(), "4a");
        session.send("4close:");
        assert_eq!(session.poll(), "6\x1e1");
        session.expect_gone();
    });
}

#[test]
fn a_closing_session_that_nobody_polls_is_dropped_in_time() {
    let grace = Duration::from_millis(200);
    let options = |builder: Builder| builder.limits(|limits| limits.polling_close_timeout = grace);
    on_engine_with(options, |site| {
        let mut session = site.polling();
        let begun = Instant::now();
        session.send("4send and close:");
        assert_eq!(site.reason(), "forced close");
        assert!(begun.elapsed() >= grace);
        session.expect_gone();
    });
}

#[test]
fn b4_8_m32_a_websocket_that_does_not_answer_the_close_is_ended_in_time() {
    let grace = Duration::from_millis(200);
    let options = |builder: Builder| builder.limits(|limits| limits.close_timeout = grace);
    on_engine_with(options, |site| {
        let mut bystanders = site.bystanders();
        let (mut client, _) = site.websocket();
        let begun = Instant::now();
        client.say("4close:");
        assert_eq!(client.close_code(), None);
        assert_eq!(site.reason(), "forced close");
        // Data behind the server's close frame is ignored.
        client.say("4ignored");
        client.say("x");
        client.expect_end();
        assert!(begun.elapsed() >= grace);
        site.none_gone();
        bystanders.echo();
    });
}

#[test]
fn m32_both_ends_may_close_at_once() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        let close = frame(true, Opcode::Close, b"\x03\xe8");
        client.send([text("4close:"), close].concat());
        assert_eq!(client.close_code(), None);
        client.expect_end();
        assert_eq!(site.reason(), "forced close");
    });
}

/// A session that has joined `/`, by WebSocket.
fn joined(site: &Site) -> Client {
    let (mut client, _) = site.websocket();
    client.say("40");
    assert!(client.text().starts_with("40{\"sid\":"));
    client
}

/// A session that has joined `/`, by polling.
fn joined_by_polling(site: &Site) -> Polling<'_> {
    let mut session = site.polling();
    session.send("40");
    assert!(session.poll().starts_with("40{\"sid\":"));
    session
}

#[test]
fn b21_1_b21_2_closing_the_server_tells_every_client_and_frees_the_port() {
    on_io_with(plain, |site| {
        let mut websocket = joined(site);
        let mut session = joined_by_polling(site);
        let mut held = session.hold();
        session.send(r#"42["echo",1]"#);
        assert_eq!(held.response().text(), r#"42["echo",1]"#);
        held.send(request(&format!("GET {}", session.target), ""));
        session.send(r#"42["echo",2]"#);
        assert_eq!(held.response().text(), r#"42["echo",2]"#);
        held.send(request(&format!("GET {}", session.target), ""));
        session.send(r#"42["echo",3]"#);
        // Another session, without a GET: it is dropped without a word.
        let mut silent = joined_by_polling(site);
        silent.send(r#"42["echo","lost"]"#);
        assert_eq!(held.response().text(), r#"42["echo",3]"#);

        site.close();
        websocket.expect_close(None);
        held.expect_end();
        silent.client.expect_end();
        drop((websocket, held, silent));
        let reasons = [site.reason(), site.reason(), site.reason()];
        assert_eq!(reasons, ["server shutting down"; 3]);
        site.join();
        TcpListener::bind(site.address).expect("the port is free");
    });
}

#[test]
fn closing_the_server_answers_a_held_poll_with_1() {
    on_engine(|site| {
        let session = site.polling();
        let mut held = session.hold();
        site.close();
        assert_eq!(held.response().text(), "1");
        held.expect_end();
        drop((held, session));
        site.join();
    });
}

#[test]
fn b4_35_b4_36_closing_the_server_drops_what_is_queued() {
    on_engine(|site| {
        let mut open = site.polling();
        open.send("4queued");
        let mut closing = site.polling();
        closing.send("4send and close:");
        site.close();
        open.client.expect_end();
        closing.client.expect_end();
        site.join();
    });
}

#[test]
fn b4_9_b32_42_a_port_can_be_served_again_and_old_sessions_are_unknown() {
    for shards in [1, 2] {
        let mut first = Site::engine(fanfare::engine::Server::builder(), shards);
        let address = first.address;
        let target = first.polling().target;
        first.close();
        first.join();
        let builder = fanfare::engine::Server::builder().shards(usize::from(shards));
        let second = fanfare::engine::Server::build(builder).unwrap();
        let running = second.spawn(address).unwrap();
        assert_eq!(running.address(), Some(address));
        let mut client = Client::connect(address);
        assert_eq!(client.get(&target).status, 400);
        assert_eq!(client.get("/engine.io/?EIO=4&transport=polling").status, 200);
    }
}

#[test]
fn two_servers_on_one_port_are_refused_with_a_clear_error() {
    on_io_with(plain, |site| {
        let second = Server::builder().shards(2).build().unwrap();
        let error = second.spawn(site.address).expect_err("the port is taken").to_string();
        let expected = format!("cannot listen on {}: another program does already", site.address);
        assert_eq!(error, expected);
        let mut bystanders = site.bystanders();
        bystanders.echo();
        let error = site.server().spawn("127.0.0.1:0").expect_err("it runs").to_string();
        assert_eq!(error, "this server was started before");
        bystanders.echo();
    });
}

#[test]
fn b21_6_a_second_connect_closes_the_session() {
    on_io_with(plain, |site| {
        let mut session = site.polling();
        session.send("40\x1e40");
        assert!(session.poll().starts_with("40{\"sid\":"));
        assert_eq!(session.poll(), "6\x1e1");
        assert_eq!(site.reason(), "forced server close");
        session.expect_gone();
        let mut client = joined(site);
        client.say("40");
        client.expect_close(None);
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn b21_7_an_event_before_connect_closes_the_session() {
    on_io_with(plain, |site| {
        let mut session = site.polling();
        session.send(r#"42["echo",1]"#);
        assert_eq!(session.poll(), "6\x1e1");
        session.expect_gone();
        let (mut client, _) = site.websocket();
        client.say(r#"42["echo",1]"#);
        client.expect_close(None);
    });
}

#[test]
fn b21_8_an_undecodable_packet_closes_the_session_behind_what_is_queued() {
    on_io_with(plain, |site| {
        let mut session = site.polling();
        session.send("40\x1e4abc");
        assert!(session.poll().starts_with("40{\"sid\":"));
        assert_eq!(session.poll(), "6\x1e1");
        assert_eq!(site.reason(), "forced close");
        session.expect_gone();
        let mut client = joined(site);
        client.say("4abc");
        client.expect_close(None);
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn m40_a_client_that_joins_nothing_is_closed_in_time() {
    let timeout = Duration::from_millis(250);
    on_io_with(
        |builder| builder.connect_timeout(timeout),
        |site| {
            let begun = Instant::now();
            let (mut client, _) = site.websocket();
            client.expect_close(None);
            assert!(begun.elapsed() >= timeout);
            let begun = Instant::now();
            let mut session = site.polling();
            let last = session.poll();
            assert!(matches!(last.as_str(), "1" | "6\x1e1"), "{last}");
            assert!(begun.elapsed() >= timeout);
            session.expect_gone();
        },
    );
}

#[test]
fn a_socket_that_is_disconnected_with_its_session_gets_what_was_queued() {
    on_io_with(plain, |site| {
        let mut session = joined_by_polling(site);
        session.send(r#"42["leave",true]"#);
        assert_eq!(session.poll(), "42[\"bye\",1]\x1e41");
        assert_eq!(session.poll(), "6\x1e1");
        session.expect_gone();
        let mut client = joined(site);
        client.say(r#"42["leave",true]"#);
        assert_eq!([client.text(), client.text()], [r#"42["bye",1]"#, "41"]);
        client.expect_close(None);
    });
}

#[test]
fn a_polling_client_between_two_polls_is_told_that_the_server_closes() {
    let patient = |builder: Builder| {
        builder.limits(|limits| limits.farewell_timeout = Duration::from_secs(4))
    };
    on_engine_with(patient, |site| {
        let mut session = site.polling();
        session.send("4echo");
        assert_eq!(session.poll(), "4echo");
        site.close();
        assert_eq!(session.poll(), "1");
        assert_eq!(site.reason(), "forced close");
    });
}
