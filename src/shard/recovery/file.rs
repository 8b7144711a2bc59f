//! The state file: written when a server has been closed, read when the next one starts.
//!
//! It is a JSON document and, in a line of its own, the SHA-1 of that: what is not whole is not
//! used. Events are in it once, however many shards have logged them.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};

use crate::base::frame::{Encoded, Wire};
use crate::base::id::PrivateId;
use crate::base::offset::Offset;
use crate::command::{Broadcast, SharedData, SocketAddress};
use crate::room::{Selection, Target};
use crate::session::recovery::{CourseImage, LogImage, StateFile, level};
use crate::shard::log;
use crate::shard::shared::Shared;

use super::Scope;
use super::moment::Moment;
use super::section::{Absent, Events, Inheritance, Section, course};
use super::store::Kept;

/// Changes with the meaning of what is written.
const VERSION: u32 = 2;

/// Stands for a namespace that the new server does not have: an index that none has.
const NO_NAMESPACE: u16 = u16::MAX;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    /// That of packets, which are kept as they go out.
    form: String,
    written: Moment,
    /// Events that threads which are no shard's have emitted to many, and to one.
    outside: u64,
    outside_to_one: u64,
    events: HashMap<Offset, WrittenEvent>,
    shards: Vec<WrittenSection>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEvent {
    /// In base64.
    frames: String,
    text_offset: usize,
    is_compressible: bool,
    scope: Option<WrittenScope>,
}

#[derive(Serialize, Deserialize)]
enum WrittenScope {
    Many { namespace: String, to: Vec<String>, except: Vec<String> },
    One(u64),
}

#[derive(Serialize, Deserialize)]
struct WrittenSection {
    to_many: u64,
    to_one: u64,
    log: LogImage,
    sessions: Vec<WrittenSession>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSession {
    pid: String,
    nonce: u64,
    index: u32,
    shard: u16,
    namespace: String,
    rooms: Vec<String>,
    moves: u32,
    course: CourseImage,
    left_ms: u64,
    data: Option<Box<RawValue>>,
}

/// Sees that the file can be written when the server closes.
///
/// # Errors
/// Those of the file system.
pub fn check(file: &StateFile) -> io::Result<()> {
    create(&unfinished(file))?;
    fs::remove_file(unfinished(file))
}

/// The new server runs: nobody else may take over the same.
pub fn remove(file: &StateFile) {
    if let Err(error) = fs::remove_file(file.path())
        && error.kind() != io::ErrorKind::NotFound
    {
        log::state_left(file.path(), &error);
    }
}

fn unfinished(file: &StateFile) -> PathBuf {
    let mut path = file.path().as_os_str().to_owned();
    path.push(".new");
    path.into()
}

fn create(path: &PathBuf) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes what the shards of a server that has closed have kept.
///
/// # Errors
/// Those of the file system.
pub(in crate::shard) fn write(
    shared: &Shared,
    file: &StateFile,
    sections: Vec<Section>,
) -> io::Result<()> {
    let document = document(shared, sections);
    let mut text = serde_json::to_vec(&document)?;
    let checksum = BASE64.encode(Sha1::digest(&text));
    text.push(b'\n');
    text.extend_from_slice(checksum.as_bytes());
    replace(file, &text)?;
    let sessions = document.shards.iter().map(|shard| shard.sessions.len()).sum();
    log::state_written(file.path(), sessions, document.events.len());
    Ok(())
}

/// Puts a file in place as a whole, or not at all.
fn replace(file: &StateFile, text: &[u8]) -> io::Result<()> {
    let path = unfinished(file);
    let mut unfinished = create(&path)?;
    let written = unfinished.write_all(text).and_then(|()| unfinished.sync_all());
    let replaced = written.and_then(|()| fs::rename(&path, file.path()));
    if replaced.is_err() {
        // What went wrong before is what counts.
        drop(fs::remove_file(&path));
    }
    replaced
}

fn document(shared: &Shared, mut sections: Vec<Section>) -> Document {
    let mut logs: Vec<LogImage> =
        sections.iter_mut().map(|section| std::mem::take(&mut section.log)).collect();
    let are_whole = level(&mut logs);
    let mut events = Events::new();
    let mut shards = Vec::new();
    for ((section, log), is_whole) in sections.into_iter().zip(logs).zip(are_whole) {
        for (offset, event) in section.events {
            // One that somebody carries has a scope in the log of another shard.
            if event.1.is_some() || !events.contains_key(&offset) {
                events.insert(offset, event);
            }
        }
        // What its clients have missed is not known any more.
        let sessions = if is_whole { section.sessions } else { Vec::new() };
        let sessions = sessions.into_iter().map(WrittenSession::from).collect();
        let (to_many, to_one) = (section.to_many, section.to_one);
        shards.push(WrittenSection { to_many, to_one, log, sessions });
    }
    let name = |index| Some(shared.namespace(index)?.name.to_string());
    let written = |(offset, (wire, scope)): (Offset, (Arc<Wire>, Option<Scope>))| {
        (offset, WrittenEvent::new(&wire, scope, name))
    };
    let (outside, outside_to_one) = shared.outside_counts();
    Document {
        version: VERSION,
        form: form(shared),
        written: Moment::now(),
        outside,
        outside_to_one,
        events: events.into_iter().map(written).collect(),
        shards,
    }
}

fn form(shared: &Shared) -> String {
    format!("{:?}", shared.settings.form)
}

fn texts(targets: &[Target]) -> Vec<String> {
    targets.iter().map(|target| target.to_string()).collect()
}

fn targets(texts: Vec<String>) -> Vec<Target> {
    texts.into_iter().map(Target::from).collect()
}

impl WrittenEvent {
    fn new(
        wire: &Wire,
        scope: Option<Scope>,
        name: impl Fn(u16) -> Option<String>,
    ) -> WrittenEvent {
        let scope = scope.map(|scope| match scope {
            Scope::One(nonce) => WrittenScope::One(nonce),
            Scope::Many(event) => WrittenScope::Many {
                namespace: name(event.namespace).unwrap_or_default(),
                to: texts(&event.selection.to),
                except: texts(&event.selection.except),
            },
        });
        WrittenEvent {
            frames: BASE64.encode(wire.bytes()),
            text_offset: wire.text_offset(),
            is_compressible: wire.is_compressible(),
            scope,
        }
    }

    fn wire(&self) -> Option<Wire> {
        let bytes = BASE64.decode(&self.frames).ok()?;
        let encoded = match self.text_offset {
            0 => Encoded::raw(&bytes),
            offset if (2..=bytes.len()).contains(&offset) => Encoded::text_frame(&bytes, offset),
            _ => return None,
        };
        Some(encoded.compress(self.is_compressible).into())
    }

    fn read(
        self,
        offset: Offset,
        index: impl Fn(&str) -> u16,
    ) -> Option<(Arc<Wire>, Option<Scope>)> {
        let wire = Arc::new(self.wire()?);
        let scope = self.scope.map(|scope| match scope {
            WrittenScope::One(nonce) => Scope::One(nonce),
            WrittenScope::Many { namespace, to, except } => Scope::Many(Arc::new(Broadcast {
                namespace: index(&namespace),
                selection: Selection { to: targets(to), except: targets(except) },
                wire: Arc::clone(&wire),
                volatile: false,
                is_told: false,
                ack: None,
                offset: Some(offset),
                begun: None,
            })),
        });
        Some((wire, scope))
    }
}

impl From<Absent> for WrittenSession {
    fn from(absent: Absent) -> WrittenSession {
        let Absent { pid, address, namespace, rooms, moves, course, left, data } = absent;
        WrittenSession {
            pid: pid.text().map(char::from).iter().collect(),
            nonce: address.nonce,
            index: address.index,
            shard: address.shard,
            namespace: namespace.into(),
            rooms: texts(&rooms),
            moves,
            course,
            left_ms: left.as_millis() as u64,
            data,
        }
    }
}

impl WrittenSession {
    fn read(self, file: &StateFile, events: &Events, namespace: u16) -> Option<(PrivateId, Kept)> {
        let WrittenSession { nonce, index, shard, .. } = self;
        // Its reading is user code.
        let read = |json: &RawValue| catch_unwind(AssertUnwindSafe(|| file.read(json))).ok()?;
        let data: SharedData = Arc::new(Mutex::new(self.data.as_deref().and_then(read)));
        let kept = Kept {
            address: SocketAddress { nonce, index, shard, namespace },
            rooms: targets(self.rooms),
            data,
            moves: self.moves,
            course: course(&self.course, events)?,
        };
        Some((PrivateId::parse(self.pid.as_bytes())?, kept))
    }
}

/// What each of so many shards takes over from the server that ran before: nothing if there was
/// none, or if what it has left cannot be used.
pub(in crate::shard) fn read(
    shared: &Arc<Shared>,
    file: &StateFile,
    shards: usize,
) -> Vec<Inheritance> {
    let read = match fs::read(file.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => Err(error.to_string()),
        Ok(text) => parse(&text).and_then(|document| match document {
            document if document.version != VERSION => Err("it is of another version".into()),
            document if document.shards.len() != shards => {
                Err(format!("it is of a server with {} shards", document.shards.len()))
            }
            document if document.form != form(shared) => {
                Err(format!("it is of a server with the parser {}", document.form))
            }
            document => restore(shared, file, document),
        }),
    };
    match read {
        Ok(inheritances) => {
            let sessions = inheritances.iter().map(|shard| shard.sessions.len()).sum();
            log::state_read(file.path(), sessions);
            inheritances
        }
        Err(why) => {
            log::state_not_used(file.path(), &why);
            Vec::new()
        }
    }
}

fn parse(text: &[u8]) -> Result<Document, String> {
    let end = memchr::memrchr(b'\n', text).ok_or("it is not whole")?;
    let (text, checksum) = (&text[..end], &text[end + 1..]);
    if BASE64.encode(Sha1::digest(text)).as_bytes() != checksum {
        return Err("it is not whole".into());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// The application, which is told of the namespaces that are made, may panic.
fn restore(
    shared: &Arc<Shared>,
    file: &StateFile,
    document: Document,
) -> Result<Vec<Inheritance>, String> {
    let inherited = catch_unwind(AssertUnwindSafe(|| inherit(shared, file, document)));
    let inherited = inherited.map_err(|_| "the application has panicked")?;
    inherited.ok_or_else(|| "it is not whole".into())
}

fn inherit(shared: &Arc<Shared>, file: &StateFile, document: Document) -> Option<Vec<Inheritance>> {
    let elapsed = Moment::now().since(&document.written);
    let recovery = shared.settings.options.connection_state_recovery.as_ref()?;
    let left = |session: &WrittenSession| {
        let left = Duration::from_millis(session.left_ms).checked_sub(elapsed)?;
        // The server before may have had them kept for longer.
        Some(left.min(recovery.max_disconnection_duration)).filter(|left| !left.is_zero())
    };
    let sessions = document.shards.iter().flat_map(|shard| &shard.sessions);
    let mut indexes: HashMap<String, u16> = HashMap::new();
    for session in sessions.filter(|session| left(session).is_some()) {
        if !indexes.contains_key(&session.namespace)
            && let Some(definition) = shared.define_if_wanted(&session.namespace)
        {
            indexes.insert(session.namespace.clone(), definition.index);
        }
    }
    let index = |name: &str| indexes.get(name).copied().unwrap_or(NO_NAMESPACE);
    let read = |(offset, event): (Offset, WrittenEvent)| Some((offset, event.read(offset, index)?));
    let events: Option<Events> = document.events.into_iter().map(read).collect();
    let events = Arc::new(events?);
    let mut inheritances = Vec::new();
    for WrittenSection { to_many, to_one, log, sessions } in document.shards {
        let mut read = Vec::new();
        for session in sessions {
            let (left, namespace) = (left(&session), indexes.get(&session.namespace));
            let (Some(left), Some(&namespace)) = (left, namespace) else { continue };
            let (pid, kept) = session.read(file, &events, namespace)?;
            read.push((left, pid, kept));
        }
        read.sort_by_key(|(left, ..)| *left);
        let events = Arc::clone(&events);
        let is_whole = log.offsets().all(|offset| events.get(&offset).is_some_and(has_scope));
        let sessions = is_whole.then_some(read)?;
        inheritances.push(Inheritance { to_many, to_one, log, events, elapsed, sessions });
    }
    shared.go_on_counting(document.outside, document.outside_to_one);
    Some(inheritances)
}

fn has_scope(event: &(Arc<Wire>, Option<Scope>)) -> bool {
    event.1.is_some()
}
