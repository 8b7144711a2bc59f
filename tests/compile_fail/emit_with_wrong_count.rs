use fanfare::{Event, Server};

const CHAT: Event<(String, u32), bool> = Event::new("chat");

fn main() {
    let io = Server::builder().build().unwrap();
    io.emit(CHAT, ("alice", 3, true));
}
