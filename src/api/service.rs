//! The server as a part of another one: a [tower](tower_service) service for hyper, axum and what
//! else speaks HTTP by the types of the `http` crate. With the feature `tower`.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let io = fanfare::Server::builder().build()?;
//! let running = io.start()?; // shards, and no listener of their own
//! let app = Router::new()
//!     .route("/", get(async || "hello"))
//!     .fallback_service(io.service());
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! axum::serve(listener, app).await?;
//! drop(running); // closes the server and waits for its shards
//! # Ok(())
//! # }
//! ```
//!
//! Each request gets a pair of Unix sockets: one end is
//! [handed over](crate::Server::handle_connection), the service speaks HTTP on the other. So a
//! request takes the same way as all others, whatever carried it to the service: TCP, TLS, HTTP/2
//! (WebSocket wants HTTP/1.1). The price is two descriptors and a copy of every byte, for as long
//! as a poll or a WebSocket lasts, and the task that copies. A server for very many clients has a
//! port, or a Unix socket behind a proxy, of its own.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Pair;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING};
use http::header::{HeaderMap, HeaderName, UPGRADE};
use http::{Extensions, Request, Response, StatusCode, request};
use http_body::{Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::server::Server;

/// Bytes that are copied at once in each direction of a WebSocket.
const COPIED_BYTES: usize = 4 * 1024;

/// Largest head of a response: what the application's fallback may set.
const RESPONSE_HEAD_BYTES: usize = 64 * 1024;

/// Most headers of a response.
const RESPONSE_HEADERS: usize = 128;

/// Headers that concern one connection, and say nothing about the next one.
const OF_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type ClientAddress = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

/// Answers requests as the server would on a port of its own: those outside its path, too. Cheap to
/// clone. It must be called in a runtime of tokio. See the [module](self).
#[derive(Clone)]
pub struct Service {
    server: Server,
    client_address: Option<ClientAddress>,
}

/// The body of a response: all of it at once.
#[derive(Debug, Default)]
pub struct Body(Option<Bytes>);

impl Server {
    /// The server as a service for hyper or axum. It answers 503 until the server was
    /// [started](Server::start), and again when it has ended.
    pub fn service(&self) -> Service {
        Service { server: self.clone(), client_address: None }
    }
}

impl Service {
    /// Says where to find the address of the client that a request is from, which is what
    /// [`Handshake::address`](crate::Handshake::address) tells. Default: nowhere, it is `None`.
    ///
    /// ```
    /// use axum::extract::ConnectInfo;
    /// use std::net::SocketAddr;
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// let service = io.service().client_address(|extensions| {
    ///     extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
    /// });
    /// let app: axum::Router = axum::Router::new().fallback_service(service);
    /// let app = app.into_make_service_with_connect_info::<SocketAddr>();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client_address(
        mut self,
        find: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Service {
        self.client_address = Some(Arc::new(find));
        self
    }

    async fn answer<B: http_body::Body>(
        self,
        mut request: Request<B>,
    ) -> io::Result<Response<Body>> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let length = body.size_hint().exact();
        let (near, far) = Pair::pair()?;
        near.set_nonblocking(true)?;
        let mut near = UnixStream::from_std(near)?;
        let peer = self.client_address.and_then(|find| find(&parts.extensions));
        if self.server.shared.attach(far.into(), head(&parts, length), peer).is_err() {
            return Ok(empty(StatusCode::SERVICE_UNAVAILABLE));
        }
        // Who refuses a body may answer before it is complete.
        match send_body(body, length, &mut near).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => receive(near, upgrade).await,
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Service
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let answer = service.answer(request).await;
            Ok(answer.unwrap_or_else(|_| empty(StatusCode::BAD_GATEWAY)))
        })
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body(None));
    *response.status_mut() = status;
    response
}

/// The head of a request of which nothing is known of the body's length but this, if at all. The
/// types of `http` hold nothing that could end a line.
fn head(parts: &request::Parts, length: Option<u64>) -> Vec<u8> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\n", parts.method).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    };
    let upgrade = parts.headers.get(UPGRADE).filter(|_| asks_for_upgrade(&parts.headers));
    match upgrade {
        Some(protocol) => {
            field("Connection", b"Upgrade");
            field("Upgrade", protocol.as_bytes());
        }
        None => field("Connection", b"close"),
    }
    if !parts.headers.contains_key(HOST) {
        let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
        field("Host", authority.as_bytes());
    }
    for (name, value) in &parts.headers {
        if !OF_CONNECTION.contains(name) && ![CONTENT_LENGTH, UPGRADE].contains(name) {
            field(name.as_str(), value.as_bytes());
        }
    }
    match length {
        None => field("Transfer-Encoding", b"chunked"),
        Some(0) if !parts.headers.contains_key(CONTENT_LENGTH) => {}
        Some(length) => field("Content-Length", length.to_string().as_bytes()),
    }
    head.extend(b"\r\n");
    head
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Sends a body of known length as it comes, another one in chunks.
async fn send_body(
    body: impl http_body::Body,
    length: Option<u64>,
    near: &mut UnixStream,
) -> io::Result<()> {
    let mut body = pin!(body);
    let cut_short = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut next = |context: &mut Context<'_>| {
        body.as_mut().poll_frame(context).map(|frame| Some(frame?.map_err(cut_short)))
    };
    while let Some(frame) = poll_fn(&mut next).await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let count = bytes::Buf::remaining(&data);
        if length.is_some() {
            near.write_all_buf(&mut data).await?;
        } else if count > 0 {
            near.write_all(format!("{count:x}\r\n").as_bytes()).await?;
            near.write_all_buf(&mut data).await?;
            near.write_all(b"\r\n").await?;
        }
    }
    match length {
        Some(_) => Ok(()),
        None => near.write_all(b"0\r\n\r\n").await,
    }
}

/// Receives the response. Behind the head of one that accepts an upgrade comes what the client is
/// to have when it has the head; another one ends with the connection.
async fn receive(mut near: UnixStream, upgrade: OnUpgrade) -> io::Result<Response<Body>> {
    let mut input = Vec::new();
    let mut response = loop {
        if near.read_buf(&mut input).await? == 0 || input.len() > RESPONSE_HEAD_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((response, length)) = parse(&input)? {
            input.drain(..length);
            break response;
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(carry(upgrade, near, input));
        return Ok(response);
    }
    OF_CONNECTION.iter().for_each(|name| drop(response.headers_mut().remove(name)));
    near.read_to_end(&mut input).await?;
    *response.body_mut() = Body((!input.is_empty()).then(|| input.into()));
    Ok(response)
}

/// The head of a response and its length, if it is complete.
fn parse(input: &[u8]) -> io::Result<Option<(Response<Body>, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(input).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let mut response = Response::builder().status(head.code.unwrap_or_default());
    for header in head.headers.iter() {
        response = response.header(header.name, header.value);
    }
    let response = response.body(Body(None)).map_err(io::Error::other)?;
    Ok(Some((response, length)))
}

/// Carries the bytes of a WebSocket both ways to its end, when the client has been told that it is
/// one. Whatever fails ends both connections.
async fn carry(upgrade: OnUpgrade, mut near: UnixStream, first: Vec<u8>) {
    let Ok(client) = upgrade.await else { return };
    let mut client = TokioIo::new(client);
    if client.write_all(&first).await.is_err() || client.flush().await.is_err() {
        return;
    }
    let copied = tokio::io::copy_bidirectional_with_sizes(
        &mut client,
        &mut near,
        COPIED_BYTES,
        COPIED_BYTES,
    );
    drop(copied.await);
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(request: http::request::Builder, length: Option<u64>) -> String {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        String::from_utf8(head(&parts, length)).unwrap()
    }

    #[test]
    fn a_request_keeps_its_headers_but_for_those_of_its_connection() {
        let request = Request::get("/a?b=%20")
            .header("Host", "example.org")
            .header("Connection", "keep-alive, X-Hop")
            .header("Keep-Alive", "timeout=5")
            .header("TE", "trailers")
            .header("Expect", "100-continue")
            .header("Upgrade", "h2c")
            .header("Cookie", "a=1")
            .header("Cookie", "b=2");
        let expected = "GET /a?b=%20 HTTP/1.1\r\nConnection: close\r\nhost: example.org\r\n\
             cookie: a=1\r\ncookie: b=2\r\n\r\n";
        assert_eq!(head_of(request, Some(0)), expected);
    }

    #[test]
    fn the_length_of_a_body_is_the_one_that_it_has() {
        let request = || Request::post("http://a/b").header("Content-Length", "7");
        let head =
            |rest| format!("POST /b HTTP/1.1\r\nConnection: close\r\nHost: a\r\n{rest}\r\n\r\n");
        assert_eq!(head_of(request(), Some(5)), head("Content-Length: 5"));
        assert_eq!(head_of(request(), Some(0)), head("Content-Length: 0"));
        let chunked = request().header("Transfer-Encoding", "gzip, chunked");
        assert_eq!(head_of(chunked, None), head("Transfer-Encoding: chunked"));
    }

    #[test]
    fn an_upgrade_is_one_when_the_connection_says_so() {
        let request = |connection| {
            let request = Request::get("/").header("Host", "a").header("Connection", connection);
            head_of(request.header("Upgrade", "websocket"), Some(0))
        };
        let upgrade = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nhost: a\r\n";
        assert_eq!(request("keep-alive, upgrade"), format!("{upgrade}\r\n"));
        assert!(request("keep-alive").contains("Connection: close\r\nhost: a\r\n"));
    }

    #[test]
    fn the_head_of_a_response_may_come_in_pieces_and_must_be_one() {
        let bytes = b"HTTP/1.1 404 Not Found\r\nA: 1\r\nA: 2\r\n\r\nbody";
        let end = bytes.len() - 4;
        for length in 0..end {
            assert!(parse(&bytes[..length]).unwrap().is_none());
        }
        let (response, length) = parse(bytes).unwrap().unwrap();
        assert_eq!((response.status(), length), (StatusCode::NOT_FOUND, end));
        assert!(response.headers().get_all("a").iter().eq(["1", "2"]));
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
