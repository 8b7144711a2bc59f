//! The plain WebSocket application on tokio-tungstenite: a task and a queue for each client, and
//! whatever is queued when the task runs goes out in one flush.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What tungstenite advises for many connections; it takes this much for each at once.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Messages of one client that are taken before its queue is looked at again.
const RECEIVE_BATCH: usize = 64;

/// How long to wait when no connection can be accepted: until others have ended.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Queue = UnboundedSender<Utf8Bytes>;

#[derive(Default)]
struct Clients {
    everybody: Slab<Queue>,
    rooms: HashMap<String, Slab<Queue>>,
}

/// One client's places among the others; it leaves them when dropped.
struct Membership {
    clients: Arc<Mutex<Clients>>,
    queue: Queue,
    key: usize,
    rooms: HashMap<String, usize>,
}

fn main() -> ExitCode {
    peers::run(serve)
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let clients = Arc::new(Mutex::new(Clients::default()));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, clients.clone()));
            }
            Err(error) => {
                eprintln!("the kernel gives no connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection from its handshake to its end, whoever ends it.
async fn converse(stream: TcpStream, clients: Arc<Mutex<Clients>>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let (queue, mut queued) = unbounded_channel();
    let mut membership = Membership::new(clients, queue);
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(message) = message else { return Ok(()) };
                membership.handle(message?);
                for _ in 1..RECEIVE_BATCH {
                    let Some(Some(message)) = socket.next().now_or_never() else { break };
                    membership.handle(message?);
                }
            }
            Some(text) = queued.recv() => socket.feed(Message::Text(text)).await?,
        }
        send(&mut socket, &mut queued).await?;
    }
}

async fn send(
    socket: &mut WebSocketStream<TcpStream>,
    queued: &mut UnboundedReceiver<Utf8Bytes>,
) -> Result<(), Error> {
    while let Ok(text) = queued.try_recv() {
        socket.feed(Message::Text(text)).await?;
    }
    socket.flush().await
}

impl Membership {
    fn new(clients: Arc<Mutex<Clients>>, queue: Queue) -> Membership {
        let key = lock(&clients).everybody.insert(queue.clone());
        Membership { clients, queue, key, rooms: HashMap::new() }
    }

    fn handle(&mut self, message: Message) {
        let Message::Text(text) = message else { return };
        match text.as_bytes().first() {
            Some(b'E') => put(&self.queue, text),
            Some(b'J') => {
                self.join(&text[1..]);
                put(&self.queue, Utf8Bytes::from_static("J"));
            }
            Some(b'P') => broadcast(&lock(&self.clients).everybody, &text[1..]),
            Some(b'R') => {
                if let Some((room, payload)) = text[1..].split_once('\n')
                    && let Some(members) = lock(&self.clients).rooms.get(room)
                {
                    broadcast(members, payload);
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, room: &str) {
        if !self.rooms.contains_key(room) {
            let mut clients = lock(&self.clients);
            let members = clients.rooms.entry(room.to_owned()).or_default();
            self.rooms.insert(room.to_owned(), members.insert(self.queue.clone()));
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut clients = lock(&self.clients);
        clients.everybody.remove(self.key);
        for (room, key) in &self.rooms {
            if let Some(members) = clients.rooms.get_mut(room) {
                members.remove(*key);
                if members.is_empty() {
                    clients.rooms.remove(room);
                }
            }
        }
    }
}

fn broadcast(members: &Slab<Queue>, payload: &str) {
    let text = Utf8Bytes::from(format!("B{payload}"));
    for (_, queue) in members {
        put(queue, text.clone());
    }
}

/// Queues a message for a client; one that is ending takes no more.
fn put(queue: &Queue, text: Utf8Bytes) {
    queue.send(text).ok();
}

/// All is on one thread: the lock is never waited for, and only there for the types.
fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}
