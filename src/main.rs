//! The `fanfare` binary: arguments, then the chat that shows the server at work.

#[path = "../examples/support/allocator.rs"]
mod allocator;
#[path = "../examples/support/arguments.rs"]
mod arguments;
#[path = "../examples/chat/app.rs"]
mod chat;

use arguments::Arguments;
use fanfare::Server;

fn main() {
    allocator::give_back_at_once();
    let arguments = Arguments::read();
    let server = chat::server(arguments.apply(Server::builder().on_crowd_left(allocator::collect)));
    if server.as_ref().is_ok_and(|io| io.client_version().is_none()) {
        eprintln!(
            "fanfare: the page needs the client bundle: npm install socket.io-client, \
             or --client FOLDER"
        );
    }
    arguments::serve(server, Server::start, Server::wait);
}
