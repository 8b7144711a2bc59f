//! Which requests belong to which session, and the answers to those that belong to none
//! (protocol.md §2).

use crate::base::id::SessionId;
use crate::proto::engine::Protocol;
use crate::proto::engine_v3::Attachments;
use crate::proto::http::Method;
use crate::proto::json;
use crate::proto::jsonp::Callback;

use super::Dialect;

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

/// What a server offers to those who ask for a session.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The transports (`transports`): both.
    pub transports: Vec<Transport>,
    /// Whether Engine.IO v3 is spoken, too (`allowEIO3`): no.
    pub allow_eio3: bool,
    /// Whether polls may be answered with scripts: no.
    pub jsonp: bool,
}

impl Default for Offer {
    fn default() -> Offer {
        let transports = vec![Transport::Polling, Transport::WebSocket];
        Offer { transports, allow_eio3: false, jsonp: false }
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
    /// Whether the query parameter `b64` is there and not empty.
    pub base64: bool,
    /// The query parameter `j`.
    pub callback: Option<&'a str>,
    /// Whether an `Origin` header holds a character that it must not.
    pub illegal_origin: bool,
}

impl Request<'_> {
    /// What it speaks: everything that is not 4 is 3.
    pub fn spoken(&self) -> Protocol {
        match self.protocol {
            Some("4") => Protocol::V4,
            _ if self.base64 || self.callback.is_some() => Protocol::V3(Attachments::Base64),
            _ => Protocol::V3(Attachments::Raw),
        }
    }
}

/// What a valid request asks for. That the session exists, and speaks the protocol of the request,
/// is checked by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A new session by polling.
    OpenPolling(Dialect),
    /// A new session on a WebSocket.
    OpenWebSocket(Protocol),
    /// The next packets of a session.
    Poll(SessionId),
    /// Packets for a session.
    Post(SessionId),
    /// A WebSocket for a session.
    Upgrade(SessionId),
    /// Nothing that a session takes: code 1 when it does not exist, code 3 when it does. The latter
    /// is told to those, too, who do not speak its protocol.
    Unfit(SessionId),
}

impl Route {
    /// Whether it is a new session that is asked for.
    pub fn opens(&self) -> bool {
        matches!(self, Route::OpenPolling(_) | Route::OpenWebSocket(_))
    }
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
pub fn route(request: &Request<'_>, offer: &Offer) -> Result<Route, Refusal> {
    let named = |transport: &&Transport| Some(transport.name()) == request.transport;
    let transport = *offer.transports.iter().find(named).ok_or(Refusal::TransportUnknown)?;
    if request.illegal_origin {
        return Err(Refusal::BadRequest);
    }
    let Some(text) = request.session.filter(|text| !text.is_empty()) else {
        return open(request, transport, offer);
    };
    let session = SessionId::parse(text.as_bytes()).ok_or(Refusal::SessionUnknown)?;
    Ok(match (transport, request.upgrade, request.method) {
        (Transport::WebSocket, true, Method::Get) => Route::Upgrade(session),
        (Transport::Polling, false, Method::Get) => Route::Poll(session),
        (Transport::Polling, false, Method::Post) => Route::Post(session),
        _ => Route::Unfit(session),
    })
}

fn open(request: &Request<'_>, transport: Transport, offer: &Offer) -> Result<Route, Refusal> {
    if request.method != Method::Get {
        return Err(Refusal::BadHandshakeMethod);
    }
    if (transport == Transport::WebSocket) != request.upgrade {
        return Err(Refusal::BadRequest);
    }
    let protocol = request.spoken();
    if protocol != Protocol::V4 && !offer.allow_eio3 {
        return Err(Refusal::UnsupportedProtocol);
    }
    match (transport, request.callback) {
        (Transport::WebSocket, _) => Ok(Route::OpenWebSocket(protocol)),
        (Transport::Polling, None) => Ok(Route::OpenPolling(protocol.into())),
        (Transport::Polling, Some(j)) => {
            let callback = Callback::of(j).filter(|_| offer.jsonp).ok_or(Refusal::BadRequest)?;
            Ok(Route::OpenPolling(Dialect { protocol, callback: Some(callback) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Routes where nothing is offered but what always is.
    fn route(request: &Request<'_>) -> Result<Route, Refusal> {
        super::route(request, &Offer::default())
    }

    fn with_old_clients() -> Offer {
        Offer { allow_eio3: true, jsonp: true, ..Offer::default() }
    }

    fn request() -> Request<'static> {
        Request {
            method: Method::Get,
            upgrade: false,
            transport: Some("polling"),
            protocol: Some("4"),
            session: None,
            base64: false,
            callback: None,
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
            assert_eq!(route(&refused), Err(Refusal::TransportUnknown), "{name}");
        }
        assert_eq!(
            route(&Request { transport: None, ..request() }),
            Err(Refusal::TransportUnknown)
        );
    }

    #[test]
    fn a_transport_that_is_not_offered_is_unknown() {
        let offer = Offer { transports: vec![Transport::WebSocket], ..Offer::default() };
        assert_eq!(super::route(&request(), &offer), Err(Refusal::TransportUnknown));
    }

    #[test]
    fn b1_3_m20_a_session_id_that_cannot_be_one_is_code_1() {
        for text in ["abc", "__proto__", &"x".repeat(10_000)] {
            let refused = Request { session: Some(text), ..request() };
            assert_eq!(route(&refused), Err(Refusal::SessionUnknown));
        }
    }

    #[test]
    fn an_empty_session_id_is_a_handshake() {
        let open = Request { session: Some(""), ..request() };
        assert_eq!(route(&open), Ok(Route::OpenPolling(Dialect::default())));
    }

    #[test]
    fn b2_24_b2_27_websocket_without_upgrade_and_polling_with_it_are_code_3() {
        let websocket = Request { transport: Some("websocket"), ..request() };
        assert_eq!(route(&websocket), Err(Refusal::BadRequest));
        let upgrade = Request { upgrade: true, ..request() };
        assert_eq!(route(&upgrade), Err(Refusal::BadRequest));
    }

    #[test]
    fn b2_28_an_illegal_origin_is_code_3() {
        let illegal = Request { illegal_origin: true, ..request() };
        assert_eq!(route(&illegal), Err(Refusal::BadRequest));
    }

    #[test]
    fn b2_29_other_methods_than_get_open_no_session() {
        for method in [Method::Post, Method::Options, Method::Put, Method::Delete] {
            let refused = Request { method, ..request() };
            assert_eq!(route(&refused), Err(Refusal::BadHandshakeMethod));
        }
    }

    #[test]
    fn b2_30_b35_3_other_protocols_open_no_session() {
        for protocol in [None, Some("3"), Some("5"), Some("04"), Some("abc")] {
            let refused = Request { protocol, ..request() };
            assert_eq!(route(&refused), Err(Refusal::UnsupportedProtocol));
        }
    }

    #[test]
    fn b35_1_what_is_not_4_is_3_where_that_is_allowed() {
        let offer = with_old_clients();
        for protocol in [None, Some("3"), Some("5"), Some("abc")] {
            let polling = Request { protocol, ..request() };
            let raw = Protocol::V3(Attachments::Raw);
            assert_eq!(super::route(&polling, &offer), Ok(Route::OpenPolling(raw.into())));
            let transport = Some("websocket");
            let websocket = Request { transport, upgrade: true, base64: true, ..polling };
            let base64 = Protocol::V3(Attachments::Base64);
            assert_eq!(super::route(&websocket, &offer), Ok(Route::OpenWebSocket(base64)));
        }
        let text = session_text();
        let poll = Request { protocol: Some("3"), session: Some(&text), ..request() };
        assert!(matches!(route(&poll), Ok(Route::Poll(_))), "the session may be of either");
        assert!(!poll.spoken().is_revision_of(request().spoken()));
    }

    #[test]
    fn jsonp_is_for_those_who_allow_it_and_for_polling() {
        let polling = Request { callback: Some("0);alert(1)//"), ..request() };
        assert_eq!(route(&polling), Err(Refusal::BadRequest));
        let callback = Callback::of("01");
        let dialect = Dialect { callback, ..Dialect::default() };
        assert_eq!(super::route(&polling, &with_old_clients()), Ok(Route::OpenPolling(dialect)));
        let old = Request { protocol: Some("3"), ..polling };
        let dialect = Dialect { protocol: Protocol::V3(Attachments::Base64), callback };
        assert_eq!(super::route(&old, &with_old_clients()), Ok(Route::OpenPolling(dialect)));
        let endless = Request { callback: Some("123456"), ..request() };
        assert_eq!(super::route(&endless, &with_old_clients()), Err(Refusal::BadRequest));
        let websocket = Request { transport: Some("websocket"), upgrade: true, ..polling };
        assert_eq!(route(&websocket), Ok(Route::OpenWebSocket(Protocol::V4)));
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
