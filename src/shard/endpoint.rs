//! Where those who watch a server are answered: `/metrics`, `/live` and `/ready`, on a listener of
//! their own and by threads of their own, which answer also while handlers block all shards.
//!
//! Few come, and they are answered one request a connection, by std's blocking sockets. So many
//! are served at once as there are threads; the others wait in the kernel. Nobody is waited for
//! longer than [`PATIENCE`].

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::address::ListenAddress;
use crate::base::limits::Limits;
use crate::command::Command;
use crate::driver::memory::{self, MemoryGauge};
use crate::driver::{sys, unix};
use crate::error::{Error, Result};
use crate::metrics::{self, Observed, Process, Snapshot};
use crate::proto::http::{self, Fault, Field, Head, HeadScanner, Method, ResponseHead};

use super::doors;
use super::log;
use super::shared::{Shared, Stage};

/// Those who are answered at once.
const THREADS: usize = 8;

/// The stack of each, which calls nothing deep.
const STACK_BYTES: usize = 256 * 1024;

/// How long a request may take, from the connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to ask: silent ones must not keep a probe waiting for long.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);

/// How long one who has the answer may go on sending: a connection that is closed with bytes that
/// nobody has read would be reset, and the answer lost.
const LINGER: Duration = Duration::from_millis(500);

/// How long the shards have to tell what they have counted.
const SHARD_PATIENCE: Duration = Duration::from_secs(1);

/// How long what they have told is good for: a scrape makes each look at all its clients.
const FRESH: Duration = Duration::from_secs(1);

/// Where there is no descriptor for a connection, it is tried again after this time.
const RETRY: Duration = Duration::from_millis(100);

/// An address that another program has is tried again after this time.
const RETRY_ADDRESS: Duration = Duration::from_secs(1);

/// A request has no use for more.
const HEAD_BYTES: usize = 8 * 1024;
const TARGET_BYTES: usize = 1024;

const EXPOSITION: Field<'static> =
    Field::known("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
const PLAIN_TEXT: Field<'static> = Field::known("Content-Type", "text/plain; charset=utf-8");
const NO_STORE: Field<'static> = Field::known("Cache-Control", "no-store");
const ALLOW: Field<'static> = Field::known("Allow", "GET, HEAD");

const PATHS: &str = "/metrics\n/live\n/ready\n";

/// The listener of those who watch, until it is dropped.
#[derive(Debug)]
pub struct Endpoint(Arc<Shared>);

impl Endpoint {
    /// Answers those who come to `listener` from now on.
    ///
    /// # Errors
    /// There is no thread, or no descriptor.
    pub fn start(
        shared: &Arc<Shared>,
        listener: TcpListener,
        driver: &'static str,
    ) -> Result<Endpoint> {
        answer(shared, listener, driver)?;
        Ok(Endpoint(Arc::clone(shared)))
    }

    /// The same as soon as the address can be had, which another program has: perhaps the process
    /// whose place this one has taken.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start_later(shared: &Arc<Shared>, driver: &'static str) -> Result<Endpoint> {
        let weak = Arc::downgrade(shared);
        thread::Builder::new()
            .name("fanfare-metrics".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || answer_later(&weak, driver))
            .map_err(Error::Thread)?;
        Ok(Endpoint(Arc::clone(shared)))
    }
}

fn answer(shared: &Arc<Shared>, listener: TcpListener, driver: &'static str) -> Result<()> {
    let clerk = Arc::new(Clerk::new(shared, driver));
    for _ in 0..THREADS {
        let listener = listener.try_clone().map_err(Error::Thread)?;
        let clerk = Arc::clone(&clerk);
        // They are not waited for: one who is served may take a while, and hold up nobody.
        thread::Builder::new()
            .name("fanfare-metrics".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || clerk.serve(&listener))
            .map_err(Error::Thread)?;
    }
    // A server is started once.
    let _ = shared.observed_at.set(listener);
    Ok(())
}

/// Answers from when the address can be had, unless the server ends before.
fn answer_later(shared: &Weak<Shared>, driver: &'static str) {
    loop {
        thread::park_timeout(RETRY_ADDRESS);
        let Some(shared) = shared.upgrade() else { return };
        if shared.stage() != Stage::Serving {
            return;
        }
        let Some(address) = &shared.settings.metrics else { return };
        let Ok(listener) = listen(address) else { continue };
        if let Err(error) = answer(&shared, listener, driver) {
            log::succeeds_without(&error);
        }
        if shared.stage() != Stage::Serving || shared.is_handing_over() {
            // Whoever ended it may have found nothing to stop.
            shared.stop_being_observed();
        }
        return;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.0.stop_being_observed();
    }
}

/// Opens a listener at an address for those who watch; a port alone is one of the loopback.
///
/// # Errors
/// [`Error::Listen`] and [`Error::Address`].
pub fn listen(address: &ListenAddress) -> Result<TcpListener> {
    let socket_address = match address {
        ListenAddress::Tcp(address) => *address,
        other => {
            let name = other.to_string();
            match name.parse() {
                Ok(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                Err(_) => doors::look_up(&name)?,
            }
        }
    };
    TcpListener::bind(socket_address).map_err(|error| Error::Listen(address.clone(), error))
}

impl Shared {
    /// Where those come who watch it.
    pub fn observed_at(&self) -> Option<SocketAddr> {
        self.observed_at.get()?.local_addr().ok()
    }

    /// Leaves the address to others. Those who are being served still get their answers.
    pub(super) fn stop_being_observed(&self) {
        if let Some(listener) = self.observed_at.get() {
            unix::stop_listening(listener.as_fd());
        }
    }

    /// Why the server should be started again, if it should.
    fn illness(&self) -> Option<String> {
        if self.stage() == Stage::Abandoned {
            return Some("a shard has died".to_owned());
        }
        let (limit, now) = (self.settings.watchdog?, sys::monotonic_time());
        let blocked = self.posts().iter().enumerate().find_map(|(index, post)| {
            let blocked = now.since(post.pulse.since()?);
            (blocked >= limit).then_some((index, blocked))
        });
        blocked.map(|(index, blocked)| {
            format!("a handler has blocked shard {index} for {} ms", blocked.as_millis())
        })
    }

    /// Why no new client is let in, if none is.
    fn unreadiness(&self) -> Option<&'static str> {
        match self.stage() {
            Stage::Serving if !self.is_listening() => Some("the server is starting"),
            Stage::Serving if self.pressure.is_high() => Some("memory runs short"),
            Stage::Serving if !self.places.are_left() => Some("descriptors run short"),
            Stage::Serving => None,
            Stage::Draining => Some("the server is draining"),
            Stage::Closing => Some("the server is closing"),
            Stage::Abandoned => Some("a shard has died"),
        }
    }
}

/// What is known to all threads that answer.
struct Clerk {
    shared: Arc<Shared>,
    limits: Limits,
    driver: &'static str,
    began: Instant,
    memory_limit_bytes: Option<u64>,
    descriptors_max: Option<u64>,
    survey: Mutex<Survey>,
}

/// What the shards were asked last.
struct Survey {
    /// For the shards to answer.
    sender: Sender<(u16, Box<Observed>)>,
    answers: Receiver<(u16, Box<Observed>)>,
    /// Those that have not answered yet. One that a handler blocks is not asked again before.
    asked: Vec<bool>,
    /// When it was made into the text.
    text: Option<(Instant, Arc<str>)>,
}

impl Clerk {
    fn new(shared: &Arc<Shared>, driver: &'static str) -> Clerk {
        let limits = &shared.settings.options.limits;
        let memory_limit_bytes = MemoryGauge::new(limits.memory_limit());
        let limits =
            Limits { head_bytes: HEAD_BYTES, target_bytes: TARGET_BYTES, ..Limits::default() };
        let (sender, answers) = channel();
        let asked = vec![false; shared.posts().len()];
        Clerk {
            shared: Arc::clone(shared),
            limits,
            driver,
            began: Instant::now(),
            memory_limit_bytes: memory_limit_bytes.map(|gauge| gauge.limit_bytes()),
            descriptors_max: sys::raise_descriptor_limit().ok(),
            survey: Mutex::new(Survey { sender, answers, asked, text: None }),
        }
    }

    /// Answers those who come, until the listener is closed.
    fn serve(&self, listener: &TcpListener) {
        loop {
            match listener.accept() {
                // One who does not come to an end gets none.
                Ok((stream, _)) => drop(self.answer(stream)),
                Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                Err(_) => thread::park_timeout(RETRY),
            }
        }
    }

    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let begun = Instant::now();
        let mut peer = Peer { stream, until: begun + HEAD_PATIENCE };
        let head = peer.head(&self.limits)?;
        peer.until = begun + PATIENCE;
        let answer = match head {
            Ok(head) => self.respond(&head),
            Err(fault) => Err(fault),
        };
        let answer = answer.unwrap_or_else(|fault| {
            let mut answer = Vec::new();
            fault.respond(&mut answer);
            answer
        });
        peer.write_all(&answer)?;
        peer.linger()
    }

    fn respond(&self, head: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
        let head = Head::parse(head, &self.limits)?;
        let omit_body = head.method == Method::Head;
        let answer = |status, fields: &[Field<'_>], body: &str| {
            let mut out = Vec::with_capacity(body.len() + 256);
            let response = ResponseHead { status, keep_alive: false, omit_body, fields };
            http::write_response(&mut out, &response, body.as_bytes());
            Ok(out)
        };
        if !matches!(head.method, Method::Get | Method::Head) {
            return answer(405, &[PLAIN_TEXT, ALLOW], "Only GET and HEAD are of use\n");
        }
        let health = |ailment: Option<&dyn Display>| match ailment {
            None => answer(200, &[PLAIN_TEXT, NO_STORE], "ok\n"),
            Some(why) => answer(503, &[PLAIN_TEXT, NO_STORE], &format!("{why}\n")),
        };
        match head.target.split('?').next().unwrap_or_default() {
            "/metrics" => answer(200, &[EXPOSITION, NO_STORE], &self.text()),
            "/live" => health(self.shared.illness().as_ref().map(|why| why as _)),
            "/ready" => health(self.shared.unreadiness().as_ref().map(|why| why as _)),
            _ => answer(404, &[PLAIN_TEXT], PATHS),
        }
    }

    /// All numbers, which are a second old at most.
    fn text(&self) -> Arc<str> {
        let mut survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        match &survey.text {
            Some((made, text)) if made.elapsed() < FRESH => Arc::clone(text),
            _ => {
                let shards = survey.ask(&self.shared);
                let text = metrics::exposition(&Snapshot { process: self.process(), shards });
                let text: Arc<str> = text.into();
                survey.text = Some((Instant::now(), Arc::clone(&text)));
                text
            }
        }
    }

    fn process(&self) -> Process {
        Process {
            version: env!("CARGO_PKG_VERSION"),
            driver: self.driver,
            uptime: self.began.elapsed(),
            is_ready: self.shared.unreadiness().is_none(),
            resident_bytes: memory::resident_bytes(),
            memory_limit_bytes: self.memory_limit_bytes,
            descriptors: memory::open_descriptors(),
            descriptors_max: self.descriptors_max,
        }
    }
}

impl Survey {
    /// Asks all shards, and waits for those that answer in time.
    fn ask(&mut self, shared: &Shared) -> Vec<Option<Box<Observed>>> {
        // What has come too late last time is too old by now.
        while let Ok((index, _)) = self.answers.try_recv() {
            self.has_answered(index);
        }
        for (post, asked) in shared.posts().iter().zip(&mut self.asked) {
            *asked = match *asked {
                true => !post.mailbox.is_closed(),
                false => post.mailbox.ask(Command::Observe(self.sender.clone())).is_ok(),
            };
        }
        let mut shards: Vec<_> = self.asked.iter().map(|_| None).collect();
        let until = Instant::now() + SHARD_PATIENCE;
        while self.asked.contains(&true) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((index, observed)) = self.answers.recv_timeout(left) else { break };
            self.has_answered(index);
            if let Some(place) = shards.get_mut(usize::from(index)) {
                *place = Some(observed);
            }
        }
        shards
    }

    fn has_answered(&mut self, shard: u16) {
        if let Some(asked) = self.asked.get_mut(usize::from(shard)) {
            *asked = false;
        }
    }
}

/// One who watches, and until when it is waited for.
struct Peer {
    stream: TcpStream,
    until: Instant,
}

impl Peer {
    /// What it asks for: a whole head, or what is wrong with it.
    fn head(&mut self, limits: &Limits) -> io::Result<std::result::Result<Vec<u8>, Fault>> {
        let (mut scanner, mut bytes) = (HeadScanner::default(), Vec::new());
        loop {
            match scanner.end(&bytes, limits) {
                Ok(Some(end)) => {
                    bytes.truncate(end);
                    return Ok(Ok(bytes));
                }
                Err(fault) => return Ok(Err(fault)),
                Ok(None) => {}
            }
            let mut some = [0; 1024];
            match self.read(&mut some)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => bytes.extend_from_slice(&some[..count]),
            }
        }
    }

    /// Lets it end the connection.
    fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.until = self.until.min(Instant::now() + LINGER);
        while self.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Peer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(out)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
