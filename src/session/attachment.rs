//! A packet of several messages between the first and the last one: a header and its attachments
//! (protocol.md §14.3), or whatever a parser of the application's own makes packets of.

use bytes::Bytes;

use crate::base::clock::Time;
use crate::proto::parser::Message;

/// The messages of a packet that have come so far.
#[derive(Debug)]
pub struct Assembly {
    /// The header as it came, without the Engine.IO type.
    pub header: Box<[u8]>,
    /// The attachments, in order.
    pub attachments: Vec<Bytes>,
    /// The messages, in order, for a parser that knows no header.
    pub messages: Vec<Message>,
    /// How many attachments the header announces, or messages there may be.
    expected: usize,
    bytes_left: usize,
    /// When the last one must be in.
    pub until: Time,
}

/// What an attachment has made of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More are to come.
    Incomplete,
    /// The packet is complete, or must be.
    Complete,
    /// They are larger, together, than a message may be.
    TooLarge,
}

impl Assembly {
    /// Waits for the attachments of `header`, which hold `bytes_max` bytes together at most.
    pub fn new(header: &[u8], expected: usize, until: Time, bytes_max: usize) -> Assembly {
        Assembly {
            header: header.into(),
            attachments: Vec::new(),
            messages: Vec::new(),
            expected,
            bytes_left: bytes_max,
            until,
        }
    }

    /// Waits for at most so many messages, which hold `bytes_max` bytes together at most.
    pub fn of_messages(messages_max: usize, until: Time, bytes_max: usize) -> Assembly {
        Assembly::new(b"", messages_max, until, bytes_max)
    }

    /// Adds the next attachment.
    pub fn add(&mut self, attachment: Bytes) -> Progress {
        if !self.charge(attachment.len()) {
            return Progress::TooLarge;
        }
        self.attachments.push(attachment);
        self.progress(self.attachments.len())
    }

    /// Adds the next message.
    pub fn add_message(&mut self, message: Message) -> Progress {
        if !self.charge(message.length()) {
            return Progress::TooLarge;
        }
        self.messages.push(message);
        self.progress(self.messages.len())
    }

    /// Bytes of the packet that have come.
    pub fn held_bytes(&self) -> usize {
        let attachments: usize = self.attachments.iter().map(Bytes::len).sum();
        let messages: usize = self.messages.iter().map(Message::length).sum();
        self.header.len() + attachments + messages
    }

    fn charge(&mut self, bytes: usize) -> bool {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.unwrap_or(0);
        left.is_some()
    }

    fn progress(&self, count: usize) -> Progress {
        match count < self.expected {
            true => Progress::Incomplete,
            false => Progress::Complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_complete_with_its_last_attachment_empty_ones_included() {
        let mut assembly = Assembly::new(b"52-[]", 2, Time::ZERO, 10);
        assert_eq!(assembly.add(Bytes::new()), Progress::Incomplete);
        assert_eq!(assembly.add(Bytes::from_static(b"x")), Progress::Complete);
        assert_eq!(assembly.attachments, [&b""[..], b"x"]);
    }

    #[test]
    fn cve_2026_33151_the_attachments_of_a_packet_are_no_larger_than_a_message() {
        let mut assembly = Assembly::new(b"53-[]", 3, Time::ZERO, 10);
        assert_eq!(assembly.add(Bytes::from_static(b"123456")), Progress::Incomplete);
        assert_eq!(assembly.add(Bytes::from_static(b"12345")), Progress::TooLarge);
    }
    #[test]
    fn messages_are_limited_in_number_and_together_in_length() {
        let text = |text: &str| Message::Text(text.to_owned());
        let mut assembly = Assembly::of_messages(2, Time::ZERO, 10);
        assert_eq!(assembly.add_message(text("1234")), Progress::Incomplete);
        assert_eq!(assembly.add_message(text("123456")), Progress::Complete);
        let mut assembly = Assembly::of_messages(2, Time::ZERO, 10);
        assert_eq!(assembly.add_message(text("123456")), Progress::Incomplete);
        let bytes = Message::Binary(Bytes::from_static(b"12345"));
        assert_eq!(assembly.add_message(bytes), Progress::TooLarge);
    }
}
