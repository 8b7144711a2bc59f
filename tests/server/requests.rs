//! Which requests belong to the server, and what the wrong ones are answered
//! (protocol.md §1 and §2, matrix 10, 13 and 20).

use std::time::{Duration, Instant};

use crate::raw::{Client, Response, WEBSOCKET_HEADERS, request};
use crate::site::{Site, on_engine, on_engine_with, sid_of};

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const BAD_PROTOCOL: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// Names that JavaScript objects have from birth.
const PROTOTYPE_NAMES: [&str; 4] = ["__proto__", "constructor", "hasOwnProperty", "toString"];

/// The whole answer to a refused request, as bytes.
fn refusal(body: &str) -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn check_refused(site: &Site, method: &str, target: &str, body: &str) {
    let mut client = site.client();
    client.send(request(&format!("{method} {target}"), "Connection: close\r\n"));
    let answer = String::from_utf8(client.rest()).unwrap();
    let expected = refusal(body);
    match method {
        "HEAD" => assert_eq!(answer, expected.strip_suffix(body).unwrap(), "{target}"),
        _ => assert_eq!(answer, expected, "{method} {target}"),
    }
}

/// What an upgrade is answered that must be refused, on a connection that must be closed.
fn refused_upgrade(site: &Site, line: &str, headers: &str) -> Response {
    let mut client = site.client();
    let response = client.ask(request(line, headers));
    client.expect_end();
    assert_eq!(response.header("connection"), Some("close"));
    response
}

#[test]
fn b1_1_b1_2_b1_9_m10_an_unknown_transport_is_code_0() {
    on_engine(|site| {
        for transport in ["", "foo", "webtransport", "Polling"].iter().chain(&PROTOTYPE_NAMES) {
            let target = format!("/engine.io/?EIO=4&transport={transport}");
            check_refused(site, "GET", &target, UNKNOWN_TRANSPORT);
            check_refused(site, "POST", &target, UNKNOWN_TRANSPORT);
        }
        check_refused(site, "GET", "/engine.io/?EIO=4", UNKNOWN_TRANSPORT);
        check_refused(site, "GET", "/engine.io/", UNKNOWN_TRANSPORT);
    });
}

#[test]
fn a_transport_that_is_not_offered_is_code_0() {
    let polling = |builder: fanfare::Builder| builder.transports([fanfare::Transport::Polling]);
    on_engine_with(polling, |site| {
        check_refused(site, "GET", "/engine.io/?EIO=4&transport=websocket", UNKNOWN_TRANSPORT);
        let line = "GET /engine.io/?EIO=4&transport=websocket";
        let response = refused_upgrade(site, line, WEBSOCKET_HEADERS);
        assert_eq!(response.text(), "Transport unknown");
    });
}

#[test]
fn b1_3_m20_a_session_id_that_is_none_is_code_1() {
    on_engine(|site| {
        let expired = site.websocket().1;
        assert_eq!(site.reason(), "transport close");
        let mut forged = site.polling().sid.into_bytes();
        let last = forged.last_mut().unwrap();
        *last = if *last == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let of_shard = |shard| {
            let id = fanfare::base::id::SessionId::new(shard, 7, [0; 16]);
            String::from_utf8(id.text().to_vec()).unwrap()
        };
        let long = "A".repeat(7_000);
        let mut sids = vec!["abc", "%00", &expired, &forged, &long];
        let shards = [of_shard(0), of_shard(1), of_shard(9_999)];
        sids.extend(shards.iter().map(String::as_str));
        sids.extend(PROTOTYPE_NAMES);
        for sid in sids {
            check_refused(site, "GET", &site.target("polling", sid), UNKNOWN_SESSION);
            check_refused(site, "GET", &site.target("websocket", sid), UNKNOWN_SESSION);
            let line = format!("GET {}", site.target("websocket", sid));
            let response = refused_upgrade(site, &line, WEBSOCKET_HEADERS);
            assert_eq!((response.status, response.text()), (400, "Session ID unknown"));
        }
    });
}

#[test]
fn b2_24_b2_27_b2_29_b2_30_m10_a_handshake_must_be_right() {
    on_engine(|site| {
        for method in ["POST", "OPTIONS", "PUT", "PATCH", "DELETE", "HEAD"] {
            check_refused(site, method, &site.open_target("polling"), BAD_METHOD);
        }
        check_refused(site, "GET", &site.open_target("websocket"), BAD_REQUEST);
        for protocol in ["EIO=3", "EIO=5", "EIO=04", "EIO=abc", "EIO=", "a=4", "EIO=4&EIO=3"] {
            let target = format!("/engine.io/?{protocol}&transport=polling");
            check_refused(site, "GET", &target, BAD_PROTOCOL);
        }
    });
}

#[test]
fn b2_24_m10_a_request_that_does_not_fit_its_session_is_code_3_and_harms_nothing() {
    on_engine(|site| {
        let mut session = site.polling();
        let (target, sid) = (session.target.clone(), session.sid.clone());
        check_refused(site, "GET", &site.target("websocket", &sid), BAD_REQUEST);
        for method in ["OPTIONS", "PUT", "PATCH", "DELETE", "HEAD"] {
            check_refused(site, method, &target, BAD_REQUEST);
        }
        for protocol in ["EIO=3", "EIO=5", "a=4"] {
            let target = format!("/engine.io/?{protocol}&transport=polling&sid={sid}");
            check_refused(site, "GET", &target, BAD_REQUEST);
            check_refused(site, "POST", &target, BAD_REQUEST);
        }
        let upgrade = refused_upgrade(site, &format!("GET {target}"), WEBSOCKET_HEADERS);
        assert_eq!(upgrade.text(), "Bad request");
        session.echo();
        site.none_gone();
    });
}

#[test]
fn b2_28_an_origin_with_a_control_character_is_refused() {
    on_engine(|site| {
        for origin in ["http://a\x01", "\x7f", "a\x0bb"] {
            let line = format!("GET {}", site.open_target("polling"));
            let mut client = site.client();
            let response = client.ask(request(&line, &format!("Origin: {origin}\r\n")));
            assert_eq!(response.status, 400);
            client.expect_end();
        }
    });
}

#[test]
fn a_refused_request_leaves_the_connection_to_the_next_one() {
    on_engine(|site| {
        let mut client = site.client();
        for _ in 0..3 {
            assert_eq!(client.get("/engine.io/?EIO=4&transport=foo").text(), UNKNOWN_TRANSPORT);
        }
        assert_eq!(client.get(&site.open_target("polling")).status, 200);
    });
}

#[test]
fn b34_20_the_path_is_a_prefix_of_the_raw_target_and_elsewhere_is_404() {
    on_engine(|site| {
        let query = "EIO=4&transport=polling";
        let mut client = site.client();
        for inside in ["/engine.io/?", "/engine.io/foo/bar?", "/engine.io//?x=%00&"] {
            assert_eq!(client.get(&format!("{inside}{query}")).status, 200, "{inside}");
        }
        for outside in ["/", "/engine.io?", "/engine.iofoo/?", "/ENGINE.IO/?", "/engine%2Eio/?"] {
            let mut client = site.client();
            let response = client.get(&format!("{outside}{query}"));
            assert_eq!((response.status, response.text()), (404, ""), "{outside}");
            client.expect_end();
        }
    });
}

#[test]
fn another_path_is_served_with_and_without_its_slash_in_the_option() {
    for path in ["/live", "/live/", "/live//"] {
        on_engine_with(
            |builder| builder.path(path),
            |site| {
                let mut client = site.client();
                assert_eq!(client.get("/live/?EIO=4&transport=polling").status, 200);
                assert_eq!(client.get("/engine.io/?EIO=4&transport=polling").status, 404);
            },
        );
    }
}

#[test]
fn query_parameters_are_decoded_and_the_last_of_a_name_counts() {
    on_engine(|site| {
        let mut client = site.client();
        for query in [
            "transport=x&EIO=3&EIO=4&transport=polling",
            "%45IO=%34&tr%61nsport=poll%69ng",
            "EIO=4&transport=polling&t=abc&b64=1&__proto__=1&constructor=2",
        ] {
            let response = client.get(&format!("/engine.io/?{query}"));
            assert!(response.text().starts_with("0{"), "{query}: {response:?}");
        }
    });
}

/// As to the reference (protocol.md §2): whoever names no session opens one.
#[test]
fn m20_an_empty_session_id_is_none() {
    on_engine(|site| {
        let mut client = site.client();
        let target = site.target("polling", "");
        let open = [client.get(&target), client.get(&target)].map(|response| {
            assert_eq!(response.status, 200, "{}", response.head);
            sid_of(response.text())
        });
        assert_ne!(open[0], open[1]);
        let response = client.post(&target, "4");
        assert_eq!((response.status, response.text()), (400, BAD_METHOD));
        let mut websocket = site.handshake(&site.target("websocket", ""));
        let sid = sid_of(&websocket.text());
        assert!(!open.contains(&sid));
    });
}

#[test]
fn names_of_object_properties_are_names_in_headers_too() {
    on_engine(|site| {
        let headers: String = PROTOTYPE_NAMES.iter().map(|n| format!("{n}: {n}\r\n")).collect();
        let line = format!("GET {}", site.open_target("polling"));
        assert_eq!(site.client().ask(request(&line, &headers)).status, 200);
    });
}

#[test]
fn b14_13_b28_20_requests_outside_the_path_reach_the_application() {
    let fallback = |builder: fanfare::Builder| {
        builder.fallback(|request| {
            let text = format!("{} {} {:?}", request.method(), request.uri(), request.body());
            http::Response::builder().status(207).header("x-own", "1").body(text.into()).unwrap()
        })
    };
    on_engine_with(fallback, |site| {
        let mut client = site.client();
        let response = client.post("/a?b=c", "hello");
        assert_eq!((response.status, response.header("x-own")), (207, Some("1")));
        assert_eq!(response.text(), "POST /a?b=c b\"hello\"");
        let chunked = "Transfer-Encoding: chunked\r\n";
        let bytes = request("PUT /", chunked) + "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
        assert_eq!(client.ask(bytes).text(), "PUT / b\"hello\"");
        client.send(request("HEAD /", ""));
        assert_eq!(client.head_response().header("content-length"), Some("10"));
        assert_eq!(client.get("/").text(), "GET / b\"\"");
    });
}

/// An upgrade outside the path.
fn foreign_upgrade(site: &Site) -> Client {
    let mut client = site.client();
    client.send(request("GET /other/?EIO=4&transport=websocket", WEBSOCKET_HEADERS));
    client
}

#[test]
fn b14_9_b14_11_an_upgrade_outside_the_path_ends_unanswered_after_a_time() {
    let options =
        |builder: fanfare::Builder| builder.destroy_upgrade_timeout(Duration::from_millis(60));
    on_engine_with(options, |site| {
        let begun = Instant::now();
        foreign_upgrade(site).expect_end();
        assert!(begun.elapsed() >= Duration::from_millis(60));
    });
}

#[test]
fn b14_10_an_upgrade_outside_the_path_may_be_left_open() {
    let options = |builder: fanfare::Builder| {
        builder.destroy_upgrade(false).destroy_upgrade_timeout(Duration::from_millis(1))
    };
    on_engine_with(options, |site| {
        let mut client = foreign_upgrade(site);
        assert!(!client.arrives_within(Duration::from_millis(100)));
        // It keeps nothing of what comes on it, and ends with its client.
        client.send([b'x'; 100_000]);
        client.finish();
        client.expect_end();
    });
}

#[test]
fn b3_1_without_a_trailing_slash_the_path_and_what_begins_with_it_is_the_server_s() {
    on_engine_with(
        |builder| builder.add_trailing_slash(false),
        |site| {
            let mut client = site.client();
            for inside in ["/engine.io", "/engine.io/", "/engine.io/foo/bar/", "/engine.iofoo"] {
                let target = format!("{inside}?EIO=4&transport=polling");
                assert_eq!(client.get(&target).status, 200, "{inside}");
            }
            assert_eq!(client.get("/engine?EIO=4&transport=polling").status, 404);
        },
    );
}

#[test]
fn b1_10_cve_2023_31125_a_wrong_upgrade_is_refused_before_any_101() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for transport in PROTOTYPE_NAMES.iter().chain(&["", "foo"]) {
            let line = format!("GET /engine.io/?EIO=4&transport={transport}");
            let response = refused_upgrade(site, &line, WEBSOCKET_HEADERS);
            assert_eq!((response.status, response.text()), (400, "Transport unknown"));
            assert_eq!(response.header("content-type"), Some("text/html"));
        }
        bystanders.echo();
    });
}

#[test]
fn b4_14_an_upgrade_without_a_query_is_refused() {
    on_engine(|site| {
        let response = refused_upgrade(site, "GET /engine.io/", WEBSOCKET_HEADERS);
        assert_eq!((response.status, response.text()), (400, "Transport unknown"));
    });
}

/// The headers of a right handshake, with one line replaced.
fn handshake_with(name: &str, line: &str) -> String {
    let lines = WEBSOCKET_HEADERS.split_inclusive("\r\n");
    lines.map(|own| if own.starts_with(name) { line } else { own }).collect()
}

fn check_handshake_fault(site: &Site, line: &str, headers: &str, status: u16, text: &str) {
    let response = refused_upgrade(site, line, headers);
    assert_eq!((response.status, response.text()), (status, text), "{line} {headers:?}");
    let version = (status == 426).then_some("13");
    assert_eq!(response.header("sec-websocket-version"), version);
}

#[test]
fn m13_a_handshake_that_breaks_rfc_6455_is_refused() {
    let (bad_key, bad_version) = (
        "Missing or invalid Sec-WebSocket-Key header",
        "Missing or invalid Sec-WebSocket-Version header",
    );
    on_engine(|site| {
        let line = format!("GET {}", site.open_target("websocket"));
        let keys =
            ["", "MTIzNDU2Nzg5MDEyMzQ1", "MTIzNDU2Nzg5MDEyMzQ1Njc=", "?GhlIHNhbXBsZSBub25jZQ=="];
        for key in keys {
            let headers =
                handshake_with("Sec-WebSocket-Key", &format!("sec-websocket-key: {key}\r\n"));
            check_handshake_fault(site, &line, &headers, 400, bad_key);
        }
        let headers = handshake_with("Sec-WebSocket-Key", "");
        check_handshake_fault(site, &line, &headers, 400, bad_key);
        for version in ["", "Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 14\r\n"] {
            let headers = handshake_with("Sec-WebSocket-Version", version);
            check_handshake_fault(site, &line, &headers, 426, bad_version);
        }
        let headers = handshake_with("Upgrade", "Upgrade: h2c\r\n");
        check_handshake_fault(site, &line, &headers, 400, "Invalid Upgrade header");
        let protocols = format!("{WEBSOCKET_HEADERS}Sec-WebSocket-Protocol: a,,b\r\n");
        let text = "Invalid Sec-WebSocket-Protocol header";
        check_handshake_fault(site, &line, &protocols, 400, text);
        let post = line.replacen("GET", "POST", 1);
        check_handshake_fault(site, &post, WEBSOCKET_HEADERS, 400, "Bad handshake method");
    });
}

#[test]
fn m13_http_1_0_and_a_missing_connection_token_do_not_upgrade() {
    on_engine(|site| {
        let line = format!("GET {}", site.open_target("websocket"));
        let mut client = site.client();
        let old = request(&line, WEBSOCKET_HEADERS).replacen("HTTP/1.1", "HTTP/1.0", 1);
        let response = client.ask(old);
        assert_eq!((response.status, response.text()), (400, "Invalid HTTP version"));
        client.expect_end();
        let headers = handshake_with("Connection", "Connection: keep-alive\r\n");
        // Without the token nobody on the way takes it for an upgrade (RFC 9110 §7.8): it is a
        // request like others, and what follows is one, too.
        let mut client = site.client();
        let response = client.ask(request(&line, &headers));
        assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
        assert_eq!(client.get(&site.open_target("polling")).status, 200);
    });
}

/// A connection that asked for an upgrade carries no further request: what follows may be meant
/// for a proxy (CVE-2026-2833).
#[test]
fn cve_2026_2833_bytes_behind_a_refused_upgrade_are_no_request() {
    on_engine(|site| {
        let next = request(&format!("GET {}", site.open_target("polling")), "");
        for headers in [WEBSOCKET_HEADERS.to_owned(), handshake_with("Sec-WebSocket-Key", "")] {
            let mut client: Client = site.client();
            let refused = request("GET /engine.io/?EIO=3&transport=websocket", &headers);
            assert_eq!(client.ask(refused + &next).status, 400);
            client.expect_end();
        }
    });
}
