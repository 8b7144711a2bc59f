//! Which requests belong to which session, and the answers to those that belong to none
//! (protocol.md §2).

use crate::base::id::SessionId;
use crate::proto::http::Method;
use crate::proto::json;

/// A transport that a server may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        }
    }
}

/// A request inside the path of the server, as far as it decides about sessions.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Whether it asks for an upgrade of the connection.
    pub upgrade: bool,
    /// The query parameter `transport`.
    pub transport: Option<&'a str>,
    /// The query parameter `EIO`.
    pub protocol: Option<&'a str>,
    /// The query parameter `sid`.
    pub session: Option<&'a str>,
    /// Whether an `Origin` header holds a character that it must not.
    pub illegal_origin: bool,
}

/// What a valid request asks for. That the session exists is checked by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A new session on a transport.
    Open(Transport),
    /// The next packets of a session.
    Poll(SessionId),
    /// Packets for a session.
    Post(SessionId),
    /// A WebSocket for a session.
    Upgrade(SessionId),
    /// Nothing that a session takes: code 1 when it does not exist, code 3 when it does.
    Unfit(SessionId),
}

/// Why a request is refused: code and message on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Code 0.
    TransportUnknown,
    /// Code 1.
    SessionUnknown,
    /// Code 2.
    BadHandshakeMethod,
    /// Code 3.
    BadRequest,
    /// Code 4.
    Forbidden,
    /// Code 5.
    UnsupportedProtocol,
}

impl Refusal {
    /// The code of the JSON body.
    pub fn code(self) -> u8 {
        match self {
            Refusal::TransportUnknown => 0,
            Refusal::SessionUnknown => 1,
            Refusal::BadHandshakeMethod => 2,
            Refusal::BadRequest => 3,
            Refusal::Forbidden => 4,
            Refusal::UnsupportedProtocol => 5,
        }
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Forbidden => 403,
            _ => 400,
        }
    }

    /// The message of the JSON body, unless the application has one of its own.
    pub fn message(self) -> &'static str {
        match self {
            Refusal::TransportUnknown => "Transport unknown",
            Refusal::SessionUnknown => "Session ID unknown",
            Refusal::BadHandshakeMethod => "Bad handshake method",
            Refusal::BadRequest => "Bad request",
            Refusal::Forbidden => "Forbidden",
            Refusal::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The JSON body, with this message.
    pub fn body(self, message: &str) -> Vec<u8> {
        let mut body = format!("{{\"code\":{},\"message\":", self.code()).into_bytes();
        json::write_string(&mut body, message);
        body.push(b'}');
        body
    }
}

/// Checks a request in the order of the reference.
///
/// # Errors
/// What the client is told.
pub fn route(request: &Request<'_>, transports: &[Transport]) -> Result<Route, Refusal> {
    let named = |transport: &&Transport| Some(transport.name()) == request.transport;
    let transport = *transports.iter().find(named).ok_or(Refusal::TransportUnknown)?;
    if request.illegal_origin {
        return Err(Refusal::BadRequest);
    }
    let protocol_is_4 = request.protocol == Some("4");
    let Some(text) = request.session.filter(|text| !text.is_empty()) else {
        return open(request, transport, protocol_is_4);
    };
    let session = SessionId::parse(text.as_bytes()).ok_or(Refusal::SessionUnknown)?;
    match (transport, request.upgrade, request.method) {
        _ if !protocol_is_4 => Ok(Route::Unfit(session)),
        (Transport::WebSocket, true, Method::Get) => Ok(Route::Upgrade(session)),
        (Transport::Polling, false, Method::Get) => Ok(Route::Poll(session)),
        (Transport::Polling, false, Method::Post) => Ok(Route::Post(session)),
        _ => Ok(Route::Unfit(session)),
    }
}

fn open(
    request: &Request<'_>,
    transport: Transport,
    protocol_is_4: bool,
) -> Result<Route, Refusal> {
    if request.method != Method::Get {
        return Err(Refusal::BadHandshakeMethod);
    }
    if (transport == Transport::WebSocket) != request.upgrade {
        return Err(Refusal::BadRequest);
    }
    match protocol_is_4 {
        true => Ok(Route::Open(transport)),
        false => Err(Refusal::UnsupportedProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Transport; 2] = [Transport::Polling, Transport::WebSocket];

    fn request() -> Request<'static> {
        Request {
            method: Method::Get,
            upgrade: false,
            transport: Some("polling"),
            protocol: Some("4"),
            session: None,
            illegal_origin: false,
        }
    }

    fn session_text() -> String {
        let id = SessionId::new(1, 2, [3; 16]);
        String::from_utf8(id.text().to_vec()).unwrap()
    }

    #[test]
    fn b1_1_b1_2_b1_9_unknown_transports_are_code_0_whatever_they_are_called() {
        for name in ["", "foo", "webtransport", "constructor", "__proto__", "toString"] {
            let refused = Request { transport: Some(name), ..request() };
            assert_eq!(route(&refused, &BOTH), Err(Refusal::TransportUnknown), "{name}");
        }
        assert_eq!(
            route(&Request { transport: None, ..request() }, &BOTH),
            Err(Refusal::TransportUnknown)
        );
    }

    #[test]
    fn a_transport_that_is_not_offered_is_unknown() {
        assert_eq!(route(&request(), &BOTH[1..]), Err(Refusal::TransportUnknown));
    }

    #[test]
    fn b1_3_m20_a_session_id_that_cannot_be_one_is_code_1() {
        for text in ["abc", "__proto__", &"x".repeat(10_000)] {
            let refused = Request { session: Some(text), ..request() };
            assert_eq!(route(&refused, &BOTH), Err(Refusal::SessionUnknown));
        }
    }

    #[test]
    fn an_empty_session_id_is_a_handshake() {
        let open = Request { session: Some(""), ..request() };
        assert_eq!(route(&open, &BOTH), Ok(Route::Open(Transport::Polling)));
    }

    #[test]
    fn b2_24_b2_27_websocket_without_upgrade_and_polling_with_it_are_code_3() {
        let websocket = Request { transport: Some("websocket"), ..request() };
        assert_eq!(route(&websocket, &BOTH), Err(Refusal::BadRequest));
        let upgrade = Request { upgrade: true, ..request() };
        assert_eq!(route(&upgrade, &BOTH), Err(Refusal::BadRequest));
    }

    #[test]
    fn b2_28_an_illegal_origin_is_code_3() {
        let illegal = Request { illegal_origin: true, ..request() };
        assert_eq!(route(&illegal, &BOTH), Err(Refusal::BadRequest));
    }

    #[test]
    fn b2_29_other_methods_than_get_open_no_session() {
        for method in [Method::Post, Method::Options, Method::Put, Method::Delete] {
            let refused = Request { method, ..request() };
            assert_eq!(route(&refused, &BOTH), Err(Refusal::BadHandshakeMethod));
        }
    }

    #[test]
    fn b2_30_other_protocols_open_no_session_and_fit_none() {
        for protocol in [None, Some("3"), Some("5"), Some("04"), Some("abc")] {
            let refused = Request { protocol, ..request() };
            assert_eq!(route(&refused, &BOTH), Err(Refusal::UnsupportedProtocol));
            let text = session_text();
            let refused = Request { protocol, session: Some(&text), ..request() };
            assert!(matches!(route(&refused, &BOTH), Ok(Route::Unfit(_))));
        }
    }

    #[test]
    fn the_body_of_a_refusal_is_the_references() {
        let refusal = Refusal::TransportUnknown;
        let body = refusal.body(refusal.message());
        assert_eq!(body, br#"{"code":0,"message":"Transport unknown"}"#);
        let body = Refusal::Forbidden.body("no \"cookie\"\n");
        assert_eq!(body, br#"{"code":4,"message":"no \"cookie\"\n"}"#);
    }
}
