//! Session ids that the application makes (`engine.generateId`), and how many sessions there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::raw::{WEBSOCKET_HEADERS, request, text};
use crate::site::{Site, on_engine, on_engine_with, on_io_with, sid_of};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// Takes the id from a header; fails without one.
fn use_header(site: &Site, is_slow: bool) {
    site.engine_handle().generate_id(async move |request| {
        if is_slow {
            fanfare::time::sleep(Duration::from_millis(1)).await;
        }
        match request.headers().get("x-id") {
            Some(id) => Ok(String::from_utf8_lossy(id.as_bytes()).into_owned()),
            None => Err("there is no id"),
        }
    });
}

fn open(site: &Site, transport: &str, headers: &str) -> (crate::raw::Client, crate::raw::Response) {
    let mut client = site.client();
    let headers = match transport {
        "websocket" => format!("{headers}{WEBSOCKET_HEADERS}"),
        _ => headers.to_owned(),
    };
    let line = format!("GET {}", site.open_target(transport));
    let response = client.ask(request(&line, &headers));
    (client, response)
}

#[test]
fn b2_11_b2_12_the_application_makes_the_ids_of_sessions() {
    for is_slow in [false, true] {
        on_engine(|site| {
            use_header(site, is_slow);
            let (_, response) = open(site, "polling", "x-id: \u{e4} \"1\"\\&sid=2\r\n");
            assert_eq!(sid_of(response.text()), "\u{e4} \"1\"\\&sid=2");
            let target = site.target("polling", "%C3%A4%20%221%22%5C%26sid%3D2");
            // Requests may come to any shard.
            for _ in 0..10 {
                assert_eq!(site.client().post(&target, "4a").text(), "ok");
                assert_eq!(site.client().get(&target).text(), "4a");
            }
            let mut probe = site.handshake(&target.replace("polling", "websocket"));
            probe.send([text("2probe"), text("5"), text("4b")].concat());
            assert_eq!((probe.text(), probe.text()), ("3probe".into(), "4b".into()));
            let (mut direct, response) = open(site, "websocket", "x-id: direct\r\n");
            assert_eq!(response.status, 101);
            assert_eq!(sid_of(&direct.text()), "direct");
        });
    }
}

#[test]
fn b2_13_b2_14_without_an_id_there_is_no_session() {
    on_engine(|site| {
        use_header(site, false);
        let long = format!("x-id: {}\r\n", "x".repeat(257));
        for headers in ["", "x-id:\r\n", &long] {
            let (_, response) = open(site, "polling", headers);
            assert_eq!((response.status, response.text()), (400, BAD_REQUEST), "{headers}");
            let (mut client, response) = open(site, "websocket", headers);
            assert_eq!((response.status, response.text()), (400, "Bad request"));
            client.expect_end();
        }
        assert_eq!(site.engine_handle().clients_count(), 0);
    });
}

#[test]
fn an_id_is_one_session_s_and_free_again_when_that_is_over() {
    on_engine(|site| {
        use_header(site, false);
        let headers = "x-id: mine\r\n";
        for transport in ["polling", "websocket"] {
            let (mut client, response) = open(site, transport, headers);
            if transport == "websocket" {
                assert_eq!(response.status, 101);
                client.text();
            }
            for _ in 0..6 {
                let (_, response) = open(site, "polling", headers);
                assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
            }
            match transport {
                "polling" => {
                    let target = site.target("polling", "mine");
                    assert_eq!(site.client().post(&target, "1").text(), "ok");
                }
                _ => drop(client),
            }
            assert_eq!(site.reason(), "transport close");
        }
        assert_eq!(open(site, "polling", headers).1.status, 200);
    });
}

#[test]
fn b2_10_a_handshake_is_one_client_more_until_it_goes() {
    on_engine(|site| {
        let count = || site.engine_handle().clients_count();
        assert_eq!(count(), 0);
        let clients: Vec<_> = (0..5).map(|_| site.websocket()).collect();
        assert_eq!(count(), 5);
        let mut polling = site.polling();
        assert_eq!(count(), 6);
        polling.send("1");
        assert_eq!(site.reason(), "transport close");
        assert_eq!(count(), 5);
        drop(clients);
        (0..5).for_each(|_| drop(site.reason()));
        assert_eq!(count(), 0);
    });
}

#[test]
fn the_cookie_holds_the_id_of_the_application() {
    let options = |builder: fanfare::Builder| builder.cookie(fanfare::CookieOptions::default());
    on_engine_with(options, |site| {
        use_header(site, false);
        let (_, response) = open(site, "polling", "x-id: a;b\r\n");
        let cookie = response.header("set-cookie");
        assert_eq!(cookie, Some("io=a%3Bb; Path=/; HttpOnly; SameSite=Lax"));
    });
}

#[test]
fn sockets_of_such_a_session_have_ids_of_their_own() {
    on_io_with(
        |builder| builder,
        |site| {
            let count = Arc::new(AtomicUsize::new(0));
            site.engine_handle().generate_id(async move |_request| {
                let next = count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, String>(format!("session-{next}"))
            });
            let (mut client, sid) = site.websocket();
            assert_eq!(sid, "session-0");
            client.say("40");
            let reply = client.text();
            assert!(reply.starts_with("40{\"sid\":\"") && !reply.contains("session"), "{reply}");
        },
    );
}
