//! Acknowledgements of what was sent: those that clients owe us.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::base::id::SocketId;
use crate::command::{Answers, SocketAddress, Unanswered};
use crate::proto::json::{ArgsError, FromArguments, Raw};

use super::emit::{EmitError, Emitted};

/// The acknowledgement of one client, to be awaited on any thread. The event has been sent before
/// it is awaited, and the answer is thrown away when it is not.
#[derive(Debug)]
pub struct Acknowledgement<T> {
    pub(super) emitted: Emitted,
    pub(super) receiver: oneshot::Receiver<Result<Raw, Unanswered>>,
    pub(super) answer: PhantomData<fn() -> T>,
}

impl<T: FromArguments> Future for Acknowledgement<T> {
    type Output = Result<T, AckError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.emitted {
            Emitted::Refused(error) => return Poll::Ready(Err(AckError::Refused(error))),
            Emitted::Overloaded => return Poll::Ready(Err(AckError::Overloaded)),
            Emitted::Queued | Emitted::Dropped | Emitted::Closed => {}
        }
        Pin::new(&mut self.receiver).poll(task).map(|answer| match answer {
            Ok(Ok(answer)) => T::from_arguments(answer).map_err(AckError::Answer),
            Ok(Err(Unanswered::Timeout)) => Err(AckError::Timeout),
            // A sender that was dropped belonged to a shard that is gone.
            Ok(Err(Unanswered::Disconnected)) | Err(_) => Err(AckError::Disconnected),
        })
    }
}

/// The acknowledgements of all recipients, to be awaited on any thread. The event has been sent
/// before it is awaited.
#[derive(Debug)]
pub struct Acknowledgements<T> {
    pub(super) emitted: Emitted,
    pub(super) receiver: oneshot::Receiver<Answers>,
    pub(super) answer: PhantomData<fn() -> T>,
}

impl<T: FromArguments> Future for Acknowledgements<T> {
    type Output = Result<Vec<T>, Incomplete<T>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let nobody = matches!(self.emitted, Emitted::Closed | Emitted::Refused(_));
        let answers = match nobody {
            true => Answers::default(),
            // A collector that was dropped belonged to a server that is gone.
            false => match Pin::new(&mut self.receiver).poll(task) {
                Poll::Ready(answers) => answers.unwrap_or_default(),
                Poll::Pending => return Poll::Pending,
            },
        };
        let mut complete = Vec::with_capacity(answers.answers.len());
        let mut missing = answers.missing;
        for (socket, answer) in answers.answers {
            match T::from_arguments(answer) {
                Ok(answer) => complete.push(answer),
                Err(_) => missing.push(socket),
            }
        }
        let missing: Vec<SocketId> = missing.iter().map(SocketAddress::id).collect();
        Poll::Ready(match self.emitted {
            Emitted::Queued | Emitted::Closed if missing.is_empty() => Ok(complete),
            _ => Err(Incomplete { answers: complete, missing }),
        })
    }
}

/// Why a client's acknowledgement did not come.
#[derive(Debug)]
#[non_exhaustive]
pub enum AckError {
    /// The client did not answer in time (`operation has timed out`).
    Timeout,
    /// The socket is gone, or went before it answered.
    Disconnected,
    /// The client answered something else than the caller expects.
    Answer(ArgsError),
    /// The caller's event or arguments cannot be sent.
    Refused(EmitError),
    /// The mailbox of the socket's shard is full.
    Overloaded,
}

impl fmt::Display for AckError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AckError::Timeout => formatter.write_str("the client did not answer in time"),
            AckError::Disconnected => formatter.write_str("the client is gone"),
            AckError::Answer(error) => write!(formatter, "the client's answer: {error}"),
            AckError::Refused(error) => error.fmt(formatter),
            AckError::Overloaded => formatter.write_str("the shard of the client is overloaded"),
        }
    }
}

impl Error for AckError {}

/// Not every recipient has acknowledged.
#[derive(Debug)]
pub struct Incomplete<T> {
    /// What came in time.
    pub answers: Vec<T>,
    /// Who has not: those that did not answer in time, went away, or answered something that is no
    /// `T`. Empty when it could not be sent to all, as with a mailbox that is full.
    pub missing: Vec<SocketId>,
}

impl<T> fmt::Display for Incomplete<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of the recipients did not answer", self.missing.len())
    }
}

impl<T: fmt::Debug> Error for Incomplete<T> {}
