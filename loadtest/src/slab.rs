//! What a connection costs in the kernel, on the server's side. No RSS shows it.
//!
//! `/proc/slabinfo` (for root alone) says how many objects each cache of the kernel holds. What the
//! caches grew by while clients connected, divided by the clients, is the cost `T` of a connection:
//! the server's end and the swarm's end. To tell them apart, a swarm first makes connections with
//! itself and puts one end of each into an epoll set, as its clients are. So it learns what a bare
//! end costs (`S`: half of a pair), and what its own epoll item costs (`E`). The server's share is
//! `T - S - E`: its own end, and whatever it uses to be told of bytes.
//!
//! How exact it is: a cache counts objects that a processor holds in reserve as active, so that a
//! reading is off by up to some hundreds of objects a cache. With 10,000 clients that is 0.1 KiB at
//! most; with 100 it says nothing. Whatever else allocates in the meantime is counted, too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::poller::Poller;
use crate::sys;

/// So many pairs are made, so many times: the median of the times leaves out what others did.
const PAIRS_MAX: u64 = 1000;
const ROUNDS: u64 = 3;
/// Connections that grow a cache by less than this share of an object each do not use it.
const OBJECTS_MIN: f64 = 0.05;
/// What others do all the time, and connections never: these caches are file systems', or hold what
/// remains of connections that are over.
const NOT_OURS: [&str; 2] = ["buffer_head", "tw_sock_TCP"];

/// Each socket is an inode, and has what a security module notes of one.
const OF_SOCKETS: [&str; 2] = ["sock_inode_cache", "lsm_inode_cache"];

fn is_of_connections(name: &str) -> bool {
    let is_of_files = name.ends_with("_inode_cache") && !OF_SOCKETS.contains(&name);
    !is_of_files && !NOT_OURS.contains(&name)
}

/// A connection has two sockets. When the kernel has grown by a number that differs by more than
/// this, others made or freed some, and the figure would be theirs.
const SOCKETS_OFF_MAX: f64 = 0.1;
/// How often that is tried before the figure is given up.
const ATTEMPTS: usize = 3;
/// For so long no socket may have been freed before a reading, and how long to wait for that.
const QUIET_NS: u64 = 100_000_000;
const QUIET_MAX_NS: u64 = 2_000_000_000;
const LOOK_INTERVAL_NS: u64 = 10_000_000;

/// A reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slab(BTreeMap<String, Cache>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cache {
    objects: u64,
    size: u64,
}

/// What an end of a connection, and an item of an epoll set, are made of: objects by cache.
#[derive(Debug, Default, PartialEq)]
pub struct Ends {
    socket: BTreeMap<String, f64>,
    item: BTreeMap<String, f64>,
}

/// What a connection costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    pub server_kib: f64,
    /// For each cache the bytes of both ends.
    pub caches: BTreeMap<String, f64>,
}

impl Slab {
    /// How it is now; nothing for those who may not know.
    pub fn read() -> Option<Slab> {
        Some(Slab::parse(&fs::read_to_string("/proc/slabinfo").ok()?))
    }

    /// Two lines of head; then a name, the active objects, all objects, and the size of one.
    fn parse(text: &str) -> Slab {
        let caches = text.lines().skip(2).filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next().filter(|name| is_of_connections(name))?;
            let objects = fields.next()?.parse().ok()?;
            let size = fields.nth(1)?.parse().ok()?;
            Some((name.to_owned(), Cache { objects, size }))
        });
        Slab(caches.collect())
    }

    /// By how many objects each cache has grown, for each of `count`.
    fn growth(&self, before: &Slab, count: u64) -> BTreeMap<String, f64> {
        let grown = self.0.iter().map(|(name, cache)| {
            let before = before.0.get(name).map_or(0, |cache| cache.objects);
            (name.clone(), (cache.objects as f64 - before as f64) / count as f64)
        });
        grown.collect()
    }

    fn objects(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |cache| cache.objects)
    }

    /// What each of so many connections cost since `before`; nothing when the kernel has more or
    /// fewer sockets than these connections explain.
    pub fn cost(&self, before: &Slab, connections: u64, ends: &Ends) -> Option<Cost> {
        let growth = self.growth(before, connections);
        let sockets = growth.get("TCP").copied().unwrap_or_default();
        if (sockets - 2.0).abs() > SOCKETS_OFF_MAX {
            return None;
        }
        let mut cost = Cost::default();
        for (name, objects) in growth {
            let size = self.0.get(&name).map_or(0, |cache| cache.size) as f64;
            if objects.abs() < OBJECTS_MIN {
                continue;
            }
            let own = |part: &BTreeMap<String, f64>| part.get(&name).copied().unwrap_or_default();
            let server = objects - own(&ends.socket) - own(&ends.item);
            cost.server_kib += server * size / 1024.0;
            cost.caches.insert(name, objects * size);
        }
        Some(cost)
    }
}

impl Ends {
    /// Makes pairs to learn what they cost; nothing for those who may not know, or when others
    /// make or free too many sockets meanwhile.
    pub fn measure(descriptors: u64) -> io::Result<Option<Ends>> {
        let pairs = PAIRS_MAX.min(descriptors.saturating_sub(64) / (2 * ROUNDS));
        if pairs == 0 || Slab::read().is_none() {
            return Ok(None);
        }
        for _ in 0..ATTEMPTS {
            await_quiet()?;
            let ends = Ends::of(&rounds(pairs)?);
            if ends.socket.get("TCP") == Some(&1.0) {
                await_quiet()?;
                return Ok(Some(ends));
            }
        }
        Ok(None)
    }

    /// The medians. A pair is made of whole objects, and so is an item: what is beside a whole
    /// number is somebody else's.
    fn of(rounds: &[Round]) -> Ends {
        let median = |part: fn(&Round) -> &BTreeMap<String, f64>, name: &String| {
            let objects = |round| part(round).get(name).copied().unwrap_or_default();
            let mut values: Vec<f64> = rounds.iter().map(objects).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2].round()
        };
        let mut ends = Ends::default();
        for name in rounds.iter().flat_map(|round| round.pair.keys()) {
            ends.socket.insert(name.clone(), median(|round| &round.pair, name) / 2.0);
            ends.item.insert(name.clone(), median(|round| &round.item, name));
        }
        ends
    }
}

/// By how many objects the caches grew for each pair, and then for each item.
struct Round {
    pair: BTreeMap<String, f64>,
    item: BTreeMap<String, f64>,
}

fn rounds(pairs: u64) -> io::Result<Vec<Round>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let poller = Poller::new(true)?;
    let (mut sockets, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = sockets.len();
        let before = Slab::read().unwrap_or_default();
        for _ in 0..pairs {
            sockets.extend(pair(&listener)?);
        }
        let with_pairs = Slab::read().unwrap_or_default();
        for ours in sockets[begin..].iter().step_by(2) {
            poller.watch(ours, 0)?;
        }
        let with_items = Slab::read().unwrap_or_default();
        let pair = with_pairs.growth(&before, pairs);
        rounds.push(Round { pair, item: with_items.growth(&with_pairs, pairs) });
    }
    Ok(rounds)
}

fn pair(listener: &TcpListener) -> io::Result<[TcpStream; 2]> {
    let SocketAddr::V4(target) = listener.local_addr()? else {
        unreachable!("it was bound to an address of IPv4")
    };
    let ours = sys::connect(*target.ip(), target)?;
    let (theirs, _) = listener.accept()?;
    // They shall not stay behind as ports that wait.
    sys::break_on_close(&ours)?;
    Ok([ours, theirs])
}

/// Waits until no socket is freed any more: the kernel does so when all processors have forgotten
/// it, some time after it was closed.
fn await_quiet() -> io::Result<()> {
    let mut poller = Poller::new(true)?;
    let mut now_ns = sys::now_ns();
    let until_ns = now_ns + QUIET_MAX_NS;
    let mut next_ns = now_ns;
    let (mut sockets, mut since_ns) = (0, now_ns);
    while now_ns < until_ns && now_ns < since_ns + QUIET_NS {
        if now_ns >= next_ns {
            next_ns = now_ns + LOOK_INTERVAL_NS;
            let found = Slab::read().map_or(0, |slab| slab.objects("TCP"));
            if found != sockets {
                (sockets, since_ns) = (found, now_ns);
            }
        }
        now_ns = poller.look(now_ns, next_ns)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slab(caches: &[(&str, u64, u64)]) -> Slab {
        let mut text =
            "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n".to_owned();
        for (name, objects, size) in caches {
            let line = format!("{name} {objects} 999999 {size} 13 1 : tunables 0 0 0\n");
            text.push_str(&line);
        }
        Slab::parse(&text)
    }

    fn objects(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn the_server_has_what_the_swarm_has_not() {
        let before = slab(&[("TCP", 100, 2048), ("epi", 50, 128), ("other", 7, 64)]);
        let after = slab(&[("TCP", 2_100, 2048), ("epi", 2_050, 128), ("other", 8, 64)]);
        let ends = Ends { socket: objects(&[("TCP", 1.0)]), item: objects(&[("epi", 1.0)]) };
        let cost = after.cost(&before, 1_000, &ends).unwrap();
        assert_eq!(cost.server_kib, 2.0 + 0.125);
        assert_eq!(cost.caches, objects(&[("TCP", 4096.0), ("epi", 256.0)]));
    }

    #[test]
    fn a_cache_that_is_new_has_grown_from_nothing() {
        let before = slab(&[("TCP", 5, 1024)]);
        let after = slab(&[("io_kiocb", 10, 256), ("TCP", 25, 1024)]);
        let cost = after.cost(&before, 10, &Ends::default()).unwrap();
        assert_eq!(cost.server_kib, 2.25);
    }

    #[test]
    fn sockets_of_others_spoil_the_figure() {
        let cost =
            |sockets| slab(&[("TCP", sockets, 1024)]).cost(&slab(&[]), 100, &Ends::default());
        assert!(cost(200).is_some() && cost(191).is_some() && cost(209).is_some());
        assert!(cost(189).is_none() && cost(211).is_none() && cost(0).is_none());
    }

    #[test]
    fn caches_of_files_and_of_what_is_over_do_not_count() {
        let files = ["ext4_inode_cache", "proc_inode_cache", "buffer_head", "tw_sock_TCP"];
        for name in files {
            assert_eq!(slab(&[(name, 1, 1)]), slab(&[]), "{name}");
        }
        for name in ["sock_inode_cache", "lsm_inode_cache", "inode_cache", "dentry"] {
            assert_ne!(slab(&[(name, 1, 1)]), slab(&[]), "{name}");
        }
    }

    #[test]
    fn pairs_are_whole_objects_and_the_median_of_all_rounds() {
        let round = |socket, other, item| Round {
            pair: objects(&[("TCP", socket), ("dentry", other), ("epi", 0.3)]),
            item: objects(&[("epi", item)]),
        };
        let ends = Ends::of(&[round(2.03, 2.0, 0.9), round(2.3, 2.1, 1.0), round(1.98, 6.3, 1.1)]);
        assert_eq!(ends.socket, objects(&[("TCP", 1.0), ("dentry", 1.0), ("epi", 0.0)]));
        assert_eq!(ends.item, objects(&[("TCP", 0.0), ("dentry", 0.0), ("epi", 1.0)]));
    }

    #[test]
    fn an_own_pair_is_made_of_two_sockets() {
        // Only root may read it; then this is the kernel's own word.
        let Some(ends) = Ends::measure(20_000).unwrap() else { return };
        assert_eq!(ends.socket.get("TCP"), Some(&1.0));
    }
}
