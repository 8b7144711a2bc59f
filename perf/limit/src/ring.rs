//! Completions by io_uring: accepts and receives that go on by themselves, sends that one entry
//! into the kernel submits for many sockets. An idle socket is nine bytes here, beside what
//! [`Application`] has, and an armed receive in the kernel, which no process is charged for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::rc::Rc;

use rustix::process::{Resource, getrlimit};

use crate::application::{Application, Verdict};
use crate::backlog::BACKLOG_MAX;
use crate::failure::Failure;
use crate::listener;
use crate::sys::{Completion, Kind, Ring};

/// Files that the kernel makes a table for, if the limit of descriptors is as high.
const FILES_MAX: u64 = 1 << 20;

/// Serves for ever, or says why it cannot.
pub fn serve(listener: TcpListener) -> Result<Infallible, Failure> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(FILES_MAX).min(FILES_MAX);
    let ring = Ring::new(files as u32).map_err(|error| {
        Failure::unable("io_uring (Linux 6.1, not forbidden) cannot be set up", error)
    })?;
    let mut server = Server {
        ring,
        application: Application::default(),
        states: Vec::new(),
        waiting: HashMap::new(),
        ended: Vec::new(),
        starved: Vec::new(),
        listener,
    };
    server.ring.accept(&server.listener)?;
    listener::announce(&server.listener)?;
    loop {
        server.turn()?;
    }
}

/// What there is to know about a socket but its send, which [`Ring`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody is connected.
    Free,
    /// It receives.
    Open,
    /// What was in flight on it has not all ended.
    Ending { receives: bool },
}

struct Server {
    ring: &'static mut Ring,
    application: Application,
    states: Vec<State>,
    /// What is due to sockets that have a send in flight.
    waiting: HashMap<u32, Vec<u8>>,
    /// Whose connection ends with the turn.
    ended: Vec<u32>,
    /// Who found no buffer.
    starved: Vec<u32>,
    listener: TcpListener,
}

impl Server {
    fn turn(&mut self) -> Result<(), Failure> {
        self.ring.wait()?;
        while let Some(completion) = self.ring.next() {
            match completion.kind {
                Kind::Accept => self.accepted(&completion)?,
                Kind::Receive => self.received(completion)?,
                Kind::Send => self.sent(&completion)?,
                Kind::Cancel | Kind::Close => {}
            }
        }
        self.deliver()?;
        while let Some(socket) = self.ended.pop() {
            self.end(socket)?;
        }
        while let Some(socket) = self.starved.pop() {
            match self.states[socket as usize] {
                State::Open => self.ring.receive(socket)?,
                _ => self.receive_ended(socket)?,
            }
        }
        Ok(())
    }

    fn accepted(&mut self, completion: &Completion) -> Result<(), Failure> {
        if !completion.goes_on {
            self.ring.accept(&self.listener)?;
        }
        let socket = match u32::try_from(completion.result) {
            Ok(socket) => socket,
            Err(_) => match -completion.result {
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => return Ok(()),
                error => return Err(std::io::Error::from_raw_os_error(error).into()),
            },
        };
        let index = socket as usize;
        if index >= self.states.len() {
            self.states.resize(index + 1, State::Free);
        }
        self.states[index] = State::Open;
        self.application.opened(socket);
        Ok(self.ring.receive(socket)?)
    }

    fn received(&mut self, completion: Completion) -> Result<(), Failure> {
        let socket = completion.socket;
        if let Some(mut buffer) = completion.buffer {
            let length = usize::try_from(completion.result).unwrap_or(0);
            let is_open = self.states[socket as usize] == State::Open;
            let bytes = &mut self.ring.bytes(&mut buffer)[..length];
            if is_open && self.application.received(socket, bytes) == Verdict::End {
                self.ended.push(socket);
            }
            self.ring.release(buffer);
        }
        if completion.goes_on {
            return Ok(());
        }
        match completion.result {
            // All buffers are in use, or the kernel had to put completions aside.
            1.. => self.starved.push(socket),
            error if error == -libc::ENOBUFS => self.starved.push(socket),
            _ => self.receive_ended(socket)?,
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), Failure> {
        let Some((bytes, deliveries)) = self.application.end_turn() else { return Ok(()) };
        let bytes = Rc::new(bytes);
        let Server { ring, application, waiting, ended, states, .. } = self;
        let mut result = Ok(());
        application.each(&deliveries, |socket, range| {
            if states[socket as usize] != State::Open {
                return;
            }
            if !ring.is_sending(socket) {
                if let Err(error) = ring.send(socket, Rc::clone(&bytes), range) {
                    result = Err(error.into());
                }
                return;
            }
            let waiting = waiting.entry(socket).or_default();
            waiting.extend_from_slice(&bytes[range]);
            if waiting.len() > BACKLOG_MAX {
                ended.push(socket);
            }
        });
        result
    }

    fn sent(&mut self, completion: &Completion) -> Result<(), Failure> {
        let socket = completion.socket;
        if self.states[socket as usize] != State::Open {
            return self.settle(socket);
        }
        if completion.result < 0 {
            return self.end(socket);
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Some(bytes) = self.waiting.remove(&socket) {
            let range = 0..bytes.len();
            self.ring.send(socket, Rc::new(bytes), range)?;
        }
        Ok(())
    }

    /// Ends a connection; what is in flight on it completes then.
    fn end(&mut self, socket: u32) -> Result<(), Failure> {
        if self.states[socket as usize] == State::Open {
            self.states[socket as usize] = State::Ending { receives: true };
            self.waiting.remove(&socket);
            self.ring.cancel(socket)?;
        }
        Ok(())
    }

    fn receive_ended(&mut self, socket: u32) -> Result<(), Failure> {
        if self.states[socket as usize] == State::Open && self.ring.is_sending(socket) {
            self.end(socket)?;
        }
        self.states[socket as usize] = State::Ending { receives: false };
        self.waiting.remove(&socket);
        self.settle(socket)
    }

    /// Frees a socket that nothing is in flight on any more.
    fn settle(&mut self, socket: u32) -> Result<(), Failure> {
        let state = &mut self.states[socket as usize];
        if *state == (State::Ending { receives: false }) && !self.ring.is_sending(socket) {
            *state = State::Free;
            self.application.closed(socket);
            self.ring.close(socket)?;
        }
        Ok(())
    }
}
