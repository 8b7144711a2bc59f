use fanfare::{Data, Event, Server};

const CHAT: Event<(String, u32), bool> = Event::new("chat");

fn main() {
    let io = Server::builder().build().unwrap();
    io.of("/").on(CHAT, async |Data(text): Data<String>| println!("{text}"));
}
