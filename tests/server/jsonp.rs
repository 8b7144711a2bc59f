//! JSONP (protocol.md §13.6): long-polling through scripts and forms, in both revisions.

use fanfare::Builder;
use fanfare::proto::websocket::Opcode;

use crate::raw::{Client, frame, request};
use crate::site::{Site, on_engine, on_engine_with, sid_of};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

fn on_page_engine(test: impl Fn(&mut Site)) {
    on_engine_with(|builder: Builder| builder.allow_eio3(true).jsonp(true), test);
}

/// A page that polls.
struct Page<'a> {
    site: &'a Site,
    client: Client,
    target: String,
    callback: &'static str,
}

impl<'a> Page<'a> {
    /// Opens a session; gives the payload with the open packet, too.
    fn open(site: &'a Site, protocol: u8, callback: &'static str) -> (Page<'a>, String) {
        let target = format!("{}?EIO={protocol}&transport=polling&j={callback}", site.path);
        let mut page = Page { site, client: site.client(), target, callback };
        let payload = page.poll();
        let open = payload.trim_start_matches(|character| character != '{');
        page.target += &format!("&sid={}", sid_of(&format!("0{open}")));
        (page, payload)
    }

    /// What the next script calls the page with.
    fn poll(&mut self) -> String {
        let response = self.client.get(&self.target);
        self.payload(&response)
    }

    #[track_caller]
    fn payload(&self, response: &crate::raw::Response) -> String {
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let head = format!("___eio[{}](", self.callback);
        let literal = response.text().strip_prefix(&head).and_then(|rest| rest.strip_suffix(");"));
        let literal = literal.unwrap_or_else(|| panic!("a call: {}", response.text()));
        serde_json::from_str(literal).expect("a literal")
    }

    /// Posts a form with this text, encoded, in its field.
    #[track_caller]
    fn send(&mut self, text: &str) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.send_form(&format!("d={encoded}"), 200);
    }

    #[track_caller]
    fn send_form(&mut self, form: &str, status: u16) {
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            form.len()
        );
        let head = request(&format!("POST {}", self.target), &headers);
        let response = self.client.ask(head + form);
        assert_eq!((response.status, response.text() == "ok"), (status, status == 200), "{form}");
    }
}

#[test]
fn who_does_not_allow_it_refuses_with_code_3() {
    on_engine_with(
        |builder| builder.allow_eio3(true),
        |site| {
            for protocol in [3, 4] {
                for callback in ["0", "", "0);alert(1)//"] {
                    let target =
                        format!("/engine.io/?EIO={protocol}&transport=polling&j={callback}");
                    let response = site.client().get(&target);
                    assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
                }
            }
        },
    );
    on_engine(|site| {
        // On a WebSocket, and in a session, it means nothing.
        let mut client = site.handshake(&(site.open_target("websocket") + "&j=0"));
        assert!(client.text().starts_with('0'));
        let mut session = site.polling();
        session.target += "&j=0";
        session.echo();
    });
}

#[test]
fn packets_come_in_scripts_and_go_in_forms() {
    on_page_engine(|site| {
        let (mut page, open) = Page::open(site, 3, "0");
        let (length, packet) = open.split_once(':').unwrap();
        assert_eq!((length.parse(), &packet[..1]), (Ok(packet.len()), "0"));
        page.send("3:4\u{1f600}2:4\u{2028}4:4\"\\\r");
        assert_eq!(page.poll(), "3:4\u{1f600}2:4\u{2028}4:4\"\\\r");
        // Binary is base64: a script is text.
        page.send("6:b4BwgJ");
        assert_eq!(page.poll(), "6:b4BwgJ");
        page.send("1:2");
        assert_eq!(page.poll(), "1:3");
        let (mut page, open) = Page::open(site, 4, "17");
        assert!(open.starts_with("0{\"sid\""));
        page.send("4a\x1eb+/8=");
        assert_eq!(page.poll(), "4a\x1eb+/8=");
    });
}

#[test]
fn the_script_is_one_line_of_javascript() {
    on_page_engine(|site| {
        let (mut page, _) = Page::open(site, 4, "3");
        page.send("4\u{2028}\u{2029}</script>");
        let response = page.client.get(&page.target);
        assert_eq!(response.text(), "___eio[3](\"4\\u2028\\u2029</script>\");");
    });
}

#[test]
fn line_feeds_of_a_form_are_escaped() {
    on_page_engine(|site| {
        let (mut page, _) = Page::open(site, 4, "0");
        page.send(r"4a\nb\\nc");
        assert_eq!(page.poll(), "4a\nb\\nc");
    });
}

#[test]
fn a_form_without_the_field_does_nothing() {
    on_page_engine(|site| {
        for protocol in [3, 4] {
            let (mut page, _) = Page::open(site, protocol, "0");
            for form in ["", "2:4a", "e=2:4a"] {
                page.send_form(form, 200);
            }
            // Neither is it a way around the reading of packets.
            page.send_form("d=", 400);
            assert_eq!(site.reason(), "parse error");
            let (mut page, _) = Page::open(site, protocol, "0");
            page.send_form("d=x", 400);
            assert_eq!(site.reason(), "parse error");
        }
    });
}

#[test]
fn m33_nothing_but_digits_of_the_callback_gets_into_the_script() {
    on_page_engine(|site| {
        for (j, digits) in
            [("0);alert(1)//", "01"), ("%22%5D;x", ""), ("<b>7", "7"), ("1&j=2", "2")]
        {
            let target = format!("/engine.io/?EIO=4&transport=polling&j={j}");
            let script = site.client().get(&target);
            assert!(script.text().starts_with(&format!("___eio[{digits}](\"0{{")), "{j}");
        }
        let target = "/engine.io/?EIO=4&transport=polling&j=123456";
        let response = site.client().get(target);
        assert_eq!((response.status, response.text()), (400, BAD_REQUEST));
    });
}

#[test]
fn every_answer_of_a_poll_is_a_script_and_the_callback_that_of_the_handshake() {
    on_page_engine(|site| {
        for (protocol, noop, close) in [(3, "1:6", "1:61:1"), (4, "6", "6\x1e1")] {
            let (mut page, _) = Page::open(site, protocol, "5");
            let mut held = site.client();
            // Another callback, or none, is not asked about.
            let other = page.target.replace("j=5", "j=6");
            held.send(request(&format!("GET {other}"), ""));
            let probed = page.target.replace("polling", "websocket");
            let mut websocket = page.site.handshake(&probed);
            websocket.say("2probe");
            let response = held.response();
            assert_eq!(page.payload(&response), noop);
            assert_eq!(websocket.text(), "3probe");
            websocket.send(frame(true, Opcode::Close, b""));
            assert_eq!(websocket.close_code(), None);
            // A close that is told with the next poll.
            page.send(if protocol == 3 { "8:4close:x" } else { "4close:x" });
            assert_eq!(page.poll(), close);
        }
    });
}
