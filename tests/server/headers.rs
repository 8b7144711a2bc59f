//! Headers that the application adds to the answers of sessions (`initial_headers`, `headers`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use crate::raw::{Response, WEBSOCKET_HEADERS, request};
use crate::site::{Site, on_engine, sid_of};

/// Counts, and tells its count with a header.
fn counting(
    name: &'static str,
) -> impl Fn(&mut http::HeaderMap, &http::Request<()>) + Send + Sync + 'static {
    let count = Arc::new(AtomicUsize::new(0));
    move |headers, request| {
        assert!(request.uri().path().starts_with("/engine.io"));
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        headers.insert(name, HeaderValue::from(count));
    }
}

fn websocket(site: &Site, target: &str) -> Response {
    site.client().ask(request(&format!("GET {target}"), WEBSOCKET_HEADERS))
}

#[test]
fn b11_6_b11_9_the_first_answer_of_a_session_has_the_initial_headers() {
    on_engine(|site| {
        site.engine_handle().on_initial_headers(counting("x-first"));
        let mut polling = site.polling();
        let second = polling.post("4a");
        assert_eq!(second.header("x-first"), None);
        let third = polling.client.get(&polling.target);
        assert_eq!((third.text(), third.header("x-first")), ("4a", None));
        let upgrade = websocket(site, &site.target("websocket", &polling.sid));
        assert_eq!((upgrade.status, upgrade.header("x-first")), (101, None));
        let direct = websocket(site, &site.open_target("websocket"));
        assert_eq!((direct.status, direct.header("x-first")), (101, Some("2")));
    });
}

#[test]
fn b11_7_b11_8_b11_10_every_answer_of_a_session_has_the_headers_once() {
    on_engine(|site| {
        site.engine_handle().on_headers(counting("x-count"));
        let response = site.client().get(&site.open_target("polling"));
        assert_eq!(response.header("x-count"), Some("1"));
        let target = site.target("polling", &sid_of(response.text()));
        assert_eq!(site.client().post(&target, "4a").header("x-count"), Some("2"));
        assert_eq!(site.client().get(&target).header("x-count"), Some("3"));
        let upgrade = websocket(site, &target.replace("polling", "websocket"));
        assert_eq!((upgrade.status, upgrade.header("x-count")), (101, Some("4")));
        // A request that is refused is no answer of a session.
        let refused = site.client().get(&site.target("polling", "none"));
        assert_eq!((refused.status, refused.header("x-count")), (400, None));
        let direct = websocket(site, &site.open_target("websocket"));
        assert_eq!(direct.header("x-count"), Some("5"));
    });
}

#[test]
fn b11_3_b11_4_old_internet_explorers_are_told_not_to_filter() {
    let agents = [
        ("Mozilla/4.0 (compatible;MSIE 8.0; Windows NT 6.1)", Some("0")),
        ("Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0) like Gecko", Some("0")),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", None),
    ];
    on_engine(|site| {
        for (agent, wanted) in agents {
            let agent = format!("User-Agent: {agent}\r\n");
            let mut client = site.client();
            let line = format!("GET {}", site.open_target("polling"));
            let response = client.ask(request(&line, &agent));
            assert_eq!(response.header("x-xss-protection"), wanted, "{agent}");
            let target = site.target("polling", &sid_of(response.text()));
            let headers = format!("{agent}Content-Length: 2\r\n");
            let sent = client.ask(request(&format!("POST {target}"), &headers) + "4a");
            assert_eq!(sent.header("x-xss-protection"), wanted, "{agent}");
            let answer = client.ask(request(&format!("GET {target}"), &agent));
            assert_eq!((answer.text(), answer.header("x-xss-protection")), ("4a", wanted));
        }
    });
}

#[test]
fn a_poll_that_waits_has_the_headers_when_it_is_answered() {
    on_engine(|site| {
        site.engine_handle().on_headers(|headers, request| {
            if let Some(asked) = request.headers().get("x-asked") {
                headers.insert("x-own", asked.clone());
            }
        });
        let mut polling = site.polling();
        let mut held = site.client();
        held.send(request(&format!("GET {}", polling.target), "x-asked: a\r\n"));
        polling.send("4now");
        let response = held.response();
        assert_eq!((response.text(), response.header("x-own")), ("4now", Some("a")));
    });
}

#[test]
fn several_cookies_stand_beside_each_other() {
    let options = |builder: fanfare::Builder| builder.cookie(fanfare::CookieOptions::default());
    crate::site::on_engine_with(options, |site| {
        site.engine_handle().on_initial_headers(|headers, _request| {
            headers.append("set-cookie", HeaderValue::from_static("a=1"));
            headers.append("set-cookie", HeaderValue::from_static("b=2"));
        });
        let response = site.client().get(&site.open_target("polling"));
        let lines = response.head.lines();
        let cookies: Vec<&str> = lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            .map(|(_, value)| value.split('=').next().unwrap_or_default())
            .collect();
        assert_eq!(cookies, ["a", "b", "io"]);
    });
}

#[test]
fn a_hook_that_panics_refuses_one_request() {
    on_engine(|site| {
        site.engine_handle().on_headers(|_headers, request| {
            assert!(!request.headers().contains_key("x-panic"), "the application is at fault");
        });
        let mut polling = site.polling();
        let line = format!("GET {}", polling.target);
        assert_eq!(polling.client.ask(request(&line, "x-panic: 1\r\n")).status, 400);
        polling.echo();
    });
}
