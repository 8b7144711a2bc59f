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
pub enum Matcher {
    /// Those that match.
    Pattern(Regex),
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

/// The server has as many children as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Registry {
    /// The namespace of a name, which is made if there is none, and whether it was. If a pattern
    /// matches the name, it is a child.
    pub fn define(&self, name: &str) -> (Arc<Definition>, bool) {
        let mut inner = self.write();
        if let Some(found) = inner.find(name) {
            return (found, false);
        }
        let parent = inner.parents.iter().find(|parent| parent.matches(name)).cloned();
        inner.children += usize::from(parent.is_some());
        let made = inner.insert(name, parent);
        drop(inner);
        self.changed();
        (made, true)
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
    /// `children_max`, and whether it was. It has one member more.
    ///
    /// # Errors
    /// There are too many.
    pub fn define_child(
        &self,
        name: &str,
        parent: &Arc<Definition>,
        children_max: usize,
    ) -> Result<(Arc<Definition>, bool), Full> {
        let mut inner = self.write();
        if let Some(found) = inner.find(name) {
            found.enter();
            return Ok((found, false));
        }
        let is_full = inner.children >= children_max || inner.names.len() >= INDEXES_MAX;
        if is_full {
            return Err(Full);
        }
        inner.children += 1;
        let child = inner.insert(name, Some(Arc::clone(parent)));
        child.enter();
        Ok((child, true))
    }

    /// The namespace of a name. If it is a child it has one member more.
    pub fn enter(&self, name: &str) -> Option<Arc<Definition>> {
        let found = self.read().find(name)?;
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

    /// The namespace of an index.
    pub fn at(&self, index: u16) -> Option<Arc<Definition>> {
        self.read().slots.get(usize::from(index))?.clone()
    }

    /// Those that were made by name and are no children.
    pub fn named(&self) -> Vec<Arc<Definition>> {
        let inner = self.read();
        let all = inner.slots.iter().flatten();
        all.filter(|definition| definition.parent_of().is_none()).cloned().collect()
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
        all.filter(of_parent).cloned().collect()
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
        self.slots[usize::from(definition.index)] = None;
        self.names.remove(&definition.name);
        self.vacant.push_back(definition.index);
        self.children -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Matcher {
        Matcher::Pattern(Regex::new(text).unwrap())
    }

    #[test]
    fn b27_13_a_name_that_a_pattern_matches_is_a_child_also_when_it_is_made_by_hand() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("^/dynamic-[0-9]+$"));
        let (by_hand, is_new) = registry.define("/dynamic-1");
        assert!(is_new && by_hand.parent_of().is_some_and(|of| Arc::ptr_eq(of, &parent)));
        let (plain, _) = registry.define("/plain");
        assert!(plain.parent_of().is_none());
        assert_eq!(registry.children(&parent).len(), 1);
        assert_eq!(registry.named().len(), 1);
    }

    #[test]
    fn b27_6_two_who_ask_for_one_name_share_one_child() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        let (one, first) = registry.define_child("/a", &parent, 10).unwrap();
        let (other, second) = registry.define_child("/a", &parent, 10).unwrap();
        assert!(Arc::ptr_eq(&one, &other) && first && !second);
    }

    #[test]
    fn b27_7_b27_8_b27_9_a_child_goes_with_its_last_member_if_that_is_wanted() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        let (child, _) = registry.define_child("/a", &parent, 10).unwrap();
        assert!(registry.enter("/a").is_some());
        registry.leave(&child, true);
        assert_eq!(registry.children(&parent).len(), 1, "one is still there");
        registry.leave(&child, true);
        assert!(registry.children(&parent).is_empty() && registry.enter("/a").is_none());
        let (again, is_new) = registry.define_child("/a", &parent, 10).unwrap();
        assert!(is_new && again.index != child.index, "an old handle does not mean the new one");
        registry.leave(&again, false);
        assert_eq!(registry.children(&parent).len(), 1);
    }

    #[test]
    fn b26_29_a_namespace_that_was_made_by_name_stays() {
        let registry = Registry::default();
        let (named, _) = registry.define("/a");
        assert!(registry.enter("/a").is_some());
        registry.leave(&named, true);
        assert!(registry.enter("/a").is_some());
    }

    #[test]
    fn children_are_limited_and_those_that_are_there_are_found_all_the_same() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        assert!(registry.define_child("/a", &parent, 1).is_ok());
        assert_eq!(registry.define_child("/b", &parent, 1).err(), Some(Full));
        assert!(registry.define_child("/a", &parent, 1).is_ok());
    }

    #[test]
    fn seventy_thousand_children_one_after_the_other_are_one_at_a_time() {
        let registry = Registry::default();
        let parent = registry.define_parent(pattern("."));
        for number in 0..70_000 {
            let name = format!("/{number}");
            let (child, is_new) = registry.define_child(&name, &parent, 10).unwrap();
            assert!(is_new);
            registry.leave(&child, true);
        }
        assert!(registry.children(&parent).is_empty());
    }
}
