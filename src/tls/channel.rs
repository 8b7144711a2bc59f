//! TLS of one connection: ciphertext in, plaintext out, and the other way round. No descriptor, and
//! no buffer for a connection that is idle.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

use super::context::Context;
use crate::base::limits::TLS_KEPT_BYTES;

/// One connection, with all that goes along when it changes its shard.
pub struct Channel {
    session: Session,
    /// Records of which the end has not arrived; the handshake may have messages of several.
    kept: Vec<u8>,
    /// What has to be sent, and could not be while it was on its way to another driver.
    pub unsent: Vec<u8>,
    /// How it has ended for whoever receives from it: with an error number, or without.
    pub end: Option<Option<i32>>,
}

/// How far a connection has come.
enum Session {
    /// What a proxy says in front of it may come first.
    Unannounced,
    /// Nothing of TLS has arrived, and nothing was set up for it.
    Silent,
    Begun(Box<UnbufferedServerConnection>),
}

/// What a connection is after something has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Open,
    /// The peer has said that nothing more will come.
    Finished,
    /// The peer has broken the rules; why is said to it by what is to be sent.
    Failed,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// More of it must come first.
    Incomplete,
    /// So many bytes for whoever is behind TLS, as they are.
    Plain(usize),
    /// What it must not begin with.
    Malformed,
}

/// Nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsendable;

/// Bytes in memory that is used again for each connection.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    length: usize,
}

impl Scratch {
    /// What was written.
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Gives the memory back.
    pub fn discard(&mut self) {
        *self = Scratch::default();
    }

    /// Has `write` write where there is room, and makes as much as it asks for.
    fn write<E: Refusal>(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), Unsendable> {
        loop {
            match write(&mut self.bytes[self.length..]) {
                Ok(count) => {
                    self.length += count;
                    return Ok(());
                }
                Err(error) => {
                    let room = error.room().ok_or(Unsendable)?.required_size;
                    self.bytes.resize(self.length + room, 0);
                }
            }
        }
    }
}

/// Why nothing was written.
trait Refusal {
    /// The room that it needs, if that is all.
    fn room(self) -> Option<InsufficientSizeError>;
}

impl Refusal for EncodeError {
    fn room(self) -> Option<InsufficientSizeError> {
        match self {
            EncodeError::InsufficientSize(room) => Some(room),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl Refusal for EncryptError {
    fn room(self) -> Option<InsufficientSizeError> {
        match self {
            EncryptError::InsufficientSize(room) => Some(room),
            EncryptError::EncryptExhausted => None,
        }
    }
}

impl Channel {
    /// A connection that has just been made.
    pub fn new(is_announced: bool) -> Channel {
        let session = if is_announced { Session::Unannounced } else { Session::Silent };
        Channel { session, kept: Vec::new(), unsent: Vec::new(), end: None }
    }

    /// Whether what is sent would be encrypted.
    pub fn is_established(&self) -> bool {
        matches!(&self.session, Session::Begun(session) if !session.is_handshaking())
    }

    /// The memory of what has come and is not whole.
    pub fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// Whether it waits for what is said in front of TLS.
    pub fn is_unannounced(&self) -> bool {
        matches!(self.session, Session::Unannounced)
    }

    /// Takes what has arrived of what may be in front of TLS. `plain` is given what is for whoever
    /// is behind; the rest is TLS.
    pub fn announce(
        &mut self,
        context: &Context,
        input: &[u8],
        front: impl FnOnce(&[u8]) -> Front,
        plain: &mut Vec<u8>,
        answer: &mut Scratch,
    ) -> Outcome {
        self.kept.extend_from_slice(input);
        match front(&self.kept) {
            Front::Incomplete => return Outcome::Open,
            Front::Malformed => return Outcome::Failed,
            Front::Plain(length) => plain.extend(self.kept.drain(..length)),
        }
        self.session = Session::Silent;
        self.receive(context, &mut [], plain, answer)
    }

    /// Takes ciphertext that has arrived, which it changes. Adds what it says to `plain`, and what
    /// has to be sent because of it to `answer`.
    pub fn receive(
        &mut self,
        context: &Context,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut Scratch,
    ) -> Outcome {
        if let Session::Silent = self.session {
            let Ok(session) = UnbufferedServerConnection::new(context.current()) else {
                return Outcome::Failed;
            };
            self.session = Session::Begun(Box::new(session));
        }
        let Session::Begun(session) = &mut self.session else { return Outcome::Open };
        // What comes whole is read where it is.
        if self.kept.is_empty() {
            let (read, outcome) = read(session, input, plain, answer);
            self.kept.extend_from_slice(&input[read..]);
            return self.judge(outcome);
        }
        self.kept.extend_from_slice(input);
        let (read, outcome) = read(session, &mut self.kept, plain, answer);
        match read == self.kept.len() {
            true => self.kept = Vec::new(),
            false => drop(self.kept.drain(..read)),
        }
        self.judge(outcome)
    }

    fn judge(&mut self, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Open {
            self.kept = Vec::new();
        } else if self.kept.len() > TLS_KEPT_BYTES {
            return Outcome::Failed;
        }
        outcome
    }

    /// Encrypts, behind what else has to be sent.
    ///
    /// # Errors
    /// The handshake has not ended, or the connection has.
    pub fn encrypt(&mut self, plain: &[u8], cipher: &mut Scratch) -> Result<(), Unsendable> {
        self.write(cipher, |state, cipher| match state {
            ConnectionState::WriteTraffic(mut traffic) => {
                cipher.write(|room| traffic.encrypt(plain, room))
            }
            _ => Err(Unsendable),
        })
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The same.
    pub fn finish(&mut self, cipher: &mut Scratch) -> Result<(), Unsendable> {
        self.write(cipher, |state, cipher| match state {
            ConnectionState::WriteTraffic(mut traffic) => {
                cipher.write(|room| traffic.queue_close_notify(room))
            }
            _ => Err(Unsendable),
        })
    }

    /// Has `act` act when nothing else has to be sent before.
    fn write(
        &mut self,
        cipher: &mut Scratch,
        act: impl FnOnce(State<'_, '_>, &mut Scratch) -> Result<(), Unsendable>,
    ) -> Result<(), Unsendable> {
        let Session::Begun(session) = &mut self.session else { return Err(Unsendable) };
        if session.is_handshaking() {
            return Err(Unsendable);
        }
        loop {
            // Nothing can be whole in what is kept, so that nothing of it is taken here.
            let state = session.process_tls_records(&mut self.kept).state;
            match state.map_err(|_| Unsendable)? {
                ConnectionState::EncodeTlsData(mut data) => {
                    cipher.write(|room| data.encode(room))?
                }
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => {}
                state => return act(state, cipher),
            }
        }
    }
}

type State<'c, 'i> = ConnectionState<'c, 'i, rustls::server::ServerConnectionData>;

/// Reads the records that are whole, and says how many bytes they were.
fn read(
    session: &mut UnbufferedServerConnection,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    answer: &mut Scratch,
) -> (usize, Outcome) {
    let mut position = 0;
    let mut outcome = Outcome::Open;
    while outcome != Outcome::Failed {
        let UnbufferedStatus { mut discard, state } =
            session.process_tls_records(&mut input[position..]);
        let is_done = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                answer.write(|room| data.encode(room)).is_err()
            }
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                outcome = Outcome::Finished;
                false
            }
            Ok(_) => true,
            Err(_) => {
                outcome = Outcome::Failed;
                false
            }
        };
        position += discard;
        if is_done {
            return (position, outcome);
        }
    }
    explain(session, &mut input[position..], answer);
    (position, outcome)
}

/// Adds what a peer is told that has broken the rules. The rest of what it has sent must be there,
/// but is not read: what is to be sent comes first.
fn explain(session: &mut UnbufferedServerConnection, rest: &mut [u8], answer: &mut Scratch) {
    while session.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut data)) = session.process_tls_records(rest).state
        else {
            return;
        };
        if answer.write(|room| data.encode(room)).is_err() {
            return;
        }
    }
}
