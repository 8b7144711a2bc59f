//! Clients that use long-polling: one connection asks for what there is, another one brings what
//! they say, one request at a time on each.

use crate::codec::polling;
use crate::failure::{Doing, Failure};
use crate::modes::Mode;
use crate::sys;

use super::channel::{Buffers, Channel, Received};
use super::{Clients, Ending, POSTS, Phase, connected, token};

/// What a client says.
#[derive(Default)]
pub struct Posts {
    channel: Channel,
    session: String,
    /// Packets that wait for the request under way to be answered.
    body: Vec<u8>,
    is_under_way: bool,
}

impl Posts {
    pub fn open(&mut self, session: String) {
        self.session = session;
    }

    pub fn queue(&mut self, packet: &[u8], buffers: &mut Buffers) {
        if self.body.capacity() == 0 {
            self.body = buffers.take();
        }
        polling::add(packet, &mut self.body);
    }

    pub fn close(&mut self, buffers: &mut Buffers) {
        self.channel.close(true, buffers);
        buffers.reclaim(&mut self.body);
    }
}

impl Clients<'_> {
    /// Writes the request for what there is.
    pub(super) fn poll(&mut self, index: usize) {
        let client = &mut self.list[index];
        let session = client.posts.as_ref().map(|posts| &*posts.session);
        let session = session.filter(|session| !session.is_empty());
        polling::poll(session, &self.host, client.main.outgoing(&mut self.buffers));
    }

    /// Sends what waits, if no request is under way.
    pub(super) fn send_posts(&mut self, index: usize) -> Result<(), Failure> {
        let source = self.plan.source(self.share.first_client + index);
        let client = &mut self.list[index];
        let token = token(index, client.generation) | POSTS;
        let Some(posts) = &mut client.posts else { return Ok(()) };
        if !posts.is_under_way && !posts.body.is_empty() {
            if posts.channel.is_stale() {
                posts.channel.close(false, &mut self.buffers);
                let socket = connected(self.plan, source)?;
                posts.channel.open(socket, token, &self.poller).doing("watching a socket")?;
            }
            let out = posts.channel.outgoing(&mut self.buffers);
            polling::post(&posts.session, &self.host, &posts.body, out);
            posts.body.clear();
            posts.is_under_way = true;
        }
        if !posts.channel.has_outgoing() {
            return Ok(());
        }
        posts.channel.send(token, &self.poller, &mut self.buffers).doing("sending")
    }

    /// An answer to what the client asked for.
    pub(super) fn polled<M: Mode>(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        mode: &mut M,
    ) -> Result<(), Failure> {
        let client = &mut self.list[index];
        let held = client.main.restore(buffer, &mut self.buffers);
        let bytes = match client.main.receive(&mut buffer[held..]) {
            Received::Bytes(count) => &buffer[..held + count],
            Received::Nothing => &buffer[..held],
            Received::End(error) => return self.cut(index, &error, mode),
        };
        let now_ns = sys::now_ns();
        let response = match polling::decode(bytes) {
            Ok(Some(response)) if response.length == bytes.len() => response,
            Ok(None) => {
                client.main.keep(bytes, &mut self.buffers);
                return Ok(());
            }
            Ok(Some(_)) => return self.end(index, "an answer that nobody asked for", mode),
            Err(fault) => return self.end(index, &format!("not HTTP: {fault:?}"), mode),
        };
        if response.status != 200 {
            let why = format!("a poll was answered with status {}", response.status);
            return self.end(index, &why, mode);
        }
        let generation = client.generation;
        if response.closes {
            client.main.close(false, &mut self.buffers);
        }
        for packet in polling::packets(&response.body) {
            self.hear(index, packet, &[], now_ns, mode)?;
            if self.list[index].generation != generation {
                return Ok(());
            }
        }
        if self.list[index].phase != Phase::Leaving {
            self.poll(index);
            self.unsent.push(index as u32);
            if response.closes {
                self.connect(index)?;
            }
        }
        Ok(())
    }

    /// An answer to what the client said.
    pub(super) fn posted<M: Mode>(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        mode: &mut M,
    ) -> Result<(), Failure> {
        let client = &mut self.list[index];
        let Some(posts) = &mut client.posts else { return Ok(()) };
        let held = posts.channel.restore(buffer, &mut self.buffers);
        let bytes = match posts.channel.receive(&mut buffer[held..]) {
            Received::Bytes(count) => &buffer[..held + count],
            Received::Nothing => &buffer[..held],
            Received::End(_) if !posts.is_under_way => {
                posts.channel.close(false, &mut self.buffers);
                return Ok(());
            }
            Received::End(error) => return self.cut(index, &error, mode),
        };
        let response = match polling::decode(bytes) {
            Ok(Some(response)) if response.length == bytes.len() && posts.is_under_way => response,
            Ok(None) => {
                posts.channel.keep(bytes, &mut self.buffers);
                return Ok(());
            }
            Ok(Some(_)) => return self.end(index, "an answer that nobody asked for", mode),
            Err(fault) => return self.end(index, &format!("not HTTP: {fault:?}"), mode),
        };
        posts.is_under_way = false;
        if response.closes {
            posts.channel.close(false, &mut self.buffers);
        }
        if response.status != 200 {
            let why = format!("a message was answered with status {}", response.status);
            return self.end(index, &why, mode);
        }
        if client.phase == Phase::Leaving && posts.body.is_empty() {
            self.release(index, true);
            return mode.ended(self, index, Ending::Left, "");
        }
        self.unsent.push(index as u32);
        Ok(())
    }
}
