//! The server that the tests in `tests/clients` drive with the official clients: every event does
//! one thing, as `tests/clients/FIXTURE.md` says.

#[path = "support/arguments.rs"]
mod arguments;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arguments::Arguments;
use fanfare::parser::Form;
use fanfare::{
    Ack, Auth, Builder, Data, DisconnectReason, Namespace, PerMessageDeflate, Raw, Refuse, Server,
    Socket, Transport,
};
use lexopt::{Parser, ValueExt};
use serde_json::{Value, json};

const USAGE: &str = "
  --ping-interval-ms, --ping-timeout-ms, --connect-timeout-ms, --upgrade-timeout-ms MILLISECONDS
  --max-payload-bytes BYTES
  --transports polling,websocket
  --parser msgpack
  --per-message-deflate none,kept
  --allow-eio3            serve clients of Socket.IO 2, too";

fn main() {
    let mut builder = Server::builder().limits(|limits| limits.send_queue_bytes = 16 * 1024 * 1024);
    let arguments = Arguments::read_with(USAGE, |name, parser| {
        let (next, is_known) = option(builder.clone(), name, parser)?;
        builder = next;
        Ok(is_known)
    });
    let server = server(arguments.apply(builder));
    arguments::serve(server, Server::start, Server::wait);
}

fn option(
    builder: Builder,
    name: &str,
    parser: &mut Parser,
) -> Result<(Builder, bool), lexopt::Error> {
    let mut millis = || Ok::<_, lexopt::Error>(Duration::from_millis(parser.value()?.parse()?));
    let builder = match name {
        "ping-interval-ms" => builder.ping_interval(millis()?),
        "ping-timeout-ms" => builder.ping_timeout(millis()?),
        "connect-timeout-ms" => builder.connect_timeout(millis()?),
        "upgrade-timeout-ms" => builder.upgrade_timeout(millis()?),
        "allow-eio3" => builder.allow_eio3(true),
        "max-payload-bytes" => builder.max_http_buffer_size(parser.value()?.parse()?),
        "transports" => {
            let names = parser.value()?.string()?;
            let named =
                |transport: &Transport| names.split(',').any(|name| name == transport.name());
            let all = [Transport::Polling, Transport::WebSocket];
            builder.transports(all.into_iter().filter(named).collect::<Vec<_>>())
        }
        "parser" => match parser.value()?.string()?.as_str() {
            "msgpack" => builder.parser(Form::MessagePack),
            other => return Err(format!("there is no parser {other}").into()),
        },
        "per-message-deflate" => {
            let none = parser.value()?.string()? == "none";
            let deflate = PerMessageDeflate::default()
                .server_no_context_takeover(none)
                .client_no_context_takeover(none);
            builder.per_message_deflate(deflate)
        }
        _ => return Ok((builder, false)),
    };
    Ok((builder, true))
}

/// Answers each request outside the path with what it was, and `GET /asked` with all of them since
/// the last one.
fn answer_requests(builder: Builder) -> Builder {
    let asked = Mutex::new(Vec::new());
    builder.fallback(move |request| {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        if request.uri() == "/asked" {
            return http::Response::new(std::mem::take(&mut *asked).join("\n").into());
        }
        let (method, target, body) = (request.method(), request.uri(), request.body().len());
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let line = format!("{method} {target} {body} {}", id.unwrap_or("-"));
        asked.push(line.clone());
        http::Response::new(line.into())
    })
}

fn server(builder: Builder) -> fanfare::Result<Server> {
    let io = answer_requests(builder).build()?;
    for name in ["/", "/custom"] {
        let namespace = io.of(name);
        namespace.on_connect(async |socket: Socket, Auth(auth): Auth<Value>| {
            socket.emit("auth", auth);
        });
        let rest = namespace.clone();
        namespace.on_disconnect(async move |socket: Socket, reason: DisconnectReason| {
            if reason != DisconnectReason::ServerShuttingDown {
                rest.emit("gone", (socket.id().to_string(), reason.as_str()));
            }
        });
        answer(&namespace);
        target(&namespace, &io.of("/custom"));
        emit(&namespace);
    }
    io.of("/guarded").middleware(async |_: &Socket, Auth(auth): Auth<Value>| {
        match auth["token"] == "open sesame" {
            true => Ok(()),
            false => {
                let data = json!({ "code": 7, "why": "no ☃ token" });
                Err(Refuse::new("not allowed").data(&data))
            }
        }
    });
    Ok(io)
}

fn answer(namespace: &Namespace) {
    namespace.on("echo", async |socket: Socket, raw: Raw| {
        socket.emit("echo", raw);
    });
    namespace.on("message", async |socket: Socket, raw: Raw| {
        socket.send(raw);
    });
    namespace.on("ack", async |raw: Raw, ack: Ack| {
        ack.send(raw);
    });
    namespace.on("whoami", async |socket: Socket, ack: Ack| {
        let mut rooms = socket.rooms();
        rooms.sort();
        let id = socket.id().to_string();
        ack.send(json!({ "id": id, "transport": socket.transport(), "rooms": rooms }));
    });
    namespace.on("ask", async |socket: Socket, raw: Raw| {
        let Some((millis, question)) = raw.split_first() else { return };
        let asking = socket.timeout(Duration::from_millis(millis));
        match asking.emit_with_ack::<Raw, _>("question", question).await {
            Ok(answer) => socket.emit("answered", answer.with_first(&true).unwrap_or_default()),
            Err(_) => socket.emit("answered", false),
        };
    });
    namespace.on("disconnect-me", async |socket: Socket, Data(close): Data<bool>| {
        socket.disconnect(close);
    });
}

fn target(namespace: &Namespace, custom: &Namespace) {
    namespace.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(());
    });
    namespace.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(&room);
        ack.send(());
    });
    namespace.on("to", async |socket: Socket, raw: Raw, ack: Ack| {
        if let Some((rooms, except, event, payload)) = aimed(&raw) {
            socket.to(rooms).except(except).emit(&event, payload);
        }
        ack.send(());
    });
    for (name, space) in [("in", namespace.clone()), ("in-custom", custom.clone())] {
        namespace.on(name, async move |raw: Raw, ack: Ack| {
            if let Some((rooms, except, event, payload)) = aimed(&raw) {
                space.to(rooms).except(except).emit(&event, payload);
            }
            ack.send(());
        });
    }
    let space = namespace.clone();
    namespace.on("survey", async move |raw: Raw, ack: Ack| {
        let Some((millis, rest)) = raw.split_first() else { return };
        let Some((rooms, payload)) = rest.split_first::<Vec<String>>() else { return };
        let asked = space.to(rooms).timeout(Duration::from_millis(millis));
        let (is_complete, answers) = match asked.emit_with_ack::<Raw, _>("question", payload).await
        {
            Ok(answers) => (true, answers),
            Err(incomplete) => (false, incomplete.answers),
        };
        let answers: Vec<Answer> = answers.iter().map(Answer::first_of).collect();
        ack.send((is_complete, answers));
    });
}

/// The first argument of an answer: JSON, or what the tests answer where they use binary.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Answer {
    Binary(Named),
    Json(Value),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Named {
    name: String,
    payload: bytes::Bytes,
}

impl Answer {
    fn first_of(answer: &Raw) -> Answer {
        match answer.decode() {
            Ok(named) if !answer.attachments().is_empty() => Answer::Binary(named),
            _ => Answer::Json(answer.decode().unwrap_or_default()),
        }
    }
}

/// Rooms, rooms to leave out, event, payload.
fn aimed(raw: &Raw) -> Option<(Vec<String>, Vec<String>, String, Raw)> {
    let (rooms, raw) = raw.split_first()?;
    let (except, raw) = raw.split_first()?;
    let (event, payload) = raw.split_first()?;
    Some((rooms, except, event, payload))
}

fn emit(namespace: &Namespace) {
    let space = namespace.clone();
    namespace.on("steps", async move |socket: Socket, Data(steps): Data<Vec<String>>, ack: Ack| {
        let bytes = bytes::Bytes::from_static(&[1, 2, 3]);
        let everybody = space.emitter();
        for (index, kind) in steps.iter().enumerate() {
            let with_bytes = (index, bytes.clone());
            match &**kind {
                "normal" => socket.emit("step", index),
                "volatile" => socket.volatile().emit("step", index),
                "volatile-binary" => socket.volatile().emit("step", with_bytes),
                "namespace-normal" => everybody.emit("step", index),
                "namespace-volatile" => everybody.clone().volatile().emit("step", index),
                _ => everybody.clone().volatile().emit("step", with_bytes),
            };
        }
        ack.send(());
    });
    namespace.on(
        "burst",
        async |socket: Socket, Data((count, size)): Data<(u64, usize)>, ack: Ack| {
            let bytes = bytes::Bytes::from(vec![0; size]);
            for index in 0..count {
                match size {
                    0 => socket.emit("burst", index),
                    _ => socket.emit("burst", (index, bytes.clone())),
                };
            }
            ack.send(());
        },
    );
    namespace.on("farewell", async |socket: Socket, Data(count): Data<u64>| {
        for index in 0..count {
            socket.emit("farewell", index);
        }
        socket.disconnect(true);
    });
}
