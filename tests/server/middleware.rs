//! Middlewares in front of every request (`engine.use`), and `connection_error`.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fanfare::{Builder, ConnectionError, ErrorContext, Interrupt};
use http::HeaderValue;

use crate::raw::{DEADLINE, WEBSOCKET_HEADERS, request};
use crate::site::{Site, on_engine, on_engine_with, sid_of};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

fn handshake_line(site: &Site, transport: &str) -> String {
    format!("GET {}", site.open_target(transport))
}

/// Fails for the reason that a request gives, if it gives one.
fn use_failing(site: &Site) {
    site.engine_handle().use_(async |request, _headers| {
        let Some(reason) = request.headers().get("x-reason") else { return Ok(()) };
        match reason.as_bytes() {
            b"late" => fanfare::time::sleep(Duration::from_millis(1)).await,
            b"panic" => panic!("the application is at fault"),
            _ => {}
        }
        Err(std::io::Error::other("it failed"))?
    });
}

#[test]
fn b15_1_b15_2_a_middleware_adds_headers_to_every_answer() {
    on_engine(|site| {
        site.engine_handle().use_(async |_request, headers| {
            headers.insert("foo", HeaderValue::from_static("bar"));
            Ok(())
        });
        let mut polling = site.polling();
        assert_eq!(polling.post("4a").header("foo"), Some("bar"));
        let answer = polling.client.get(&polling.target);
        assert_eq!((answer.text(), answer.header("foo")), ("4a", Some("bar")));
        let refused = site.client().get("/engine.io/?EIO=4&transport=foo");
        assert_eq!((refused.status, refused.header("foo")), (400, Some("bar")));
        for target in [site.open_target("websocket"), site.target("websocket", &polling.sid)] {
            let mut client = site.client();
            let answer = client.ask(request(&format!("GET {target}"), WEBSOCKET_HEADERS));
            assert_eq!((answer.status, answer.header("foo")), (101, Some("bar")));
        }
        assert_eq!(site.client().get("/").header("foo"), None, "it is outside the path");
    });
}

#[test]
fn b15_3_middlewares_run_in_order_and_see_what_those_before_have_left() {
    on_engine(|site| {
        for name in ["1", "2", "3"] {
            site.engine_handle().use_(async move |request, headers| {
                if name == "2" {
                    fanfare::time::sleep(Duration::from_millis(1)).await;
                }
                let seen = request.extensions_mut().get_or_insert_default::<String>();
                seen.push_str(name);
                headers.insert("x-seen", HeaderValue::from_str(seen)?);
                Ok(())
            });
        }
        let answer = site.client().get(&site.open_target("polling"));
        assert_eq!(answer.header("x-seen"), Some("123"));
    });
}

#[test]
fn b15_4_b15_5_a_middleware_may_answer_itself() {
    on_engine(|site| {
        site.engine_handle().use_(async |request, headers| {
            headers.insert("x-before", HeaderValue::from_static("1"));
            if request.headers().contains_key("x-in") {
                return Ok(());
            }
            let answer = http::Response::builder().status(503).header("x-own", "2");
            Err(Interrupt::answer(answer.body("later")?))
        });
        let mut client = site.client();
        let answer = client.get(&site.open_target("polling"));
        assert_eq!((answer.status, answer.text()), (503, "later"));
        let headers = (answer.header("x-before"), answer.header("x-own"));
        assert_eq!(headers, (Some("1"), Some("2")));
        // The connection stays.
        let answer = client.ask(request(&handshake_line(site, "polling"), "x-in: 1\r\n"));
        assert_eq!(answer.status, 200);

        let mut client = site.client();
        let answer = client.ask(request(&handshake_line(site, "websocket"), WEBSOCKET_HEADERS));
        assert_eq!((answer.status, answer.text()), (503, "later"));
        client.expect_end();
    });
}

#[test]
fn b15_10_b15_11_a_middleware_that_fails_refuses_the_request() {
    on_engine(|site| {
        use_failing(site);
        let mut bystanders = site.bystanders();
        for reason in ["now", "late", "panic"] {
            let reason = format!("x-reason: {reason}\r\n");
            let answer = site.client().ask(request(&handshake_line(site, "polling"), &reason));
            assert_eq!((answer.status, answer.text()), (400, BAD_REQUEST));
            let headers = format!("{reason}{WEBSOCKET_HEADERS}");
            let mut client = site.client();
            let answer = client.ask(request(&handshake_line(site, "websocket"), &headers));
            assert_eq!((answer.status, answer.text()), (400, "Bad request"));
            client.expect_end();
        }
        bystanders.echo();
    });
}

#[test]
fn b15_12_a_body_that_is_too_large_is_413_behind_a_middleware() {
    on_engine_with(
        |builder| builder.max_http_buffer_size(10),
        |site| {
            site.engine_handle().use_(async |_request, _headers| {
                fanfare::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            });
            let mut polling = site.polling();
            assert_eq!(polling.post("4too much for ten").status, 413);
            let mut polling = site.polling();
            polling.send("4ten, 9ab");
            assert_eq!(polling.poll(), "4ten, 9ab");
        },
    );
}

#[test]
fn a_body_comes_while_a_middleware_waits() {
    on_engine(|site| {
        site.engine_handle().use_(async |_request, _headers| {
            fanfare::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        });
        let mut polling = site.polling();
        let packet = format!("4{}", "x".repeat(500_000));
        polling.send(&packet);
        assert_eq!(polling.poll(), packet);
    });
}

#[test]
fn headers_that_frame_a_response_are_not_the_applications() {
    on_engine(|site| {
        site.engine_handle().use_(async |_request, headers| {
            headers.insert("content-length", HeaderValue::from_static("1"));
            headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
            headers.insert("content-type", HeaderValue::from_static("text/own"));
            Ok(())
        });
        let answer = site.client().get(&site.open_target("polling"));
        sid_of(answer.text());
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(answer.head.to_ascii_lowercase().matches("content-length").count(), 1);
        assert_eq!(answer.head.to_ascii_lowercase().matches("content-type").count(), 1);
        assert_eq!(answer.header("content-type"), Some("text/own"));
    });
}

/// What the application is told of refused requests.
fn errors(site: &Site) -> Receiver<(u8, String, ErrorContext, String)> {
    let (sender, receiver) = channel();
    site.engine_handle().on_connection_error(move |error: &ConnectionError| {
        let method = error.request.method().to_string();
        // The test may be over.
        drop(sender.send((error.code, error.message.clone(), error.context.clone(), method)));
    });
    receiver
}

#[test]
fn the_application_is_told_of_each_refused_request_and_why() {
    let options = |builder: Builder| {
        builder.allow_request(async |request: &http::Request<()>| {
            match request.headers().contains_key("x-no") {
                true => Err("not you"),
                false => Ok(()),
            }
        })
    };
    on_engine_with(options, |site| {
        let errors = errors(site);
        use_failing(site);
        let polling = site.polling();
        let open = handshake_line(site, "polling");
        let mismatch = format!("GET {}", site.target("websocket", &polling.sid));
        let late = "x-reason: late\r\n";
        for (line, headers, code, message, context) in [
            ("GET /engine.io/", "", 0, "Transport unknown", ErrorContext::UnknownTransport),
            (
                "GET /engine.io/?EIO=4&transport=polling&sid=a",
                "",
                1,
                "Session ID unknown",
                ErrorContext::UnknownSession,
            ),
            (
                "PUT /engine.io/?EIO=4&transport=polling",
                "",
                2,
                "Bad handshake method",
                ErrorContext::BadHandshakeMethod,
            ),
            (
                "GET /engine.io/?EIO=4&transport=websocket",
                "",
                3,
                "Bad request",
                ErrorContext::TransportHandshakeError,
            ),
            (&mismatch, "", 3, "Bad request", ErrorContext::TransportMismatch),
            (&open, late, 3, "Bad request", ErrorContext::MiddlewareFailure("it failed".into())),
            (&open, "x-reason: panic\r\n", 3, "Bad request", ErrorContext::Panic),
            (&open, "x-no: 1\r\n", 4, "not you", ErrorContext::Forbidden),
            (
                "GET /engine.io/?EIO=5&transport=polling",
                "",
                5,
                "Unsupported protocol version",
                ErrorContext::UnsupportedProtocolVersion,
            ),
        ] {
            site.client().ask(request(line, headers));
            let told = errors.recv_timeout(DEADLINE).expect("it is told");
            let method = line.split(' ').next().unwrap_or_default();
            assert_eq!(told, (code, message.to_owned(), context, method.to_owned()), "{line}");
        }
        assert!(errors.try_recv().is_err());
    });
}
