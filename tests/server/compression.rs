//! Compressed WebSocket messages (RFC 7692, protocol.md §11.4).

use fanfare::proto::websocket::Opcode;
use fanfare::{Builder, Data, PerMessageDeflate, Socket};

use crate::inflate::{Reader, compressed, read};
use crate::raw::{Client, Frame, MASK, Response, WEBSOCKET_HEADERS, frame, request};
use crate::site::{Site, on_engine, on_engine_with, on_io_with};

/// What browsers offer.
const OFFER: &str = "permessage-deflate; client_max_window_bits";
const REFUSED: &str = "Invalid or unacceptable Sec-WebSocket-Extensions header";
/// The first bytes of frames whose messages are compressed.
const TEXT: u8 = 0xc1;
const BINARY: u8 = 0xc2;

fn deflating(builder: Builder) -> Builder {
    builder.per_message_deflate(PerMessageDeflate::default())
}

/// Asks for a WebSocket with such an offer.
fn offer(site: &Site, target: &str, offer: &str) -> (Client, Response) {
    let mut client = site.client();
    let headers = format!("{WEBSOCKET_HEADERS}Sec-WebSocket-Extensions: {offer}\r\n");
    let response = client.ask(request(&format!("GET {target}"), &headers));
    (client, response)
}

/// A new session over a WebSocket with such an offer, and what was agreed on.
fn open(site: &Site, offered: &str) -> (Client, Option<String>) {
    let (mut client, response) = offer(site, &site.open_target("websocket"), offered);
    assert_eq!(response.status, 101, "{offered}");
    assert!(client.text().starts_with("0{"));
    (client, response.header("sec-websocket-extensions").map(str::to_owned))
}

/// A client of `/`.
fn joined(site: &Site, offered: &str) -> Client {
    let (mut client, _) = open(site, offered);
    client.say("40");
    assert!(client.text().starts_with("40{"));
    client
}

/// A compressed message as a client sends it.
fn marked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(true, opcode, payload);
    bytes[0] |= 0x40;
    bytes
}

/// Bytes that do not get shorter.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(next).collect()
}

fn long(word: &str) -> String {
    format!("4{}", word.repeat(2_000 / word.len()))
}

#[test]
fn with_clients_of_engine_io_3_nothing_is_agreed_on() {
    on_engine_with(
        |builder| deflating(builder).allow_eio3(true),
        |site| {
            let target = format!("{}?EIO=3&transport=websocket", site.path);
            let (mut client, response) = offer(site, &target, OFFER);
            assert_eq!((response.status, response.header("sec-websocket-extensions")), (101, None));
            assert!(client.text().starts_with("0{"));
        },
    );
}

#[test]
fn without_the_option_no_offer_is_looked_at() {
    on_engine(|site| {
        for offered in [OFFER, "permessage-deflate; foo", "=", "permessage-deflate;;"] {
            let (mut client, agreed) = open(site, offered);
            assert_eq!(agreed, None);
            client.say(&long("plain "));
            assert_eq!(client.text(), long("plain "));
            client.send(marked(Opcode::Text, &compressed(b"4")));
            client.expect_close(Some(1002));
        }
    });
}

#[test]
fn messages_are_compressed_both_ways_where_it_is_worth_it() {
    on_engine_with(deflating, |site| {
        let (mut client, agreed) = open(site, OFFER);
        let contexts = "server_no_context_takeover; client_no_context_takeover";
        assert_eq!(agreed, Some(format!("permessage-deflate; {contexts}")));
        let message = long("again and again ");
        let bytes = message.as_bytes();
        for sent in [marked(Opcode::Text, &compressed(bytes)), frame(true, Opcode::Text, bytes)] {
            client.send(sent);
            let Frame { first, payload } = client.frame();
            assert_eq!(first, TEXT);
            assert!(payload.len() * 10 < message.len(), "{} bytes", payload.len());
            assert_eq!(read(&payload), bytes);
        }
        client.send(marked(Opcode::Binary, &compressed(&[7; 5_000])));
        let Frame { first, payload } = client.frame();
        assert_eq!((first, read(&payload)), (BINARY, vec![7; 5_000]));
        // Below the threshold, and what does not get shorter.
        client.send(marked(Opcode::Text, &compressed(b"4short")));
        assert_eq!(client.text(), "4short");
        let noise = noise(1_100, 1);
        client.send(frame(true, Opcode::Binary, &noise));
        assert_eq!(client.frame(), Frame { first: 0x82, payload: noise });
        // Who offers nothing is sent nothing compressed.
        let (mut plain, _) = site.websocket();
        plain.say(&message);
        assert_eq!(plain.text(), message);
    });
}

#[test]
fn fragments_and_single_bytes_make_the_same_message() {
    on_engine_with(deflating, |site| {
        let (mut client, _) = open(site, OFFER);
        let payload = compressed(b"4one two three, one two three");
        let mut bytes = Vec::new();
        for (position, byte) in payload.iter().enumerate() {
            let opcode = if position == 0 { Opcode::Text } else { Opcode::Continuation };
            let mut fragment = frame(position + 1 == payload.len(), opcode, &[*byte]);
            fragment[0] |= if position == 0 { 0x40 } else { 0 };
            bytes.extend(fragment);
        }
        client.trickle(bytes);
        assert_eq!(client.text(), "4one two three, one two three");
    });
}

#[test]
fn b7_2_a_broadcast_is_the_same_compressed_bytes_for_all_who_read_them() {
    on_io_with(deflating, |site| {
        let mut deflating: Vec<Client> = (0..6).map(|_| joined(site, OFFER)).collect();
        let (mut plain, _) = site.websocket();
        plain.say("40");
        plain.text();
        for round in 0..3 {
            let text = format!("round {round} ").repeat(300);
            let packet = format!("42[\"news\",\"{text}\"]");
            site.server().emit("news", &text);
            site.server().emit("end", round);
            let frames: Vec<Frame> = deflating.iter_mut().map(Client::frame).collect();
            assert_eq!((frames[0].first, read(&frames[0].payload)), (TEXT, packet.clone().into()));
            assert!(frames.iter().all(|frame| *frame == frames[0]));
            assert_eq!(plain.text(), packet);
            let end = format!("42[\"end\",{round}]");
            assert!(deflating.iter_mut().chain([&mut plain]).all(|client| client.text() == end));
        }
    });
}

#[test]
fn b26_21_b26_22_b32_43_b32_44_what_is_not_to_be_compressed_is_not() {
    on_io_with(deflating, |site| {
        let text = "text ".repeat(500);
        site.server().of("/").on("one", async |socket: Socket, Data(text): Data<String>| {
            socket.emit("one", &text);
            socket.compress(false).emit("one", &text);
            socket.compress(false).compress(true).emit("one", &text);
        });
        let mut client = joined(site, OFFER);
        client.say(&format!("42[\"one\",\"{text}\"]"));
        let firsts = [(); 3].map(|()| client.frame().first);
        assert_eq!(firsts, [TEXT, 0x81, TEXT]);
        let server = site.server();
        server.emit("all", &text);
        server.compress(false).emit("all", &text);
        server.of("/").compress(false).compress(true).emit("all", &text);
        server.except("nobody").compress(false).emit("all", &text);
        let firsts = [(); 4].map(|()| client.frame().first);
        assert_eq!(firsts, [TEXT, 0x81, TEXT, 0x81]);
    });
}

#[test]
fn cve_2026_2229_p11_4_an_offer_that_makes_no_sense_is_refused() {
    on_engine_with(deflating, |site| {
        for parameters in [
            "server_max_window_bits=99",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=-9",
            "server_max_window_bits=1e1",
            "server_max_window_bits",
            "client_max_window_bits=7",
            "client_max_window_bits=15; client_max_window_bits=15",
            "server_no_context_takeover; server_no_context_takeover",
            "server_no_context_takeover=1",
            "unknown",
            "constructor",
            "",
        ] {
            let target = site.open_target("websocket");
            let offered = format!("permessage-deflate; {parameters}");
            let (mut client, response) = offer(site, &target, &offered);
            assert_eq!((response.status, response.text()), (400, REFUSED), "{parameters}");
            client.expect_end();
        }
        for other in ["x-webkit-deflate-frame", "permessage-bzip2; a=b", "constructor"] {
            assert_eq!(open(site, other).1, None, "{other}");
        }
        let (_, second) = open(site, "permessage-bzip2, permessage-deflate, permessage-deflate");
        assert!(second.is_some());
    });
}

#[test]
fn clients_with_a_small_window_are_sent_what_they_can_read() {
    on_io_with(deflating, |site| {
        let sizes = ["15", "9", "8", "10"];
        let offered =
            sizes.map(|bits| format!("permessage-deflate; server_max_window_bits={bits}"));
        for (bits, offered) in sizes.iter().zip(&offered) {
            let (_, agreed) = open(site, offered);
            assert!(agreed.unwrap().contains(&format!("server_max_window_bits={bits}")));
        }
        let mut clients = offered.map(|offered| joined(site, &offered));
        let text = "text ".repeat(4_000);
        site.server().emit("all", &text);
        for client in &mut clients {
            let Frame { first, payload } = client.frame();
            assert_eq!(first, TEXT);
            assert_eq!(read(&payload), format!("42[\"all\",\"{text}\"]").into_bytes());
        }
    });
    let narrow = PerMessageDeflate::default().server_max_window_bits(9).client_max_window_bits(10);
    on_engine_with(
        |builder| builder.per_message_deflate(narrow),
        |site| {
            let (_, agreed) = open(site, OFFER);
            let windows = "server_max_window_bits=9; client_max_window_bits=10";
            assert!(agreed.unwrap().ends_with(windows));
            let (_, response) = offer(site, &site.open_target("websocket"), "permessage-deflate");
            assert_eq!((response.status, response.text()), (400, REFUSED));
        },
    );
}

#[test]
fn cve_2026_27571_cve_2026_1526_a_bomb_ends_at_the_limit_with_1009() {
    on_engine_with(
        |builder| deflating(builder).max_http_buffer_size(100_000),
        |site| {
            let mut bystanders = site.bystanders();
            let bomb = compressed(&vec![b'4'; 100 << 20]);
            assert!(bomb.len() < 120_000);
            for length in [99_999, 100_000] {
                let (mut client, _) = open(site, OFFER);
                client.send(marked(Opcode::Binary, &compressed(&vec![0; length])));
                assert_eq!(read(&client.frame().payload).len(), length);
                drop(client);
                assert_eq!(site.reason(), "transport close");
            }
            for bytes in [
                marked(Opcode::Text, &bomb[..100_000]),
                marked(Opcode::Text, &bomb),
                marked(Opcode::Binary, &compressed(&vec![0; 100_001])),
                [&[0xc1, 0xff][..], &(1_u64 << 62).to_be_bytes(), &MASK].concat(),
            ] {
                let (mut client, _) = open(site, OFFER);
                client.send(bytes);
                assert_eq!(client.close_code(), Some(1009));
                assert_eq!(site.reason(), "transport error");
            }
            bystanders.echo();
        },
    );
}

#[test]
fn what_is_no_deflate_or_no_utf_8_ends_with_1007() {
    on_engine_with(deflating, |site| {
        let mut bystanders = site.bystanders();
        let back: &[u8] = b"\xf2\x00\x11\x00\x00";
        let wrong = [b"\x06".to_vec(), back.to_vec(), compressed(b"4\xff")];
        for payload in wrong {
            let (mut client, _) = open(site, OFFER);
            client.send(marked(Opcode::Text, &payload));
            assert_eq!(client.close_code(), Some(1007));
            assert_eq!(site.reason(), "transport error");
        }
        // RFC 7692 §6: the bit stands on the first frame of a message of data.
        let (mut client, _) = open(site, OFFER);
        client.send(marked(Opcode::Ping, b""));
        assert_eq!(client.close_code(), Some(1002));
        bystanders.echo();
    });
}

#[test]
fn nats_2026_05_everybody_is_sent_its_own_and_nothing_of_anybody_else() {
    on_engine_with(deflating, |site| {
        let mut clients: Vec<Client> = (0..8).map(|_| open(site, OFFER).0).collect();
        for round in 0..10 {
            let message = |index: usize| noise(700, (round * 8 + index) as u64).repeat(3);
            for (index, client) in clients.iter_mut().enumerate() {
                let payload = compressed(&message(index));
                client.send(&marked(Opcode::Binary, &payload)[..100]);
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let payload = compressed(&message(index));
                client.send(&marked(Opcode::Binary, &payload)[100..]);
            }
            for (index, client) in clients.iter_mut().enumerate() {
                assert_eq!(read(&client.frame().payload), message(index));
            }
        }
    });
}

#[test]
fn what_waits_for_an_upgrade_is_compressed_behind_it() {
    on_engine_with(deflating, |site| {
        let mut session = site.polling();
        let message = long("waiting ");
        session.send(&message);
        let target = site.target("websocket", &session.sid);
        let (mut client, response) = offer(site, &target, OFFER);
        assert!(response.header("sec-websocket-extensions").is_some());
        client.send(marked(Opcode::Text, &compressed(b"2probe")));
        assert_eq!(client.text(), "3probe");
        client.say("5");
        let Frame { first, payload } = client.frame();
        assert_eq!((first, read(&payload)), (TEXT, message.into_bytes()));
    });
}

/// Contexts are kept, for as many clients as these bytes are enough for.
fn keeping(builder: Builder, bytes: usize) -> Builder {
    let kept = PerMessageDeflate::default()
        .server_no_context_takeover(false)
        .client_no_context_takeover(false);
    builder.per_message_deflate(kept).limits(|limits| limits.context_bytes = bytes)
}

#[test]
fn with_contexts_a_message_may_refer_to_those_before_it() {
    on_io_with(
        |builder| keeping(builder, 64 << 20),
        |site| {
            let (mut client, agreed) = open(site, "permessage-deflate");
            assert_eq!(agreed.as_deref(), Some("permessage-deflate"));
            let mut reader = Reader::new();
            let mut next = |client: &mut Client| {
                let Frame { first, payload } = client.frame();
                assert_eq!(first, TEXT, "small ones are compressed, too");
                (payload.len(), String::from_utf8(reader.read(&payload)).unwrap())
            };
            client.say("40");
            assert!(next(&mut client).1.starts_with("40{\"sid\":"));
            let words = "the quick brown fox jumps over a lazy dog";
            let echo = format!("42[\"echo\",\"{words}\"]");
            let mut lengths = Vec::new();
            for round in 0..4 {
                client.say(&echo);
                let (length, text) = next(&mut client);
                assert_eq!(text, echo);
                lengths.push(length);
                if round == 1 {
                    // The same bytes as for everybody: what comes behind begins anew.
                    site.server().emit("all", words.repeat(100));
                    assert_eq!(
                        next(&mut client).1,
                        format!("42[\"all\",\"{}\"]", words.repeat(100))
                    );
                    site.server().emit("small", 1);
                    assert_eq!(client.text(), "42[\"small\",1]");
                }
            }
            assert!(lengths[1] * 3 < lengths[0] && lengths[2] > lengths[1], "{lengths:?}");
            assert!(lengths[3] * 3 < lengths[2], "{lengths:?}");
        },
    );
}

#[test]
fn a_client_with_context_refers_to_what_it_has_sent() {
    on_engine_with(
        |builder| keeping(builder, 64 << 20),
        |site| {
            let (mut client, _) = open(site, "permessage-deflate");
            let mut reader = Reader::new();
            // The examples of RFC 7692 §7.2.3.1 and §7.2.3.2.
            for payload in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\xf2\x00\x11\x00\x00"] {
                client.send(marked(Opcode::Binary, payload));
                let Frame { first, payload } = client.frame();
                assert_eq!((first, reader.read(&payload)), (BINARY, b"Hello".to_vec()));
            }
            // It can be asked for from either side.
            let (_, agreed) = open(site, "permessage-deflate; server_no_context_takeover");
            let expected = "permessage-deflate; server_no_context_takeover";
            assert_eq!(agreed.as_deref(), Some(expected));
        },
    );
}

#[test]
fn memory_for_contexts_has_a_limit_beyond_which_none_are_kept() {
    // One client takes 368 KiB and 48 KiB.
    let enough_for_two = 2 * (368 + 48) * 1024;
    on_engine_with(
        |builder| keeping(builder, enough_for_two),
        |site| {
            let without =
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
            let open = || open(site, "permessage-deflate");
            let (first, second, mut third) = (open(), open(), open());
            assert_eq!(first.1.as_deref(), Some("permessage-deflate"));
            assert_eq!(second.1.as_deref(), Some("permessage-deflate"));
            assert_eq!(third.1.as_deref(), Some(without));
            let message = long("no context ");
            third.0.send(marked(Opcode::Text, &compressed(message.as_bytes())));
            assert_eq!(read(&third.0.frame().payload), message.as_bytes());
            drop(first);
            assert_eq!(site.reason(), "transport close");
            let (fourth, fifth) = (open(), open());
            assert_eq!(fourth.1.as_deref(), Some("permessage-deflate"), "what was given back");
            assert_eq!(fifth.1.as_deref(), Some(without));
        },
    );
}
