//! The option `cookie` (protocol.md §11.2): on the answer to a polling handshake, and nowhere else.

use fanfare::{Builder, CookieOptions, SameSite};

use crate::raw::{WEBSOCKET_HEADERS, request};
use crate::site::{Site, on_engine, on_engine_with, sid_of};

fn cookie(options: impl Fn() -> CookieOptions) -> impl Fn(Builder) -> Builder {
    move |builder| builder.cookie(options())
}

/// The cookie of a polling handshake, without the id of its session.
fn cookie_of(site: &Site) -> String {
    let response = site.client().get(&site.open_target("polling"));
    let value = response.header("set-cookie").expect("a cookie").to_owned();
    value.replacen(&sid_of(response.text()), "<sid>", 1)
}

#[test]
fn b2_1_b2_5_b2_8_the_default_cookie_is_that_of_socket_io() {
    on_engine_with(cookie(CookieOptions::default), |site| {
        assert_eq!(cookie_of(site), "io=<sid>; Path=/; HttpOnly; SameSite=Lax");
    });
}

#[test]
fn b2_2_b2_3_b2_6_a_cookie_is_what_the_options_say() {
    let options = || CookieOptions {
        name: "woot".into(),
        path: Some("/custom".into()),
        same_site: Some(SameSite::Strict),
        max_age_seconds: Some(7),
        secure: true,
        ..CookieOptions::default()
    };
    on_engine_with(cookie(options), |site| {
        let wanted = "woot=<sid>; Max-Age=7; Path=/custom; HttpOnly; Secure; SameSite=Strict";
        assert_eq!(cookie_of(site), wanted);
    });
}

#[test]
fn b2_4_b2_7_attributes_can_be_left_out() {
    let options = || CookieOptions {
        path: None,
        http_only: false,
        same_site: None,
        ..CookieOptions::default()
    };
    on_engine_with(cookie(options), |site| assert_eq!(cookie_of(site), "io=<sid>"));
}

#[test]
fn b2_9_there_is_no_cookie_without_the_option() {
    on_engine(|site| {
        let response = site.client().get(&site.open_target("polling"));
        assert_eq!(response.header("set-cookie"), None);
    });
}

#[test]
fn only_the_polling_handshake_sets_it_and_nobody_reads_it() {
    on_engine_with(cookie(CookieOptions::default), |site| {
        let mut polling = site.polling();
        let response = polling.post("4a");
        assert_eq!((response.status, response.header("set-cookie")), (200, None));
        let line = format!("GET {}", polling.target);
        // Somebody else's: it plays no part.
        let response = polling.client.ask(request(&line, "Cookie: io=another\r\n"));
        assert_eq!((response.text(), response.header("set-cookie")), ("4a", None));
        for target in [site.open_target("websocket"), site.target("websocket", &polling.sid)] {
            let response = site.client().ask(request(&format!("GET {target}"), WEBSOCKET_HEADERS));
            assert_eq!((response.status, response.header("set-cookie")), (101, None));
        }
        let refused = site.client().get("/engine.io/?EIO=4&transport=foo");
        assert_eq!((refused.status, refused.header("set-cookie")), (400, None));
    });
}

#[test]
fn a_cookie_that_would_be_none_is_found_when_the_server_is_built() {
    let options = CookieOptions { name: "a b".into(), ..CookieOptions::default() };
    let error = fanfare::Server::builder().cookie(options).build().err().unwrap().to_string();
    assert!(error.contains("cookie.name"), "{error}");
}
