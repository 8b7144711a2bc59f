//! Which namespaces a session has joined, as which sockets.

use crate::base::slab::Key;

/// Names a namespace within one server.
pub type NamespaceIndex = u16;

/// The sockets of one session, in the order in which they joined. Most sessions have one, which
/// costs no allocation.
#[derive(Debug, Default)]
pub struct Namespaces {
    first: Option<Key>,
    #[expect(clippy::box_collection, reason = "8 bytes for every session instead of 24")]
    others: Option<Box<Vec<(NamespaceIndex, Key)>>>,
    /// The namespace of the first. Beside the key, and not with it, it costs no padding.
    first_namespace: NamespaceIndex,
    refusals: u16,
}

impl Namespaces {
    /// The socket in a namespace.
    pub fn find(&self, namespace: NamespaceIndex) -> Option<Key> {
        self.iter().find(|(index, _)| *index == namespace).map(|(_, socket)| socket)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (NamespaceIndex, Key)> {
        let first = self.first.map(|socket| (self.first_namespace, socket));
        first.into_iter().chain(self.others.iter().flat_map(|others| others.iter().copied()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a socket, in a namespace where the session has none.
    pub fn add(&mut self, namespace: NamespaceIndex, socket: Key) {
        debug_assert!(self.find(namespace).is_none(), "one socket a namespace");
        match self.first {
            None => (self.first, self.first_namespace) = (Some(socket), namespace),
            Some(_) => self.others.get_or_insert_default().push((namespace, socket)),
        }
    }

    /// Removes a socket. Answers whether it was there.
    pub fn remove(&mut self, socket: Key) -> bool {
        let mut all: Vec<_> = self.iter().collect();
        let before = all.len();
        all.retain(|(_, key)| *key != socket);
        let removed = all.len() < before;
        let mut rest = all.into_iter();
        self.first = rest.next().map(|(namespace, socket)| {
            self.first_namespace = namespace;
            socket
        });
        let others: Vec<_> = rest.collect();
        self.others = (!others.is_empty()).then(|| Box::new(others));
        removed
    }

    /// Counts a refused CONNECT; answers how many there were.
    pub fn refused(&mut self) -> usize {
        self.refusals = self.refusals.saturating_add(1);
        usize::from(self.refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    #[test]
    fn sockets_keep_the_order_in_which_they_joined() {
        let mut namespaces = Namespaces::default();
        (0..4).for_each(|index| namespaces.add(index, key(index.into())));
        assert!(namespaces.remove(key(0)));
        assert!(!namespaces.remove(key(0)));
        namespaces.add(0, key(9));
        let order: Vec<u16> = namespaces.iter().map(|(namespace, _)| namespace).collect();
        assert_eq!(order, [1, 2, 3, 0]);
        assert_eq!(namespaces.find(2), Some(key(2)));
    }

    #[test]
    fn leaving_the_only_namespace_leaves_none() {
        let mut namespaces = Namespaces::default();
        namespaces.add(3, key(1));
        assert!(namespaces.remove(key(1)));
        assert!(namespaces.is_empty());
        assert_eq!(namespaces.len(), 0);
    }
}
