//! Whom a request is from when proxies have passed it on.

use std::net::{IpAddr, SocketAddr};

use super::{Head, elements};

/// The client of a request from a proxy that is trusted: the last address of `X-Forwarded-For`
/// that is not of such a proxy, since what stands before it anybody may have written. `None` when
/// the header says nothing of use.
pub fn client_address(head: &Head<'_>, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let values: Vec<&[u8]> = head.values("x-forwarded-for").collect();
    let mut client = None;
    for value in values.into_iter().rev() {
        let elements: Vec<&[u8]> = elements(value).collect();
        for element in elements.into_iter().rev() {
            // Behind something that is no address nothing can be relied on.
            let Some(address) = address(element) else { return client };
            client = Some(address);
            if !is_trusted(address) {
                return client;
            }
        }
    }
    client
}

/// An address, which some proxies add the port to.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::Limits;

    fn client(lines: &[&str]) -> Option<String> {
        let lines = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n"));
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.collect::<String>());
        let head = Head::parse(text.as_bytes(), &Limits::default()).unwrap();
        let own = |address: IpAddr| address.to_string().starts_with("10.");
        client_address(&head, own).map(|address| address.to_string())
    }

    #[test]
    fn m12_the_client_is_the_last_address_that_no_trusted_proxy_has() {
        assert_eq!(client(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["203.0.113.9, 192.0.2.1, 10.0.0.7"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["203.0.113.9", "192.0.2.1", "10.1.1.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["192.0.2.1:80"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client(&["::ffff:192.0.2.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn m12_what_stands_before_nonsense_is_not_believed() {
        assert_eq!(client(&["192.0.2.1, unknown, 10.0.0.7"]).as_deref(), Some("10.0.0.7"));
        assert_eq!(client(&["unknown"]), None);
        assert_eq!(client(&[]), None);
        assert_eq!(client(&["10.0.0.1, 10.0.0.2"]).as_deref(), Some("10.0.0.1"), "all are proxies");
    }
}
