//! Publishes to everybody (`fanout`) and to rooms (`rooms`). Everybody is a room, too: the members
//! of one follow one stream of numbered publishes, which one of them makes.
//!
//! The first time that a publish is seen it is verified in full, and its bytes are remembered. All
//! others have to get the very same bytes, so that comparing them checks every one of them.

use std::collections::VecDeque;

use super::schedule::Schedule;
use super::{Mode, unexpected_end};
use crate::clients::{Clients, Ending};
use crate::codec::Heard;
use crate::failure::Failure;
use crate::latency::Measures;
use crate::ledger::{Arrival, Faults, Ledger};
use crate::page::{Page, Stage};
use crate::payload::{self, Header};
use crate::plan::{ModeName, Plan, Share};
use crate::sys;

/// A publish that has not arrived everywhere.
struct Publish {
    /// When it was due; not known before it is seen, when another process has made it.
    due_ns: Option<u64>,
    /// Members that do not have it.
    remaining: usize,
    /// Its bytes on the wire, once it was seen.
    image: Vec<u8>,
}

/// What the members of one room follow.
struct Stream {
    /// The room; nothing is everybody.
    room: Option<String>,
    members: usize,
    /// The number of the first of `publishes`: all before it have arrived.
    first: u32,
    publishes: VecDeque<Publish>,
}

impl Stream {
    /// The number that the next publish has.
    fn end(&self) -> u32 {
        self.first + self.publishes.len() as u32
    }

    fn at(&mut self, sequence: u32) -> Option<&mut Publish> {
        let index = sequence.checked_sub(self.first)?;
        self.publishes.get_mut(index as usize)
    }
}

pub struct Broadcast<'a> {
    plan: &'a Plan,
    share: &'a Share,
    page: &'a Page,
    /// The number of the first stream of this process.
    first_stream: usize,
    streams: Vec<Stream>,
    ledger: Ledger,
    measures: Measures,
    is_publishing: bool,
    /// In rooms, how many publishes of this process have not arrived everywhere.
    under_way: usize,
    /// With an open loop: what is due when.
    schedule: Option<Schedule>,
    /// The room whose turn it is.
    cursor: usize,
    payload: Vec<u8>,
    /// Buffers of publishes that have arrived.
    spare: Vec<Vec<u8>>,
}

impl<'a> Broadcast<'a> {
    pub fn new(plan: &'a Plan, share: &'a Share, page: &'a Page) -> Broadcast<'a> {
        let has_rooms = plan.mode == ModeName::Rooms;
        let count = if has_rooms { share.clients / plan.room_size } else { 1 };
        let first_stream = if has_rooms { share.first_client } else { 0 };
        let stream = |index: usize| Stream {
            room: has_rooms.then(|| format!("room-{}", first_stream + index)),
            members: (index..share.clients).step_by(count).len(),
            first: 0,
            publishes: VecDeque::new(),
        };
        Broadcast {
            plan,
            share,
            page,
            first_stream,
            streams: (0..count).map(stream).collect(),
            ledger: Ledger::new(share.clients),
            measures: Measures::default(),
            is_publishing: false,
            under_way: 0,
            schedule: None,
            cursor: 0,
            payload: Vec::new(),
            spare: Vec::new(),
        }
    }

    fn is_everybody(&self) -> bool {
        self.plan.mode == ModeName::Fanout
    }

    /// Whether this process may publish: what is for everybody is numbered by one.
    fn publishes(&self) -> bool {
        self.is_publishing && (!self.is_everybody() || self.share.worker == 0)
    }

    /// The stream that a client follows. Members of a room are spread over all clients.
    fn stream_of(&self, client: usize) -> usize {
        client % self.streams.len()
    }

    /// Publishes under way, of the window that there is for them.
    fn has_window(&self) -> bool {
        match self.is_everybody() {
            true => self.page.under_way() < self.plan.window,
            false => self.under_way < self.share.window,
        }
    }

    /// Makes one publish in the room whose turn it is. Whether there was somebody to make it.
    fn publish(&mut self, clients: &mut Clients, due_ns: u64) -> bool {
        let count = self.streams.len();
        let begin = self.cursor;
        let turns = (0..count).map(|turn| (begin + turn) % count);
        let publisher_of = |room: usize| {
            (room..self.share.clients).step_by(count).find(|client| clients.is_live(*client))
        };
        let Some((room, publisher)) =
            turns.into_iter().find_map(|room| Some((room, publisher_of(room)?)))
        else {
            return false;
        };
        let sequence = match self.is_everybody() {
            true => self.page.publish(),
            false => Some(self.streams[room].end()),
        };
        let Some(sequence) = sequence else { return false };
        self.cursor = (room + 1) % count;
        self.under_way += 1;
        let header = Header { stream: (self.first_stream + room) as u32, sequence, due_ns };
        self.payload.clear();
        payload::write(header, self.plan.payload, &mut self.payload);
        let stream = &mut self.streams[room];
        let image = self.spare.pop().unwrap_or_default();
        let remaining = stream.members;
        stream.publishes.push_back(Publish { due_ns: Some(due_ns), remaining, image });
        clients.say(publisher, |protocol, out| {
            protocol.publish(stream.room.as_deref(), &self.payload, out);
        });
        true
    }

    /// Learns of the publishes for everybody that another process has made.
    fn learn(&mut self, room: usize) {
        if !self.is_everybody() {
            return;
        }
        let published = self.page.published();
        let stream = &mut self.streams[room];
        while stream.end() < published {
            let image = self.spare.pop().unwrap_or_default();
            let remaining = stream.members;
            stream.publishes.push_back(Publish { due_ns: None, remaining, image });
        }
    }

    /// A message that is not what the client was due next, or is seen for the first time.
    fn examine(&mut self, client: usize, heard: &Heard, image: &[u8], now_ns: u64) -> Option<()> {
        let Heard::Broadcast(payload) = heard else { return None };
        let header = payload::verify(payload).filter(|_| payload.len() == self.plan.payload)?;
        let room = self.stream_of(client);
        self.learn(room);
        let stream = &mut self.streams[room];
        let is_own = header.stream as usize == self.first_stream + room;
        if !is_own || header.sequence >= stream.end() {
            return None;
        }
        if let Some(publish) = stream.at(header.sequence) {
            if publish.due_ns.is_some_and(|due_ns| due_ns != header.due_ns) {
                return None;
            }
            publish.due_ns = Some(header.due_ns);
            if publish.image.is_empty() {
                publish.image.extend_from_slice(image);
            }
        }
        if self.ledger.came(client, header.sequence) == Arrival::First {
            self.measures.delivered(header.due_ns, now_ns);
            self.settle(room, header.sequence, Some(now_ns));
        }
        Some(())
    }

    /// One member less lacks a publish, because it has come, or never will.
    fn settle(&mut self, room: usize, sequence: u32, came_ns: Option<u64>) {
        let Some(publish) = self.streams[room].at(sequence) else { return };
        publish.remaining -= 1;
        if publish.remaining > 0 {
            return;
        }
        let due_ns = publish.due_ns;
        let is_complete = match self.is_everybody() {
            true => self.page.arrived(sequence, self.plan.processes),
            false => true,
        };
        self.under_way = self.under_way.saturating_sub(1);
        if let (true, Some(due_ns), Some(now_ns)) = (is_complete, due_ns, came_ns) {
            self.measures.completed(due_ns, now_ns);
        }
        let stream = &mut self.streams[room];
        while stream.publishes.front().is_some_and(|publish| publish.remaining == 0) {
            let Some(Publish { mut image, .. }) = stream.publishes.pop_front() else { break };
            stream.first += 1;
            image.clear();
            self.spare.push(image);
        }
    }

    /// Nothing more comes to a client.
    fn lose(&mut self, client: usize) {
        let room = self.stream_of(client);
        self.learn(room);
        let (first, end) = (self.streams[room].first, self.streams[room].end());
        for sequence in first..end {
            if !self.ledger.has(client, sequence) {
                self.settle(room, sequence, None);
            }
        }
        self.ledger.close(client, end);
        self.streams[room].members -= 1;
    }
}

impl Mode for Broadcast<'_> {
    fn room(&self, client: usize) -> Option<String> {
        self.streams[self.stream_of(client)].room.clone()
    }

    fn recognise(&mut self, client: usize, bytes: &[u8], now_ns: u64) -> usize {
        let room = self.stream_of(client);
        let due = self.ledger.due(client);
        let Some(publish) = self.streams[room].at(due) else { return 0 };
        let length = publish.image.len();
        let (Some(due_ns), true) = (publish.due_ns, bytes.starts_with(&publish.image)) else {
            return 0;
        };
        if length > 0 {
            self.ledger.came_in_order(client);
            self.measures.delivered(due_ns, now_ns);
            self.settle(room, due, Some(now_ns));
        }
        length
    }

    fn stage(&mut self, _clients: &mut Clients, stage: Stage, now_ns: u64) {
        self.is_publishing = matches!(stage, Stage::Warmup | Stage::Measure);
        if let (Stage::Warmup, Some(_)) = (stage, self.plan.rate) {
            let rate = if self.is_everybody() { self.plan.rate } else { self.share.rate };
            self.schedule = rate.map(|rate| Schedule::new(rate, now_ns));
        }
    }

    fn pace(&mut self, clients: &mut Clients) {
        if !self.publishes() {
            return;
        }
        while self.schedule.is_some() || self.has_window() {
            let now_ns = sys::now_ns();
            let due_ns = self.schedule.as_ref().map_or(now_ns, Schedule::next_ns);
            if due_ns > now_ns || !self.publish(clients, due_ns) {
                return;
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.take();
            }
        }
    }

    fn heard(
        &mut self,
        _clients: &mut Clients,
        client: usize,
        heard: &Heard,
        image: &[u8],
        now_ns: u64,
    ) {
        if self.examine(client, heard, image, now_ns).is_none() {
            self.ledger.faults.damaged += 1;
        }
    }

    fn ended(
        &mut self,
        _clients: &mut Clients,
        client: usize,
        ending: Ending,
        why: &str,
    ) -> Result<(), Failure> {
        self.lose(client);
        unexpected_end(client, ending, why, &mut self.ledger.faults)
    }

    fn is_settled(&self) -> bool {
        let all = |stream: &Stream| stream.publishes.is_empty();
        let is_known = !self.is_everybody() || self.streams[0].end() == self.page.published();
        is_known && self.streams.iter().all(all)
    }

    fn next_ns(&self) -> u64 {
        self.schedule.as_ref().filter(|_| self.publishes()).map_or(u64::MAX, Schedule::next_ns)
    }

    fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    fn faults(&mut self, clients: &Clients) -> Faults {
        for client in (0..self.share.clients).filter(|client| clients.is_live(*client)) {
            let room = self.stream_of(client);
            self.learn(room);
            self.ledger.close(client, self.streams[room].end());
        }
        self.ledger.faults
    }
}
