//! A binary packet between its header and its last attachment (protocol.md §14.3).

use bytes::Bytes;

use crate::base::clock::Time;

/// The header of a binary packet and the attachments that have come so far.
#[derive(Debug)]
pub struct Assembly {
    /// The header as it came, without the Engine.IO type.
    pub header: Box<[u8]>,
    /// The attachments, in order.
    pub attachments: Vec<Bytes>,
    /// How many attachments the header announces.
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
    /// The packet is complete.
    Complete,
    /// The attachments are larger, together, than a message may be.
    TooLarge,
}

impl Assembly {
    /// Waits for the attachments of `header`, which hold `bytes_max` bytes together at most.
    pub fn new(header: &[u8], expected: usize, until: Time, bytes_max: usize) -> Assembly {
        Assembly {
            header: header.into(),
            attachments: Vec::new(),
            expected,
            bytes_left: bytes_max,
            until,
        }
    }

    /// Adds the next attachment.
    pub fn add(&mut self, attachment: Bytes) -> Progress {
        let Some(left) = self.bytes_left.checked_sub(attachment.len()) else {
            return Progress::TooLarge;
        };
        self.bytes_left = left;
        self.attachments.push(attachment);
        match self.attachments.len() < self.expected {
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
}
