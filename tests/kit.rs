//! `fanfare::test`, as its users see it: what it promises, and the chat of the examples under it.

#[path = "../examples/chat/app.rs"]
mod chat;
#[path = "kit/clients.rs"]
mod clients;
#[path = "kit/drain.rs"]
mod drain;
#[path = "kit/in_progress.rs"]
mod in_progress;
#[path = "kit/rooms.rs"]
mod rooms;
#[path = "kit/time.rs"]
mod time;
#[path = "kit/typed.rs"]
mod typed;
