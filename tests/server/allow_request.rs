//! `allowRequest`, and what becomes of a request while the application makes up its mind.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fanfare::Builder;
use futures_channel::oneshot;

use crate::raw::{DEADLINE, WEBSOCKET_HEADERS, post, request, text};
use crate::site::{Site, on_engine_with, sid_of};

const REFUSED: &str = r#"{"code":4,"message":"no \"key\""}"#;

/// Lets in who has a key.
fn with_key(builder: Builder) -> Builder {
    builder.allow_request(async |request: &http::Request<()>| {
        match request.headers().contains_key("x-key") {
            true => Ok(()),
            false => Err("no \"key\""),
        }
    })
}

/// A question that waits for the test, which learns when it is given up.
struct Question {
    answer: oneshot::Sender<Result<(), String>>,
    given_up: Receiver<()>,
}

impl Question {
    fn answer(self, answer: Result<(), String>) {
        self.answer.send(answer).expect("it is waited for");
    }

    fn is_given_up(&self) {
        let ended = self.given_up.recv_timeout(DEADLINE);
        assert!(ended.is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}

/// Asks the test about every request with the header `x-ask`.
fn asking(builder: Builder) -> (Builder, Receiver<Question>) {
    let (asked, questions) = channel();
    let asked: Mutex<Sender<Question>> = Mutex::new(asked);
    let builder = builder.allow_request(async move |request: &http::Request<()>| {
        if !request.headers().contains_key("x-ask") {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let (until_given_up, given_up) = channel::<()>();
        let _until_given_up = until_given_up;
        drop(asked.lock().unwrap().send(Question { answer, given_up }));
        answered.await.unwrap_or_else(|_| Err("the test is over".to_owned()))
    });
    (builder, questions)
}

/// Runs a test against servers that ask it, as [`on_engine_with`].
fn on_asking(options: impl Fn(Builder) -> Builder, test: impl Fn(&Site, &Receiver<Question>)) {
    for shards in [1, 2] {
        println!("shards: {shards}");
        let (builder, questions) = asking(options(fanfare::engine::Server::builder()));
        let builder = builder.limits(|limits| limits.farewell_timeout = Duration::from_millis(20));
        test(&Site::engine(builder, shards), &questions);
    }
}

fn next(questions: &Receiver<Question>) -> Question {
    questions.recv_timeout(DEADLINE).expect("it is asked")
}

fn ask_line(site: &Site, transport: &str) -> String {
    format!("GET {}", site.open_target(transport))
}

const ASK: &str = "x-ask: 1\r\n";

#[test]
fn b1_4_b23_4_a_request_that_is_not_allowed_is_403_with_the_message_of_the_hook() {
    on_engine_with(with_key, |site| {
        let mut client = site.client();
        let response = client.get(&site.open_target("polling"));
        assert_eq!((response.status, response.text()), (403, REFUSED));
        assert_eq!(response.header("content-type"), Some("application/json"));
        // The connection stays, and may do better.
        let response = client.ask(request(&ask_line(site, "polling"), "X-Key: 1\r\n"));
        assert_eq!(response.status, 200);
    });
}

#[test]
fn an_empty_message_is_forbidden() {
    let options = |builder: Builder| builder.allow_request(async |_: &http::Request<()>| Err(""));
    on_engine_with(options, |site| {
        let response = site.client().get(&site.open_target("polling"));
        let body = r#"{"code":4,"message":"Forbidden"}"#;
        assert_eq!((response.status, response.text()), (403, body));
    });
}

#[test]
fn b1_5_an_upgrade_that_is_not_allowed_is_refused_before_the_101() {
    on_engine_with(with_key, |site| {
        let mut client = site.client();
        let response = client.ask(request(&ask_line(site, "websocket"), WEBSOCKET_HEADERS));
        assert_eq!((response.status, response.text()), (400, "no \"key\""));
        client.expect_end();
        let headers = format!("x-key: 1\r\n{WEBSOCKET_HEADERS}");
        let mut client = site.client();
        assert_eq!(client.ask(request(&ask_line(site, "websocket"), &headers)).status, 101);
        sid_of(&client.text());
    });
}

#[test]
fn b23_3_who_is_allowed_is_asked_about_once() {
    on_engine_with(with_key, |site| {
        let line = ask_line(site, "polling");
        let open = site.client().ask(request(&line, "x-key: 1\r\n"));
        // The other requests of its session have no key.
        let target = site.target("polling", &sid_of(open.text()));
        assert_eq!(site.client().post(&target, "4a").text(), "ok");
        assert_eq!(site.client().get(&target).text(), "4a");
        let websocket = target.replace("polling", "websocket");
        site.handshake(&websocket);
    });
}

#[test]
fn what_is_wrong_anyway_is_not_asked_about_but_for_the_protocol() {
    on_engine_with(with_key, |site| {
        for (line, status) in [
            ("GET /engine.io/?EIO=4&transport=foo", 400),
            ("GET /engine.io/?EIO=4&transport=websocket", 400),
            ("DELETE /engine.io/?EIO=4&transport=polling", 400),
            ("GET /engine.io/?EIO=4&transport=polling&sid=none", 400),
            // As the reference, which looks at the protocol last.
            ("GET /engine.io/?EIO=3&transport=polling", 403),
        ] {
            assert_eq!(site.client().ask(request(line, "")).status, status, "{line}");
        }
    });
}

#[test]
fn b13_2_b13_3_the_address_of_the_peer_is_known() {
    let options = |builder: Builder| {
        builder.allow_request(async |request: &http::Request<()>| {
            match request.extensions().get::<SocketAddr>() {
                Some(peer) => Err(peer.ip().to_string()),
                None => Ok(()),
            }
        })
    };
    on_engine_with(options, |site| {
        let response = site.client().get(&site.open_target("polling"));
        assert_eq!(response.text(), r#"{"code":4,"message":"127.0.0.1"}"#);
        let line = ask_line(site, "websocket");
        let response = site.client().ask(request(&line, WEBSOCKET_HEADERS));
        assert_eq!(response.text(), "127.0.0.1");
    });
}

#[test]
fn b2_25_b2_26_b11_1_b11_2_the_query_and_the_headers_reach_the_application() {
    let options = |builder: Builder| {
        builder.allow_request(async |request: &http::Request<()>| {
            let name = request.headers().get("x-name").and_then(|name| name.to_str().ok());
            let query = request.uri().query().unwrap_or_default();
            Err::<(), _>(format!("{} {query} {}", request.method(), name.unwrap_or("?")))
        })
    };
    on_engine_with(options, |site| {
        let ask = |transport: &str, headers: &str| {
            let line = format!("{}&a=b%20c&d", ask_line(site, transport));
            let response = site.client().ask(request(&line, &format!("X-Name: e\r\n{headers}")));
            response.text().to_owned()
        };
        let told = "GET EIO=4&transport=polling&a=b%20c&d e";
        assert_eq!(ask("polling", ""), format!(r#"{{"code":4,"message":"{told}"}}"#));
        let told = told.replace("polling", "websocket");
        assert_eq!(ask("websocket", WEBSOCKET_HEADERS), told);
    });
}

#[test]
fn other_clients_do_not_wait_for_an_answer() {
    on_asking(
        |builder| builder,
        |site, questions| {
            let mut bystanders = site.bystanders();
            let mut polling = site.client();
            polling.send(request(&ask_line(site, "polling"), ASK));
            let question = next(questions);
            let mut websocket = site.client();
            let headers = format!("{ASK}{WEBSOCKET_HEADERS}");
            websocket.send(request(&ask_line(site, "websocket"), &headers));
            let other = next(questions);
            bystanders.echo();
            site.polling().echo();
            other.answer(Ok(()));
            assert_eq!(websocket.head_response().status, 101);
            sid_of(&websocket.text());
            question.answer(Err("no".into()));
            assert_eq!(polling.response().status, 403);
            bystanders.echo();
        },
    );
}

#[test]
fn what_is_sent_behind_a_request_that_waits_is_kept() {
    on_asking(
        |builder| builder,
        |site, questions| {
            let mut client = site.client();
            client.send(request(&ask_line(site, "polling"), ASK));
            let question = next(questions);
            let more = site.polling();
            client.send(post(&more.target, b"4behind"));
            client.trickle(request(&format!("GET {}", more.target), ""));
            question.answer(Ok(()));
            sid_of(client.response().text());
            assert_eq!(client.response().text(), "ok");
            assert_eq!(client.response().text(), "4behind");

            let mut client = site.client();
            let headers = format!("{ASK}{WEBSOCKET_HEADERS}");
            client.send(request(&ask_line(site, "websocket"), &headers));
            let question = next(questions);
            client.send(text("4eager"));
            question.answer(Ok(()));
            assert_eq!(client.head_response().status, 101);
            sid_of(&client.text());
            assert_eq!(client.text(), "4eager");
        },
    );
}

#[test]
fn what_is_kept_for_a_request_that_waits_has_a_limit() {
    let small = |builder: Builder| {
        builder.max_http_buffer_size(1_000).limits(|limits| {
            limits.head_bytes = 4_096;
            limits.pipelined_bytes = 1_000;
        })
    };
    on_asking(small, |site, questions| {
        let mut client = site.client();
        client.send(request(&ask_line(site, "polling"), ASK));
        let question = next(questions);
        client.send([b'x'; 20_000]);
        client.expect_end();
        question.is_given_up();
        site.polling().echo();
    });
}

#[test]
fn a_client_that_goes_away_is_not_waited_for() {
    on_asking(
        |builder| builder,
        |site, questions| {
            for transport in ["polling", "websocket"] {
                for is_reset in [false, true] {
                    let mut client = site.client();
                    let upgrade = if transport == "websocket" { WEBSOCKET_HEADERS } else { "" };
                    client.send(request(&ask_line(site, transport), &format!("{ASK}{upgrade}")));
                    let question = next(questions);
                    match is_reset {
                        true => client.reset(),
                        false => drop(client),
                    }
                    question.is_given_up();
                }
            }
            assert_eq!(site.engine_handle().clients_count(), 0);
        },
    );
}

#[test]
fn an_answer_has_a_deadline_and_then_the_client_is_told() {
    let hasty = |builder: Builder| {
        builder.limits(|limits| limits.decision_timeout = Duration::from_millis(50))
    };
    on_asking(hasty, |site, questions| {
        for (transport, upgrade) in [("polling", ""), ("websocket", WEBSOCKET_HEADERS)] {
            let begun = Instant::now();
            let mut client = site.client();
            client.send(request(&ask_line(site, transport), &format!("{ASK}{upgrade}")));
            let question = next(questions);
            let response = client.response();
            assert!(begun.elapsed() >= Duration::from_millis(50));
            let told = (response.status, response.text());
            assert_eq!(told, (503, "The application took too long"));
            client.expect_end();
            question.is_given_up();
        }
    });
}

#[test]
fn a_hook_that_panics_lets_nobody_in() {
    let options = |builder: Builder| {
        builder.allow_request(async |request: &http::Request<()>| {
            let is_late = request.headers().contains_key("x-late");
            if is_late {
                fanfare::time::sleep(Duration::from_millis(1)).await;
            }
            let is_fine = request.headers().contains_key("x-fine");
            assert!(is_fine, "the application is at fault");
            Ok::<_, String>(())
        })
    };
    on_engine_with(options, |site| {
        let body = r#"{"code":3,"message":"Bad request"}"#;
        for headers in ["", "x-late: 1\r\n"] {
            let response = site.client().ask(request(&ask_line(site, "polling"), headers));
            assert_eq!((response.status, response.text()), (400, body));
        }
        let fine = "x-late: 1\r\nx-fine: 1\r\n";
        let response = site.client().ask(request(&ask_line(site, "polling"), fine));
        assert_eq!(response.status, 200);
    });
}

#[test]
fn a_server_that_closes_refuses_what_waits_for_an_answer() {
    on_asking(
        |builder| builder,
        |site, questions| {
            let mut client = site.client();
            client.send(request(&ask_line(site, "polling"), ASK));
            let question = next(questions);
            let begun = Instant::now();
            site.close();
            let response = client.response();
            assert_eq!((response.status, response.text()), (503, "The server is shutting down"));
            client.expect_end();
            question.is_given_up();
            assert!(begun.elapsed() < Duration::from_secs(5), "as long as clients get to leave");
        },
    );
}
