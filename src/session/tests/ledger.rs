//! What a shard owes its peers while it serves one session, and has paid.
//!
//! Every effect is booked here, so that each script also proves the rules that hold for all of
//! them: one answer a request, nothing after the end, each packet once and in order.

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::slab::Key;
use crate::proto::socket::DisconnectReason;
use crate::session::{Answer, Effect, Session};

/// The books of one session.
#[derive(Debug, Default)]
pub struct Ledger {
    /// GETs without an answer.
    pub gets: Vec<Key>,
    /// POSTs without an answer.
    pub posts: Vec<Key>,
    /// WebSockets that are neither closed nor lost.
    pub websockets: Vec<Key>,
    /// Packets that the session has taken, in order.
    pub taken: Vec<String>,
    /// How many of them have come out.
    pub delivered: usize,
    /// What the sockets were told.
    pub closing: Option<DisconnectReason>,
    /// How the session ended.
    pub closed: Option<DisconnectReason>,
}

/// What a long-polling client sees of a packet.
pub fn text(frame: &Frame) -> String {
    let text = frame.wire().polling(|_| unreachable!("only text is sent"));
    String::from_utf8_lossy(text).into_owned()
}

fn pay(debts: &mut Vec<Key>, key: Key, what: &str) {
    let position = debts.iter().position(|debt| *debt == key);
    debts.swap_remove(position.unwrap_or_else(|| panic!("{what} was not owed to {key:?}")));
}

impl Ledger {
    /// Books an effect, which must be due.
    pub fn book(&mut self, effect: &Effect) {
        assert_eq!(self.closed, None, "{effect:?} follows the end");
        match effect {
            Effect::Poll(get, answer, _) => {
                pay(&mut self.gets, *get, "an answer");
                if let Answer::Packets(frames) = answer {
                    assert!(!frames.is_empty(), "an answer without packets");
                    self.deliver(frames);
                }
            }
            Effect::RefusePost(post) | Effect::AcceptPost(post) | Effect::Drop(post) => {
                pay(&mut self.posts, *post, "an answer");
            }
            Effect::Text(websocket, _) => assert!(self.websockets.contains(websocket)),
            Effect::Upgraded(websocket, frames) => {
                assert!(self.websockets.contains(websocket));
                self.deliver(frames);
            }
            Effect::CloseWebSocket(websocket) => pay(&mut self.websockets, *websocket, "an end"),
            Effect::Closing(reason) => {
                assert_eq!(self.closing.replace(*reason), None, "told twice");
            }
            Effect::Closed(reason) => {
                assert!(self.closing.is_none_or(|closing| closing == *reason), "another reason");
                self.closed = Some(*reason);
            }
        }
    }

    fn deliver(&mut self, frames: &[Frame]) {
        for packet in frames.iter().map(text).filter(|packet| packet != "2") {
            assert_eq!(self.taken.get(self.delivered), Some(&packet), "lost, doubled or moved");
            self.delivered += 1;
        }
    }

    /// Compares the books with what the session says of itself.
    pub fn audit(&self, session: &Session, now: Time) {
        assert_eq!(session.is_closed(), self.closed.is_some());
        assert_eq!(session.is_open(), self.closing.is_none() && self.closed.is_none());
        assert_eq!(self.gets.len(), usize::from(session.has_held_poll()), "{:?}", self.gets);
        assert!(session.deadline() > now, "due at {:?}, it is {now:?}", session.deadline());
        if !session.is_closed() {
            assert!(self.posts.iter().all(|post| session.is_posting(*post)), "{:?}", self.posts);
            return;
        }
        assert_eq!(session.deadline(), Time::NEVER, "nothing is due of the dead");
        assert!(self.websockets.is_empty(), "left open: {:?}", self.websockets);
        // The shard answers it when its last packet was worked off.
        assert!(self.posts.len() <= 1, "{:?}", self.posts);
    }
}
