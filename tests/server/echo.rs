//! WebSockets outside the path on a server that echoes them, as `examples/websocket_echo.rs` does
//! for Autobahn. That takes a Python 2.7; this does not.

use fanfare::internal::echo_websockets;
use fanfare::proto::websocket::Opcode;
use fanfare::{Builder, PerMessageDeflate};

use crate::raw::{Frame, MASK, WEBSOCKET_HEADERS, frame, request};
use crate::site::{Site, on_engine_with};

fn on_echo(test: impl Fn(&mut Site)) {
    let options = |builder: Builder| {
        echo_websockets(builder.per_message_deflate(PerMessageDeflate::default().threshold(0)))
    };
    on_engine_with(options, test);
}

#[test]
fn m22_what_is_said_outside_the_path_is_sent_back() {
    on_echo(|site| {
        let mut bystanders = site.bystanders();
        let mut client = site.handshake("/anything");
        for message in ["", "4", "2probe", "€ é 😀"] {
            client.say(message);
            assert_eq!(client.text(), message);
        }
        client.send(frame(false, Opcode::Binary, b"two "));
        client.send(frame(true, Opcode::Ping, b"between"));
        client.send(frame(true, Opcode::Continuation, b"pieces"));
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"between".to_vec() });
        assert_eq!(client.frame(), Frame { first: 0x82, payload: b"two pieces".to_vec() });
        client.send(frame(true, Opcode::Close, b"\x03\xe8bye"));
        assert_eq!(client.close_code(), Some(1000));
        client.expect_end();
        bystanders.echo();
    });
}

#[test]
fn m22_m24_a_text_is_refused_at_its_first_wrong_byte_inside_a_frame() {
    on_echo(|site| {
        let mut client = site.handshake("/");
        // The frame has twenty bytes more, which never come.
        let wrong = frame(true, Opcode::Text, b"caf\xff12345678901234567890");
        client.send(&wrong[..2 + MASK.len() + 4]);
        client.expect_close(Some(1007));
    });
}

#[test]
fn m22_messages_are_compressed_for_those_who_offer_it() {
    on_echo(|site| {
        let mut client = site.client();
        let headers =
            WEBSOCKET_HEADERS.to_owned() + "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let response = client.ask(request("GET /", &headers));
        assert_eq!(response.status, 101);
        assert!(response.header("sec-websocket-extensions").is_some(), "{}", response.head);
        client.say(&"a".repeat(1000));
        let echo = client.frame();
        assert_eq!(echo.first, 0xc1, "a compressed text");
        assert!(echo.payload.len() < 100);
    });
}

#[test]
fn a_server_that_closes_does_not_wait_for_those_who_echo() {
    on_echo(|site| {
        let mut client = site.handshake("/");
        client.say("a");
        assert_eq!(client.text(), "a");
        site.close();
        site.join();
        client.expect_end();
    });
}
