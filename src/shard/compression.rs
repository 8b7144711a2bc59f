//! Compressed WebSocket messages, as a shard sends and reads them (permessage-deflate).
//!
//! Without context, which is the rule, a shard has one compressor and one inflater for all its
//! clients, and a client costs nothing. What many are sent is compressed once, for all shards.
//!
//! A server may at any time send a message that refers to nothing before it. So those for whom a
//! context is kept are sent the same bytes of a broadcast as everybody else, and their own context
//! begins anew behind it: what is in their window then is not what is in the compressor's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::frame::{Encoded, Frame};
use crate::base::limits::COMPRESSED_BYTES_MAX;
use crate::base::slab::Key;
use crate::proto::websocket::{Agreement, Context, DeflateOptions, Deflater, Inflater, WindowBits};

use super::conn::Role;
use super::queue::Outgoing;

/// What a shard compresses and inflates with, if its server does that at all.
pub struct Compression {
    options: DeflateOptions,
    /// Without context, by the size of the window: each is made on first need.
    deflaters: [Option<Deflater>; 8],
    /// For clients that keep no context.
    inflater: Inflater,
    /// Of the connections for which something is kept.
    contexts: HashMap<Key, Contexts>,
    /// The broadcast at hand, as it was and compressed.
    latest: Option<(Frame, Frame)>,
    scratch: Vec<u8>,
}

/// What is kept for one connection.
struct Contexts {
    deflater: Option<Deflater>,
    inflater: Option<Inflater>,
    /// What was taken from the budget for it.
    bytes: usize,
}

/// The memory that contexts may still take, in bytes, on all shards together.
#[derive(Debug)]
pub struct ContextBudget(AtomicUsize);

impl ContextBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> ContextBudget {
        ContextBudget(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Compression {
    /// For a shard of a server with these options.
    pub fn new(options: DeflateOptions) -> Compression {
        Compression {
            options,
            deflaters: Default::default(),
            inflater: Inflater::new(Context::Dropped),
            contexts: HashMap::new(),
            latest: None,
            scratch: Vec::new(),
        }
    }

    /// What the server wants of its clients.
    pub fn options(&self) -> &DeflateOptions {
        &self.options
    }

    /// What is agreed on with the client of a connection: what both sides want, or no contexts
    /// when there is no memory left for them.
    pub fn agree(&mut self, key: Key, wanted: Agreement, budget: &ContextBudget) -> Agreement {
        let window_bits = wanted.server_window_bits();
        let deflater = wanted.server_context() == Context::Kept;
        let inflater = wanted.client_context() == Context::Kept;
        let bytes = match deflater {
            true => Deflater::bytes(&self.options, window_bits),
            false => 0,
        } + if inflater { Inflater::BYTES } else { 0 };
        if bytes == 0 {
            return wanted;
        }
        if !budget.take(bytes) {
            return wanted.without_contexts();
        }
        let contexts = Contexts {
            deflater: deflater.then(|| Deflater::new(&self.options, window_bits, Context::Kept)),
            inflater: inflater.then(|| Inflater::new(Context::Kept)),
            bytes,
        };
        self.contexts.insert(key, contexts);
        wanted
    }

    /// Forgets a connection.
    pub fn connection_ends(&mut self, key: Key, budget: &ContextBudget) {
        if let Some(contexts) = self.contexts.remove(&key) {
            budget.give_back(contexts.bytes);
        }
    }

    /// What reads the messages of a connection with which compression was agreed on.
    pub fn inflater(&mut self, key: Key) -> &mut Inflater {
        let contexts = self.contexts.get_mut(&key);
        contexts.and_then(|contexts| contexts.inflater.as_mut()).unwrap_or(&mut self.inflater)
    }

    /// A packet as it goes out on a connection.
    pub fn outgoing<'a>(&'a mut self, key: Key, role: &Role, packet: Outgoing<'a>) -> Outgoing<'a> {
        let Some(window_bits) = agreed_window(role) else { return packet };
        match packet {
            Outgoing::Shared(frame) => Outgoing::Shared(self.compressed(key, window_bits, &frame)),
            Outgoing::Own(encoded) => Outgoing::Own(self.encode(key, window_bits, encoded)),
        }
    }

    /// A frame as it goes out on a connection.
    pub fn frame(&mut self, key: Key, role: &Role, frame: &Frame) -> Frame {
        match agreed_window(role) {
            Some(window_bits) => self.compressed(key, window_bits, frame),
            None => frame.clone(),
        }
    }

    /// The turn is over: no more recipients of the broadcast at hand will come.
    pub fn turn_ends(&mut self) {
        self.latest = None;
    }

    /// Gives back what is soon remade for those who are left.
    pub fn relax(&mut self) {
        let contexts = std::mem::take(&mut self.contexts);
        *self = Compression { contexts, ..Compression::new(self.options) };
    }

    /// What one client is sent: with its context, if there is one.
    fn encode<'a>(
        &'a mut self,
        key: Key,
        window_bits: WindowBits,
        encoded: Encoded<'a>,
    ) -> Encoded<'a> {
        let bytes = encoded.bytes();
        let mut may_drop = encoded.may_drop();
        if !encoded.is_compressible() {
            return encoded;
        }
        self.scratch.clear();
        let contexts = self.contexts.get_mut(&key);
        match contexts.and_then(|contexts| contexts.deflater.as_mut()) {
            Some(own) => {
                own.write_frames(&mut self.scratch, bytes, 0..=COMPRESSED_BYTES_MAX);
                // Those behind it refer to what is in it.
                may_drop = false;
            }
            None if bytes.len() < self.options.threshold_bytes => return encoded,
            None => {
                let mut scratch = std::mem::take(&mut self.scratch);
                self.write_frames(window_bits, &mut scratch, bytes);
                self.scratch = scratch;
            }
        }
        Encoded::raw(&self.scratch).droppable(may_drop)
    }

    /// What many clients may be sent: without context.
    fn compressed(&mut self, key: Key, window_bits: WindowBits, frame: &Frame) -> Frame {
        if frame.bytes().len() < self.options.threshold_bytes || !frame.wire().is_compressible() {
            return frame.clone();
        }
        let contexts = self.contexts.get_mut(&key);
        if let Some(own) = contexts.and_then(|contexts| contexts.deflater.as_mut()) {
            own.forget();
        }
        if window_bits < self.options.server_max_window_bits.unwrap_or(WindowBits::MAX) {
            // Few clients have a smaller window than the server would use.
            let mut bytes = Vec::new();
            self.write_frames(window_bits, &mut bytes, frame.bytes());
            return Frame::own(frame.wire().variant(bytes));
        }
        if let Some((plain, compressed)) = &self.latest
            && plain.is(frame)
        {
            return compressed.clone();
        }
        let wire = frame.wire().deflated(|plain| {
            let mut bytes = Vec::new();
            self.write_frames(window_bits, &mut bytes, plain);
            bytes
        });
        let compressed = Frame::shared(wire);
        self.latest = Some((frame.clone(), compressed.clone()));
        compressed
    }

    fn write_frames(&mut self, window_bits: WindowBits, out: &mut Vec<u8>, plain: &[u8]) {
        let options = &self.options;
        let place = usize::from(WindowBits::MAX.value() - window_bits.value());
        let Some(deflater) = self.deflaters.get_mut(place) else {
            unreachable!("there are eight sizes of windows")
        };
        let deflater =
            deflater.get_or_insert_with(|| Deflater::new(options, window_bits, Context::Dropped));
        deflater.write_frames(out, plain, options.threshold_bytes..=COMPRESSED_BYTES_MAX);
    }
}

/// The window of a client that reads compressed messages.
fn agreed_window(role: &Role) -> Option<WindowBits> {
    match role {
        Role::WebSocket(socket) => socket.deflate,
        Role::Http(_) | Role::Discard => None,
    }
}
