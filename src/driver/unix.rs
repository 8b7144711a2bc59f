//! Unix sockets that listen, and the files that are their addresses.
//!
//! The file stays when whoever listened there is killed, and an address whose file is there cannot
//! be listened on. So a file on which nobody listens is removed first; one on which somebody does
//! is left alone. All of it happens under a lock, so that of two servers that start at once neither
//! takes the other's file for one that was left behind.
//!
//! The lock is on a file beside that one, which is there for that moment and which no other user
//! may open: whoever may read a folder may lock it, too, for as long as they like.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{self, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::net::BACKLOG;
use super::sys;

/// The file of a socket of ours. Dropping it removes it, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number: which file it is.
    identity: (u64, u64),
}

/// The file of a socket that another process has made and hands over. Until that is done it is
/// that one's.
#[derive(Debug)]
pub struct TheirFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Opens a socket that listens on `path`, which whoever `mode` lets write may connect to.
///
/// # Errors
/// `AddrInUse` when another process listens there, or something is there that is no socket;
/// `InvalidInput` for a path that no socket can have; else those of the kernel.
pub fn listen(path: &Path, mode: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let path = path::absolute(path)?;
    let address = kernel_path(&path)?;
    let until = Instant::now() + DYING_TIME;
    loop {
        let lock = Lock::take(&path)?;
        let socket = sys::stream_socket(libc::AF_UNIX)?;
        match sys::bind(socket.as_fd(), &address) {
            Ok(()) => return open(socket, path, mode),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => match occupant(&path)? {
                Occupant::Nobody => {
                    fs::remove_file(&path)?;
                    continue;
                }
                Occupant::Listens if Instant::now() < until => {}
                _ => return Err(error),
            },
        }
        drop(lock);
        thread::park_timeout(LOOK_INTERVAL);
    }
}

/// Has a socket listen that has the file of this path.
fn open(socket: OwnedFd, path: PathBuf, mode: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let file = SocketFile { identity: identity(&path)?, path };
    // Before anybody can connect.
    fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
    sys::start_listening(socket.as_fd(), BACKLOG)?;
    Ok((socket, file))
}

/// Whether a descriptor is a Unix socket.
///
/// # Errors
/// It is no socket.
pub fn is_unix(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(sys::option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)? == libc::AF_UNIX)
}

/// Makes all accepts of a socket that listens fail, those that wait first.
pub fn stop_listening(socket: BorrowedFd<'_>) {
    // SAFETY: the call takes no memory. It fails for no socket that listens.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

impl TheirFile {
    /// The one that is there now.
    ///
    /// # Errors
    /// There is none.
    pub fn at(path: &Path) -> io::Result<TheirFile> {
        let path = path::absolute(path)?;
        Ok(TheirFile { identity: identity(&path)?, path })
    }

    /// It is ours from now on.
    pub fn take_over(self) -> SocketFile {
        SocketFile { path: self.path, identity: self.identity }
    }
}

impl SocketFile {
    /// Leaves it to another process, which listens there.
    pub fn leave(mut self) {
        // No file has that number.
        self.identity = (0, 0);
    }
}

/// What keeps others away from the file of a socket, until it is dropped.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits until no other process of this user has it, but not for long: it is held for a moment
    /// only, and one that was stopped meanwhile must not hold up others.
    fn take(path: &Path) -> io::Result<Lock> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let until = Instant::now() + LOCK_TIMEOUT;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
            // Whoever had it has removed the file, and somebody else may have made another.
            let locked = identity_of(&file.metadata()?);
            if sys::try_lock(file.as_fd())? && identity(&path).is_ok_and(|it| it == locked) {
                return Ok(Lock { path, _file: file });
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            thread::park_timeout(LOCK_INTERVAL);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The next one makes another.
        let _ = fs::remove_file(&self.path);
    }
}

/// How long the lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two attempts to have it.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);

/// How long a process that was killed may go on listening: the kernel takes its rings apart after
/// it has gone, and what they accept from with them.
pub const DYING_TIME: Duration = Duration::from_secs(1);

/// Pause between two looks whether somebody listens.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who has the file of an address.
enum Occupant {
    /// It was left behind.
    Nobody,
    /// Somebody listens there.
    Listens,
    /// It is no socket that listens.
    Other,
}

fn occupant(path: &Path) -> io::Result<Occupant> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(Occupant::Other);
    }
    let socket = sys::stream_socket(libc::AF_UNIX)?;
    Ok(match sys::connect(socket.as_fd(), &kernel_path(path)?) {
        Ok(()) => Occupant::Listens,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Occupant::Listens,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Occupant::Nobody,
        Err(_) => Occupant::Other,
    })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    Ok(identity_of(&fs::symlink_metadata(path)?))
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn kernel_path(path: &Path) -> io::Result<libc::sockaddr_un> {
    // SAFETY: the structure is integers only, for which all-zero bytes are a value.
    let mut kernel: libc::sockaddr_un = unsafe { mem::zeroed() };
    kernel.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // The last place stays zero, which ends the path.
    if bytes.len() >= kernel.sun_path.len() || bytes.contains(&0) {
        let why = "the path of a Unix socket has at most 107 bytes, none of them zero";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    for (place, &byte) in kernel.sun_path.iter_mut().zip(bytes) {
        *place = byte as libc::c_char;
    }
    Ok(kernel)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whatever fails here: the next server removes a file that was left behind.
        let _lock = Lock::take(&self.path);
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder =
                std::env::temp_dir().join(format!("fanfare-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("a.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn error(path: &Path) -> ErrorKind {
        listen(path, 0o600).unwrap_err().kind()
    }

    #[test]
    fn a_file_has_the_permissions_asked_for_and_goes_with_its_owner() {
        let folder = Folder::new("permissions");
        for mode in [0o600, 0o660, 0o666] {
            let (socket, file) = listen(&folder.socket(), mode).unwrap();
            let metadata = fs::metadata(folder.socket()).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
            let mut client = UnixStream::connect(folder.socket()).unwrap();
            let (mut served, _) = UnixListener::from(socket).accept().unwrap();
            client.write_all(b"x").unwrap();
            served.read_exact(&mut [0]).unwrap();
            drop(file);
            assert!(!folder.socket().exists());
        }
    }

    #[test]
    fn a_file_on_which_nobody_listens_is_replaced() {
        let folder = Folder::new("stale");
        drop(UnixListener::bind(folder.socket()).unwrap());
        assert!(folder.socket().exists(), "as after a kill");
        let (_socket, _file) = listen(&folder.socket(), 0o600).unwrap();
        UnixStream::connect(folder.socket()).unwrap();
    }

    #[test]
    fn a_file_on_which_somebody_listens_is_left_to_them() {
        let folder = Folder::new("live");
        let (socket, _file) = listen(&folder.socket(), 0o600).unwrap();
        assert_eq!(error(&folder.socket()), ErrorKind::AddrInUse);
        // Also when they are too busy to accept: nobody but who has just looked may wait now.
        sys::start_listening(socket.as_fd(), 0).unwrap();
        assert_eq!(error(&folder.socket()), ErrorKind::AddrInUse);
        assert!(folder.socket().exists());
    }

    #[test]
    fn what_is_no_socket_that_listens_is_never_removed() {
        let folder = Folder::new("other");
        fs::write(folder.socket(), "precious").unwrap();
        assert_eq!(error(&folder.socket()), ErrorKind::AddrInUse);
        assert_eq!(fs::read(folder.socket()).unwrap(), b"precious");
        fs::remove_file(folder.socket()).unwrap();
        let _datagrams = UnixDatagram::bind(folder.socket()).unwrap();
        assert_eq!(error(&folder.socket()), ErrorKind::AddrInUse);
        assert!(folder.socket().exists());
    }

    #[test]
    fn a_file_that_has_taken_the_place_of_ours_stays() {
        let folder = Folder::new("successor");
        let (_socket, file) = listen(&folder.socket(), 0o600).unwrap();
        fs::remove_file(folder.socket()).unwrap();
        let (_successor, _theirs) = listen(&folder.socket(), 0o600).unwrap();
        drop(file);
        UnixStream::connect(folder.socket()).unwrap();
    }

    #[test]
    fn of_many_that_start_at_once_on_a_stale_file_one_listens() {
        let folder = Folder::new("race");
        drop(UnixListener::bind(folder.socket()).unwrap());
        let (path, start) = (folder.socket(), std::sync::Barrier::new(4));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        listen(&path, 0o600).map_err(|error| error.kind())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refused = |outcome: &&Result<_, _>| matches!(outcome, Err(ErrorKind::AddrInUse));
        assert_eq!(outcomes.iter().filter(refused).count(), 3);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn nobody_who_may_read_the_folder_holds_up_a_server() {
        let folder = Folder::new("locked");
        let stranger = File::open(&folder.0).unwrap();
        assert!(sys::try_lock(stranger.as_fd()).unwrap());
        let begun = Instant::now();
        let (_socket, file) = listen(&folder.socket(), 0o666).unwrap();
        drop(file);
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    }

    #[test]
    fn a_process_that_was_stopped_holds_up_nobody_for_long() {
        let folder = Folder::new("stopped");
        let (_socket, file) = listen(&folder.socket(), 0o666).unwrap();
        let lock = Lock::take(&folder.socket()).unwrap();
        assert_eq!(fs::metadata(&lock.path).unwrap().permissions().mode() & 0o777, 0o600);
        let begun = Instant::now();
        assert_eq!(error(&folder.socket()), ErrorKind::AddrInUse);
        drop(file);
        assert!(!folder.socket().exists());
        assert!(begun.elapsed() < LOCK_TIMEOUT * 3);
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let folder = Folder::new("long");
        let room = 107 - folder.0.as_os_str().len() - 1;
        assert_eq!(error(&folder.0.join("x".repeat(room + 1))), ErrorKind::InvalidInput);
        assert_eq!(error(&folder.0.join("a\0b")), ErrorKind::InvalidInput);
        assert_eq!(error(&folder.0.join("none/a")), ErrorKind::NotFound);
        let longest = folder.0.join("x".repeat(room));
        let (_socket, _file) = listen(&longest, 0o600).unwrap();
        UnixStream::connect(&longest).unwrap();
    }
}
