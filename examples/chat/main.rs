//! A chat with rooms, and a page to try it: what `make run` serves.

#[path = "../support/arguments.rs"]
mod arguments;

mod app;

use arguments::Arguments;
use fanfare::Server;

fn main() {
    let arguments = Arguments::read();
    let server = app::server(arguments.apply(Server::builder()));
    arguments::serve(server, Server::start, Server::wait);
}
