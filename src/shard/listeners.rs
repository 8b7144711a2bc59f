//! What one socket listens to by itself, besides the handlers of its namespace.

use super::handler::{Handler, Middleware, Place};

/// Names a listener of a socket; not used again.
pub type ListenerId = u32;

/// The listeners of one socket, each list in the order in which they run.
#[derive(Default)]
pub struct Listeners {
    last_id: ListenerId,
    events: Vec<EventListener>,
    any: Vec<(ListenerId, Handler)>,
    any_outgoing: Vec<(ListenerId, Handler)>,
    middlewares: Vec<(ListenerId, Middleware)>,
}

struct EventListener {
    id: ListenerId,
    name: Box<str>,
    handler: Handler,
    is_once: bool,
}

/// Which events a catch-all listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that the client sends.
    Incoming,
    /// Those that the client is sent.
    Outgoing,
}

impl Listeners {
    /// Adds a listener of one event, behind those that are there. One that is `is_once` is removed
    /// when the event comes.
    pub fn add(&mut self, name: &str, handler: Handler, is_once: bool) -> ListenerId {
        let id = self.next_id();
        self.events.push(EventListener { id, name: name.into(), handler, is_once });
        id
    }

    /// Adds a listener of all events.
    pub fn add_any(&mut self, direction: Direction, place: Place, handler: Handler) -> ListenerId {
        let id = self.next_id();
        let list = self.list(direction);
        match place {
            Place::First => list.insert(0, (id, handler)),
            Place::Last => list.push((id, handler)),
        }
        id
    }

    /// Adds a middleware of the events that come.
    pub fn add_middleware(&mut self, middleware: Middleware) -> ListenerId {
        let id = self.next_id();
        self.middlewares.push((id, middleware));
        id
    }

    /// Takes a listener out, whatever it listens to.
    pub fn remove(&mut self, id: ListenerId) -> Option<Removed> {
        if let Some(at) = self.events.iter().position(|listener| listener.id == id) {
            return Some(Removed::Handler(self.events.remove(at).handler));
        }
        for list in [&mut self.any, &mut self.any_outgoing] {
            if let Some(at) = list.iter().position(|(other, _)| *other == id) {
                return Some(Removed::Handler(list.remove(at).1));
            }
        }
        let at = self.middlewares.iter().position(|(other, _)| *other == id)?;
        Some(Removed::Middleware(self.middlewares.remove(at).1))
    }

    /// Takes out all listeners of one event.
    pub fn remove_event(&mut self, name: &str) -> Vec<Handler> {
        let removed = self.events.extract_if(.., |listener| &*listener.name == name);
        removed.map(|listener| listener.handler).collect()
    }

    /// Takes out all listeners of all events of a direction.
    pub fn remove_any(&mut self, direction: Direction) -> Vec<Handler> {
        let removed = std::mem::take(self.list(direction));
        removed.into_iter().map(|(_, handler)| handler).collect()
    }

    /// The listeners of an event that has come; those that listen once are taken out.
    pub fn of(&mut self, name: &str) -> Vec<Handler> {
        let listening = self.events.iter().filter(|listener| &*listener.name == name);
        let handlers = listening.map(|listener| listener.handler.clone()).collect();
        self.events.retain(|listener| !listener.is_once || &*listener.name != name);
        handlers
    }

    /// The listeners of all events of a direction.
    pub fn any(&self, direction: Direction) -> impl Iterator<Item = Handler> {
        let list = match direction {
            Direction::Incoming => &self.any,
            Direction::Outgoing => &self.any_outgoing,
        };
        list.iter().map(|(_, handler)| handler.clone())
    }

    /// The middlewares of the events that come.
    pub fn middlewares(&self) -> impl Iterator<Item = Middleware> {
        self.middlewares.iter().map(|(_, middleware)| middleware.clone())
    }

    fn list(&mut self, direction: Direction) -> &mut Vec<(ListenerId, Handler)> {
        match direction {
            Direction::Incoming => &mut self.any,
            Direction::Outgoing => &mut self.any_outgoing,
        }
    }

    fn next_id(&mut self) -> ListenerId {
        self.last_id += 1;
        self.last_id
    }
}

/// What a listener was. Dropping it is user code.
pub enum Removed {
    /// A handler.
    Handler(Handler),
    /// A middleware.
    Middleware(Middleware),
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::shard::handler::Started;

    fn handler() -> Handler {
        Rc::new(|_| Started::Done)
    }

    #[test]
    fn one_that_listens_once_hears_one_event() {
        let mut listeners = Listeners::default();
        listeners.add("a", handler(), true);
        listeners.add("a", handler(), false);
        assert_eq!(listeners.of("b").len(), 0);
        assert_eq!(listeners.of("a").len(), 2);
        assert_eq!(listeners.of("a").len(), 1);
    }

    #[test]
    fn what_was_put_first_runs_first() {
        let mut listeners = Listeners::default();
        let order = Rc::new(RefCell::new(Vec::new()));
        for (place, name) in [(Place::Last, 1), (Place::First, 2), (Place::Last, 3)] {
            let order = Rc::clone(&order);
            // What is dropped last was listed last.
            let dropped = DropNote(name, order);
            let handler: Handler = Rc::new(move |_| {
                let _ = &dropped;
                Started::Done
            });
            listeners.add_any(Direction::Incoming, place, handler);
        }
        drop(listeners);
        assert_eq!(*order.borrow(), [2, 1, 3]);
    }

    struct DropNote(u8, Rc<RefCell<Vec<u8>>>);

    impl Drop for DropNote {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn a_listener_is_removed_by_its_id_and_events_by_their_name() {
        let mut listeners = Listeners::default();
        let one = listeners.add("a", handler(), false);
        let any = listeners.add_any(Direction::Outgoing, Place::Last, handler());
        listeners.add("a", handler(), false);
        assert!(listeners.remove(one).is_some() && listeners.remove(one).is_none());
        assert!(listeners.remove(any).is_some());
        assert_eq!(listeners.any(Direction::Outgoing).count(), 0);
        assert_eq!(listeners.remove_event("a").len(), 1);
        assert_eq!(listeners.of("a").len(), 0);
    }
}
