//! A chat with rooms: the handlers. What goes over the wire is described in `index.html`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare::{Ack, Builder, Data, Server, Socket, SocketId, State};
use serde::{Deserialize, Serialize};
use serde_json::json;

const PAGE: &str = include_str!("index.html");
const NAME_CHARACTERS_MAX: usize = 40;
const TEXT_CHARACTERS_MAX: usize = 2_000;
const HISTORY_MESSAGES_MAX: usize = 50;

/// The rooms, as all shards see them.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

#[derive(Default)]
struct Room {
    members: Vec<(SocketId, String)>,
    history: VecDeque<Message>,
    next_id: u64,
}

#[derive(Clone, Serialize)]
struct Message {
    id: u64,
    name: String,
    text: String,
    at: u64,
}

/// What is kept with a socket that is in a room.
#[derive(Clone)]
struct Guest {
    name: String,
    room: String,
}

#[derive(Deserialize)]
struct Join {
    name: String,
    room: String,
}

/// The chat, with the page at `/`.
pub fn server(builder: Builder) -> fanfare::Result<Server> {
    let io = builder.state(Rooms::default()).fallback(page).build()?;
    let chat = io.of("/");
    chat.on("join", join);
    chat.on("message", message);
    chat.on("typing", async |socket: Socket, Data(typing): Data<bool>| {
        if let Some(guest) = socket.data().get::<Guest>() {
            let update = json!({ "name": guest.name, "typing": typing });
            socket.to(&guest.room).emit("typing", update);
        }
    });
    chat.on("ping-time", async |ack: Ack| {
        ack.send(());
    });
    let everywhere = io.clone();
    chat.on_disconnect(async move |socket: Socket, State(rooms): State<Rooms>| {
        if let Some(guest) = socket.data().take::<Guest>() {
            rooms.leave(socket.id(), &guest.room);
            let names = rooms.names(&guest.room);
            everywhere.to(&guest.room).emit("members", names);
        }
    });
    Ok(io)
}

async fn join(socket: Socket, Data(request): Data<Join>, State(rooms): State<Rooms>, ack: Ack) {
    let name = request.name.trim().to_owned();
    let room = request.room.trim().to_owned();
    for (what, value) in [("name", &name), ("room", &room)] {
        if value.is_empty() || value.chars().count() > NAME_CHARACTERS_MAX {
            let error = format!("A {what} has 1 to {NAME_CHARACTERS_MAX} characters.");
            ack.send(json!({ "error": error }));
            return;
        }
    }
    if let Some(guest) = socket.data().take::<Guest>() {
        socket.leave(&guest.room);
        rooms.leave(socket.id(), &guest.room);
        socket.to(&guest.room).emit("members", rooms.names(&guest.room));
    }
    socket.join(&room);
    let history = rooms.join(socket.id(), &name, &room);
    let members = rooms.names(&room);
    socket.to(&room).emit("members", &members);
    socket.data().set(Guest { name, room });
    ack.send(json!({ "members": members, "history": history }));
}

async fn message(socket: Socket, Data(text): Data<String>, State(rooms): State<Rooms>, ack: Ack) {
    let Some(guest) = socket.data().get::<Guest>() else {
        ack.send(json!({ "error": "Join a room first." }));
        return;
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_CHARACTERS_MAX {
        let error = format!("A message has 1 to {TEXT_CHARACTERS_MAX} characters.");
        ack.send(json!({ "error": error }));
        return;
    }
    let message = rooms.say(&guest, text);
    let Message { id, at, .. } = message;
    socket.to(&guest.room).emit(
        "message",
        json!({
            "id": id, "name": message.name, "text": message.text, "at": at,
            "sid": socket.id().to_string(),
        }),
    );
    ack.send(json!({ "id": id, "at": at }));
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, id: SocketId, name: &str, room: &str) -> Vec<Message> {
        let mut rooms = self.lock();
        let room = rooms.entry(room.to_owned()).or_default();
        room.members.push((id, name.to_owned()));
        room.history.iter().cloned().collect()
    }

    fn leave(&self, id: SocketId, name: &str) {
        let mut rooms = self.lock();
        if let Some(room) = rooms.get_mut(name) {
            room.members.retain(|(member, _)| *member != id);
            if room.members.is_empty() {
                rooms.remove(name);
            }
        }
    }

    fn names(&self, room: &str) -> Vec<String> {
        let rooms = self.lock();
        let members = rooms.get(room).map_or(&[][..], |room| &room.members);
        members.iter().map(|(_, name)| name.clone()).collect()
    }

    fn say(&self, guest: &Guest, text: &str) -> Message {
        let mut rooms = self.lock();
        let room = rooms.entry(guest.room.clone()).or_default();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let message = Message {
            id: room.next_id,
            name: guest.name.clone(),
            text: text.to_owned(),
            at: u64::try_from(at).unwrap_or(u64::MAX),
        };
        room.next_id += 1;
        room.history.push_back(message.clone());
        if room.history.len() > HISTORY_MESSAGES_MAX {
            room.history.pop_front();
        }
        message
    }
}

fn page(request: http::Request<bytes::Bytes>) -> http::Response<bytes::Bytes> {
    let (status, body) = match request.uri().path() {
        "/" | "/index.html" => (http::StatusCode::OK, PAGE),
        _ => (http::StatusCode::NOT_FOUND, "Not found"),
    };
    let mut response = http::Response::new(bytes::Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
    let html = http::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, html);
    response
}
