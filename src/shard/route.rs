//! Where the requests of a connection go: outside the path, to a file, to the application that is
//! asked about them, to the shard of their session, or to the session itself.

use std::sync::Arc;

use crate::base::id::SessionId;
use crate::base::slab::Key;
use crate::proto::http::{Cors, FieldBuf, Head, Query};
use crate::session::handshake::{Refusal, Request, Route, route};

use super::decide::{Decided, Ruling, cross_origin};
use super::request::HttpStep;
use super::response::is_illegal_in_origin;
use super::shared::{ClientFile, ClientFiles, Shared};
use super::state::State;

impl State {
    /// A whole head has come.
    pub(super) fn head(&mut self, key: Key, shared: &Arc<Shared>, bytes: &[u8]) -> HttpStep {
        let limits = &shared.settings.options.limits;
        let head = match Head::parse(bytes, limits) {
            Ok(head) => head,
            Err(fault) => return self.refuse_fault(key, fault),
        };
        if let Some(http) = self.http_mut(key) {
            // Until somebody reads its body: what follows the head may look like a request.
            http.keep_alive = head.keep_alive && !head.upgrade && head.body.is_empty();
        }
        let Some(rest) = head.target.strip_prefix(&*shared.settings.path) else {
            return self.outside(key, shared, &head);
        };
        let is_file = file_of(shared, rest).is_some();
        let asks_cors = shared.settings.cors.as_ref().is_some_and(Cors::asks_application);
        if asks_cors || (!is_file && self.hooks().ask()) {
            // The shard of its session asks, or the application would be asked twice.
            return match self.shard_of(&head).filter(|_| !is_file) {
                Some(shard) => self.leave_for(key, shard, bytes),
                None => self.put_aside(key, &head, bytes, is_file),
            };
        }
        if let Some(cors) = &shared.settings.cors {
            let keep_alive = self.http_mut(key).is_some_and(|http| http.keep_alive);
            match cross_origin(cors, &head, keep_alive && !self.is_closing) {
                Ok(fields) => self.answer_with(key, fields),
                Err(ruling) => return self.carry_out_ruling(key, shared, &head, bytes, ruling),
            }
        }
        self.inside(key, shared, &head, bytes, None)
    }

    /// Goes on with a request that the application was asked about.
    pub(super) fn go_on(&mut self, key: Key, shared: &Arc<Shared>, decided: Decided) -> HttpStep {
        let Decided { head: bytes, fields, ruling } = decided;
        self.answer_with(key, fields);
        match Head::parse(&bytes, &shared.settings.options.limits) {
            Ok(head) => self.carry_out_ruling(key, shared, &head, &bytes, ruling),
            Err(fault) => self.refuse_fault(key, fault),
        }
    }

    fn carry_out_ruling(
        &mut self,
        key: Key,
        shared: &Arc<Shared>,
        head: &Head<'_>,
        bytes: &[u8],
        ruling: Ruling,
    ) -> HttpStep {
        match ruling {
            Ruling::Serve(id) => return self.inside(key, shared, head, bytes, id.as_deref()),
            Ruling::Refuse(rejected) => return self.reject(key, head, &rejected),
            Ruling::Fault(fault) => return self.refuse_fault(key, fault),
            Ruling::Options(answer) => {
                let keep_alive = self.http_mut(key).is_some_and(|http| http.keep_alive);
                self.responded(key, keep_alive && !self.is_closing, &answer);
            }
            Ruling::Answer(status, body) => self.respond_as_answered(key, head, status, &body),
        }
        HttpStep::Again
    }

    /// Adds headers to the answer to the current request.
    fn answer_with(&mut self, key: Key, fields: Vec<FieldBuf>) {
        if let Some(http) = self.http_mut(key) {
            http.fields = fields.into();
        }
    }

    /// Serves a request inside the path. A session that it opens is known by `id`, if that is
    /// given.
    fn inside(
        &mut self,
        key: Key,
        shared: &Arc<Shared>,
        head: &Head<'_>,
        bytes: &[u8],
        id: Option<&str>,
    ) -> HttpStep {
        let rest = head.target.get(shared.settings.path.len()..).unwrap_or_default();
        if let Some((name, client, file)) = file_of(shared, rest) {
            self.serve_file(key, head, name, &client.version, file);
            return HttpStep::Again;
        }
        let route = match self.route(head) {
            Ok(route) => route,
            Err(refusal) => return self.refuse(key, head, refusal),
        };
        let session = match route {
            Route::Open(transport) => return self.open(key, transport, head, bytes, id),
            Route::Poll(id) | Route::Post(id) | Route::Upgrade(id) | Route::Unfit(id) => id,
        };
        if let Some(shard) = self.other_shard(&session) {
            return self.leave_for(key, shard, bytes);
        }
        let Some(session) = self.session_key(&session) else {
            return self.refuse(key, head, Refusal::SessionUnknown);
        };
        match route {
            Route::Poll(_) => self.poll(key, session, head),
            Route::Post(_) => self.post_begins(key, session, head),
            Route::Upgrade(_) => self.probe(key, session, head),
            _ => self.refuse(key, head, Refusal::BadRequest),
        }
    }

    /// What a request inside the path asks for.
    pub(super) fn route(&self, head: &Head<'_>) -> Result<Route, Refusal> {
        let query = Query::parse(head.target);
        let [transport, protocol, session] = query.values(["transport", "EIO", "sid"]);
        // An id that the application has made stands for one of our own.
        let alias = session.as_deref().and_then(|text| self.shared.aliases.session(text));
        let alias = alias.map(|id| id.text());
        let session = match &alias {
            Some(text) => std::str::from_utf8(text).ok(),
            None => session.as_deref(),
        };
        let is_illegal = |origin: &[u8]| origin.iter().any(|byte| is_illegal_in_origin(*byte));
        let request = Request {
            method: head.method,
            upgrade: head.upgrade,
            transport: transport.as_deref(),
            protocol: protocol.as_deref(),
            session,
            illegal_origin: head.values("origin").any(is_illegal),
        };
        route(&request, &self.shared.settings.transports)
    }

    /// The shard that a request is for, if it is another one.
    fn shard_of(&self, head: &Head<'_>) -> Option<u16> {
        match self.route(head) {
            Ok(Route::Poll(id) | Route::Post(id) | Route::Upgrade(id) | Route::Unfit(id)) => {
                self.other_shard(&id)
            }
            _ => None,
        }
    }

    fn other_shard(&self, session: &SessionId) -> Option<u16> {
        let shard = session.shard();
        (shard != self.index && usize::from(shard) < self.outbox.len()).then_some(shard)
    }
}

/// The file of the client bundle that a target names: its name, the bundle, its contents.
fn file_of<'a>(
    shared: &'a Shared,
    rest: &'a str,
) -> Option<(&'a str, &'a ClientFiles, &'a ClientFile)> {
    let client = shared.settings.client.as_ref()?;
    let name = rest.split('?').next().unwrap_or_default();
    // The path may have no slash of its own.
    let name = match shared.settings.path.ends_with('/') {
        true => name,
        false => name.strip_prefix('/')?,
    };
    Some((name, client, client.files.get(name)?))
}
