//! What one shard of a server that has closed keeps of those who may come back, and how a shard of
//! the next one takes it over.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;

use crate::base::clock::Time;
use crate::base::frame::Wire;
use crate::base::id::PrivateId;
use crate::base::offset::Offset;
use crate::command::{SharedData, SocketAddress};
use crate::room::Target;
use crate::session::recovery::{Course, CourseImage, Log, LogImage, Missed, StateFile};
use crate::shard::context::Context;
use crate::shard::state::State;

use super::Scope;
use super::store::{Kept, Stored};

/// The events of a server that can be sent again. For those that no log has any more it is not
/// known whom they were for.
pub(in crate::shard) type Events = HashMap<Offset, (Arc<Wire>, Option<Scope>)>;

/// The part of one shard.
#[derive(Default)]
pub(in crate::shard) struct Section {
    /// How many events to many it has emitted.
    pub to_many: u64,
    /// And to one.
    pub to_one: u64,
    pub log: LogImage,
    pub events: Events,
    pub sessions: Vec<Absent>,
}

/// A socket that may come back.
pub(in crate::shard) struct Absent {
    pub pid: PrivateId,
    pub address: SocketAddress,
    /// The name of its namespace.
    pub namespace: Box<str>,
    pub rooms: Vec<Target>,
    pub moves: u32,
    pub course: CourseImage,
    /// How long it still may.
    pub left: Duration,
    pub data: Option<Box<RawValue>>,
}

/// What one shard takes over.
pub(in crate::shard) struct Inheritance {
    pub to_many: u64,
    pub to_one: u64,
    pub log: LogImage,
    /// Those of all shards.
    pub events: Arc<Events>,
    /// How long ago the log was made.
    pub elapsed: Duration,
    /// Those who may come back, and how long they still may; that of whom comes first for whom it
    /// ends first.
    pub sessions: Vec<(Duration, PrivateId, Kept)>,
}

impl Context {
    /// What is to be kept of this shard, which has ended.
    pub(in crate::shard) fn section(self: &Rc<Self>, file: &StateFile) -> Section {
        self.enter(|| self.section_of(file))
    }

    /// Takes over from the shard of this number of the server before, before its first turn.
    pub(in crate::shard) fn inherit(self: &Rc<Self>, now: Time, inheritance: Inheritance) {
        self.enter(|| {
            self.with(|state| {
                state.now = now;
                state.follow_registrations();
                state.inherit(inheritance);
            });
        });
    }

    fn section_of(&self, file: &StateFile) -> Section {
        let (mut section, data) = self.with(|state| state.section()).unwrap_or_default();
        for (absent, data) in section.sessions.iter_mut().zip(data) {
            let data = data.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(data) = data.as_deref() {
                self.isolated(|| absent.data = file.write(data));
            }
        }
        section
    }
}

impl State {
    fn section(&mut self) -> Option<(Section, Vec<SharedData>)> {
        let retention = self.retention()?;
        let recovery = self.recovery.as_mut()?;
        recovery.log.expire(self.now, &retention);
        self.expire_sessions();
        let recovery = self.recovery.as_ref()?;
        let mut events: Events = HashMap::new();
        let (mut sessions, mut data) = (Vec::new(), Vec::new());
        for (pid, stored) in &recovery.stored {
            let Some(absent) = self.absent(*pid, stored) else { continue };
            sessions.push(absent);
            data.push(Arc::clone(&stored.kept.data));
            for event in stored.kept.course.carried_events() {
                events.insert(event.offset, (Arc::clone(&event.wire), None));
            }
        }
        for (event, scope) in recovery.log.events() {
            events.insert(event.offset, (Arc::clone(&event.wire), Some(scope.clone())));
        }
        let log = recovery.log.image(self.now);
        let (to_many, to_one) = (recovery.to_many, recovery.to_one);
        Some((Section { to_many, to_one, log, events, sessions }, data))
    }

    fn absent(&self, pid: PrivateId, stored: &Stored) -> Option<Absent> {
        let log = &self.recovery.as_ref()?.log;
        let Kept { address, rooms, moves, course, .. } = &stored.kept;
        let space = self.namespaces.get(address.namespace)?;
        Some(Absent {
            pid,
            address: *address,
            namespace: space.definition.name.clone(),
            rooms: rooms.clone(),
            moves: *moves,
            course: course.image(log, stored.gone_at.before(self.silence())),
            left: stored.expires_at.since(self.now),
            data: None,
        })
    }

    fn inherit(&mut self, inheritance: Inheritance) {
        let Inheritance { to_many, to_one, log, events, elapsed, sessions } = inheritance;
        let event = |offset| {
            let (wire, scope) = events.get(&offset)?;
            Some((Missed { offset, wire: Arc::clone(wire) }, scope.clone()?))
        };
        let Some(log) = Log::restore(&log, self.now, elapsed, event) else { return };
        let Some(recovery) = &mut self.recovery else { return };
        (recovery.log, recovery.to_many, recovery.to_one) = (log, to_many, to_one);
        for (left, pid, kept) in sessions {
            let Some(definition) = self.shared.namespace(kept.address.namespace) else { continue };
            self.namespaces.ensure(&definition);
            self.shared.moved.insert(kept.address, pid, self.index, kept.moves);
            self.store_until(pid, kept, self.now.after(left));
        }
        self.arm_recovery();
    }
}

/// The course of a socket, if all its events are known.
pub(in crate::shard) fn course(image: &CourseImage, events: &Events) -> Option<Course> {
    Course::restore(image, |offset| {
        let (wire, _) = events.get(offset)?;
        Some(Missed { offset: *offset, wire: Arc::clone(wire) })
    })
}
