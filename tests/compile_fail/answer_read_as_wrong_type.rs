use fanfare::{AckError, Event, Socket};

const CHAT: Event<(String, u32), bool> = Event::new("chat");

async fn ask(socket: Socket) -> Result<String, AckError> {
    socket.emit_with_ack(CHAT, ("alice", 3)).await
}

fn main() {}
