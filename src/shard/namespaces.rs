//! The namespaces of one shard, by index and by name.
//!
//! Those that were made by name are there from the next turn on, children while the shard has a
//! socket in them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::chunks::Chunks;
use crate::room::Rooms;

use super::handler::{Definition, Handlers};
use super::registry::Registry;

/// One namespace on this shard.
pub struct Namespace {
    /// What all shards know of it.
    pub definition: Arc<Definition>,
    /// This shard's handlers.
    pub handlers: Rc<Handlers>,
    /// Its rooms.
    pub rooms: Rooms,
    /// Whether somebody hears of what becomes of them.
    pub hears_rooms: bool,
    /// Its connected sockets.
    pub sockets: Vec<u32>,
    /// Its sockets, also those that are not connected yet or any more.
    pub held: usize,
}

/// The namespaces of one shard.
#[derive(Default)]
pub struct Namespaces {
    by_index: Chunks<Namespace>,
    by_name: HashMap<Box<str>, u16>,
    parents: Vec<(Arc<Definition>, Rc<Handlers>)>,
    /// The version of the registrations that the handlers were made from.
    version: u64,
}

impl Namespace {
    /// Rooms that are there when somebody begins to hear of them count, too.
    fn follow_rooms(&mut self, handlers: &Handlers) {
        let heard = std::mem::replace(&mut self.hears_rooms, !handlers.rooms.is_empty());
        if self.hears_rooms && !heard {
            self.rooms.all().for_each(|room| {
                self.definition.room_begins(room);
            });
        }
    }
}

impl Namespaces {
    /// The namespace of an index.
    pub fn get(&self, index: u16) -> Option<&Namespace> {
        self.by_index.get(usize::from(index))
    }

    /// The namespace of an index.
    pub fn get_mut(&mut self, index: u16) -> Option<&mut Namespace> {
        self.by_index.get_mut(usize::from(index))
    }

    /// The namespace of a name.
    pub fn named(&self, name: &str) -> Option<&Namespace> {
        self.get(*self.by_name.get(name)?)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.by_index.iter_mut()
    }

    /// Whether there are some that decide about names that nobody has made.
    pub fn has_parents(&self) -> bool {
        !self.parents.is_empty()
    }

    /// Those that decide about names that nobody has made, in the order in which they are asked.
    pub fn parents(&self) -> Vec<Arc<Definition>> {
        self.parents.iter().map(|(parent, _)| Arc::clone(parent)).collect()
    }

    /// Makes the handlers anew if a registration has changed. Gives the previous ones: dropping
    /// them is user code.
    pub fn follow(&mut self, registry: &Registry) -> Vec<Rc<Handlers>> {
        let version = registry.version();
        if version == self.version {
            return Vec::new();
        }
        self.version = version;
        let parents = registry.parents().into_iter().map(|parent| {
            let handlers = Rc::new(parent.handlers());
            (parent, handlers)
        });
        let mut previous: Vec<_> = std::mem::replace(&mut self.parents, parents.collect())
            .into_iter()
            .map(|(_, handlers)| handlers)
            .collect();
        let mut known = registry.named();
        let here = self.by_name.values().filter_map(|&index| self.get(index));
        let children = here.filter(|space| space.definition.parent_of().is_some());
        known.extend(children.map(|space| Arc::clone(&space.definition)));
        for definition in known {
            let handlers = self.handlers_of(&definition);
            match self.get_mut(definition.index) {
                Some(space) => {
                    space.follow_rooms(&handlers);
                    previous.push(std::mem::replace(&mut space.handlers, handlers));
                }
                None => self.insert(definition, handlers),
            }
        }
        previous
    }

    /// Makes sure that a namespace is there.
    pub fn ensure(&mut self, definition: &Arc<Definition>) {
        if self.get(definition.index).is_none() {
            let handlers = self.handlers_of(definition);
            self.insert(Arc::clone(definition), handlers);
        }
    }

    /// A socket is put into a namespace.
    pub fn hold(&mut self, index: u16) {
        if let Some(space) = self.get_mut(index) {
            space.held += 1;
        }
    }

    /// A socket of a namespace is forgotten. Gives the namespace if it is a child, and whether this
    /// shard has forgotten it, too.
    pub fn release(&mut self, index: u16) -> Option<(Arc<Definition>, Option<Namespace>)> {
        let space = self.get_mut(index)?;
        space.held = space.held.saturating_sub(1);
        space.definition.parent_of()?;
        let definition = Arc::clone(&space.definition);
        let is_empty = space.held == 0;
        let removed = is_empty.then(|| self.remove(index)).flatten();
        Some((definition, removed))
    }

    fn handlers_of(&self, definition: &Arc<Definition>) -> Rc<Handlers> {
        let shared = definition.parent_of().filter(|_| definition.is_plain_child());
        let shared = shared
            .and_then(|parent| self.parents.iter().find(|(other, _)| Arc::ptr_eq(other, parent)));
        match shared {
            Some((_, handlers)) => Rc::clone(handlers),
            None => Rc::new(definition.handlers()),
        }
    }

    fn insert(&mut self, definition: Arc<Definition>, handlers: Rc<Handlers>) {
        let (index, name) = (definition.index, definition.name.clone());
        let (rooms, sockets) = (Rooms::new(), Vec::new());
        let hears_rooms = !handlers.rooms.is_empty();
        let space = Namespace { definition, handlers, rooms, hears_rooms, sockets, held: 0 };
        self.by_index.put(usize::from(index), space);
        self.by_name.insert(name, index);
    }

    fn remove(&mut self, index: u16) -> Option<Namespace> {
        let space = self.by_index.take(usize::from(index))?;
        self.by_name.remove(&space.definition.name);
        Some(space)
    }
}
