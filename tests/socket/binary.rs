//! Binary values: protocol.md §14.3, groups 24 and 32 of the inventory.

use bytes::Bytes;
use fanfare::{Ack, Data, Emitted, Raw, Server, Socket};
use serde::{Deserialize, Serialize};

use crate::client::Polling;
use crate::fixture::{Fixture, each, log};

#[derive(Debug, Serialize, Deserialize)]
struct Picture {
    name: String,
    #[serde(with = "serde_bytes")]
    pixels: Vec<u8>,
    layers: Vec<Bytes>,
}

const PLACE: &str = "{\"_placeholder\":true,\"num\":0}";

fn place(number: usize) -> String {
    format!("{{\"_placeholder\":true,\"num\":{number}}}")
}

fn echo(io: &Server) {
    io.of("/").on("x", async |socket: Socket, raw: Raw, ack: Ack| {
        match ack.is_requested() {
            true => ack.send(raw),
            false => socket.emit("x", raw),
        };
    });
}

#[test]
fn b32_9_b32_10_b32_11_b32_12_b37_5_binary_and_mixed_arguments_go_both_ways() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let mut client = server.client();
        let headers = [
            format!("451-[\"x\",{PLACE}]"),
            format!("451-[\"x\",1,{{\"a\":[null,{PLACE}]}},\"c\"]"),
            format!("452-[\"x\",{},[{}],{}]", place(1), place(0), place(1)),
        ];
        for header in &headers {
            let count = usize::from(header.as_bytes()[2] - b'0');
            client.send(header);
            (0..count).for_each(|n| client.send_binary(&[n as u8; 3]));
            client.expect(&[header]);
            (0..count).for_each(|n| client.expect_binary(&[n as u8; 3]));
        }
    });
}

#[test]
fn b32_29_b32_31_b32_32_b37_12_binary_in_event_and_ack_when_the_client_asks() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let mut client = server.client();
        client.send(&format!("451-5[\"x\",{PLACE},2]"));
        client.send_binary(b"ping");
        client.expect(&[&format!("461-5[{PLACE},2]")]);
        client.expect_binary(b"ping");
    });
}

#[test]
fn b32_30_b32_31_binary_in_event_and_ack_when_the_server_asks() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("go", async move |socket: Socket| {
                let question = Bytes::from_static(b"question");
                let answer = socket.emit_with_ack::<(u8, Bytes), _>("q", (question, 1)).await;
                log.add(format!("{answer:?}"));
            });
        });
        let mut client = server.client();
        client.send("42[\"go\"]");
        client.expect(&[&format!("451-0[\"q\",{PLACE},1]")]);
        client.expect_binary(b"question");
        client.send(&format!("461-0[9,{PLACE}]"));
        client.send_binary(b"answer");
        events.expect(&["Ok((9, b\"answer\"))"]);
    });
}

#[test]
fn b37_1_b37_3_b37_4_b37_10_b37_11_binary_values_of_any_type_and_depth_are_numbered_in_order() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("picture", async move |socket: Socket, Data(it): Data<Picture>| {
                log.add(format!("{it:?}"));
                socket.emit("picture", &it);
            });
        });
        let mut client = server.client();
        let header = |first, second, third| {
            format!(
                "453-[\"picture\",{{\"name\":\"n\",\"pixels\":{},\"layers\":[{},{}]}}]",
                place(first),
                place(second),
                place(third)
            )
        };
        client.send(&header(2, 0, 1));
        ["zero", "one", "two"].iter().for_each(|text| client.send_binary(text.as_bytes()));
        events.expect(&[
            "Picture { name: \"n\", pixels: [116, 119, 111], layers: [b\"zero\", b\"one\"] }",
        ]);
        client.expect(&[&header(0, 1, 2)]);
        ["two", "zero", "one"].iter().for_each(|text| client.expect_binary(text.as_bytes()));
    });
}

#[test]
fn p14_3_unused_empty_and_unnamed_attachments_are_legal() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let mut client = server.client();
        client.send("452-[\"x\",{\"num\":1,\"more\":[],\"_placeholder\":true}]");
        client.send_binary(b"unused");
        client.send_binary(b"");
        client.expect(&["452-[\"x\",{\"num\":1,\"more\":[],\"_placeholder\":true}]"]);
        client.expect_binary(b"unused");
        client.expect_binary(b"");
        // An object that only looks like one, in a packet without attachments.
        client.send(&format!("42[\"x\",{PLACE}]"));
        client.expect(&[&format!("42[\"x\",{PLACE}]")]);
        client.send("451-[\"x\",{\"_placeholder\":1,\"num\":\"x\"}]");
        client.send_binary(b"y");
        client.expect(&["451-[\"x\",{\"_placeholder\":1,\"num\":\"x\"}]"]);
        client.expect_binary(b"y");
    });
}

#[test]
fn b19_2_b19_8_p14_3_binary_over_polling_is_base64_in_both_directions() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let polling = server.polling();
        let packet = format!("451-[\"x\",{PLACE}]\u{1e}bAQID/w==");
        polling.post(&packet);
        assert_eq!(polling.get(), packet);
        // A packet may be spread over several POSTs.
        polling.post(&format!("452-[\"x\",{PLACE}]\u{1e}bAQID"));
        polling.post("b");
        assert_eq!(polling.get(), format!("452-[\"x\",{PLACE}]\u{1e}bAQID\u{1e}b"));
    });
}

#[test]
fn p14_3_the_attachments_of_a_packet_follow_it_whoever_else_emits() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("go", async |socket: Socket| {
                for n in 0..100_u8 {
                    let data = Bytes::from(vec![n; 2000]);
                    assert_eq!(socket.emit("own", (&data, n, &data)), Emitted::Queued);
                    fanfare::time::sleep(std::time::Duration::ZERO).await;
                }
                socket.emit("end", ());
            });
        });
        let mut client = server.client();
        let io = server.io.clone();
        client.send("42[\"go\"]");
        let other = std::thread::spawn(move || {
            for n in 0..100_u8 {
                io.emit("all", (vec![0; 10], Bytes::from(vec![n; 3000]), n));
                io.emit("text", n);
            }
            io.emit("end", ());
        });
        let (mut own, mut all, mut ends) = (0_u8, 0_u8, 0);
        while ends < 2 {
            let text = client.text();
            if text.starts_with("452-[\"own\"") {
                client.expect_binary(&[own; 2000]);
                client.expect_binary(&[own; 2000]);
                own += 1;
            } else if text.starts_with("451-[\"all\"") {
                client.expect_binary(&[all; 3000]);
                all += 1;
            }
            ends += usize::from(text == "42[\"end\"]");
        }
        assert_eq!((own, all), (100, 100));
        other.join().unwrap();
    });
}

#[test]
fn b36_16_m37_a_packet_half_received_when_its_client_leaves_is_forgotten() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            let log = log.clone();
            io.of("/").on("x", async move || log.add("x"));
        });
        let mut client = server.client();
        client.send("452-[\"x\"]");
        client.send_binary(b"half");
        drop(client);
        events.expect(&["gone: transport close"]);
        assert_eq!(events.rest(), [""; 0]);
        let polling = Polling::joined(server.address);
        polling.post("451-[\"x\"]\u{1e}1");
        events.expect(&["gone: transport close"]);
    });
}

#[test]
fn m37_attachments_of_a_packet_for_a_namespace_that_was_not_joined_close_the_session() {
    each(|shards| {
        let server = Fixture::start(shards, |io| drop(io.of("/other")));
        let mut client = server.client();
        client.send("451-/other,[\"x\"]");
        client.send_binary(b"x");
        client.expect_closed();
        // And those for another one that was joined do not.
        let mut client = server.client();
        client.join("/other");
        client.send("451-/other,[\"x\"]");
        client.send_binary(b"x");
        client.expect_quiet();
    });
}

#[test]
fn b32_45_b32_46_b32_47_b32_48_malformed_binary_headers_do_no_harm_to_others() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| log.log_disconnects(io));
        let mut neighbour = server.client();
        for text in ["45woooot", "45", "44{\"message\":", "44", "5woooot"] {
            let mut client = server.client();
            client.send(text);
            if text != "5woooot" {
                client.expect_closed();
                events.expect(&["gone: forced close"]);
            }
        }
        events.expect(&["gone: transport close"]);
        neighbour.expect_quiet();
    });
}
