//! The files of the JavaScript client, as a server keeps them.

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::proto::http::{self, Encoding};

/// The client bundle, as it is served (protocol.md §17.4).
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The version of the client.
    pub version: String,
    /// The files by name.
    pub files: HashMap<String, ClientFile>,
}

/// A file of the client bundle, in every coding that a client has asked for so far.
#[derive(Clone, Debug)]
pub struct ClientFile {
    plain: Bytes,
    encoded: [(Encoding, OnceLock<Vec<u8>>); http::FOR_FILES.len()],
}

impl ClientFile {
    /// A file of these bytes.
    pub fn new(plain: Bytes) -> ClientFile {
        let encoded = std::array::from_fn(|place| (http::FOR_FILES[place], OnceLock::new()));
        ClientFile { plain, encoded }
    }

    /// The file in a coding, or as it is. It is compressed once in the life of the server.
    pub fn encoded(&self, encoding: Option<Encoding>) -> &[u8] {
        let found = self.encoded.iter().find(|(known, _)| Some(*known) == encoding);
        found.map_or(&self.plain, |(known, bytes)| {
            bytes.get_or_init(|| http::Compressor::default().compress(*known, &self.plain))
        })
    }
}
