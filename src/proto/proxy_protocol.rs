//! The PROXY protocol, versions 1 and 2: what a proxy says in front of the bytes of a client, so
//! that the server knows whose they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whom a connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// The client; `None` when the proxy speaks for itself, as in checks, or does not know.
    pub source: Option<SocketAddr>,
    /// Bytes that it took.
    pub length: usize,
}

/// The peer, which is a proxy, has sent something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPreamble;

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is read: addresses, and some that proxies add to them.
const HEADER_BYTES_MAX: usize = 2_048;

/// Reads what a connection begins with. `None` when more of it must come first.
///
/// # Errors
/// It is no such header, or one that is too long.
pub fn decode(bytes: &[u8]) -> Result<Option<Preamble>, NoPreamble> {
    let is_second = bytes.iter().zip(SIGNATURE).all(|(byte, expected)| byte == expected);
    match (is_second, bytes.len() < SIGNATURE.len()) {
        (true, true) => Ok(None),
        (true, false) => second(bytes),
        (false, _) => first(bytes),
    }
}

/// Reads version 1: a line of text.
fn first(bytes: &[u8]) -> Result<Option<Preamble>, NoPreamble> {
    const WORD: &[u8] = b"PROXY ";
    if !bytes.iter().zip(WORD).all(|(byte, expected)| byte == expected) {
        return Err(NoPreamble);
    }
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NoPreamble) };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or(NoPreamble)?;
    let text = std::str::from_utf8(text).map_err(|_| NoPreamble)?;
    let mut words = text.split(' ').skip(1);
    let length = end + 1;
    let source = match words.next() {
        // What follows does not matter.
        Some("UNKNOWN") => return Ok(Some(Preamble { source: None, length })),
        Some("TCP4") => IpAddr::V4(address(words.next())?),
        Some("TCP6") => IpAddr::V6(address(words.next())?),
        _ => return Err(NoPreamble),
    };
    let target: IpAddr = address(words.next())?;
    let (port, _) = (number(words.next())?, number(words.next())?);
    match words.next() {
        None if target.is_ipv4() == source.is_ipv4() => {
            Ok(Some(Preamble { source: Some(SocketAddr::new(source, port)), length }))
        }
        _ => Err(NoPreamble),
    }
}

fn address<T: std::str::FromStr>(word: Option<&str>) -> Result<T, NoPreamble> {
    word.and_then(|word| word.parse().ok()).ok_or(NoPreamble)
}

fn number(word: Option<&str>) -> Result<u16, NoPreamble> {
    let word = word.filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    word.and_then(|word| word.parse().ok()).ok_or(NoPreamble)
}

/// Reads version 2: bytes.
fn second(bytes: &[u8]) -> Result<Option<Preamble>, NoPreamble> {
    let Some((&[kind, family, high, low], rest)) = bytes[SIGNATURE.len()..].split_first_chunk()
    else {
        return Ok(None);
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    let length = SIGNATURE.len() + 4 + body;
    if length > HEADER_BYTES_MAX || kind >> 4 != 2 {
        return Err(NoPreamble);
    }
    let Some(body) = rest.get(..body) else { return Ok(None) };
    let source = match (kind & 0xf, family) {
        // The proxy itself.
        (0, _) => None,
        (1, 0x11) => {
            let (&[a, b, c, d, _, _, _, _, high, low, ..], _) = fixed::<12>(body)?;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
        }
        (1, 0x21) => {
            let (parts, _) = fixed::<36>(body)?;
            let mut source = [0; 16];
            source.copy_from_slice(&parts[..16]);
            let port = u16::from_be_bytes([parts[32], parts[33]]);
            Some(SocketAddr::new(Ipv6Addr::from(source).into(), port))
        }
        // Unix sockets, datagrams and what is not said: nothing that is an address here.
        (1, _) => None,
        _ => return Err(NoPreamble),
    };
    Ok(Some(Preamble { source, length }))
}

fn fixed<const LENGTH: usize>(body: &[u8]) -> Result<(&[u8; LENGTH], &[u8]), NoPreamble> {
    body.split_first_chunk().ok_or(NoPreamble)
}

/// Reads a header at once and byte by byte, for fuzzers.
///
/// # Panics
/// When the two differ, or more was taken than there is.
pub fn exercise(bytes: &[u8]) {
    let whole = decode(bytes);
    if let Ok(Some(preamble)) = whole {
        assert!(preamble.length <= bytes.len(), "{} of {}", preamble.length, bytes.len());
    }
    let first = (0..=bytes.len()).map(|end| decode(&bytes[..end])).find(|read| *read != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole, "byte by byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: &[u8]) -> Result<Option<String>, NoPreamble> {
        let read = [bytes, b"GET /"].concat();
        exercise(&read);
        let preamble = decode(&read)?.expect("it is whole");
        assert_eq!(preamble.length, bytes.len());
        Ok(preamble.source.map(|source| source.to_string()))
    }

    fn header(kind: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[kind, family], &length, body].concat()
    }

    #[test]
    fn a_line_says_whom_the_connection_is_from() {
        let four = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        assert_eq!(source(four), Ok(Some("192.0.2.1:56324".to_owned())));
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n";
        assert_eq!(source(six), Ok(Some("[2001:db8::1]:56324".to_owned())));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(source(b"PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n"), Ok(None));
    }

    #[test]
    fn a_header_of_bytes_says_whom_the_connection_is_from() {
        let ports = [0xdc, 0x04, 0x01, 0xbb];
        let four = [&[192, 0, 2, 1, 198, 51, 100, 1][..], &ports].concat();
        assert_eq!(source(&header(0x21, 0x11, &four)), Ok(Some("192.0.2.1:56324".to_owned())));
        let added = [&four[..], &[0x04, 0, 1, 0]].concat();
        assert_eq!(source(&header(0x21, 0x11, &added)), Ok(Some("192.0.2.1:56324".to_owned())));
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &ports].concat();
        assert_eq!(source(&header(0x21, 0x21, &six)), Ok(Some("[::1]:56324".to_owned())));
        assert_eq!(source(&header(0x20, 0, &[])), Ok(None), "the proxy itself");
        assert_eq!(source(&header(0x21, 0x31, &[0; 216])), Ok(None), "a Unix socket");
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_is_known() {
        let long = format!("PROXY TCP4 {}", "1".repeat(LINE_BYTES_MAX));
        let texts: [&[u8]; 10] = [
            b"GET / HTTP/1.1\r\n",
            b"PROXY\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            long.as_bytes(),
        ];
        for text in texts {
            exercise(text);
            assert_eq!(decode(text), Err(NoPreamble), "{}", text.escape_ascii());
        }
        let short = header(0x21, 0x11, &[0; 11]);
        let bad = [header(0x11, 0x11, &[0; 12]), header(0x22, 0x11, &[0; 12]), short];
        for header in bad {
            assert_eq!(decode(&header), Err(NoPreamble), "{}", header.escape_ascii());
        }
        let length = u16::MAX.to_be_bytes();
        let long = [SIGNATURE, &[0x21, 0x11], &length].concat();
        assert_eq!(decode(&long), Err(NoPreamble), "a length that nobody needs");
        assert_eq!(decode(b""), Ok(None));
    }
}
