use super::*;
use crate::base::limits::Limits;
use proptest::prelude::*;

const OK: &str = "http://ok.example";
const EVIL: &str = "http://evil.example";

fn checked(options: &CorsOptions) -> Cors {
    Cors::new(options).unwrap().unwrap()
}

/// Nothing but the origin differs from the defaults.
fn with_origin(origin: CorsOrigin) -> Cors {
    checked(&CorsOptions { origin, ..CorsOptions::default() })
}

fn listed(origins: &[&str]) -> CorsOrigin {
    CorsOrigin::List(names(origins))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn lines<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> Vec<String> {
    let mut out = Vec::new();
    fields.into_iter().for_each(|field| field.write(&mut out));
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

/// What a response to a request of this origin holds.
fn fields(cors: &Cors, origin: Option<&str>) -> Vec<String> {
    lines(cors.fields(origin.map(str::as_bytes)))
}

/// The whole answer to an OPTIONS request with these headers.
fn options(cors: &Cors, headers: &str) -> Option<String> {
    ask(cors, "OPTIONS /socket.io/?EIO=4&transport=polling", headers)
}

fn ask(cors: &Cors, line: &str, headers: &str) -> Option<String> {
    let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let head = Head::parse(bytes.as_bytes(), &Limits::default()).unwrap();
    let mut out = Vec::new();
    let origin = head.origin().unwrap();
    let is_answered = cors.respond_to_options(&mut out, &head, origin, head.keep_alive);
    is_answered.then(|| String::from_utf8(out).unwrap())
}

#[test]
fn by_default_everybody_is_allowed_and_no_cache_is_bothered() {
    let cors = checked(&CorsOptions::default());
    for origin in [None, Some(OK), Some("null"), Some("\u{e9}")] {
        assert_eq!(fields(&cors, origin), ["Access-Control-Allow-Origin: *"]);
    }
    assert_eq!(fields(&with_origin(CorsOrigin::Fixed("*".into())), Some(OK)).len(), 1);
}

#[test]
fn b12_2_b23_2_the_answer_to_a_request_has_the_origin_and_the_credentials_only() {
    let cors = checked(&CorsOptions {
        origin: CorsOrigin::Reflect,
        allowed_headers: Some(names(&["my-header"])),
        credentials: true,
        max_age_seconds: Some(5),
        ..CorsOptions::default()
    });
    let expected = [
        "Access-Control-Allow-Origin: http://ok.example",
        "Vary: Origin",
        "Access-Control-Allow-Credentials: true",
    ];
    assert_eq!(fields(&cors, Some(OK)), expected);
    assert_eq!(fields(&cors, None), expected[1..]);
    assert_eq!(fields(&cors, Some("")), expected[1..]);
}

#[test]
fn b12_1_b23_1_b28_8_any_options_request_is_answered_at_once() {
    let cors = checked(&CorsOptions {
        origin: CorsOrigin::Reflect,
        allowed_headers: Some(names(&["my-header"])),
        credentials: true,
        ..CorsOptions::default()
    });
    let headers = "Origin: http://ok.example\r\nAccess-Control-Request-Method: PUT\r\n";
    assert_eq!(
        options(&cors, headers).unwrap(),
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: http://ok.example\r\n\
         Vary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n\
         Access-Control-Allow-Headers: my-header\r\nContent-Length: 0\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    let target = "/socket.io/?EIO=4&transport=polling&sid=unknown";
    assert!(ask(&cors, &format!("OPTIONS {target}"), "Connection: close\r\n").is_some());
    for method in ["GET", "POST", "PUT", "HEAD"] {
        assert_eq!(ask(&cors, &format!("{method} {target}"), ""), None);
    }
}

#[test]
fn b12_3_a_preflight_of_a_refused_origin_lacks_its_name_only() {
    let cors = with_origin(listed(&["http://good-domain.com"]));
    assert_eq!(
        options(&cors, "Origin: http://bad-domain.com\r\nConnection: close\r\n").unwrap(),
        "HTTP/1.1 204 No Content\r\nVary: Origin, Access-Control-Request-Headers\r\n\
         Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
}

#[test]
fn b12_4_every_option_has_its_header() {
    let cors = checked(&CorsOptions {
        origin: CorsOrigin::Fixed(OK.into()),
        methods: names(&["GET", "PUT", "POST"]),
        allowed_headers: Some(names(&["my-header", "X-B"])),
        exposed_headers: names(&["my-exposed-header", "X-C"]),
        credentials: true,
        max_age_seconds: Some(123),
        options_success_status: 200,
        ..CorsOptions::default()
    });
    assert_eq!(
        options(&cors, "Origin: http://evil.example\r\n").unwrap(),
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: http://ok.example\r\nVary: Origin\r\n\
         Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET,PUT,POST\r\n\
         Access-Control-Allow-Headers: my-header,X-B\r\nAccess-Control-Max-Age: 123\r\n\
         Access-Control-Expose-Headers: my-exposed-header,X-C\r\nContent-Length: 0\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        fields(&cors, None),
        [
            "Access-Control-Allow-Origin: http://ok.example",
            "Vary: Origin",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Expose-Headers: my-exposed-header,X-C",
        ]
    );
}

#[test]
fn headers_that_are_asked_for_are_allowed_as_they_are_where_none_are_listed() {
    let cors = checked(&CorsOptions::default());
    let start = "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n\
                 Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n\
                 Vary: Access-Control-Request-Headers\r\n";
    let end = "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";
    for (asked, answered) in [
        ("", ""),
        ("Access-Control-Request-Headers:\r\n", ""),
        (
            "Access-Control-Request-Headers: X-a,  x-B , c\r\n",
            "Access-Control-Allow-Headers: X-a,  x-B , c\r\n",
        ),
        (
            "access-control-request-headers: a\r\nACCESS-CONTROL-REQUEST-HEADERS: b\r\n",
            "Access-Control-Allow-Headers: a\r\nAccess-Control-Allow-Headers: b\r\n",
        ),
    ] {
        assert_eq!(options(&cors, asked).unwrap(), format!("{start}{answered}{end}"), "{asked}");
    }
}

#[test]
fn empty_lists_are_not_sent() {
    let cors = checked(&CorsOptions {
        methods: Vec::new(),
        allowed_headers: Some(Vec::new()),
        ..CorsOptions::default()
    });
    let asked = "Access-Control-Request-Headers: a\r\n";
    assert_eq!(
        options(&cors, asked).unwrap(),
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\
         Connection: keep-alive\r\n\r\n"
    );
}

#[test]
fn a_predicate_decides_about_whoever_names_an_origin() {
    let cors = with_origin(CorsOrigin::predicate(|origin| {
        assert!(!origin.is_empty(), "nobody is asked about nobody");
        origin.ends_with(".example")
    }));
    assert_eq!(
        fields(&cors, Some(OK)),
        ["Access-Control-Allow-Origin: http://ok.example", "Vary: Origin"]
    );
    assert_eq!(fields(&cors, Some("http://a.test")), ["Vary: Origin"]);
    assert_eq!(fields(&cors, None), ["Vary: Origin"]);
    assert_eq!(lines(cors.fields(Some(b"http://\xff.example"))), ["Vary: Origin"]);
}

#[test]
fn off_is_no_cors_at_all() {
    let options = CorsOptions { origin: CorsOrigin::Off, ..CorsOptions::default() };
    assert!(Cors::new(&options).unwrap().is_none());
}

#[test]
fn with_preflight_continue_an_options_request_is_not_answered_here() {
    let cors = checked(&CorsOptions { preflight_continue: true, ..CorsOptions::default() });
    assert_eq!(options(&cors, "Origin: http://ok.example\r\n"), None);
}

#[test]
fn m11_a_listed_origin_is_compared_as_a_whole_on_polling_preflight_and_upgrade_alike() {
    let cors = checked(&CorsOptions {
        origin: listed(&[OK, "https://two.example:8443"]),
        covers_upgrades: true,
        ..CorsOptions::default()
    });
    for (origin, is_allowed) in [
        ("http://ok.example", true),
        ("http://ok.example:80", true),
        ("HTTP://OK.EXAMPLE", true),
        ("https://two.example:8443", true),
        ("http://ok.example.evil", false),
        ("http://evilok.example", false),
        ("http://evil.ok.example", false),
        ("http://ok.example@evil", false),
        ("http://ok.example:80@evil", false),
        ("http://ok.example/", false),
        ("http://ok.example ", false),
        ("http://ok.example, http://evil.example", false),
        ("https://ok.example", false),
        ("ws://ok.example", false),
        ("http://ok.example:81", false),
        ("http://ok.example:443", false),
        ("https://two.example", false),
        ("http://two.example:8443", false),
        ("ok.example", false),
        ("null", false),
        ("NULL", false),
        ("*", false),
        ("", false),
        ("\u{ff4f}k.example", false),
    ] {
        let line = format!("Access-Control-Allow-Origin: {origin}");
        assert_eq!(cors.allows_upgrade(Some(origin.as_bytes())), is_allowed, "{origin}");
        assert_eq!(fields(&cors, Some(origin)).contains(&line), is_allowed, "{origin}");
        let preflight = options(&cors, &format!("Origin: {origin}\r\n")).unwrap();
        // Blanks around a header's value are not part of it.
        let is_allowed = is_allowed || origin.trim_end() == OK;
        assert_eq!(preflight.contains("Access-Control-Allow-Origin"), is_allowed, "{origin}");
    }
    assert!(!cors.allows_upgrade(Some(b"http://ok.example\xff")));
    assert!(cors.allows_upgrade(None), "a client that is no browser names no origin");
}

#[test]
fn m11_an_upgrade_is_for_everybody_unless_the_options_cover_it() {
    let origins = [
        (CorsOrigin::Any, true),
        (CorsOrigin::Reflect, true),
        (CorsOrigin::Fixed(OK.into()), false),
        (listed(&[OK]), false),
        (listed(&[]), false),
        (CorsOrigin::predicate(|origin| origin == OK), false),
    ];
    for (origin, is_allowed) in origins {
        for covers_upgrades in [false, true] {
            let text = format!("{origin:?}");
            let origin = origin.clone();
            let cors = checked(&CorsOptions { origin, covers_upgrades, ..CorsOptions::default() });
            let expected = is_allowed || !covers_upgrades;
            assert_eq!(cors.allows_upgrade(Some(EVIL.as_bytes())), expected, "{text}");
            assert_eq!(cors.allows_upgrade(Some(b"null")), expected, "{text}");
            assert_eq!(cors.allows_upgrade(Some(b"\xff")), expected, "{text}");
            assert!(cors.allows_upgrade(None));
        }
    }
}

#[test]
fn two_origins_are_refused() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\norigin: http://a\r\n\r\n";
    let head = Head::parse(bytes, &Limits::default()).unwrap();
    assert_eq!(head.origin(), Err(TWO_ORIGINS));
}

#[test]
fn a_wrong_option_is_named_with_what_is_wrong() {
    let options = |origin| CorsOptions { origin, ..CorsOptions::default() };
    let default = CorsOptions::default;
    let wrong = [
        (options(CorsOrigin::Fixed("http://a/".into())), "cors.origin", "\"http://a/\""),
        (options(CorsOrigin::Fixed(String::new())), "cors.origin", "\"\""),
        (options(listed(&[OK, "null"])), "cors.origin", "\"null\""),
        (options(listed(&["*"])), "cors.origin", "\"*\""),
        (options(listed(&["http://a\r\nb: c"])), "cors.origin", "\\r\\n"),
        (CorsOptions { methods: names(&["GET,PUT"]), ..default() }, "cors.methods", "GET,PUT"),
        (CorsOptions { exposed_headers: names(&["a b"]), ..default() }, "exposed", "a b"),
        (CorsOptions { allowed_headers: Some(names(&["a\n"])), ..default() }, "allowed", "\\n"),
        (CorsOptions { options_success_status: 404, ..default() }, "success_status", "299"),
        (CorsOptions { options_success_status: 199, ..default() }, "success_status", "200"),
    ];
    for (options, option, reason) in wrong {
        let error = Cors::new(&options).unwrap_err();
        assert!(error.option.contains(option), "{error}");
        assert!(error.reason.contains(reason), "{error}");
    }
}

proptest! {
    #[test]
    fn rustsec_2017_0002_no_origin_splits_a_response(
        origin in prop::collection::vec(any::<u8>(), 0..40),
        asked in "[ -~]{0,40}",
    ) {
        let bytes = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\n{REQUEST_HEADERS}: {asked}\r\n\r\n");
        let head = Head::parse(bytes.as_bytes(), &Limits::default()).unwrap();
        for cors in [with_origin(CorsOrigin::Reflect), with_origin(listed(&[OK]))] {
            let mut out = Vec::new();
            prop_assert!(cors.respond_to_options(&mut out, &head, Some(&origin), true));
            let most = cors.options_fields(&head, Some(&origin)).len() + 4;
            prop_assert_eq!(memchr::memchr_iter(b'\n', &out).count(), most);
            prop_assert_eq!(memchr::memchr_iter(b'\r', &out).count(), most);
        }
    }
}
