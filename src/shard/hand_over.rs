//! From one process to the next, without a moment in which nobody listens.
//!
//! ```text
//!   the next one                         the one that serves
//!   connects to its path           ───▶  is it the same user?
//!   has all listeners              ◀───  "listener", with descriptors, for each address; "end"
//!   is able to serve: "ready"      ───▶  is asked no more, and accepts no more: connections wait
//!                                        in the kernel
//!   accepts; the path is its own   ◀───  "yours"
//!                                        sends its clients away, and ends
//! ```
//! With a state file the one that serves ends before it says "yours", since the next one begins
//! with what is in the file.
//!
//! Until "ready" the next one may fail, and nothing has happened to the other. From then on it
//! serves, whatever the other says, or does not: it may be the only one that is left.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::address::ListenAddress;
use crate::driver::rights::{self, DESCRIPTORS_MAX};
use crate::driver::unix::{self, DYING_TIME, SocketFile};
use crate::error::Error;

use super::log;
use super::shared::Shared;

/// Every message has this length, so that descriptors belong to the message that they come with.
const MESSAGE_BYTES: usize = 512;

/// How long either side waits for the other: as long as a drain of the default length.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the shards have to notice that they accept no more, or to end when there is a state
/// file. One that a handler blocks for longer is not waited for: nobody accepts meanwhile.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the other may leave no room for what it is told: all of it has room if nobody reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whoever was cut off while it asked asks again for so long: another process may just have been
/// quicker.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Pause before a path that another has is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Pause before it asks again, and before the next accept where there is no descriptor for one.
const PAUSE: Duration = Duration::from_millis(50);

const READY: &str = "ready";
const YOURS: &str = "yours";
const END: &str = "end";
const LISTENER: &str = "listener ";

/// An address, and sockets that listen there.
pub type Door = (ListenAddress, Vec<OwnedFd>);

fn say(stream: &UnixStream, text: &str, descriptors: &[OwnedFd]) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    let place = message.get_mut(..text.len()).ok_or(ErrorKind::InvalidInput)?;
    place.copy_from_slice(text.as_bytes());
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut sent = rights::send(stream.as_fd(), &message, &descriptors)?;
    while sent < message.len() {
        sent += rights::send(stream.as_fd(), &message[sent..], &[])?;
    }
    Ok(())
}

fn hear(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut message, mut length) = ([0; MESSAGE_BYTES], 0);
    let mut descriptors = Vec::new();
    while length < message.len() {
        match rights::receive(stream.as_fd(), &mut message[length..])? {
            (0, _) => return Err(ErrorKind::UnexpectedEof.into()),
            (received, more) => {
                length += received;
                descriptors.extend(more);
            }
        }
    }
    let text = message.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((String::from_utf8_lossy(text).into_owned(), descriptors))
}

fn expect(stream: &UnixStream, expected: &str) -> io::Result<()> {
    match hear(stream)?.0 == expected {
        true => Ok(()),
        false => Err(ErrorKind::InvalidData.into()),
    }
}

/// Whether the other has gone.
fn is_cut_off(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The process that serves, as the next one sees it.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks whoever serves at `path` for what it listens on; `None` when nobody does, or it ends
    /// before it has answered.
    ///
    /// # Errors
    /// Those of the kernel; `PermissionDenied`: it runs as another user.
    pub fn ask(path: &Path) -> io::Result<Option<(Predecessor, Vec<Door>)>> {
        let until = Instant::now() + ASK_AGAIN;
        let mut was_cut_off = false;
        loop {
            match Predecessor::ask_once(path) {
                Err(error) if is_cut_off(&error) => was_cut_off = true,
                Ok(None) if was_cut_off => {}
                answer => return answer,
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            thread::park_timeout(PAUSE);
        }
    }

    fn ask_once(path: &Path) -> io::Result<Option<(Predecessor, Vec<Door>)>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) => {
                let is_nobody =
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
                return if is_nobody { Ok(None) } else { Err(error) };
            }
        };
        if !rights::is_same_user(stream.as_fd())? {
            return Err(ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut doors: Vec<Door> = Vec::new();
        loop {
            let (text, descriptors) = hear(&stream)?;
            if text == END {
                return Ok(Some((Predecessor(stream), doors)));
            }
            let address = text.strip_prefix(LISTENER).ok_or(ErrorKind::InvalidData)?.into();
            match doors.iter_mut().find(|(other, _)| *other == address) {
                Some((_, sockets)) => sockets.extend(descriptors),
                None => doors.push((address, descriptors)),
            }
        }
    }

    /// Takes its place: nobody else accepts when this returns. One that dies of it, or does not
    /// answer, leaves its listeners, and nobody else who accepts from them.
    ///
    /// # Errors
    /// It has lost patience before it heard of this, and goes on serving.
    pub fn take_over(self, path: &Path) -> io::Result<()> {
        let taken = say(&self.0, READY, &[]).and_then(|()| expect(&self.0, YOURS));
        match taken {
            Err(error) if is_cut_off(&error) && is_waiting_at(path) => return Err(error),
            Err(error) => log::predecessor_fell_silent(&error),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// Whether somebody waits there for the next process, and is not dying. Whoever has heard of one
/// that is ready waits no more.
fn is_waiting_at(path: &Path) -> bool {
    let until = Instant::now() + DYING_TIME;
    while UnixStream::connect(path).is_ok() {
        if Instant::now() >= until {
            return true;
        }
        thread::park_timeout(PAUSE);
    }
    false
}

/// Where the next process asks, until the path is that one's.
#[derive(Debug, Default)]
struct Place {
    opened: Option<(Arc<UnixListener>, SocketFile)>,
    /// Nobody is to be asked here any more.
    is_left: bool,
}

impl Place {
    /// Makes it known that nobody is there. The file is removed when what this gives is dropped.
    fn leave(place: &Mutex<Place>) -> Option<SocketFile> {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.is_left = true;
        let (socket, file) = place.opened.take()?;
        // It makes an accept that waits fail, and every one that comes.
        unix::stop_listening(socket.as_fd());
        Some(file)
    }
}

/// Waits for the next process, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct HandOver {
    shared: Arc<Shared>,
    place: Arc<Mutex<Place>>,
    settled: Arc<AtomicBool>,
    /// Dropped when nothing of the server is left but its end.
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HandOver {
    /// Waits at `path`, which only processes of this user can connect to. If another has the path
    /// one that `is_patient` tries again.
    ///
    /// # Errors
    /// Those of [`unix::listen`], unless it is patient; there is no thread.
    pub fn start(shared: &Arc<Shared>, path: &Path, is_patient: bool) -> io::Result<HandOver> {
        let opened = match unix::listen(path, 0o600) {
            Err(error) if is_patient => {
                log::succeeds_without(&Error::HandOver(path.to_owned(), error));
                None
            }
            opened => Some(opened?),
        };
        let opened = opened.map(|(socket, file)| (Arc::new(socket.into()), file));
        let place = Arc::new(Mutex::new(Place { opened, is_left: false }));
        let settled = Arc::new(AtomicBool::new(false));
        let (ended, ends) = channel();
        let waiting = Waiting {
            shared: Arc::clone(shared),
            path: path.to_owned(),
            place: Arc::clone(&place),
            settled: Arc::clone(&settled),
            ends,
        };
        let thread = thread::Builder::new()
            .name("fanfare-hand-over".to_owned())
            .spawn(move || waiting.wait())?;
        let (shared, ended, thread) = (Arc::clone(shared), Some(ended), Some(thread));
        Ok(HandOver { shared, place, settled, ended, thread })
    }

    /// Whether the state file may be written: not when the next process has begun without it, who
    /// would take it for that of a later one. To be asked once, right before.
    pub fn awaits_state(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.ended = None;
        let file = Place::leave(&self.place);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if self.shared.is_handing_over() {
                // It has still to say so. One that only talks to somebody who may want to is left
                // alone.
                drop(thread.join());
            }
        }
        drop(file);
    }
}

struct Waiting {
    shared: Arc<Shared>,
    path: PathBuf,
    place: Arc<Mutex<Place>>,
    /// Whether it is known if there will be a state file.
    settled: Arc<AtomicBool>,
    ends: Receiver<()>,
}

impl Waiting {
    fn wait(self) {
        let Some(socket) = self.socket() else { return };
        loop {
            match socket.accept() {
                Ok((stream, _)) => match self.offer(&stream) {
                    Ok(()) => return self.hand_over(&socket, &stream),
                    // It may have been nobody but a look at whether somebody is there.
                    Err(error) => log::no_hand_over(&error),
                },
                // It listens no more.
                Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                Err(_) => thread::park_timeout(PAUSE),
            }
        }
    }

    /// What it waits at, once it can have it.
    fn socket(&self) -> Option<Arc<UnixListener>> {
        let mut found = None;
        loop {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            if place.is_left {
                return None;
            }
            if let Some((socket, file)) = found.take() {
                place.opened = Some((Arc::new(UnixListener::from(socket)), file));
            }
            if let Some((socket, _)) = &place.opened {
                return Some(Arc::clone(socket));
            }
            drop(place);
            thread::park_timeout(RETRY);
            found = unix::listen(&self.path, 0o600).ok();
        }
    }

    /// Gives the other all listeners, and waits until it can serve.
    fn offer(&self, stream: &UnixStream) -> io::Result<()> {
        if !rights::is_same_user(stream.as_fd())? {
            return Err(ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        // Whoever ends the server waits for the doors.
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let doors = self.shared.doors.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, sockets) in &*doors {
            for some in sockets.chunks(DESCRIPTORS_MAX) {
                say(stream, &format!("{LISTENER}{address}"), some)?;
            }
        }
        drop(doors);
        say(stream, END, &[])?;
        expect(stream, READY)
    }

    fn hand_over(&self, socket: &UnixListener, stream: &UnixStream) {
        log::hands_over();
        // The path is the other's from now on, and whoever waits here has to ask again.
        drop(Place::leave(&self.place));
        while socket.accept().is_ok() {}
        self.shared.hand_over();
        match self.shared.settings.options.state_file() {
            Some(_) => self.await_state(),
            None => self.await_stop(),
        }
        if let Err(error) = say(stream, YOURS, &[]) {
            log::no_hand_over(&error);
        }
    }

    /// Waits until the state file is there, which is when nothing sends any more. If that takes too
    /// long there will be none.
    fn await_state(&self) {
        if self.ends.recv_timeout(STOP_TIMEOUT) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        match self.settled.swap(true, Ordering::AcqRel) {
            false => log::nothing_to_recover(),
            // It is being written.
            true => drop(self.ends.recv_timeout(PATIENCE - STOP_TIMEOUT * 2)),
        }
    }

    fn await_stop(&self) {
        let until = Instant::now() + STOP_TIMEOUT;
        while !self.shared.has_stopped_listening() && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_heard_as_they_were_said_with_their_descriptors() {
        let (here, there) = UnixStream::pair().unwrap();
        let socket = OwnedFd::from(here.try_clone().unwrap());
        say(&here, "listener 127.0.0.1:3000", &[socket]).unwrap();
        say(&here, END, &[]).unwrap();
        let (text, descriptors) = hear(&there).unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("listener 127.0.0.1:3000", 1));
        expect(&there, END).unwrap();
        assert!(say(&here, &"x".repeat(MESSAGE_BYTES + 1), &[]).is_err());
        // One of them is the same end.
        drop((here, descriptors));
        assert_eq!(hear(&there).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn where_nobody_serves_there_is_nothing_to_take_over() {
        let path = std::env::temp_dir().join(format!("fanfare-{}-nobody", std::process::id()));
        assert!(Predecessor::ask(&path).unwrap().is_none());
        drop(UnixListener::bind(&path).unwrap());
        assert!(Predecessor::ask(&path).unwrap().is_none(), "one that was killed");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_who_asks_and_takes_nothing_keeps_no_server_from_ending() {
        let path = std::env::temp_dir().join(format!("fanfare-{}-deaf", std::process::id()));
        let io = crate::Server::builder().build().unwrap();
        let (socket, _) = UnixStream::pair().unwrap();
        let door = |port| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            (address.into(), vec![socket.try_clone().unwrap().into()])
        };
        // More than there is room for.
        *io.shared.doors.lock().unwrap() = (0..400).map(door).collect();
        let _hand_over = HandOver::start(&io.shared, &path, false).unwrap();
        let _deaf = UnixStream::connect(&path).unwrap();
        while io.shared.doors.try_lock().is_ok() {
            thread::yield_now();
        }
        let (told, ends) = channel();
        thread::spawn(move || told.send(io.shared.drain()));
        assert!(ends.recv_timeout(Duration::from_secs(10)).unwrap());
    }
}
