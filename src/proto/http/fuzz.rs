//! The door for fuzzers: whatever arrives, and however it is cut, the outcome is one.

use super::{
    BodyReader, Cors, CorsOptions, CorsOrigin, FOR_FILES, Fault, Head, HeadScanner, Method, Query,
    client_address, write_switching_protocols,
};
use crate::base::limits::Limits;
use crate::proto::websocket::DeflateOptions;

/// Everything that the codec says about one request. Heads are compared as text: they borrow.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    head: Option<String>,
    body: Vec<u8>,
    /// Bytes behind which the next request begins; `None` when this one is not complete.
    end: Result<Option<usize>, Fault>,
}

/// Reads `bytes` as one request, at once and cut twice, under the limits of a server and under
/// small ones that short inputs reach.
///
/// # Panics
/// When the outcome depends on the cut, or when an answer would hold a line end from the request.
pub fn exercise(bytes: &[u8]) {
    let small = Limits {
        head_bytes: 512,
        headers: 8,
        target_bytes: 128,
        message_bytes: 64,
        ..Limits::default()
    };
    // The input chooses its own cut, so that a fuzzer can move it.
    let step = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(*byte))) % 97;
    for limits in [Limits::default(), small] {
        let whole = read(bytes, bytes.len().max(1), &limits);
        assert_eq!(read(bytes, 1, &limits), whole, "one byte at a time");
        assert_eq!(read(bytes, step + 2, &limits), whole, "{} bytes at a time", step + 2);
    }
}

/// Reads one request that arrives in pieces of `step` bytes.
fn read(bytes: &[u8], step: usize, limits: &Limits) -> Outcome {
    let mut outcome = Outcome { head: None, body: Vec::new(), end: Ok(None) };
    outcome.end = read_into(bytes, step, limits, &mut outcome.head, &mut outcome.body);
    outcome
}

fn read_into(
    bytes: &[u8],
    step: usize,
    limits: &Limits,
    description: &mut Option<String>,
    body: &mut Vec<u8>,
) -> Result<Option<usize>, Fault> {
    let mut scanner = HeadScanner::default();
    let mut arrived = 0;
    let head_end = loop {
        if let Some(end) = scanner.end(&bytes[..arrived], limits)? {
            break end;
        }
        if arrived == bytes.len() {
            return Ok(None);
        }
        arrived = bytes.len().min(arrived + step);
    };
    let head = Head::parse(&bytes[..head_end], limits)?;
    *description = Some(describe(&head));
    let mut reader = BodyReader::new(head.body, limits)?;
    let mut position = head_end;
    loop {
        let progress = reader.read(&bytes[position..arrived], body)?;
        position += progress.consumed;
        assert!(body.len() <= limits.message_bytes, "a body never exceeds its limit");
        if progress.complete {
            return Ok(Some(position));
        }
        assert_eq!(position, arrived, "a body that goes on takes all there is");
        if arrived == bytes.len() {
            return Ok(None);
        }
        arrived = bytes.len().min(arrived + step);
    }
}

/// All that a head says, and checks of what only holds for heads that were accepted.
fn describe(head: &Head<'_>) -> String {
    let query = Query::parse(head.target);
    let pairs: Vec<_> = query.pairs().collect();
    if let Some((name, value)) = pairs.last() {
        assert_eq!(query.value(name).as_ref(), Some(value), "the last value counts");
    }
    let headers: Vec<_> = head.headers().collect();
    for (name, value) in &headers {
        let clean = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        assert!(value.iter().all(clean), "a value holds no control character");
        assert!(head.header(name).is_some(), "a header that is listed is found");
    }
    let handshake = head.websocket_handshake();
    let deflate = head.deflate_agreement(&DeflateOptions::default());
    if let (Ok(accept), Ok(deflate)) = (handshake, deflate) {
        let mut out = Vec::new();
        write_switching_protocols(&mut out, &accept.with_deflate(deflate), &[]);
        let lines = memchr::memchr_iter(b'\n', &out).count();
        let asked = usize::from(accept.protocol().is_some()) + usize::from(deflate.is_some());
        assert_eq!(lines, 5 + asked, "no line is added");
    }
    let encoding = head.accepted_encoding(FOR_FILES);
    let client = client_address(head, |address| address.is_loopback());
    let said = (handshake, deflate, encoding, client, cross_origin(head));
    format!("{head:?} {} {} {pairs:?} {headers:?} {said:?}", head.target, query.path())
}

/// What a server that lists one origin says to the page that a request comes from.
fn cross_origin(head: &Head<'_>) -> Option<Result<Vec<u8>, Fault>> {
    const LISTED: &str = "http://ok.example";
    let origin = match head.origin() {
        Ok(origin) => origin?,
        Err(fault) => return Some(Err(fault)),
    };
    let options = CorsOptions {
        origin: CorsOrigin::List(vec![LISTED.to_owned()]),
        covers_upgrades: true,
        ..CorsOptions::default()
    };
    let Ok(Some(cors)) = Cors::new(&options) else { unreachable!("the options are right") };
    let name = origin.to_ascii_lowercase();
    let is_listed = name == LISTED.as_bytes() || name == [LISTED.as_bytes(), b":80"].concat();
    assert_eq!(cors.allows_upgrade(Some(origin)), is_listed, "no other origin passes for it");
    let fields = cors.options_fields(head, Some(origin));
    let is_named = fields.iter().any(|field| field.name() == "Access-Control-Allow-Origin");
    assert_eq!(is_named, is_listed, "it is named when it is allowed");
    let mut out = Vec::new();
    let is_answered = cors.respond_to_options(&mut out, head, Some(origin), false);
    assert_eq!(is_answered, head.method == Method::Options, "OPTIONS is answered, nothing else is");
    let lines = memchr::memchr_iter(b'\n', &out).count();
    assert_eq!(lines, if is_answered { fields.len() + 4 } else { 0 }, "no line is added");
    Some(Ok(out))
}
