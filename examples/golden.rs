//! The server that `tests/golden` probes: it tells its clients which events it has seen, and
//! anybody who asks which of them have gone, as `tests/golden/README.md` says.

#[path = "support/arguments.rs"]
mod arguments;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arguments::Arguments;
use fanfare::{
    Ack, Builder, CookieOptions, CorsOptions, CorsOrigin, DisconnectReason, EventName, Namespace,
    Raw, SameSite, Server, Socket,
};
use lexopt::ValueExt;
use serde::{Deserialize, Serialize};

const USAGE: &str = "
  --options JSON          options as Socket.IO on Node.js takes them: cors and cookie";

/// `--options`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    cors: Option<Cors>,
    cookie: Option<Cookie>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cors {
    origin: Origin,
    methods: Option<Vec<String>>,
    allowed_headers: Option<Vec<String>>,
    #[serde(default)]
    exposed_headers: Vec<String>,
    #[serde(default)]
    credentials: bool,
    max_age: Option<u32>,
    options_success_status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Origin {
    All(bool),
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cookie {
    name: Option<String>,
    path: Option<String>,
    http_only: Option<bool>,
    same_site: Option<String>,
    max_age: Option<u64>,
    domain: Option<String>,
    #[serde(default)]
    secure: bool,
}

impl Options {
    fn apply(self, mut builder: Builder) -> Builder {
        if let Some(cors) = self.cors {
            builder = builder.cors(cors.into());
        }
        match self.cookie {
            Some(cookie) => builder.cookie(cookie.into()),
            None => builder,
        }
    }
}

impl From<Cors> for CorsOptions {
    fn from(cors: Cors) -> CorsOptions {
        let default = CorsOptions::default();
        CorsOptions {
            origin: match cors.origin {
                Origin::All(true) => CorsOrigin::Reflect,
                Origin::All(false) => CorsOrigin::Off,
                Origin::One(origin) => CorsOrigin::Fixed(origin),
                Origin::Several(origins) => CorsOrigin::List(origins),
            },
            methods: cors.methods.unwrap_or(default.methods),
            allowed_headers: cors.allowed_headers,
            exposed_headers: cors.exposed_headers,
            credentials: cors.credentials,
            max_age_seconds: cors.max_age,
            options_success_status: cors
                .options_success_status
                .unwrap_or(default.options_success_status),
            ..default
        }
    }
}

impl From<Cookie> for CookieOptions {
    fn from(cookie: Cookie) -> CookieOptions {
        let default = CookieOptions::default();
        CookieOptions {
            name: cookie.name.unwrap_or(default.name),
            path: cookie.path.or(default.path),
            http_only: cookie.http_only.unwrap_or(default.http_only),
            same_site: match cookie.same_site.as_deref() {
                Some("strict") => Some(SameSite::Strict),
                Some("none") => Some(SameSite::None),
                _ => default.same_site,
            },
            max_age_seconds: cookie.max_age,
            domain: cookie.domain,
            secure: cookie.secure,
            ..default
        }
    }
}

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
    let mut options = Options::default();
    let arguments = Arguments::read_with(USAGE, |name, parser| {
        let is_known = name == "options";
        if is_known {
            let text = parser.value()?.string()?;
            options = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        }
        Ok(is_known)
    });
    let server = server(&arguments, options);
    arguments::serve(server, Server::start, Server::wait);
}

fn server(arguments: &Arguments, options: Options) -> fanfare::Result<Server> {
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
    let io = arguments.apply(options.apply(builder)).build()?;
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
