//! Origins of web pages: RFC 6454.

/// A scheme, a host and a port: what of an address decides whether two pages are of one site. The
/// port is the one that the scheme implies where none is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<T> {
    scheme: T,
    host: T,
    port: Option<u16>,
}

impl<'a> Origin<&'a str> {
    /// Reads what a browser sends as `Origin`, and what an application lists: `https://a.example`
    /// or `https://a.example:8443`, without path and slash. The opaque origin `null` is none: all
    /// pages without a site send it, so that it stands for nobody.
    pub fn parse(text: &'a str) -> Option<Origin<&'a str>> {
        let (scheme, authority) = text.split_once("://")?;
        // An IPv6 address holds colons itself, and ends with a bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(read_port(port)?)),
            _ => (authority, None),
        };
        let port = port.or_else(|| implied_port(scheme));
        (is_scheme(scheme) && is_host(host)).then_some(Origin { scheme, host, port })
    }

    /// The same, with text of its own.
    pub fn into_owned(self) -> Origin<String> {
        let Origin { scheme, host, port } = self;
        Origin { scheme: scheme.to_owned(), host: host.to_owned(), port }
    }
}

impl Origin<String> {
    /// Whether this is the same origin: all of the scheme, the host and the port, of which the
    /// first two have no case (RFC 6454 4 and 5).
    pub fn is(&self, other: &Origin<&str>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}

fn implied_port(scheme: &str) -> Option<u16> {
    let ports = [("http", 80), ("https", 443)];
    let implied = ports.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    implied.map(|(_, port)| port)
}

/// Digits as browsers write them: `080` could be another port for somebody else.
fn read_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if is_plain { text.parse().ok() } else { None }
}

/// RFC 3986 3.1.
fn is_scheme(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(part)
}

/// A name, an IPv4 address, or an IPv6 address in brackets. Of a `reg-name` no more than what host
/// names are made of: browsers send names of other scripts in ASCII.
fn is_host(text: &str) -> bool {
    let is_made_of = |text: &str, marks: &[u8], letter: fn(&u8) -> bool| {
        !text.is_empty() && text.bytes().all(|byte| letter(&byte) || marks.contains(&byte))
    };
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => is_made_of(address, b":.", u8::is_ascii_hexdigit),
        None => is_made_of(text, b"-._", u8::is_ascii_alphanumeric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_same(left: &str, right: &str) -> bool {
        let left = Origin::parse(left).unwrap().into_owned();
        left.is(&Origin::parse(right).unwrap())
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_maybe_a_port() {
        for text in [
            "http://a",
            "https://a.example:8443",
            "http://127.0.0.1:3000",
            "http://[::1]",
            "http://[2001:db8::7]:80",
            "capacitor://localhost",
            "chrome-extension://aabbccdd",
            "http://xn--bcher-kva.example",
        ] {
            assert!(Origin::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_none() {
        for text in [
            "",
            "*",
            "null",
            "a.example",
            "//a.example",
            "://a",
            "http:/a",
            "http://",
            "file://",
            "1http://a",
            "http://a/",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://b@a",
            "http://a:",
            "http://a:080",
            "http://a:0",
            "http://a:65536",
            "http://a:+80",
            "http://a:80:80",
            "http://a b",
            "http:// a",
            "http://a, http://b",
            "http://\u{e9}.example",
            "http://%61",
            "http://[::1",
            "http://::1]",
            "http://[]",
            "http://[a]b",
        ] {
            assert!(Origin::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn two_origins_are_the_same_when_scheme_host_and_port_are() {
        for (left, right) in [
            ("http://a.example", "http://a.example"),
            ("http://a.example", "HTTP://A.Example"),
            ("http://a.example", "http://a.example:80"),
            ("https://a.example:443", "https://a.example"),
            ("http://[::1]", "http://[::1]:80"),
            ("app://a", "app://a"),
        ] {
            assert!(is_same(left, right) && is_same(right, left), "{left} {right}");
        }
        for (left, right) in [
            ("http://a.example", "https://a.example"),
            ("http://a.example", "http://a.example:81"),
            ("http://a.example:443", "https://a.example:443"),
            ("http://a.example", "http://a.example."),
            ("http://a.example", "http://b.a.example"),
            ("http://a.example", "http://ba.example"),
            ("http://a.example", "http://a.example.b"),
            ("app://a", "app://a:80"),
        ] {
            assert!(!is_same(left, right) && !is_same(right, left), "{left} {right}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Some(origin) = Origin::parse(&text) {
                prop_assert!(origin.into_owned().is(&origin));
            }
        }

        #[test]
        fn an_origin_is_the_same_as_no_longer_one(host in "[a-z]{1,9}", more in "[a-z.:0-9]{1,9}") {
            let origin = Origin::parse("http://ok.example").unwrap().into_owned();
            for text in [
                format!("http://ok.example{more}"),
                format!("http://{host}ok.example"),
                format!("http://{host}.ok.example"),
                format!("{host}http://ok.example"),
            ] {
                let is_same = Origin::parse(&text).is_some_and(|other| origin.is(&other));
                prop_assert_eq!(is_same, text == "http://ok.example:80", "{}", text);
            }
        }
    }
}
