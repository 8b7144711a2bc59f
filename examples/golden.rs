//! The server that `tests/golden` probes: it tells its clients which events it has seen, and anybody
//! who asks which of them have gone, as `tests/golden/README.md` says.

#[path = "support/arguments.rs"]
mod arguments;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arguments::Arguments;
use fanfare::{Ack, DisconnectReason, EventName, Namespace, Raw, Server, Socket};
use serde::Serialize;

/// What `GET /gone` answers.
#[derive(Default, Serialize)]
struct Gone {
    sockets: usize,
    reasons: Vec<&'static str>,
}

/// Shared by the shards.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Gone>>);

impl Witness {
    fn lock(&self) -> MutexGuard<'_, Gone> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) -> Vec<u8> {
        let mut gone = self.lock();
        let told = serde_json::to_vec(&*gone).unwrap_or_default();
        gone.reasons.clear();
        told
    }
}

fn main() {
    let arguments = Arguments::read();
    arguments::serve(server(&arguments), |io| io.spawn(&arguments.listen), Server::wait);
}

fn server(arguments: &Arguments) -> fanfare::Result<Server> {
    let witness = Witness::default();
    let asked = witness.clone();
    let builder = Server::builder().fallback(move |request| match request.uri().path() {
        "/gone" => http::Response::new(asked.tell().into()),
        _ => {
            let mut response = http::Response::new("".into());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            response
        }
    });
    let io = arguments.apply(builder).build()?;
    for name in ["/", "/admin"] {
        let namespace = io.of(name);
        watch(&namespace, &witness);
        answer(&namespace);
    }
    Ok(io)
}

fn watch(namespace: &Namespace, witness: &Witness) {
    let (came, left) = (witness.clone(), witness.clone());
    namespace.on_connect(async move || came.lock().sockets += 1);
    namespace.on_disconnect(async move |reason: DisconnectReason| {
        let mut gone = left.lock();
        gone.sockets -= 1;
        gone.reasons.push(reason.as_str());
    });
}

fn answer(namespace: &Namespace) {
    for event in ["a", "", "1", "__proto__", "error"] {
        namespace.on(event, async |socket: Socket, name: EventName, raw: Raw, ack: Ack| {
            if let Ok(seen) = raw.with_first(&name.0) {
                socket.emit("saw", seen);
            }
            ack.send(());
        });
    }
    namespace.on("deep", async |socket: Socket| {
        socket.emit("saw", "deep");
    });
    namespace.on("sync", async |ack: Ack| {
        ack.send(());
    });
}
