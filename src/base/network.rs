//! Networks of addresses, and what counts as one client's address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that begin with the same bits, such as `10.0.0.0/8`, `fd00::/8` or one alone:
/// `192.0.2.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

/// The caller gave a text that is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork(String);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is no network, which is an address or one with /bits", self.0)
    }
}

impl std::error::Error for InvalidNetwork {}

impl Network {
    /// Whether an address is in it. One of IPv4 is the same whether it is written as itself or
    /// within IPv6, as sockets that take both report it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                begins_alike(first.to_bits().into(), address.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                begins_alike(first.to_bits(), address.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

/// Whether two addresses of so many bits have the first ones in common.
fn begins_alike(one: u128, other: u128, length: u32, bits: u32) -> bool {
    // With none to compare all would be shifted out, which is more than a shift can do.
    bits == 0 || (one ^ other) >> (length - bits) == 0
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    /// Reads an address, or one with `/` and how many of its first bits count.
    fn from_str(text: &str) -> Result<Network, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(invalid)?,
            None => most,
        };
        Ok(Network { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.bits)
    }
}

/// What limits by address count as one: an address of IPv4, or the 64 bits of IPv6 that a site has,
/// which may take any address below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site(IpAddr);

impl From<IpAddr> for Site {
    fn from(address: IpAddr) -> Site {
        Site(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let bits = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(bits).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_is_what_begins_with_its_bits() {
        assert!(is_in("10.0.0.0/8", "10.255.0.1") && !is_in("10.0.0.0/8", "11.0.0.1"));
        assert!(is_in("192.0.2.128/25", "192.0.2.200") && !is_in("192.0.2.128/25", "192.0.2.1"));
        assert!(is_in("192.0.2.7", "192.0.2.7") && !is_in("192.0.2.7", "192.0.2.8"));
        assert!(is_in("fd00::/8", "fdff::1") && !is_in("fd00::/8", "fe00::1"));
        assert!(is_in("0.0.0.0/0", "198.51.100.1") && !is_in("0.0.0.0/0", "::1"));
        assert!(is_in("::/0", "2001:db8::1"));
        assert!(is_in("127.0.0.1", "::ffff:127.0.0.1"), "as a socket for both reports it");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "::/129", "localhost", "10.0.0/8", "1/-1"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!("fd00::/8".parse::<Network>().unwrap().to_string(), "fd00::/8");
    }

    #[test]
    fn m57_a_site_is_an_address_of_ipv4_or_the_first_half_of_one_of_ipv6() {
        let site = |text: &str| Site::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(site("2001:db8:1:2:3:4:5:6"), site("2001:db8:1:2::"));
        assert_ne!(site("2001:db8:1:2::"), site("2001:db8:1:3::"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
        assert_eq!(site("::ffff:192.0.2.1"), site("192.0.2.1"));
    }
}
