//! Packets of another form than the default one, out of the messages of a client.
//!
//! The state is not borrowed meanwhile: an application's parser is user code.

use std::rc::Rc;

use crate::base::slab::Key;
use crate::proto::msgpack;
use crate::proto::parser::{self, Fault, Form, Message, Packet, Parser};
use crate::session::Violation;
use crate::session::attachment::{Assembly, Progress};

use super::context::Context;
use super::message::Step;
use super::state::State;

/// A buffer that a large packet has grown beyond this is not kept for the next one.
const TEXT_BYTES_KEPT: usize = 64 * 1024;

impl Context {
    /// A client has sent a message that is no packet of the default form.
    pub(super) fn whole_message(self: &Rc<Self>, session: Key, data: &[u8], is_binary: bool) {
        let settings = &self.shared.settings;
        if !settings.has_namespaces {
            return self.engine_message(session, data, is_binary);
        }
        let message = match (&settings.form, is_binary) {
            (Form::MessagePack, true) => return self.message_pack(session, data),
            (Form::Own(_), true) => Ok(Message::Binary(data.to_vec().into())),
            (Form::Own(_), false) => String::from_utf8(data.to_vec()).map(Message::Text),
            // A client that speaks another form than the server.
            (Form::MessagePack | Form::Json, _) => return self.undecodable(session),
        };
        match (&settings.form, message) {
            (Form::Own(parser), Ok(message)) => self.own_message(session, &**parser, message),
            _ => self.undecodable(session),
        }
    }

    fn undecodable(&self, session: Key) {
        self.with(|state| state.violation(session, Violation::Decode));
    }

    fn message_pack(self: &Rc<Self>, session: Key, data: &[u8]) {
        self.with(|state| state.stats.packets_received += 1);
        let mut text = self.texts.take();
        let limits = &self.shared.settings.options.limits;
        match msgpack::decode(data, &mut text, limits) {
            Ok((packet, attachments)) => {
                let step = self.with(|state| state.packet(session, packet, &attachments));
                self.take_packet(step, &attachments);
            }
            Err(_) => self.undecodable(session),
        }
        if text.capacity() <= TEXT_BYTES_KEPT {
            self.texts.set(text);
        }
    }

    fn own_message(self: &Rc<Self>, session: Key, own: &dyn Parser, message: Message) {
        let collected = self.with(|state| state.collect(session, message));
        let Some((assembly, progress)) = collected else { return };
        match parser::isolated(|| own.decode(&assembly.messages)) {
            Ok(Some(packet)) => {
                let step = self.with(|state| state.own_packet(session, &packet));
                self.take_packet(step, &packet.attachments);
            }
            Ok(None) if progress == Progress::Incomplete => {
                self.with(|state| state.await_messages(session, assembly));
            }
            Ok(None) | Err(Fault::Refused) => self.undecodable(session),
            Err(Fault::Panicked) => {
                self.with(|state| state.stats.handlers_panicked += 1);
                self.undecodable(session);
            }
        }
    }
}

impl State {
    /// Adds a message to those that no packet was made of yet.
    fn collect(&mut self, key: Key, message: Message) -> Option<(Box<Assembly>, Progress)> {
        let limits = &self.shared.settings.options.limits;
        let entry = self.sessions.get_mut(key)?;
        let mut assembly = entry.session.assembly.take().unwrap_or_else(|| {
            let until = self.now.after(limits.attachments_timeout);
            let messages_max = limits.attachments.saturating_add(1);
            Box::new(Assembly::of_messages(messages_max, until, limits.message_bytes))
        });
        match assembly.add_message(message) {
            Progress::TooLarge => {
                self.violation(key, Violation::Decode);
                None
            }
            progress => Some((assembly, progress)),
        }
    }

    /// Keeps messages until the next one of their packet comes.
    fn await_messages(&mut self, key: Key, assembly: Box<Assembly>) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if entry.session.is_open() {
            entry.session.assembly = Some(assembly);
            self.rearm_session(key);
        }
    }

    /// A packet that an application's parser has made.
    fn own_packet<'a>(&mut self, key: Key, packet: &'a Packet<'_>) -> Step<'a> {
        self.stats.packets_received += 1;
        match packet.check(&self.shared.settings.options.limits) {
            Ok(checked) => self.packet(key, checked, &packet.attachments),
            Err(_) => {
                self.violation(key, Violation::Decode);
                Step::Nothing
            }
        }
    }
}
