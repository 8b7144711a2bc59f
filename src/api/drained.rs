//! Waiting until what was sent to a client is out: back-pressure for who sends much.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::command::{DrainError, SessionCommand};

use super::emit::Emitted;
use super::engine::Connection;
use super::session::Session;

/// Until everything that was queued for a session has been sent; see [`Session::drained`]. It may
/// be awaited on any thread.
#[derive(Debug)]
#[must_use = "it resolves when the queue has drained: `.await` it"]
pub struct Drained(oneshot::Receiver<Result<(), DrainError>>);

impl Future for Drained {
    type Output = Result<(), DrainError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        // A sender that was dropped belonged to a shard that is gone.
        let gone = Err(DrainError::Disconnected);
        Pin::new(&mut self.0).poll(task).map(|told| told.unwrap_or(gone))
    }
}

impl Session {
    /// Resolves when everything that was queued for the session before this call has been sent:
    /// taken by the kernel, or written into the answer to a poll. What is queued later does not
    /// matter, nor does a change of the transport. It stands for the callback of `conn.send`, and
    /// for awaiting `drain`. May be called on any thread; what other threads have emitted counts if
    /// their mailbox entry was there before.
    ///
    /// At most [`Limits::drain_waiters`](crate::Limits) wait for one session.
    ///
    /// ```
    /// use fanfare::{Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on("export", async |socket: Socket| {
    ///     let Some(conn) = socket.conn() else { return };
    ///     for row in 0..1_000_000 {
    ///         socket.emit("row", row);
    ///         // A client that reads slowly is not sent faster than it reads.
    ///         if row % 1_000 == 0 && conn.drained().await.is_err() {
    ///             return;
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DrainError`]: the session ends before, or nobody more may wait.
    pub fn drained(&self) -> Drained {
        let (sender, receiver) = oneshot::channel();
        if let Some(context) = self.own_shard() {
            context.with(|state| state.await_drain(self.address.key, sender));
            return Drained(receiver);
        }
        match self.ask(SessionCommand::Drained(sender)) {
            Emitted::Overloaded => Drained::refused(DrainError::Overloaded),
            _ => Drained(receiver),
        }
    }
}

impl Connection {
    /// See [`Session::drained`].
    ///
    /// # Errors
    /// The same.
    pub fn drained(&self) -> Drained {
        self.session().drained()
    }
}

impl Drained {
    fn refused(error: DrainError) -> Drained {
        let (sender, receiver) = oneshot::channel();
        // The receiver is there.
        let _ = sender.send(Err(error));
        Drained(receiver)
    }
}
