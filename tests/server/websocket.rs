//! WebSocket framing and packets on it (protocol.md §4 and §6, matrix 23 to 32).

use fanfare::Builder;
use fanfare::proto::websocket::Opcode;

use crate::raw::{Client, Frame, MASK, escaped, frame, text};
use crate::site::{Site, on_engine, on_engine_with, on_io_with};

/// Sends what ends the session of a new WebSocket, and checks the code and the reason.
fn check_fatal(site: &Site, bytes: &[u8], code: Option<u16>, reason: &str) {
    let (mut client, _) = site.websocket();
    client.send(bytes);
    assert_eq!(client.close_code(), code, "{}", escaped(bytes));
    client.expect_end_after_close();
    assert_eq!(site.reason(), reason, "{}", escaped(bytes));
}

impl Client {
    /// Answers a close frame, and waits for the end.
    fn expect_end_after_close(&mut self) {
        self.send(frame(true, Opcode::Close, b""));
        self.expect_end();
    }

    fn expect_echo(&mut self) {
        self.say("4still here");
        assert_eq!(self.text(), "4still here");
    }
}

/// A masked header with any first byte and declared length, without payload.
fn header(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat()
}

#[test]
fn b5_6_b5_9_b5_10_b5_11_b5_12_b5_20_text_and_binary_go_there_and_back() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        for message in ["4", "4hello", "4€ é 😀 \0", &format!("4{}", "x".repeat(70_000))] {
            client.say(message);
            assert_eq!(client.text(), message);
        }
        for payload in [&b""[..], b"\x00\xff\x1e", &[7; 126], &[9; 65_536]] {
            client.send(frame(true, Opcode::Binary, payload));
            assert_eq!(client.frame(), Frame { first: 0x82, payload: payload.to_vec() });
        }
    });
}

#[test]
fn a_text_message_may_hold_base64() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        client.say("bAQIDBA==");
        assert_eq!(client.frame(), Frame { first: 0x82, payload: vec![1, 2, 3, 4] });
    });
}

#[test]
fn b5_7_b5_8_b4_37_messages_right_before_a_close_are_all_delivered() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        client.say("4send and close:");
        assert_eq!([client.text(), client.text(), client.text()], ["4one", "4two", "4three"]);
        client.expect_close(None);
        assert_eq!(site.reason(), "forced close");
    });
}

#[test]
fn fragments_with_control_frames_in_between_are_one_message() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        client.send(frame(false, Opcode::Text, b"4a\xe2"));
        client.send(frame(true, Opcode::Ping, b"payload"));
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"payload".to_vec() });
        client.send(frame(false, Opcode::Continuation, b""));
        client.send(frame(true, Opcode::Pong, b""));
        client.send(frame(true, Opcode::Continuation, b"\x82\xac"));
        assert_eq!(client.text(), "4a€");
    });
}

#[test]
fn m31_a_message_may_come_byte_by_byte() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        client.trickle([text("4abc"), frame(true, Opcode::Ping, b"p"), text("4d")].concat());
        assert_eq!(client.text(), "4abc");
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"p".to_vec() });
        assert_eq!(client.text(), "4d");
    });
}

#[test]
fn m23_broken_framing_ends_with_1002() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let stray = frame(true, Opcode::Continuation, b"a");
        let interleaved = [frame(false, Opcode::Text, b"4"), text("4")].concat();
        let masked = |first: u8| [&[first, 0x80][..], &MASK].concat();
        let cases = [
            b"\x81\x024a".to_vec(),
            masked(0xc1),
            masked(0xa1),
            masked(0x91),
            masked(0x83),
            masked(0x87),
            masked(0x8b),
            masked(0x8f),
            masked(0x09),
            masked(0x08),
            frame(true, Opcode::Ping, &[0; 126]),
            frame(true, Opcode::Close, &[0; 126]),
            stray,
            interleaved,
        ];
        for bytes in cases {
            check_fatal(site, &bytes, Some(1002), "transport error");
        }
        bystanders.echo();
    });
}

#[test]
fn m24_text_that_is_not_utf_8_ends_with_1007() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let split =
            [frame(false, Opcode::Text, b"4\xe2\x82"), frame(true, Opcode::Continuation, b"a")];
        for bytes in [
            frame(true, Opcode::Text, b"4\xff"),
            frame(true, Opcode::Text, b"4\xed\xa0\x80"),
            frame(true, Opcode::Text, b"4\xc0\xaf"),
            frame(true, Opcode::Text, b"4\xe2\x82"),
            split.concat(),
            frame(true, Opcode::Close, b"\x03\xe8\xff"),
            // At the first wrong byte: the rest of the frame never comes.
            [&[0x81, 0xe4][..], &MASK, &[b'4' ^ MASK[0], 0xff ^ MASK[1]]].concat(),
        ] {
            check_fatal(site, &bytes, Some(1007), "transport error");
        }
        bystanders.echo();
    });
}

#[test]
fn m25_b4_11_a_close_frame_is_echoed() {
    on_engine(|site| {
        let bodies =
            [&b""[..], b"\x03\xe8", b"\x03\xe9bye", b"\x03\xf4", b"\x0b\xb8", b"\x13\x87reason"];
        for body in bodies {
            let (mut client, _) = site.websocket();
            // Nothing behind a close frame counts.
            let close = frame(true, Opcode::Close, body);
            client.send([text("4before"), close, text("4behind"), text("x")].concat());
            assert_eq!(client.text(), "4before");
            let code = body.first_chunk().map(|code| u16::from_be_bytes(*code));
            assert_eq!(client.close_code(), code);
            client.expect_end();
            assert_eq!(site.reason(), "transport close");
        }
    });
}

#[test]
fn m25_a_close_frame_that_must_not_be_ends_with_1002() {
    on_engine(|site| {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535_u16] {
            let bytes = frame(true, Opcode::Close, &code.to_be_bytes());
            check_fatal(site, &bytes, Some(1002), "transport error");
        }
        check_fatal(site, &frame(true, Opcode::Close, b"\x03"), Some(1002), "transport error");
    });
}

#[test]
fn cve_2026_27889_cve_2016_10542_cve_2022_35922_m26_a_length_over_the_limit_ends_with_1009() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for length in [1_000_001, 1 << 32, 1 << 40, 1 << 53, (1 << 63) - 1] {
            check_fatal(site, &header(0x82, length), Some(1009), "transport error");
        }
        for length in [1 << 63, u64::MAX] {
            let (mut client, _) = site.websocket();
            client.send(header(0x81, length));
            assert!(matches!(client.close_code(), Some(1002 | 1009)), "{length}");
            assert_eq!(site.reason(), "transport error");
        }
        bystanders.echo();
    });
}

#[test]
fn b5_4_b5_5_m26_the_limit_counts_whole_messages() {
    on_engine_with(
        |builder| builder.max_http_buffer_size(200),
        |site| {
            let (mut client, _) = site.websocket();
            let fits = format!("4{}", "x".repeat(199));
            client.say(&fits);
            assert_eq!(client.text(), fits);
            client.send(frame(false, Opcode::Text, &fits.as_bytes()[..150]));
            client.send(frame(true, Opcode::Continuation, &fits.as_bytes()[150..]));
            assert_eq!(client.text(), fits);
            client.send(frame(false, Opcode::Text, &fits.as_bytes()[..150]));
            client.send(frame(true, Opcode::Continuation, &[b'x'; 51]));
            assert_eq!(client.close_code(), Some(1009));
            assert_eq!(site.reason(), "transport error");
            check_fatal(site, &text(&format!("{fits}x")), Some(1009), "transport error");
        },
    );
}

#[test]
fn m26_a_message_of_the_default_limit_is_taken() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        let payload = vec![5; 1_000_000];
        client.send(frame(true, Opcode::Binary, &payload));
        assert_eq!(client.frame().payload, payload);
    });
}

#[test]
fn m27_a_length_that_is_not_in_its_shortest_form_ends_with_1002() {
    on_engine(|site| {
        let short = [&[0x81, 0xfe, 0, 5][..], &MASK, b"12345"].concat();
        check_fatal(site, &short, Some(1002), "transport error");
        check_fatal(site, &header(0x82, 65_535), Some(1002), "transport error");
    });
}

#[test]
fn cve_2026_48779_m28_a_message_of_65_536_fragments_is_served() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let (mut client, _) = site.websocket();
        let mut bytes = frame(false, Opcode::Text, b"4");
        for _ in 0..65_534 {
            bytes.extend(frame(false, Opcode::Continuation, b"a"));
        }
        client.send(bytes);
        bystanders.echo();
        client.send(frame(true, Opcode::Continuation, b"a"));
        assert_eq!(client.text().len(), 65_536);
    });
}

#[test]
fn m28_ws_2331_a_thousand_empty_fragments_are_taken_and_no_more() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        let (mut client, _) = site.websocket();
        let empty = frame(false, Opcode::Continuation, b"").repeat(1_000);
        client.send([frame(false, Opcode::Text, b"4"), empty].concat());
        client.send(frame(true, Opcode::Continuation, b"a"));
        assert_eq!(client.text(), "4a");
        let empty = frame(false, Opcode::Continuation, b"").repeat(1_001);
        let bytes = [frame(false, Opcode::Text, b"4"), empty].concat();
        check_fatal(site, &bytes, Some(1008), "transport error");
        bystanders.echo();
    });
}

/// More control frames than the burst and all that a slow machine would add to it.
fn control_flood(opcode: Opcode) -> Vec<u8> {
    frame(true, opcode, &[b'p'; 125]).repeat(40_000)
}

#[test]
fn m30_ws_pending_pongs_a_flood_of_control_frames_ends_with_1008() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for opcode in [Opcode::Ping, Opcode::Pong] {
            let (mut client, _) = site.websocket();
            // It does not read before it has sent everything.
            client.send(control_flood(opcode));
            let mut pongs = 0;
            let code = loop {
                let frame = client.frame();
                match frame.first {
                    0x8a => pongs += 1,
                    _ => break (frame.first, frame.payload),
                }
            };
            assert_eq!(code, (0x88, 1008_u16.to_be_bytes().to_vec()));
            assert!(pongs < 40_000);
            assert_eq!(site.reason(), "transport error");
        }
        bystanders.echo();
    });
}

#[test]
fn m30_the_control_frame_behind_the_burst_ends_with_1008() {
    let strict = |builder: Builder| {
        builder.limits(|limits| {
            (limits.control_frames_burst, limits.control_frames_per_second) = (3, 0);
        })
    };
    on_engine_with(strict, |site| {
        for (opcode, pongs) in [(Opcode::Ping, 3), (Opcode::Pong, 0)] {
            let (mut client, _) = site.websocket();
            client.send([frame(true, opcode, b"p").repeat(3), text("4a")].concat());
            for _ in 0..pongs {
                assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"p".to_vec() });
            }
            assert_eq!(client.text(), "4a");
            client.send(frame(true, opcode, b"p"));
            assert_eq!(client.close_code(), Some(1008));
            client.expect_end_after_close();
            assert_eq!(site.reason(), "transport error");
        }
    });
}

#[test]
fn m30_a_burst_of_pings_is_answered() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        for number in 0..100_u8 {
            client.send(frame(true, Opcode::Ping, &[number]));
            assert_eq!(client.frame(), Frame { first: 0x8a, payload: vec![number] });
        }
    });
}

#[test]
fn m30_ws_pending_pongs_a_client_that_is_behind_is_answered_its_latest_ping() {
    let patient = |builder: Builder| {
        builder.limits(|limits| {
            (limits.send_queue_soft_bytes, limits.send_queue_bytes) = (1 << 25, 1 << 26);
        })
    };
    on_engine_with(patient, |site| {
        let (mut client, _) = site.websocket();
        // 20 MB: more than the kernel takes while nobody reads.
        client.say("4many:200000");
        assert_eq!(client.text().len(), 200_001);
        let pings = [b"a", b"b", b"c"].map(|payload| frame(true, Opcode::Ping, payload)).concat();
        client.send([pings, text("4behind")].concat());
        for _ in 1..100 {
            assert_eq!(client.text().len(), 200_001);
        }
        assert_eq!(client.text(), "4behind");
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"c".to_vec() });
        client.send(frame(true, Opcode::Ping, b"d"));
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"d".to_vec() });
    });
}

#[test]
fn b4_29_m33_an_undecodable_packet_ends_the_session() {
    on_engine(|site| {
        let mut bystanders = site.bystanders();
        for packet in ["", "7", "9", "x", " 4", "\x1e"] {
            check_fatal(site, &text(packet), None, "parse error");
        }
        for packet in ["2", "2probe"] {
            check_fatal(site, &text(packet), None, "transport error");
        }
        bystanders.echo();
    });
}

#[test]
fn m33_packets_without_meaning_are_ignored() {
    on_engine(|site| {
        let (mut client, _) = site.websocket();
        for packet in ["0", "0{}", "3", "3probe", "5", "6"] {
            client.say(packet);
        }
        client.expect_echo();
        site.none_gone();
    });
}

#[test]
fn a_close_packet_ends_the_session() {
    on_engine(|site| check_fatal(site, &text("1"), None, "transport close"));
}

#[test]
fn b4_11_a_connection_that_ends_is_a_transport_close() {
    on_engine(|site| {
        for way in 0..3 {
            let (mut client, _) = site.websocket();
            match way {
                0 => drop(client),
                1 => client.reset(),
                _ => client.finish(),
            }
            assert_eq!(site.reason(), "transport close", "way {way}");
        }
    });
}

#[test]
fn nothing_behind_a_fault_is_dispatched() {
    on_engine(|site| {
        let bytes = [text("4a"), text("x"), text("4close:")].concat();
        let (mut client, _) = site.websocket();
        client.send(bytes);
        assert_eq!(client.text(), "4a");
        assert_eq!(client.close_code(), None);
        assert_eq!(site.reason(), "parse error");
        client.expect_end_after_close();
    });
}

#[test]
fn b7_1_b39_6_a_broadcast_is_the_same_frame_for_all() {
    on_io_with(
        |builder| builder,
        |site| {
            let mut clients: Vec<Client> = (0..4).map(|_| site.websocket().0).collect();
            for client in &mut clients {
                client.say("40");
                assert!(client.text().starts_with("40{"));
            }
            site.server().emit("news", (&"é", &[1, 2]));
            let packet = r#"42["news","é",[1,2]]"#;
            for client in &mut clients {
                let payload = packet.as_bytes().to_vec();
                assert_eq!(client.frame(), Frame { first: 0x81, payload });
            }
        },
    );
}
