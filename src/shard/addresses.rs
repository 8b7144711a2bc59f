//! What the clients of one address may have, counted over all shards. Only a server that limits it
//! counts at all.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::base::clock::Time;
use crate::base::limits::Limits;
use crate::base::network::Site;
use crate::base::rate::{Allowance, Rate};
use crate::base::slab::Key;
use crate::proto::http::{Fault, Head, client_address};

use super::shared::Settings;
use super::state::State;

/// What those are told who ask for too much.
pub(super) const TOO_MANY: Fault = Fault { status: 429, message: "There were too many of yours" };

/// Parts of the table, each with a lock of its own: shards seldom wait for each other.
const PARTS: usize = 16;

/// What the clients of each address have.
pub struct Addresses {
    parts: [Mutex<HashMap<Site, Entry>>; PARTS],
    hasher: RandomState,
    /// Addresses of one part.
    most: usize,
}

/// What the clients of one address have.
struct Entry {
    connections: usize,
    /// Those that are told so, and may take a while to go.
    refused: usize,
    handshakes: Allowance,
}

/// A connection that counts for an address.
#[derive(Debug)]
pub struct Entered {
    site: Site,
    is_refused: bool,
}

/// Whether an address may have another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted,
    /// It has too many, and is to be told.
    Refused,
    /// It has been told as often, and goes on.
    Ignored,
}

impl Addresses {
    /// A table for a server with limits that need one.
    pub fn new(limits: &Limits) -> Option<Addresses> {
        let is_needed =
            limits.connections_per_address > 0 || limits.handshakes_per_address.is_some();
        is_needed.then(|| Addresses {
            parts: Default::default(),
            hasher: RandomState::new(),
            most: limits.addresses.div_ceil(PARTS),
        })
    }

    /// One more connection of an address, which may have `most`, with which 0 is any number, and as
    /// many that are being refused. `None` when it is not counted.
    fn enter(&self, site: Site, most: usize, limits: &Limits, now: Time) -> Option<Admission> {
        self.with(site, limits, now, |entry| match most {
            most if most == 0 || entry.connections < most => {
                entry.connections += 1;
                Admission::Admitted
            }
            most if entry.refused < most => {
                entry.refused += 1;
                Admission::Refused
            }
            _ => Admission::Ignored,
        })
    }

    /// One connection less.
    fn leave(&self, counted: &Entered) {
        let mut part = self.part(counted.site);
        if let Some(entry) = part.get_mut(&counted.site) {
            let count =
                if counted.is_refused { &mut entry.refused } else { &mut entry.connections };
            *count = count.saturating_sub(1);
            // It stays for its handshakes, until others need the room.
        }
    }

    /// One more handshake of an address; `false` when there were too many.
    fn take_handshake(&self, site: Site, rate: Rate, limits: &Limits, now: Time) -> bool {
        self.with(site, limits, now, |entry| entry.handshakes.take(rate, now)).unwrap_or(true)
    }

    /// `None` when there is no room for another address: better too many of one than none at all.
    fn with<R>(
        &self,
        site: Site,
        limits: &Limits,
        now: Time,
        work: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let mut part = self.part(site);
        let rate = limits.handshakes_per_address;
        if part.len() >= self.most && !part.contains_key(&site) {
            part.retain(|_, entry| {
                entry.connections + entry.refused > 0
                    || rate.is_some_and(|rate| !entry.handshakes.is_full(rate, now))
            });
            if part.len() >= self.most {
                return None;
            }
        }
        let burst = rate.map_or(0, |rate| rate.burst);
        let new = || Entry { connections: 0, refused: 0, handshakes: Allowance::full(burst, now) };
        Some(work(part.entry(site).or_insert_with(new)))
    }

    fn part(&self, site: Site) -> std::sync::MutexGuard<'_, HashMap<Site, Entry>> {
        let part = self.hasher.hash_one(site) as usize % PARTS;
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    /// Whether a peer is a proxy whose word on its clients is taken. One on a Unix socket is, where
    /// any are.
    pub(super) fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        let networks = &self.trusted_proxies;
        !networks.is_empty()
            && peer.is_none_or(|peer| networks.iter().any(|network| network.contains(peer.ip())))
    }
}

impl State {
    /// Counts a connection for the address that it is from, unless that is a proxy's. One of too
    /// many is refused: `false`. One that comes from another shard was counted there.
    pub(super) fn enter_site(&mut self, key: Key, peer: Option<SocketAddr>, is_new: bool) -> bool {
        let settings = &self.shared.settings;
        let limits = &settings.options.limits;
        if limits.connections_per_address == 0 || settings.trusts(peer) {
            return true;
        }
        let (Some(addresses), Some(peer)) = (&self.shared.by_address, peer) else { return true };
        let site = Site::from(peer.ip());
        let most = if is_new { limits.connections_per_address } else { 0 };
        let admission = addresses.enter(site, most, limits, self.now);
        if let Some(Admission::Admitted | Admission::Refused) = admission {
            let is_refused = admission == Some(Admission::Refused);
            self.sites.insert(key, Entered { site, is_refused });
        }
        match admission {
            // One that was not counted does not count when it goes, either.
            Some(Admission::Admitted) | None => return true,
            Some(Admission::Refused) => drop(self.refuse_fault(key, TOO_MANY)),
            Some(Admission::Ignored) => self.drop_connection(key),
        }
        self.stats.connections_limited += 1;
        false
    }

    /// A connection has gone.
    pub(super) fn leave_site(&mut self, key: Key) {
        if !self.sites.is_empty()
            && let Some(counted) = self.sites.remove(&key)
            && let Some(addresses) = &self.shared.by_address
        {
            addresses.leave(&counted);
        }
    }

    /// Whom a request is from: the peer, or its client if it is a proxy whose word is taken.
    pub(super) fn client_of(
        &self,
        peer: Option<SocketAddr>,
        head: &Head<'_>,
    ) -> Option<SocketAddr> {
        let settings = &self.shared.settings;
        if !settings.trusts(peer) {
            return peer;
        }
        let is_trusted = |address| settings.trusts(Some(SocketAddr::new(address, 0)));
        client_address(head, is_trusted).map_or(peer, |client| Some(SocketAddr::new(client, 0)))
    }

    /// Whether a client may ask for another session by now.
    pub(super) fn may_shake_hands(&mut self, client: Option<SocketAddr>) -> bool {
        let limits = &self.shared.settings.options.limits;
        let (Some(rate), Some(client)) = (limits.handshakes_per_address, client) else {
            return true;
        };
        let Some(addresses) = &self.shared.by_address else { return true };
        let may = addresses.take_handshake(Site::from(client.ip()), rate, limits, self.now);
        self.stats.handshakes_limited += u64::from(!may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 2, per_second: 1 };

    fn limits() -> Limits {
        Limits {
            connections_per_address: 3,
            handshakes_per_address: Some(RATE),
            addresses: 2 * PARTS,
            ..Limits::default()
        }
    }

    fn site(number: u8) -> Site {
        Site::from(std::net::IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn m57_each_address_has_its_own_connections_and_handshakes() {
        let (limits, now) = (limits(), Time::ZERO);
        let addresses = Addresses::new(&limits).unwrap();
        let enter = |number, most| addresses.enter(site(number), most, &limits, now).unwrap();
        let leave = |is_refused| addresses.leave(&Entered { site: site(1), is_refused });
        assert!((0..3).all(|_| enter(1, 3) == Admission::Admitted));
        assert!((0..3).all(|_| enter(1, 3) == Admission::Refused), "it has three");
        assert_eq!(enter(1, 3), Admission::Ignored, "it has been told three times");
        leave(true);
        assert_eq!(enter(1, 3), Admission::Refused, "one of those has gone");
        assert_eq!(enter(1, 0), Admission::Admitted, "it comes from another shard");
        assert_eq!(enter(2, 3), Admission::Admitted);
        leave(false);
        leave(false);
        assert_eq!(enter(1, 3), Admission::Admitted);
        assert!((0..2).all(|_| addresses.take_handshake(site(1), RATE, &limits, now)));
        assert!(!addresses.take_handshake(site(1), RATE, &limits, now));
        assert!(addresses.take_handshake(site(2), RATE, &limits, now));
        let later = now.after(std::time::Duration::from_secs(1));
        assert!(addresses.take_handshake(site(1), RATE, &limits, later));
    }

    #[test]
    fn m57_the_table_is_bounded_and_forgets_those_who_have_nothing_any_more() {
        let limits = limits();
        let addresses = Addresses::new(&limits).unwrap();
        let count =
            || -> usize { addresses.parts.iter().map(|part| part.lock().unwrap().len()).sum() };
        for number in 0..=255 {
            assert!(addresses.take_handshake(site(number), RATE, &limits, Time::ZERO));
        }
        assert_eq!(count(), 2 * PARTS);
        let later = Time::ZERO.after(std::time::Duration::from_secs(2));
        let found = (0..=255).filter(|&number| {
            let has_place = addresses.part(site(number)).contains_key(&site(number));
            !has_place
                && addresses.enter(site(number), 1, &limits, later) == Some(Admission::Admitted)
        });
        assert!(found.count() > PARTS, "who was full again has made room");
        assert!(count() <= 2 * PARTS);
    }

    #[test]
    fn without_such_limits_there_is_no_table() {
        assert!(Addresses::new(&Limits::default()).is_none());
    }
}
