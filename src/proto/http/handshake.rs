//! The server's side of the WebSocket opening handshake: RFC 6455 4.2, protocol.md §2 and §6.

use std::error::Error;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::response::write_status_line;
use super::{
    Fault, Field, Head, Method, ResponseHead, Version, elements, is_token, write_response,
};
use crate::proto::websocket::{self, Agreement, DeflateOptions};

/// RFC 6455 1.3: what is appended to the key, so that only who knows the protocol accepts it.
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Length of a SHA-1 digest in base64.
const ACCEPT_CHARACTERS: usize = 28;

/// Proof that a handshake is right, and what the answer to it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept<'a> {
    value: [u8; ACCEPT_CHARACTERS],
    protocol: Option<&'a [u8]>,
    deflate: Option<Agreement>,
}

impl<'a> Accept<'a> {
    /// The value of `Sec-WebSocket-Accept`.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The subprotocol that is agreed on: the first one offered, a token.
    pub fn protocol(&self) -> Option<&'a [u8]> {
        self.protocol
    }

    /// The same answer, which also accepts permessage-deflate, if something was agreed on.
    pub fn with_deflate(self, deflate: Option<Agreement>) -> Accept<'a> {
        Accept { deflate, ..self }
    }

    fn new(key: &[u8], protocol: Option<&'a [u8]>) -> Accept<'a> {
        let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SALT).finalize();
        let mut value = [0; ACCEPT_CHARACTERS];
        let written = STANDARD.encode_slice(digest, &mut value);
        assert_eq!(written, Ok(ACCEPT_CHARACTERS), "20 bytes are 28 characters");
        Accept { value, protocol, deflate: None }
    }
}

/// Why the client's handshake is refused. The connection must be closed behind the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The method is not GET.
    Method,
    /// The request is HTTP/1.0, which knows no upgrade.
    HttpVersion,
    /// The request has a body, which the first frame could be taken for.
    Body,
    /// `Upgrade` is not `websocket`, or `Connection` does not name it.
    Upgrade,
    /// The key is missing, repeated, or not 16 bytes of base64.
    Key,
    /// The version of the WebSocket protocol is not 13.
    WebSocketVersion,
    /// The offered subprotocols are not a list of tokens.
    Protocol,
    /// The offered extensions are not a list of such, or permessage-deflate is offered in no form
    /// that the server accepts.
    Extensions,
}

impl HandshakeFault {
    /// The status and the text of the answer; where the reference has the case, its text.
    pub const fn fault(self) -> Fault {
        match self {
            HandshakeFault::Method => Fault::new(400, "Bad handshake method"),
            HandshakeFault::HttpVersion => Fault::new(400, "Invalid HTTP version"),
            HandshakeFault::Body => Fault::new(400, "Invalid handshake body"),
            HandshakeFault::Upgrade => Fault::new(400, "Invalid Upgrade header"),
            HandshakeFault::Key => Fault::new(400, "Missing or invalid Sec-WebSocket-Key header"),
            HandshakeFault::WebSocketVersion => {
                Fault::new(426, "Missing or invalid Sec-WebSocket-Version header")
            }
            HandshakeFault::Protocol => Fault::new(400, "Invalid Sec-WebSocket-Protocol header"),
            HandshakeFault::Extensions => {
                Fault::new(400, "Invalid or unacceptable Sec-WebSocket-Extensions header")
            }
        }
    }

    /// Writes the whole answer, in the shape of protocol.md §2. A wrong version is told the right
    /// one (RFC 6455 4.4).
    pub fn respond(self, out: &mut Vec<u8>) {
        const FIELDS: &[Field<'static>] = &[
            Field::known("Content-Type", "text/html"),
            Field::known("Sec-WebSocket-Version", "13"),
        ];
        let fields = match self {
            HandshakeFault::WebSocketVersion => FIELDS,
            _ => &FIELDS[..1],
        };
        let fault = self.fault();
        let head = ResponseHead::closing(fault.status, fields);
        write_response(out, &head, fault.message.as_bytes());
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the client's WebSocket handshake fails: {}", self.fault().message)
    }
}

impl Error for HandshakeFault {}

impl<'a> Head<'a> {
    /// Checks a WebSocket handshake and computes the answer. Extensions are not looked at, see
    /// [`Head::deflate_agreement`]: an offer that is not answered is declined.
    ///
    /// # Errors
    /// What RFC 6455 4.2.1 asks for is missing. Stricter than the reference on purpose: it takes
    /// HTTP/1.0 and version 8.
    pub fn websocket_handshake(&self) -> Result<Accept<'a>, HandshakeFault> {
        if self.method != Method::Get {
            return Err(HandshakeFault::Method);
        }
        if self.version != Version::Http11 {
            return Err(HandshakeFault::HttpVersion);
        }
        if !self.body.is_empty() {
            return Err(HandshakeFault::Body);
        }
        let websocket = |value: &[u8]| value.eq_ignore_ascii_case(b"websocket");
        if !self.upgrade || !self.only("upgrade").is_some_and(websocket) {
            return Err(HandshakeFault::Upgrade);
        }
        let key = self.only("sec-websocket-key").filter(|key| is_key(key));
        let key = key.ok_or(HandshakeFault::Key)?;
        if self.only("sec-websocket-version") != Some(b"13") {
            return Err(HandshakeFault::WebSocketVersion);
        }
        Ok(Accept::new(key, self.first_protocol()?))
    }

    /// What is agreed on with the client about permessage-deflate: nothing when it does not offer
    /// that. For a server that has it turned on; otherwise offers are not looked at, however wrong
    /// they are (protocol.md §11.4).
    ///
    /// # Errors
    /// [`HandshakeFault::Extensions`], as the reference: see [`websocket::negotiate`].
    pub fn deflate_agreement(
        &self,
        options: &DeflateOptions,
    ) -> Result<Option<Agreement>, HandshakeFault> {
        let values = self.values("sec-websocket-extensions");
        websocket::negotiate(values, options).map_err(|_| HandshakeFault::Extensions)
    }

    /// The value of a header that is sent exactly once.
    fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() { None } else { first }
    }

    /// Every element is checked, although one is taken: a list that is wrong anywhere may have
    /// been cut differently by somebody before (and CVE-2021-32640 was a slow cut).
    fn first_protocol(&self) -> Result<Option<&'a [u8]>, HandshakeFault> {
        let mut first = None;
        for protocol in self.values("sec-websocket-protocol").flat_map(elements) {
            if !is_token(protocol) {
                return Err(HandshakeFault::Protocol);
            }
            first = first.or(Some(protocol));
        }
        Ok(first)
    }
}

/// 16 bytes of base64: 22 digits and the padding. The four bits of the last digit that belong to
/// no byte may be set, as for the reference: clients with made-up keys set them.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

/// Appends the answer that turns the connection into a WebSocket; `fields` are added to it.
pub fn write_switching_protocols(out: &mut Vec<u8>, accept: &Accept<'_>, fields: &[Field<'_>]) {
    write_status_line(out, 101);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    out.extend_from_slice(accept.value());
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = accept.protocol() {
        out.extend_from_slice(b"Sec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(deflate) = accept.deflate {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
        deflate.write(out);
        out.extend_from_slice(b"\r\n");
    }
    for field in fields {
        field.write(out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::Limits;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

    /// The answer to a handshake with these lines.
    fn answer(request_line: &str, lines: &[&str]) -> Result<String, HandshakeFault> {
        let bytes = format!("{request_line}\r\nHost: a\r\n{}\r\n", lines.concat());
        let head = Head::parse(bytes.as_bytes(), &Limits::default()).unwrap();
        let accept = head.websocket_handshake()?;
        let mut out = Vec::new();
        write_switching_protocols(&mut out, &accept, &[Field::known("X-More", "1")]);
        Ok(String::from_utf8(out).unwrap())
    }

    fn get(lines: &[&str]) -> Result<String, HandshakeFault> {
        answer("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", lines)
    }

    #[test]
    fn the_example_of_rfc_6455_is_answered_as_there() {
        let protocols = "Sec-WebSocket-Protocol: chat, superchat\r\n";
        assert_eq!(
            get(&[UPGRADE, KEY, VERSION, protocols]).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
             X-More: 1\r\n\r\n"
        );
    }

    #[test]
    fn names_and_tokens_have_no_case() {
        let upgrade = "UPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n";
        assert!(get(&[upgrade, KEY, VERSION]).is_ok());
    }

    #[test]
    fn a_request_that_cannot_be_upgraded_is_refused() {
        let lines = [UPGRADE, KEY, VERSION];
        assert_eq!(answer("POST / HTTP/1.1", &lines), Err(HandshakeFault::Method));
        assert_eq!(answer("GET / HTTP/1.0", &lines), Err(HandshakeFault::HttpVersion));
        for body in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(get(&[UPGRADE, KEY, VERSION, body]), Err(HandshakeFault::Body));
        }
        assert!(get(&[UPGRADE, KEY, VERSION, "Content-Length: 0\r\n"]).is_ok());
    }

    #[test]
    fn the_upgrade_is_to_websocket_and_named_by_connection() {
        for upgrade in [
            "",
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\n",
            "Upgrade: websocket\r\nConnection: close\r\n",
            "Upgrade: h2c\r\nConnection: Upgrade\r\n",
            "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
            "Upgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        ] {
            let answer = get(&[upgrade, KEY, VERSION]);
            assert_eq!(answer, Err(HandshakeFault::Upgrade), "{upgrade:?}");
        }
    }

    #[test]
    fn a_key_is_16_bytes_of_base64_sent_once() {
        for key in [
            "",
            "Sec-WebSocket-Key:\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA-==\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAA=AAAAAAAAAA==\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==, x\r\n",
        ] {
            assert_eq!(get(&[UPGRADE, key, VERSION]), Err(HandshakeFault::Key), "{key:?}");
        }
        assert_eq!(get(&[UPGRADE, KEY, KEY, VERSION]), Err(HandshakeFault::Key));
        assert!(
            get(&[UPGRADE, "Sec-WebSocket-Key: //////////////////////==\r\n", VERSION]).is_ok()
        );
    }

    #[test]
    fn only_version_13_is_spoken_and_a_client_of_another_is_told() {
        for version in ["", "8", "7", "013", "13, 8", "1 3", "13a"] {
            let line = format!("Sec-WebSocket-Version: {version}\r\n");
            let answer = get(&[UPGRADE, KEY, &line]);
            assert_eq!(answer, Err(HandshakeFault::WebSocketVersion), "{version:?}");
        }
        assert_eq!(get(&[UPGRADE, KEY]), Err(HandshakeFault::WebSocketVersion));
        let mut out = Vec::new();
        HandshakeFault::WebSocketVersion.respond(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/html\r\n\
             Sec-WebSocket-Version: 13\r\nContent-Length: 47\r\nConnection: close\r\n\r\n\
             Missing or invalid Sec-WebSocket-Version header"
        );
    }

    #[test]
    fn a_refused_handshake_has_the_body_of_the_reference() {
        let mut out = Vec::new();
        HandshakeFault::Key.respond(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 43\r\n\
             Connection: close\r\n\r\nMissing or invalid Sec-WebSocket-Key header"
        );
    }

    #[test]
    fn subprotocols_are_a_list_of_tokens_and_the_first_one_is_taken() {
        let first = |value: &str| {
            let line = format!("Sec-WebSocket-Protocol: {value}\r\n");
            let answer = get(&[UPGRADE, KEY, VERSION, &line])?;
            let line =
                answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            Ok(line.unwrap_or_default().to_owned())
        };
        assert_eq!(first("a").as_deref(), Ok("a"));
        assert_eq!(first("b.1 ,\tc").as_deref(), Ok("b.1"));
        assert_eq!(first("b\r\nSec-WebSocket-Protocol: a").as_deref(), Ok("b"));
        for value in ["", ",", "a,", ",a", "a,,b", "a b", "a;b", "\"a\"", "a=b", "a,\u{e9}"] {
            assert_eq!(first(value), Err(HandshakeFault::Protocol), "{value:?}");
        }
    }

    #[test]
    fn cve_2021_32640_blanks_inside_a_subprotocol_cost_linear_time() {
        let line = format!("Sec-WebSocket-Protocol: b{}x\r\n", " ".repeat(15_000));
        assert_eq!(get(&[UPGRADE, KEY, VERSION, &line]), Err(HandshakeFault::Protocol));
    }

    /// The line about extensions in the answer of a server that has permessage-deflate turned on.
    fn deflate(lines: &str) -> Result<Option<String>, HandshakeFault> {
        let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n";
        let bytes = [request, UPGRADE, KEY, VERSION, lines, "\r\n"].concat();
        let head = Head::parse(bytes.as_bytes(), &Limits::default()).unwrap();
        let agreement = head.deflate_agreement(&DeflateOptions::default())?;
        let accept = head.websocket_handshake()?.with_deflate(agreement);
        let mut out = Vec::new();
        write_switching_protocols(&mut out, &accept, &[Field::known("X-More", "1")]);
        let answer = String::from_utf8(out).unwrap();
        let mut lines = answer.lines().filter(|line| line.contains("Extensions"));
        let line = lines.next().map(str::to_owned);
        assert!(lines.next().is_none() && answer.ends_with("\r\nX-More: 1\r\n\r\n"));
        Ok(line)
    }

    #[test]
    fn permessage_deflate_is_answered_once_whatever_the_number_of_lines() {
        let agreed = Ok(Some("Sec-WebSocket-Extensions: permessage-deflate".to_owned()));
        let browser = "permessage-deflate; client_max_window_bits\r\n";
        assert_eq!(deflate(&format!("Sec-WebSocket-Extensions: {browser}")), agreed);
        let first = "Sec-WebSocket-Extensions: a;b=c, d\r\n";
        assert_eq!(deflate(&format!("{first}sec-websocket-extensions: {browser}")), agreed);
        assert_eq!(deflate(""), Ok(None));
        assert_eq!(deflate("Sec-WebSocket-Extensions: constructor\r\n"), Ok(None));
    }

    #[test]
    fn offers_that_are_wrong_are_refused_with_400_by_a_server_that_looks_at_them() {
        let out_of_range = "permessage-deflate; server_max_window_bits=99";
        for offer in ["", ",", "permessage-deflate; x", out_of_range] {
            let answer = deflate(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
            assert_eq!(answer, Err(HandshakeFault::Extensions), "{offer:?}");
        }
        assert_eq!(HandshakeFault::Extensions.fault().status, 400);
    }

    #[test]
    fn ghsa_5v72_xg48_5rpm_extension_names_are_data() {
        for name in ["constructor", "__proto__", "permessage-deflate; x=y", ";;,"] {
            let line = format!("Sec-WebSocket-Extensions: {name}\r\n");
            let answer = get(&[UPGRADE, KEY, VERSION, &line]).unwrap();
            assert!(!answer.contains("Extensions"), "{answer}");
        }
    }
}
