//! A client that does what a test says and nothing of its own: it may be late, silent or greedy.

use std::time::Duration;

use fanfare::base::clock::Time;
use fanfare::driver::sim::Client;

use crate::wire::{self, Response};
use crate::world::World;

/// A connection with what was read from it.
pub struct Guest {
    pub client: Client,
    pub heard: Vec<u8>,
}

/// The longest that anything takes that a guest waits for.
const PATIENCE: Duration = Duration::from_secs(60);

impl Guest {
    pub fn connect(world: &World) -> Guest {
        Guest { client: world.network.connect(world.address), heard: Vec::new() }
    }

    /// Sends a request and waits for the whole answer.
    pub fn ask(&mut self, world: &mut World, request: &[u8]) -> Response {
        self.client.write(request);
        self.answer(world)
    }

    /// Waits for a whole answer.
    pub fn answer(&mut self, world: &mut World) -> Response {
        let end = world.now().after(PATIENCE);
        loop {
            self.heard.extend(self.client.read());
            if let Some(response) = wire::take_response(&mut self.heard) {
                return response;
            }
            assert!(world.now() < end, "an answer does not come");
            world.step();
        }
    }

    /// Opens a WebSocket and waits until the server has answered.
    pub fn upgrade(&mut self, world: &mut World) {
        self.client.write(&wire::handshake(""));
        let end = world.now().after(PATIENCE);
        while wire::take_response_head(&mut self.heard).is_none() {
            self.heard.extend(self.client.read());
            assert!(world.now() < end, "an answer does not come");
            world.step();
        }
    }

    /// Opens a session by polling and joins `/`. Tells the query of its requests.
    pub fn join_by_polling(&mut self, world: &mut World, version: u8) -> String {
        let open = wire::request_of(version, "GET", "transport=polling", None);
        let open = self.ask(world, &open);
        let open = String::from_utf8(open.body).expect("a body is text");
        let sid = open.split_once(r#""sid":""#).and_then(|(_, rest)| rest.split_once('"'));
        let (sid, _) = sid.expect("an open packet names its session");
        let query = format!("transport=polling&sid={sid}");
        // Those of version 3 have joined as soon as they are there.
        if version == 4 {
            let connect = wire::request("POST", &query, Some("40"));
            assert_eq!(self.ask(world, &connect).status, 200);
        }
        query
    }

    /// Reads until something is so, and tells when that was. Whenever time has passed it does what
    /// `act` says.
    pub fn read_until(
        &mut self,
        world: &mut World,
        mut act: impl FnMut(&mut Client),
        done: impl Fn(&Guest) -> bool,
    ) -> Time {
        let end = world.now().after(PATIENCE);
        loop {
            self.heard.extend(self.client.read());
            if done(self) {
                return world.now();
            }
            assert!(world.now() < end, "what a client waits for does not come");
            if !world.step().is_zero() {
                act(&mut self.client);
            }
        }
    }

    /// Whether the server has said that nothing more will come.
    pub fn is_over(&self) -> bool {
        self.client.end().is_some()
    }

    /// Whether the server has let go of the connection.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}
