use fanfare::{Ack, Data, Event, Server};

const CHAT: Event<(String, u32), bool> = Event::new("chat");

fn main() {
    let io = Server::builder().build().unwrap();
    io.of("/").on(CHAT, async |Data((_, _)): Data<(String, u32)>, ack: Ack<bool>| {
        ack.send("yes");
    });
}
