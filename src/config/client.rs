//! The files of the JavaScript client, from the folder where npm puts them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::shard::shared::{ClientFile, ClientFiles};

use super::Builder;

/// Where `npm install socket.io-client` puts the client bundle.
const CLIENT_FOLDER: &str = "node_modules/socket.io-client/dist";

/// The files of the client bundle that are served (protocol.md §17.4), each also with its map.
const CLIENT_FILES: [&str; 4] =
    ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"];

impl Builder {
    /// `serveClient`: whether the files of the JavaScript client are served under the path.
    /// Default: true. They come from [`client_folder`](Builder::client_folder), or else from
    /// `node_modules/socket.io-client/dist` below the working directory; without either there is
    /// nothing to serve, and the server starts all the same.
    pub fn serve_client(mut self, serve: bool) -> Builder {
        self.serve_client = serve;
        self
    }

    /// The folder that holds the files of the JavaScript client: the `dist` folder of the npm
    /// package `socket.io-client`. [`build`](Builder::build) fails when they are not there.
    pub fn client_folder(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.client_folder = Some(folder.into());
        self
    }

    /// The files that are to be served, if any.
    pub(super) fn client(&self) -> Result<Option<ClientFiles>> {
        match &self.client_folder {
            _ if !self.serve_client => Ok(None),
            Some(folder) => {
                let read = read_client(folder);
                read.map(Some).map_err(|error| Error::ClientBundle(folder.clone(), error))
            }
            None => Ok(read_client(Path::new(CLIENT_FOLDER)).ok()),
        }
    }
}

fn read_client(folder: &Path) -> io::Result<ClientFiles> {
    let mut files = HashMap::new();
    for name in CLIENT_FILES {
        let file = ClientFile::new(fs::read(folder.join(name))?.into());
        files.insert(name.to_owned(), file);
        let map = format!("{name}.map");
        if let Ok(bytes) = fs::read(folder.join(&map)) {
            files.insert(map, ClientFile::new(bytes.into()));
        }
    }
    Ok(ClientFiles { version: client_version(folder)?, files })
}

fn client_version(folder: &Path) -> io::Result<String> {
    let manifest = fs::read(folder.join("../package.json"))?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    match manifest.get("version").and_then(serde_json::Value::as_str) {
        Some(version) => Ok(version.to_owned()),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "package.json has no version")),
    }
}
