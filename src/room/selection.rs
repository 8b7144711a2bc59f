//! Which sockets an emit means.

use std::sync::Arc;

/// The name of a room, or the id of a socket.
pub type Target = Arc<str>;

/// `to(…)` and `except(…)` of one emit. Without a `to`, everybody is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Members of any of these rooms.
    pub to: Vec<Target>,
    /// But not the members of any of these.
    pub except: Vec<Target>,
}
