//! Cross-origin resource sharing: which pages of other sites may use the server.
//!
//! The fields of responses are those of the npm package `cors`, which the reference uses, in its
//! order (protocol.md §11.1). An origin that is not allowed is not refused: the field that would
//! let its page read the answer is missing, and its browser acts on that. For a WebSocket browsers
//! ask nobody, so the same origins may be asked of its handshake ([`Cors::allows_upgrade`]), which
//! the reference does not do.
//!
//! ```text
//! CorsOptions ─▶ Cors ─▶ fields                      of every response but those to OPTIONS
//!                  ├───▶ respond_to_options          every OPTIONS inside the path
//!                  └───▶ allows_upgrade              every WebSocket handshake
//! ```

use std::fmt;
use std::sync::Arc;

use super::origin::Origin;
use super::response::write_empty_response;
use super::{Fault, Field, Head, InvalidOption, Method, ResponseHead, is_token};

const TWO_ORIGINS: Fault = Fault::new(400, "A request has one Origin header at most");

const REQUEST_HEADERS: &str = "Access-Control-Request-Headers";

const ALLOW_ANY_ORIGIN: Field<'static> = Field::known("Access-Control-Allow-Origin", "*");
const ALLOW_CREDENTIALS: Field<'static> = Field::known("Access-Control-Allow-Credentials", "true");
const VARY_ORIGIN: Field<'static> = Field::known("Vary", "Origin");
const VARY_REQUEST_HEADERS: Field<'static> = Field::known("Vary", REQUEST_HEADERS);
const VARY_BOTH: Field<'static> = Field::known("Vary", "Origin, Access-Control-Request-Headers");

/// `origin`: whose pages may read what the server answers.
#[derive(Clone, Default)]
pub enum CorsOrigin {
    /// `"*"`: everybody's. The default.
    #[default]
    Any,
    /// A string: those of this origin, which is named to every client, whatever its own is.
    Fixed(String),
    /// An array: those of these origins.
    List(Vec<String>),
    /// `true`: everybody's. Unlike [`Any`](CorsOrigin::Any), the answer names the client's origin,
    /// which browsers ask for where credentials are sent.
    Reflect,
    /// `false`: as if there were no options at all.
    Off,
    /// A regular expression or a function: those of an origin for which it is true. It is not
    /// asked when the client names none.
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl CorsOrigin {
    /// Those of an origin for which `allows` is true: see [`CorsOrigin::Predicate`].
    pub fn predicate(allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> CorsOrigin {
        CorsOrigin::Predicate(Arc::new(allows))
    }
}

impl fmt::Debug for CorsOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CorsOrigin::Any => formatter.write_str("Any"),
            CorsOrigin::Fixed(origin) => formatter.debug_tuple("Fixed").field(origin).finish(),
            CorsOrigin::List(origins) => formatter.debug_tuple("List").field(origins).finish(),
            CorsOrigin::Reflect => formatter.write_str("Reflect"),
            CorsOrigin::Off => formatter.write_str("Off"),
            CorsOrigin::Predicate(_) => formatter.write_str("Predicate"),
        }
    }
}

/// `cors`: the options of the npm package of this name, with its meanings and defaults.
#[derive(Clone, Debug)]
pub struct CorsOptions {
    /// `origin`. Default: [`CorsOrigin::Any`]. An origin is a scheme, a host and maybe a port, such
    /// as `https://example.com`; one with a path or a slash at its end would match no client and is
    /// refused when the server is built, and so is `null`, which is sent for pages of nobody.
    pub origin: CorsOrigin,
    /// `methods`: what a preflight is told. Default: `GET,HEAD,PUT,PATCH,POST,DELETE`.
    pub methods: Vec<String>,
    /// `allowedHeaders`: what a preflight is told. Default: none, which allows whatever is asked
    /// for.
    pub allowed_headers: Option<Vec<String>>,
    /// `exposedHeaders`: headers of responses that pages may read. Default: empty.
    pub exposed_headers: Vec<String>,
    /// `credentials`: whether pages may send cookies. Default: false.
    pub credentials: bool,
    /// `maxAge`: how long a browser may keep the answer to a preflight. Default: not told.
    pub max_age_seconds: Option<u32>,
    /// `optionsSuccessStatus`: the status of the answer to an OPTIONS request, 200 to 299. Default:
    /// 204.
    pub options_success_status: u16,
    /// `preflightContinue`: whether an OPTIONS request is then handled like every other one, which
    /// refuses it. Default: false.
    pub preflight_continue: bool,
    /// Whether a WebSocket handshake of another origin is refused, with 403. Not an option of
    /// the reference, which opens a WebSocket for every page of every site. Default: false.
    pub covers_upgrades: bool,
}

impl Default for CorsOptions {
    fn default() -> CorsOptions {
        let methods = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"];
        CorsOptions {
            origin: CorsOrigin::Any,
            methods: methods.map(str::to_owned).to_vec(),
            allowed_headers: None,
            exposed_headers: Vec::new(),
            credentials: false,
            max_age_seconds: None,
            options_success_status: 204,
            preflight_continue: false,
            covers_upgrades: false,
        }
    }
}

/// [`CorsOptions`] that were found to be right, as the texts that responses are made of.
#[derive(Clone, Debug)]
pub struct Cors {
    allowed: Allowed,
    credentials: bool,
    methods: String,
    allowed_headers: Option<String>,
    exposed_headers: String,
    max_age: String,
    options_status: Option<u16>,
    covers_upgrades: bool,
}

#[derive(Clone)]
enum Allowed {
    Any,
    Fixed(String, Origin<String>),
    List(Vec<Origin<String>>),
    Reflect,
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Allowed {
    /// `None` for [`CorsOrigin::Off`].
    fn new(origin: &CorsOrigin) -> Result<Option<Allowed>, InvalidOption> {
        let known = |text: &String| match Origin::parse(text) {
            Some(origin) => Ok(origin.into_owned()),
            None => Err(InvalidOption {
                option: "cors.origin",
                reason: format!(
                    "{text:?} is no origin: a scheme, a host and maybe a port make one, as in \
                     \"https://example.com:8443\""
                ),
            }),
        };
        Ok(Some(match origin {
            CorsOrigin::Off => return Ok(None),
            CorsOrigin::Any => Allowed::Any,
            CorsOrigin::Fixed(text) if text == "*" => Allowed::Any,
            CorsOrigin::Fixed(text) => Allowed::Fixed(text.clone(), known(text)?),
            CorsOrigin::List(texts) => {
                Allowed::List(texts.iter().map(known).collect::<Result<_, _>>()?)
            }
            CorsOrigin::Reflect => Allowed::Reflect,
            CorsOrigin::Predicate(allows) => Allowed::Predicate(Arc::clone(allows)),
        }))
    }
}

impl fmt::Debug for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Any => formatter.write_str("Any"),
            Allowed::Fixed(text, _) => formatter.debug_tuple("Fixed").field(text).finish(),
            Allowed::List(origins) => formatter.debug_tuple("List").field(origins).finish(),
            Allowed::Reflect => formatter.write_str("Reflect"),
            Allowed::Predicate(_) => formatter.write_str("Predicate"),
        }
    }
}

impl Cors {
    /// Checks the options. `None` when they turn CORS off.
    ///
    /// # Errors
    /// The application's origin is no origin, one of its methods or headers is no token, or the
    /// status would tell a browser that the preflight has failed.
    pub fn new(options: &CorsOptions) -> Result<Option<Cors>, InvalidOption> {
        let Some(allowed) = Allowed::new(&options.origin)? else { return Ok(None) };
        if !(200..300).contains(&options.options_success_status) {
            let reason = "it must be from 200 to 299".to_owned();
            return Err(InvalidOption { option: "cors.options_success_status", reason });
        }
        let allowed_headers = options.allowed_headers.as_deref();
        let answers_options = !options.preflight_continue;
        Ok(Some(Cors {
            allowed,
            credentials: options.credentials,
            methods: list("cors.methods", &options.methods)?,
            allowed_headers: allowed_headers
                .map(|headers| list("cors.allowed_headers", headers))
                .transpose()?,
            exposed_headers: list("cors.exposed_headers", &options.exposed_headers)?,
            max_age: options.max_age_seconds.map(|age| age.to_string()).unwrap_or_default(),
            options_status: answers_options.then_some(options.options_success_status),
            covers_upgrades: options.covers_upgrades,
        }))
    }

    /// Whether the application is asked about an origin ([`CorsOrigin::Predicate`]): what asks
    /// [`fields`](Cors::fields) and the others then runs code of the application.
    pub fn asks_application(&self) -> bool {
        matches!(self.allowed, Allowed::Predicate(_))
    }

    /// What the response to a request of this origin holds, whatever its status, unless the request
    /// is an OPTIONS. The 101 of a WebSocket has them, too.
    pub fn fields<'a>(&'a self, origin: Option<&'a [u8]>) -> impl Iterator<Item = Field<'a>> {
        let fields = [
            self.allow_origin(origin),
            self.varies_by_origin().then_some(VARY_ORIGIN),
            self.credentials.then_some(ALLOW_CREDENTIALS),
            field("Access-Control-Expose-Headers", self.exposed_headers.as_bytes()),
        ];
        fields.into_iter().flatten()
    }

    /// What the response to an OPTIONS request of this origin holds, be it a preflight or not.
    pub fn options_fields<'a>(
        &'a self,
        request: &Head<'a>,
        origin: Option<&'a [u8]>,
    ) -> Vec<Field<'a>> {
        let mut fields = Vec::with_capacity(8);
        fields.extend(self.allow_origin(origin));
        // `cors` adds to a Vary that is there, in its place.
        let reflects_headers = self.allowed_headers.is_none();
        fields.extend(match (self.varies_by_origin(), reflects_headers) {
            (true, true) => Some(VARY_BOTH),
            (true, false) => Some(VARY_ORIGIN),
            (false, _) => None,
        });
        fields.extend(self.credentials.then_some(ALLOW_CREDENTIALS));
        fields.extend(field("Access-Control-Allow-Methods", self.methods.as_bytes()));
        if reflects_headers && !self.varies_by_origin() {
            fields.push(VARY_REQUEST_HEADERS);
        }
        let allow_headers = |value| field("Access-Control-Allow-Headers", value);
        match &self.allowed_headers {
            Some(headers) => fields.extend(allow_headers(headers.as_bytes())),
            None => fields.extend(request.values(REQUEST_HEADERS).filter_map(allow_headers)),
        }
        fields.extend(field("Access-Control-Max-Age", self.max_age.as_bytes()));
        fields.extend(field("Access-Control-Expose-Headers", self.exposed_headers.as_bytes()));
        fields
    }

    /// Appends the whole answer to a request that is an OPTIONS inside the path of the server,
    /// before anything else about it is looked at: a preflight has no cookie, and its session is
    /// not asked for. Answers whether it did. It does not for other methods, nor with
    /// `preflight_continue`, where the request is refused with
    /// [`options_fields`](Cors::options_fields).
    pub fn respond_to_options(
        &self,
        out: &mut Vec<u8>,
        request: &Head<'_>,
        origin: Option<&[u8]>,
        keep_alive: bool,
    ) -> bool {
        let Some(status) = self.options_status.filter(|_| request.method == Method::Options) else {
            return false;
        };
        let fields = self.options_fields(request, origin);
        let head = ResponseHead { status, keep_alive, omit_body: false, fields: &fields };
        write_empty_response(out, &head);
        true
    }

    /// Whether a page of this origin may open a WebSocket, or move its session to one. Everybody
    /// may, unless the options say that they [cover](CorsOptions::covers_upgrades) this. A client
    /// that names no origin is no browser, and no other site can make it do anything.
    pub fn allows_upgrade(&self, origin: Option<&[u8]>) -> bool {
        !self.covers_upgrades || origin.is_none_or(|origin| self.allows(origin))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(origin) else {
            return matches!(self.allowed, Allowed::Any | Allowed::Reflect);
        };
        let is_one_of = |known: &[Origin<String>]| {
            let origin = Origin::parse(text);
            origin.is_some_and(|origin| known.iter().any(|known| known.is(&origin)))
        };
        match &self.allowed {
            Allowed::Any | Allowed::Reflect => true,
            Allowed::Fixed(_, known) => is_one_of(std::slice::from_ref(known)),
            Allowed::List(known) => is_one_of(known),
            Allowed::Predicate(allows) => allows(text),
        }
    }

    fn allow_origin<'a>(&'a self, origin: Option<&'a [u8]>) -> Option<Field<'a>> {
        match &self.allowed {
            Allowed::Any => Some(ALLOW_ANY_ORIGIN),
            Allowed::Fixed(text, _) => field("Access-Control-Allow-Origin", text.as_bytes()),
            Allowed::List(_) | Allowed::Reflect | Allowed::Predicate(_) => {
                let allowed = origin.filter(|origin| self.allows(origin))?;
                field("Access-Control-Allow-Origin", allowed)
            }
        }
    }

    /// A cache between client and server must keep the answers to different origins apart.
    fn varies_by_origin(&self) -> bool {
        !matches!(self.allowed, Allowed::Any)
    }
}

/// A field that has something to say. What would split the response is not said at all: there is
/// no way around [`Field::new`].
fn field<'a>(name: &'static str, value: &'a [u8]) -> Option<Field<'a>> {
    if value.is_empty() { None } else { Field::new(name, value).ok() }
}

/// Names of methods or headers as a response lists them.
fn list(option: &'static str, names: &[String]) -> Result<String, InvalidOption> {
    match names.iter().find(|name| !is_token(name.as_bytes())) {
        Some(name) => Err(InvalidOption { option, reason: format!("{name:?} is no token") }),
        None => Ok(names.join(",")),
    }
}

impl<'a> Head<'a> {
    /// The origin of the page that made the request; `None` when it was not made by a page, or by
    /// one of the same site.
    ///
    /// # Errors
    /// There are two of them, so that somebody on the way may have looked at the other one.
    pub fn origin(&self) -> Result<Option<&'a [u8]>, Fault> {
        let mut values = self.values("origin");
        let first = values.next();
        if values.next().is_some() { Err(TWO_ORIGINS) } else { Ok(first) }
    }
}

#[cfg(test)]
mod tests;
