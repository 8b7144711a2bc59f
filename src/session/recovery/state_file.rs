//! The option that keeps the state of clients while their server restarts.

use std::any::{Any, TypeId};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

/// Where a server that is closed keeps what its clients need to come back, for the one that is
/// started after it.
///
/// The file is written when the server has been closed in order, and the next one that is built
/// with the same path reads it when it starts, and removes it. Clients that come back within
/// [`max_disconnection_duration`](crate::ConnectionStateRecovery) have their ids and rooms back and
/// what they have missed, as after any other disconnection; the time of the restart counts.
///
/// It holds the secrets by which clients come back, so only its owner may read it (mode 0600). It
/// is put in place as a whole or not at all. What cannot be read, or comes from a server with
/// another number of [`shards`](crate::Builder::shards) or another
/// [`parser`](crate::Builder::parser), is left where it is and not used, with a warning in the log:
/// the clients are then new ones. The same goes for clients of namespaces that the new server does
/// not have when it starts; those that match a [pattern](crate::Server::of_pattern) it makes, those
/// that only a predicate could allow it does not.
///
/// ```
/// use fanfare::{ConnectionStateRecovery, Server, StateFile};
/// # let folder = std::env::temp_dir();
///
/// let io = Server::builder()
///     .connection_state_recovery(ConnectionStateRecovery {
///         state_file: Some(StateFile::new(folder.join("clients.state"))),
///         ..Default::default()
///     })
///     .build()?;
/// # Ok::<(), fanfare::Error>(())
/// ```
#[derive(Clone)]
pub struct StateFile {
    path: PathBuf,
    data: Option<DataForm>,
}

/// How the application's data of a socket is kept.
#[derive(Clone, Copy)]
struct DataForm {
    kind: TypeId,
    write: fn(&dyn Any) -> Option<Box<RawValue>>,
    read: fn(&RawValue) -> Option<Box<dyn Any + Send>>,
}

impl StateFile {
    /// A file of this path. It must be in a folder in which the server may make files: otherwise it
    /// does not start.
    pub fn new(path: impl Into<PathBuf>) -> StateFile {
        StateFile { path: path.into(), data: None }
    }

    /// Keeps [`socket.data()`](crate::Socket::data), too, where it is of this type, as JSON. The
    /// data of other sockets, and without this call of all, is lost with the process.
    ///
    /// ```
    /// use fanfare::StateFile;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// let file = StateFile::new("/var/lib/chat/clients.state").data::<User>();
    /// ```
    #[must_use]
    pub fn data<T: Serialize + DeserializeOwned + Send + 'static>(self) -> StateFile {
        let write = |data: &dyn Any| to_raw_value(data.downcast_ref::<T>()?).ok();
        let read = |json: &RawValue| {
            let data: T = serde_json::from_str(json.get()).ok()?;
            Some(Box::new(data) as Box<dyn Any + Send>)
        };
        StateFile { data: Some(DataForm { kind: TypeId::of::<T>(), write, read }), ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data of a socket as JSON, if it is kept. This is user code.
    pub(crate) fn write(&self, data: &dyn Any) -> Option<Box<RawValue>> {
        (self.data?.write)(data)
    }

    /// The data that JSON stands for. This is user code.
    pub(crate) fn read(&self, json: &RawValue) -> Option<Box<dyn Any + Send>> {
        (self.data?.read)(json)
    }
}

impl PartialEq for StateFile {
    fn eq(&self, other: &StateFile) -> bool {
        let kind = |file: &StateFile| file.data.map(|data| data.kind);
        self.path == other.path && kind(self) == kind(other)
    }
}

impl Eq for StateFile {}

impl fmt::Debug for StateFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StateFile").field(&self.path).finish()
    }
}
