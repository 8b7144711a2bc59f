//! The namespaces of a server, as all its shards know them: those that were made by name, the
//! parents that decide about other names, and the children that they have.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use regex_lite::Regex;

use super::handler::Definition;

/// A client that asks for a namespace that nobody has made by name.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The name it asks for.
    pub name: Arc<str>,
    /// What it sent with that, if anything: a JSON object.
    pub auth: Option<Arc<[u8]>>,
    /// The request of its session, if it is kept.
    pub request: Option<Arc<[u8]>>,
}

/// Whether a client may have the namespace that it asks for.
pub type Verdict = Pin<Box<dyn Future<Output = bool>>>;

/// Which names a parent takes.
#[derive(Clone)]
pub enum Matcher {
    /// Those that match.
    Pattern(Arc<Regex>),
    /// Those that the application takes.
    Predicate(Arc<dyn Fn(Candidate) -> Verdict + Send + Sync>),
}

/// All namespaces of a server.
#[derive(Default)]
pub struct Registry {
    inner: RwLock<Inner>,
    /// Changes with every registration.
    version: AtomicU64,
}

#[derive(Default)]
struct Inner {
    slots: Vec<Option<Arc<Definition>>>,
    names: HashMap<Box<str>, u16>,
    /// Indexes of children that were removed, that of the first one in front: the later an index is
    /// used again, the fewer handles of what it was are left.
    vacant: VecDeque<u16>,
    parents: Vec<Arc<Definition>>,
    children: usize,
}

/// Why there is no child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChild {
    /// The server has as many as it may.
    Full,
    /// The application is being told of it: it is there in a moment, or will not be.
    BeingMade,
}

impl Registry {
    /// The namespace of a name, which is made if there is none, and whether it was; nobody enters
    /// one that was made before it is opened. If a pattern matches the name, it is a child.
    pub fn define(&self, name: &str) -> (Arc<Definition>, bool) {
        let mut inner = self.write();
        if let Some(found) = inner.find(name) {
            return (found, false);
        }
        let parent = inner.parents.iter().find(|parent| parent.matches(name)).cloned();
        inner.children += usize::from(parent.is_some());
        (inner.insert(name, parent), true)
    }

    /// Whether there is a namespace of a name, or a pattern that takes it.
    pub fn takes(&self, name: &str) -> bool {
        let inner = self.read();
        inner.find(name).is_some() || inner.parents.iter().any(|parent| parent.matches(name))
    }

    /// A namespace that decides about names that nobody has made.
    pub fn define_parent(&self, matcher: Matcher) -> Arc<Definition> {
        let mut inner = self.write();
        let name = format!("/_{}", inner.parents.len());
        let parent = Arc::new(Definition::parent(&name, matcher));
        inner.parents.push(Arc::clone(&parent));
        drop(inner);
        self.changed();
        parent
    }

    /// The child of a parent, which is made if there is none and there are fewer than
    /// `children_max`, and whether it was: then it has to be opened. It has one member more.
    ///
    /// # Errors
    /// There are too many, or somebody else has made it and not opened it yet.
    pub fn define_child(
        &self,
        name: &str,
        parent: &Arc<Definition>,
        children_max: usize,
    ) -> Result<(Arc<Definition>, bool), NoChild> {
        let mut inner = self.write();
        if let Some(found) = inner.find(name) {
            if !found.is_open() {
                return Err(NoChild::BeingMade);
            }
            found.enter();
            return Ok((found, false));
        }
        let is_full = inner.children >= children_max || inner.names.len() >= INDEXES_MAX;
        if is_full {
            return Err(NoChild::Full);
        }
        inner.children += 1;
        let child = inner.insert(name, Some(Arc::clone(parent)));
        child.enter();
        Ok((child, true))
    }

    /// The namespace of a name, if it is open. If it is a child it has one member more.
    pub fn enter(&self, name: &str) -> Option<Arc<Definition>> {
        let inner = self.read();
        let found = inner.find(name).filter(|found| found.is_open())?;
        // Not later: a child without members may be removed.
        found.enter();
        Some(found)
    }

    /// A namespace has one member less. A child whose last one it was is removed if `cleans_up`.
    pub fn leave(&self, definition: &Arc<Definition>, cleans_up: bool) {
        if !definition.leave() || !cleans_up {
            return;
        }
        let mut inner = self.write();
        // Somebody may have entered meanwhile.
        if definition.is_empty_child() && inner.has(definition) {
            inner.remove(definition);
        }
    }

    /// Forgets a namespace that was never opened.
    pub fn discard(&self, definition: &Arc<Definition>) {
        let mut inner = self.write();
        if inner.has(definition) {
            inner.remove(definition);
        }
    }

    /// The namespace of an index.
    pub fn at(&self, index: u16) -> Option<Arc<Definition>> {
        self.read().slots.get(usize::from(index))?.clone()
    }

    /// Those that were made by name, are no children, and open.
    pub fn named(&self) -> Vec<Arc<Definition>> {
        let inner = self.read();
        let named = inner.slots.iter().flatten().filter(|found| found.parent_of().is_none());
        named.filter(|found| found.is_open()).cloned().collect()
    }

    /// All but the parents, those that are open.
    pub fn namespaces(&self) -> Vec<Arc<Definition>> {
        let inner = self.read();
        inner.slots.iter().flatten().filter(|found| found.is_open()).cloned().collect()
    }

    /// Those that decide about other names, in the order in which they are asked.
    pub fn parents(&self) -> Vec<Arc<Definition>> {
        self.read().parents.clone()
    }

    /// The children of a parent.
    pub fn children(&self, parent: &Arc<Definition>) -> Vec<Arc<Definition>> {
        let inner = self.read();
        let all = inner.slots.iter().flatten();
        let of_parent = |child: &&Arc<Definition>| {
            child.parent_of().is_some_and(|other| Arc::ptr_eq(other, parent))
        };
        all.filter(of_parent).filter(|child| child.is_open()).cloned().collect()
    }

    /// All namespaces, and the parents.
    pub fn all(&self) -> Vec<Arc<Definition>> {
        let inner = self.read();
        inner.slots.iter().flatten().chain(&inner.parents).cloned().collect()
    }

    /// A registration has changed: every shard makes its handlers anew.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes with every registration.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Indexes there are; the last one stands for none.
const INDEXES_MAX: usize = u16::MAX as usize;

impl Inner {
    fn find(&self, name: &str) -> Option<Arc<Definition>> {
        let index = self.names.get(name)?;
        self.slots.get(usize::from(*index))?.clone()
    }

    fn has(&self, definition: &Arc<Definition>) -> bool {
        let slot = self.slots.get(usize::from(definition.index));
        slot.and_then(Option::as_ref).is_some_and(|found| Arc::ptr_eq(found, definition))
    }

    fn insert(&mut self, name: &str, parent: Option<Arc<Definition>>) -> Arc<Definition> {
        // Fresh indexes first: see `vacant`.
        let index = match self.slots.len() < INDEXES_MAX {
            true => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            false => {
                let vacant = self.vacant.pop_front();
                usize::from(vacant.unwrap_or_else(|| panic!("there are 65,535 namespaces")))
            }
        };
        let definition = Arc::new(Definition::new(index as u16, name, parent));
        self.slots[index] = Some(Arc::clone(&definition));
        self.names.insert(name.into(), index as u16);
        definition
    }

    fn remove(&mut self, definition: &Definition) {
        definition.close();
        self.slots[usize::from(definition.index)] = None;
        self.names.remove(&definition.name);
        self.vacant.push_back(definition.index);
        self.children -= usize::from(definition.parent_of().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(registry: &Registry, name: &str, parent: &Arc<Definition>) -> (Arc<Definition>, bool) {
        let (child, is_new) = registry.define_child(name, parent, 10).unwrap();
        child.open();
        (child, is_new)
    }

    fn pattern(text: &str) -> Matcher {
        Matcher::Pattern(Arc::new(Regex::new(text).unwrap()))
    }

    #[test]
    fn b27_13_a_name_that_a_pattern_matches_is_a_child_also_when_it_is_made_by_hand() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("^/dynamic-[0-9]+$"));
        let (by_hand, is_new) = registry.define("/dynamic-1");
        by_hand.open();
        assert!(is_new && by_hand.parent_of().is_some_and(|of| Arc::ptr_eq(of, &parent)));
        let (plain, _) = registry.define("/plain");
        plain.open();
        assert!(plain.parent_of().is_none());
        assert_eq!(registry.children(&parent).len(), 1);
        assert_eq!(registry.named().len(), 1);
    }

    #[test]
    fn b27_6_two_who_ask_for_one_name_share_one_child() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        let (one, first) = child(&registry, "/a", &parent);
        let (other, second) = child(&registry, "/a", &parent);
        assert!(Arc::ptr_eq(&one, &other) && first && !second);
    }

    #[test]
    fn b27_7_b27_8_b27_9_a_child_goes_with_its_last_member_if_that_is_wanted() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        let (made, _) = child(&registry, "/a", &parent);
        assert!(registry.enter("/a").is_some());
        registry.leave(&made, true);
        assert_eq!(registry.children(&parent).len(), 1, "one is still there");
        registry.leave(&made, true);
        assert!(registry.children(&parent).is_empty() && registry.enter("/a").is_none());
        let (again, is_new) = child(&registry, "/a", &parent);
        assert!(is_new && again.index != made.index, "an old handle does not mean the new one");
        registry.leave(&again, false);
        assert_eq!(registry.children(&parent).len(), 1);
    }

    #[test]
    fn b26_29_a_namespace_that_was_made_by_name_stays() {
        let registry = Registry::default();
        let (named, _) = registry.define("/a");
        named.open();
        assert!(registry.enter("/a").is_some());
        registry.leave(&named, true);
        assert!(registry.enter("/a").is_some());
    }

    #[test]
    fn children_are_limited_and_those_that_are_there_are_found_all_the_same() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        let (made, _) = registry.define_child("/a", &parent, 1).unwrap();
        made.open();
        assert_eq!(registry.define_child("/b", &parent, 1).err(), Some(NoChild::Full));
        assert!(registry.define_child("/a", &parent, 1).is_ok());
    }

    #[test]
    fn nobody_enters_a_namespace_before_it_is_open_nor_one_that_was_discarded() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        for by_hand in [false, true] {
            let (made, _) = match by_hand {
                true => registry.define("/a"),
                false => registry.define_child("/a", &parent, 10).unwrap(),
            };
            assert!(registry.enter("/a").is_none() && registry.children(&parent).is_empty());
            let other = registry.define_child("/a", &parent, 10);
            assert_eq!(other.err(), Some(NoChild::BeingMade));
            registry.discard(&made);
            assert!(made.is_gone() && registry.define_child("/a", &parent, 10).is_ok());
            registry.discard(&registry.at(made.index + 1).unwrap());
        }
    }

    #[test]
    fn seventy_thousand_children_one_after_the_other_are_one_at_a_time() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        for number in 0..70_000 {
            let name = format!("/{number}");
            let (made, is_new) = child(&registry, &name, &parent);
            assert!(is_new);
            registry.leave(&made, true);
        }
        assert!(registry.children(&parent).is_empty());
    }
}
