//! Acknowledgements in both directions: protocol.md §14.6, groups 24, 30 and 32 of the inventory.

use std::time::Duration;

use fanfare::{Ack, AckError, Data, Emitted, Incomplete, Raw, Server, Socket};
use serde_json::Value;

use crate::fixture::{Fixture, Log, block_on, each, log};

const SHORT: Duration = Duration::from_millis(30);

/// A server on which the event `ask` asks the client `q`, and logs what comes of it.
fn asks(io: &Server, log: &Log, timeout: Option<Duration>) {
    let log = log.clone();
    io.of("/").on("ask", async move |socket: Socket, args: Raw| {
        let answer = match timeout {
            Some(timeout) => socket.timeout(timeout).emit_with_ack::<Value, _>("q", args),
            None => socket.emit_with_ack::<Value, _>("q", args),
        };
        log.add(match answer.await {
            Ok(answer) => format!("answer: {answer}"),
            Err(error) => format!("error: {error}"),
        });
    });
}

#[test]
fn b32_24_b32_27_a_client_asks_and_the_server_answers() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            for name in ["/", "/nsp"] {
                io.of(name).on("echo", async |args: Raw, ack: Ack| ack.send(args));
            }
        });
        let mut client = server.client();
        client.join("/nsp");
        client.send_all(&[
            "420[\"echo\"]",
            "421[\"echo\",\"a\",{\"b\":[1]}]",
            "42007[\"echo\"]",
            "429007199254740991[\"echo\",null]",
            "42/nsp,12[\"echo\",1]",
        ]);
        client.expect(&[
            "430[]",
            "431[\"a\",{\"b\":[1]}]",
            "437[]",
            "439007199254740991[null]",
            "43/nsp,12[1]",
        ]);
    });
}

#[test]
fn p14_6_no_handler_or_no_answer_sends_nothing_and_no_request_needs_none() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("silent", async |_: Ack| {});
            io.of("/").on("eager", async move |ack: Ack| {
                log.add(ack.is_requested());
                log.add(format!("{:?}", ack.send("unasked")));
            });
        });
        let mut client = server.client();
        client.send_all(&["421[\"unknown\"]", "422[\"silent\"]", "42[\"eager\"]"]);
        client.expect_quiet();
        events.expect(&["false", "Dropped"]);
    });
}

#[test]
fn p14_6_of_several_handlers_the_first_that_answers_acknowledges() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let result = |emitted| format!("{emitted:?}");
            let (first, second) = (log.clone(), log.clone());
            io.of("/").on("q", async |_: Ack| {});
            io.of("/").on("q", async move |ack: Ack| {
                fanfare::time::sleep(SHORT).await;
                first.add(result(ack.send("slow")));
            });
            io.of("/").on("q", async move |ack: Ack| second.add(result(ack.send("quick"))));
        });
        let mut client = server.client();
        client.send("425[\"q\"]");
        client.expect(&["435[\"quick\"]"]);
        events.expect(&["Queued", "Dropped"]);
        client.expect_quiet();
    });
}

#[test]
fn b32_26_b32_28_b32_33_b30_3_b30_5_the_server_asks_and_a_client_answers() {
    each(|shards| {
        for timeout in [None, Some(Duration::from_secs(60))] {
            let (log, events) = log();
            let server = Fixture::start(shards, |io| asks(io, &log, timeout));
            let mut client = server.client();
            client.send("42[\"ask\",1,\"2\"]");
            client.expect(&["420[\"q\",1,\"2\"]"]);
            client.send("430[\"yes\",\"and more\"]");
            events.expect(&["answer: \"yes\""]);
            client.send("42[\"ask\"]");
            client.expect(&["421[\"q\"]"]);
            client.send("431[]");
            events.expect(&["answer: null"]);
        }
    });
}

#[test]
fn all_arguments_of_an_answer_are_a_tuple_and_a_wrong_answer_is_an_error() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("ask", async move |socket: Socket| {
                let answer = socket.emit_with_ack::<(String, u8), _>("q", ()).await;
                log.add(match answer {
                    Err(AckError::Answer(_)) => "wrong".to_owned(),
                    other => format!("{other:?}"),
                });
            });
        });
        let mut client = server.client();
        for (id, answer) in ["[\"a\",7]", "[1,2]", "[]"].iter().enumerate() {
            client.send("42[\"ask\"]");
            client.expect(&[&format!("42{id}[\"q\"]")]);
            client.send(&format!("43{id}{answer}"));
        }
        events.expect(&["Ok((\"a\", 7))", "wrong", "wrong"]);
    });
}

#[test]
fn b30_1_b30_2_b30_4_m38_an_answer_that_is_late_is_an_error_and_then_ignored() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| asks(io, &log, Some(SHORT)));
        let mut client = server.client();
        client.send("42[\"ask\"]");
        client.expect(&["420[\"q\"]"]);
        events.expect(&["error: the client did not answer in time"]);
        client.send("430[1]");
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn m38_answers_count_once_and_only_for_the_socket_that_was_asked() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| asks(io, &log, None));
        let (mut asked, mut other) = (server.client(), server.client());
        asked.send("42[\"ask\"]");
        asked.expect(&["420[\"q\"]"]);
        for text in ["430[\"forged\"]", "431[1]", "439007199254740991[1]", "43[1]"] {
            other.send(text);
        }
        other.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
        asked.send_all(&["430[\"first\"]", "430[\"second\"]"]);
        asked.expect_quiet();
        events.expect(&["answer: \"first\""]);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn m38_who_is_asked_and_leaves_does_not_answer() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| asks(io, &log, None));
        let mut leaves = server.client();
        leaves.send("42[\"ask\"]");
        leaves.expect(&["420[\"q\"]"]);
        leaves.send("41");
        events.expect(&["error: the client is gone"]);
        let mut lost = server.client();
        lost.send("42[\"ask\"]");
        lost.expect(&["421[\"q\"]"]);
        drop(lost);
        events.expect(&["error: the client is gone"]);
    });
}

#[test]
fn p14_6_one_count_of_ids_serves_all_sockets_of_a_namespace() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            for name in ["/", "/other"] {
                io.of(name).on("ask", async |socket: Socket| {
                    drop(socket.emit_with_ack::<(), _>("q", ()));
                });
            }
        });
        let (mut one, mut two) = (server.client(), server.client());
        one.join("/other");
        one.send("42[\"ask\"]");
        one.expect(&["420[\"q\"]"]);
        two.send("42[\"ask\"]");
        two.expect(&["421[\"q\"]"]);
        one.send("42/other,[\"ask\"]");
        one.expect(&["42/other,0[\"q\"]"]);
        drop(server.io.of("/").emitter().emit_with_ack::<(), _>("all", ()));
        one.expect(&["422[\"all\"]"]);
        two.expect(&["422[\"all\"]"]);
    });
}

#[test]
fn m38_an_ack_that_is_sent_after_the_client_left_goes_nowhere() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            let log = log.clone();
            io.of("/").on("slow", async move |ack: Ack, socket: Socket| {
                while socket.is_connected() {
                    fanfare::time::sleep(Duration::from_millis(1)).await;
                }
                log.add(format!("{:?}", ack.send(1)));
            });
        });
        let mut client = server.client();
        client.send_all(&["421[\"slow\"]", "41"]);
        events.expect(&["gone: client namespace disconnect", "Closed"]);
        client.expect_quiet();
    });
}

#[test]
fn b24_15_b24_17_a_broadcast_gathers_every_answer() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        let emitter = server.io.of("/").emitter();
        let answers = emitter.timeout(Duration::from_secs(60)).emit_with_ack::<u64, _>("q", "?");
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            client.expect(&["420[\"q\",\"?\"]"]);
            client.send(&format!("430[{index}]"));
        }
        let mut answers = block_on(answers).unwrap();
        answers.sort_unstable();
        assert_eq!(answers, (0..clients.len() as u64).collect::<Vec<_>>());
    });
}

#[test]
fn b24_16_b24_18_who_does_not_answer_is_counted_beside_the_answers() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        let answers =
            server.io.of("/").emitter().timeout(SHORT * 10).emit_with_ack::<u64, _>("q", ());
        let (_silent, others) = clients.split_last_mut().unwrap();
        let (wrong, others) = others.split_last_mut().unwrap();
        wrong.0.expect(&["420[\"q\"]"]);
        wrong.0.send("430[\"no number\"]");
        for (client, _) in others.iter_mut() {
            client.expect(&["420[\"q\"]"]);
            client.send("430[7]");
        }
        let incomplete = block_on(answers).unwrap_err();
        let Incomplete { answers, missing, .. } = incomplete;
        assert_eq!((answers, missing.len()), (vec![7; others.len()], 2));
    });
}

#[test]
fn b24_16_who_leaves_is_missing_at_once() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut clients = server.client_on_each();
        let answers = server.io.of("/").emitter().emit_with_ack::<u64, _>("q", ());
        for (client, _) in &mut clients {
            client.expect(&["420[\"q\"]"]);
        }
        let mut asked: Vec<String> = clients.iter().map(|(_, id)| id.clone()).collect();
        drop(clients);
        let incomplete = block_on(answers).unwrap_err();
        let mut missing: Vec<String> = incomplete.missing.iter().map(ToString::to_string).collect();
        asked.sort();
        missing.sort();
        assert_eq!((incomplete.answers, missing), (vec![], asked));
    });
}

#[test]
fn b24_19_nobody_to_ask_is_an_empty_list_at_once() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let io_too = io.clone();
            io.of("/").on("ask", async move |Data(room): Data<String>| {
                let answers = io_too.to(&room).emit_with_ack::<u64, _>("q", ()).await;
                log.add(format!("{answers:?}"));
            });
        });
        let nobody = block_on(server.io.of("/").emitter().emit_with_ack::<u64, _>("q", ()));
        assert_eq!(nobody.unwrap(), [0; 0]);
        let mut client = server.client();
        client.send("42[\"ask\",\"empty room\"]");
        events.expect(&["Ok([])"]);
        let idle = crate::fixture::options(shards).build().unwrap();
        let answers = block_on(idle.of("/").emitter().emit_with_ack::<u64, _>("q", ()));
        assert_eq!(answers.unwrap(), [0; 0], "a server that does not run has no clients");
    });
}

#[test]
fn m38_ten_thousand_acks_that_are_never_answered_leave_nothing_behind() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("flood", async move |socket: Socket| {
                let wait = Duration::from_millis(1);
                let asked = || socket.timeout(wait).emit_with_ack::<(), _>("q", ());
                let answers: Vec<_> = (0..10_000).map(|_| asked()).collect();
                let mut late = 0;
                for answer in answers {
                    late += usize::from(matches!(answer.await, Err(AckError::Timeout)));
                }
                log.add(late);
                log.add(format!("{:?}", socket.emit("end", ())));
            });
        });
        let mut client = server.client();
        client.send("42[\"flood\"]");
        while client.text() != "42[\"end\"]" {}
        events.expect(&["10000", &format!("{:?}", Emitted::Queued)]);
    });
}

#[test]
fn m38_each_question_has_a_timeout_of_its_own() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("ask", async move |socket: Socket| {
                for wait in [30, 10, 20] {
                    let log = log.clone();
                    let timeout = Duration::from_millis(wait);
                    let answer = socket.timeout(timeout).emit_with_ack::<(), _>("q", ());
                    fanfare::time::spawn_local(async move {
                        assert!(matches!(answer.await, Err(AckError::Timeout)));
                        log.add(wait);
                    });
                }
            });
        });
        let mut client = server.client();
        client.send("42[\"ask\"]");
        events.expect(&["10", "20", "30"]);
    });
}
