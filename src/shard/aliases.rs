//! Session ids that the application has made (`generate_id`). They say nothing about where their
//! session is, so there is a table of them, which is empty unless the application makes any.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use crate::base::id::SessionId;
use crate::base::limits::SESSION_ID_BYTES_MAX;

/// The table of a server.
#[derive(Default)]
pub struct Aliases {
    table: RwLock<Table>,
    /// Whether there has ever been an entry: before that nobody looks.
    is_used: AtomicBool,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Box<str>, SessionId>,
    /// The ids of the application by ours.
    texts: HashMap<SessionId, Box<str>>,
}

impl Aliases {
    /// Whether a text can be an id.
    pub fn is_fit(text: &str) -> bool {
        !text.is_empty()
            && text.len() <= SESSION_ID_BYTES_MAX
            && !text.chars().any(char::is_control)
    }

    /// Gives a session that is about to open a text as its id; `false` when another one has it.
    pub fn claim(&self, text: &str, session: SessionId) -> bool {
        let mut table = self.write();
        if table.sessions.contains_key(text) {
            return false;
        }
        table.sessions.insert(text.into(), session);
        table.texts.insert(session, text.into());
        self.is_used.store(true, Ordering::Release);
        true
    }

    /// The session of a text.
    pub fn session(&self, text: &str) -> Option<SessionId> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.sessions.get(text).copied()
    }

    /// What the application has called a session, if it has.
    pub fn text(&self, session: &SessionId) -> Option<String> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.texts.get(session).map(|text| text.to_string())
    }

    /// A session is over: its id may be used again.
    pub fn release(&self, session: &SessionId) {
        if !self.is_used.load(Ordering::Acquire) {
            return;
        }
        let mut table = self.write();
        if let Some(text) = table.texts.remove(session) {
            table.sessions.remove(&text);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::SocketId;

    fn id(index: u32) -> SessionId {
        SessionId::new(1, index, [7; 16])
    }

    #[test]
    fn an_id_is_one_session_s_until_that_is_over() {
        let aliases = Aliases::default();
        assert_eq!(aliases.session("a"), None);
        assert!(aliases.claim("a", id(1)) && aliases.claim("b", id(2)));
        assert!(!aliases.claim("a", id(3)), "it is taken");
        assert_eq!((aliases.session("a"), aliases.session("b")), (Some(id(1)), Some(id(2))));
        assert_eq!((aliases.text(&id(1)).as_deref(), aliases.text(&id(3))), (Some("a"), None));
        aliases.release(&id(1));
        assert_eq!(aliases.text(&id(1)), None);
        // One that has none.
        aliases.release(&id(3));
        assert_eq!((aliases.session("a"), aliases.session("b")), (None, Some(id(2))));
        assert!(aliases.claim("a", id(3)));
        aliases.release(&id(2));
        aliases.release(&id(3));
        let table = aliases.write();
        assert!(table.sessions.is_empty() && table.texts.is_empty());
    }

    #[test]
    fn a_session_and_a_socket_of_one_place_have_an_id_each() {
        let aliases = Aliases::default();
        let of_socket = SessionId::of_socket(SocketId::new(1, 2, 7));
        assert!(aliases.claim("a", id(2)) && aliases.claim("b", of_socket));
        aliases.release(&of_socket);
        assert_eq!((aliases.session("a"), aliases.session("b")), (Some(id(2)), None));
    }

    #[test]
    fn an_id_is_short_and_has_no_control_character() {
        for text in ["x", "user 7", "\u{e9}\"\\", &"x".repeat(SESSION_ID_BYTES_MAX)] {
            assert!(Aliases::is_fit(text), "{text}");
        }
        for text in ["", "a\r\nb", "\0", "\u{85}", &"x".repeat(SESSION_ID_BYTES_MAX + 1)] {
            assert!(!Aliases::is_fit(text), "{text}");
        }
    }
}
