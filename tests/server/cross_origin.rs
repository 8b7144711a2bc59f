//! Pages of other sites: the option `cors` (protocol.md §11.1), on every answer inside the path.

use fanfare::{Builder, CorsOptions, CorsOrigin};

use crate::raw::{Response, WEBSOCKET_HEADERS, post, request};
use crate::site::{Site, on_engine_with, on_io_with, sid_of};

const OK: &str = "http://ok.example";
const EVIL: &str = "http://evil.example";

/// Options with this origin, and whatever else a test wants.
fn cors(
    origin: impl Fn() -> CorsOrigin,
    change: impl Fn(&mut CorsOptions),
) -> impl Fn(Builder) -> Builder {
    move |builder| {
        let mut options = CorsOptions { origin: origin(), ..CorsOptions::default() };
        change(&mut options);
        builder.cors(options)
    }
}

fn list() -> CorsOrigin {
    CorsOrigin::List(vec![OK.to_owned(), "https://second.example:8443".to_owned()])
}

/// The headers about CORS of a response, in their order.
fn granted(response: &Response) -> Vec<String> {
    let lines = response.head.lines().skip(1).map(str::to_owned);
    lines.filter(|line| line.starts_with("Access-Control-") || line.starts_with("Vary:")).collect()
}

fn origin(origin: &str) -> String {
    format!("Origin: {origin}\r\n")
}

fn get(site: &Site, target: &str, headers: &str) -> Response {
    site.client().ask(request(&format!("GET {target}"), headers))
}

fn preflight(site: &Site, headers: &str) -> Response {
    let line = format!("OPTIONS {}", site.open_target("polling"));
    let mut client = site.client();
    client.send(request(&line, headers));
    let response = client.head_response();
    // It has no body, and the connection stays.
    assert_eq!(response.header("content-length"), Some("0"));
    assert_eq!(client.get(&site.open_target("polling")).status, 200);
    response
}

#[test]
fn b23_1_b12_1_a_preflight_is_answered_before_anything_else_is_looked_at() {
    let options = cors(
        || CorsOrigin::Reflect,
        |options| {
            options.credentials = true;
            options.allowed_headers = Some(vec!["my-header".into()]);
        },
    );
    on_engine_with(options, |site| {
        let response = preflight(site, &origin(OK));
        let wanted = format!(
            "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: {OK}\r\nVary: Origin\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n\
             Access-Control-Allow-Headers: my-header\r\nContent-Length: 0\r\n\
             Connection: keep-alive\r\n\r\n"
        );
        assert_eq!(response.head, wanted);
        // Whatever its query says, also of a session that is none.
        for query in ["", "?EIO=3&transport=foo", "?EIO=4&transport=polling&sid=none"] {
            let mut client = site.client();
            client.send(request(&format!("OPTIONS /engine.io/{query}"), ""));
            assert_eq!(client.head_response().status, 204, "{query}");
        }
        let mut client = site.client();
        assert_eq!(client.ask(request("OPTIONS /", "")).status, 404, "that is not ours");
    });
}

#[test]
fn what_a_preflight_asks_for_is_reflected() {
    on_engine_with(cors(|| CorsOrigin::Any, |_| ()), |site| {
        let response = preflight(site, "Access-Control-Request-Headers: x-a,X-B\r\n");
        let wanted = [
            "Access-Control-Allow-Origin: *",
            "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE",
            "Vary: Access-Control-Request-Headers",
            "Access-Control-Allow-Headers: x-a,X-B",
        ];
        assert_eq!(granted(&response), wanted);
    });
}

#[test]
fn b23_2_b12_2_an_answer_names_the_origin_and_allows_credentials_and_no_more() {
    let options = cors(list, |options| options.credentials = true);
    on_engine_with(options, |site| {
        let response = get(site, &site.open_target("polling"), &origin(OK));
        let wanted = [
            "Access-Control-Allow-Origin: http://ok.example",
            "Vary: Origin",
            "Access-Control-Allow-Credentials: true",
        ];
        assert_eq!((response.status, granted(&response)), (200, wanted.map(str::to_owned).into()));
    });
}

#[test]
fn b12_3_an_origin_that_is_not_allowed_is_served_without_being_named() {
    on_engine_with(cors(list, |_| ()), |site| {
        let response = preflight(site, &origin(EVIL));
        assert_eq!(response.status, 204);
        assert_eq!(response.header("access-control-allow-origin"), None);
        for evil in [EVIL, "null", "http://ok.example.evil", "https://ok.example"] {
            let response = get(site, &site.open_target("polling"), &origin(evil));
            assert_eq!((response.status, granted(&response)), (200, vec!["Vary: Origin".into()]));
        }
        // That the upgrade is not covered is the default, and the reference's way.
        let line = format!("GET {}", site.open_target("websocket"));
        let headers = format!("{}{WEBSOCKET_HEADERS}", origin(EVIL));
        assert_eq!(site.client().ask(request(&line, &headers)).status, 101);
    });
}

#[test]
fn b12_4_every_option_has_its_header() {
    let options = cors(
        || CorsOrigin::Fixed(OK.into()),
        |options| {
            options.methods = vec!["GET".into(), "POST".into()];
            options.allowed_headers = Some(vec!["a-header".into(), "b-header".into()]);
            options.exposed_headers = vec!["c-header".into(), "d-header".into()];
            options.credentials = true;
            options.max_age_seconds = Some(123);
            options.options_success_status = 200;
        },
    );
    on_engine_with(options, |site| {
        let response = preflight(site, &origin(EVIL));
        assert_eq!(response.status, 200);
        let wanted = [
            "Access-Control-Allow-Origin: http://ok.example",
            "Vary: Origin",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Methods: GET,POST",
            "Access-Control-Allow-Headers: a-header,b-header",
            "Access-Control-Max-Age: 123",
            "Access-Control-Expose-Headers: c-header,d-header",
        ];
        assert_eq!(granted(&response), wanted);
    });
}

#[test]
fn b12_5_b2_27_every_answer_of_a_session_and_every_refusal_has_the_headers() {
    let wanted = ["Access-Control-Allow-Origin: http://ok.example", "Vary: Origin"];
    let options = |builder: Builder| {
        cors(|| CorsOrigin::Fixed(OK.into()), |_| ())(builder).max_http_buffer_size(100)
    };
    on_engine_with(options, |site| {
        let check = |response: Response, status: u16| {
            assert_eq!(response.status, status, "{}", response.head);
            assert_eq!(granted(&response), wanted, "{}", response.head);
        };
        let mut polling = site.polling();
        let (target, websocket) = (polling.target.clone(), site.target("websocket", &polling.sid));
        check(polling.post("4hello"), 200);
        check(site.client().get(&target), 200);
        check(polling.post("x".repeat(101)), 413);
        check(site.client().post(&site.open_target("polling"), ""), 400);
        check(site.client().get("/engine.io/?EIO=4&transport=foo"), 400);
        check(site.client().get(&site.open_target("websocket")), 400);
        check(site.client().get(&websocket), 400);
        let upgrade = request(&format!("GET {websocket}"), WEBSOCKET_HEADERS);
        let mut probe = site.client();
        let response = probe.ask(upgrade);
        check(response, 101);
        probe.say("2probe");
        assert_eq!(probe.text(), "3probe");
        probe.say("5");
        probe.say("4over");
        assert_eq!(probe.text(), "4over");
        assert!(granted(&site.client().get("/")).is_empty(), "outside the path");
    });
}

#[test]
fn a_held_poll_is_answered_with_the_headers_for_its_own_origin() {
    on_engine_with(cors(list, |_| ()), |site| {
        let mut polling = site.polling();
        let mut held = site.client();
        held.send(request(&format!("GET {}", polling.target), &origin(OK)));
        polling.send("4now");
        let response = held.response();
        assert_eq!(response.text(), "4now");
        assert_eq!(response.header("access-control-allow-origin"), Some(OK));
        // It is not kept for the next request of the connection.
        let response = held.get(&site.open_target("polling"));
        assert_eq!(response.header("access-control-allow-origin"), None);
    });
}

#[test]
fn cve_2020_28481_without_the_option_no_origin_is_granted_anything() {
    on_engine_with(
        |builder| builder,
        |site| {
            let mut polling = site.polling();
            for headers in [origin(EVIL), origin("null"), origin("*")] {
                let open = get(site, &site.open_target("polling"), &headers);
                assert_eq!((open.status, granted(&open)), (200, Vec::new()));
                let refused = get(site, "/engine.io/?EIO=4&transport=x", &headers);
                assert_eq!((refused.status, granted(&refused)), (400, Vec::new()));
                let line = format!("OPTIONS {}", site.open_target("polling"));
                let preflight = site.client().ask(request(&line, &headers));
                assert_eq!((preflight.status, granted(&preflight)), (400, Vec::new()));
            }
            polling.echo();
        },
    );
}

#[test]
fn m11_upgrades_may_be_covered_too() {
    let options = cors(list, |options| options.covers_upgrades = true);
    on_engine_with(options, |site| {
        let ask = |target: &str, headers: &str| {
            let headers = format!("{headers}{WEBSOCKET_HEADERS}");
            site.client().ask(request(&format!("GET {target}"), &headers))
        };
        let direct = site.open_target("websocket");
        for allowed in [origin(OK), origin("HTTPS://second.example:8443"), String::new()] {
            assert_eq!(ask(&direct, &allowed).status, 101, "{allowed}");
        }
        for evil in [EVIL, "null", "http://ok.example.evil.example", "http://ok.example:81"] {
            let response = ask(&direct, &origin(evil));
            assert_eq!((response.status, response.text()), (403, "Forbidden"), "{evil}");
        }
        let mut polling = site.polling();
        let upgrade = site.target("websocket", &polling.sid);
        assert_eq!(ask(&upgrade, &origin(EVIL)).status, 403);
        polling.echo();
        assert_eq!(ask(&upgrade, &origin(OK)).status, 101);
    });
}

#[test]
fn two_origins_are_one_too_many() {
    on_engine_with(cors(list, |_| ()), |site| {
        let headers = format!("{}{}", origin(OK), origin(EVIL));
        assert_eq!(get(site, &site.open_target("polling"), &headers).status, 400);
    });
}

#[test]
fn a_predicate_of_the_application_decides_and_its_panic_refuses_one_request() {
    let predicate = || {
        CorsOrigin::predicate(|origin| {
            assert!(!origin.contains("panic"), "the application is at fault");
            origin.ends_with(".ok.example")
        })
    };
    on_engine_with(cors(predicate, |_| ()), |site| {
        let mut bystanders = site.bystanders();
        let ask = |headers: &str| get(site, &site.open_target("polling"), headers);
        let allowed = "http://a.ok.example";
        let response = ask(&origin(allowed));
        let wanted = [format!("Access-Control-Allow-Origin: {allowed}"), "Vary: Origin".into()];
        assert_eq!(granted(&response), wanted);
        assert_eq!(granted(&ask(&origin(EVIL))), ["Vary: Origin"]);
        assert_eq!(granted(&ask("")), ["Vary: Origin"]);
        let response = ask(&origin("http://panic.example"));
        let body = r#"{"code":3,"message":"Bad request"}"#;
        assert_eq!((response.status, response.text()), (400, body));
        assert_eq!(preflight(site, &origin(allowed)).status, 204);
        let mut polling = site.polling();
        polling.echo();
        bystanders.echo();
    });
}

#[test]
fn a_preflight_that_is_not_answered_is_refused_with_its_headers() {
    on_engine_with(cors(|| CorsOrigin::Any, |options| options.preflight_continue = true), |site| {
        let line = format!("OPTIONS {}", site.open_target("polling"));
        let response = site.client().ask(request(&line, ""));
        let body = r#"{"code":2,"message":"Bad handshake method"}"#;
        assert_eq!((response.status, response.text()), (400, body));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    });
}

#[test]
fn an_options_request_with_a_body_ends_its_connection() {
    on_engine_with(cors(|| CorsOrigin::Any, |_| ()), |site| {
        let mut client = site.client();
        let get = post(&site.open_target("polling"), b"GET / HTTP/1.1\r\n\r\n");
        client.send(String::from_utf8(get).unwrap().replacen("POST", "OPTIONS", 1));
        let response = client.head_response();
        assert_eq!((response.status, response.header("connection")), (204, Some("close")));
        client.expect_end();
    });
}

#[test]
fn origins_that_are_none_are_found_when_the_server_is_built() {
    for origin in ["ok.example", "http://ok.example/", "null", ""] {
        let options =
            CorsOptions { origin: CorsOrigin::List(vec![origin.into()]), ..CorsOptions::default() };
        let error = fanfare::Server::builder().cors(options).build().err().unwrap().to_string();
        assert!(error.contains("cors.origin"), "{error}");
    }
}

#[test]
fn a_socket_io_client_of_another_site_is_served() {
    on_io_with(cors(list, |options| options.credentials = true), |site| {
        let mut client = site.client();
        let headers = origin(OK);
        let open = client.ask(request(&format!("GET {}", site.open_target("polling")), &headers));
        let target = site.target("polling", &sid_of(open.text()));
        assert_eq!(site.client().post(&target, "40").text(), "ok");
        assert!(site.client().get(&target).text().starts_with("40{"));
    });
}
