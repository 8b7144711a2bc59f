//! Unix sockets that listen, and the files that are their addresses.
//!
//! The file stays when whoever listened there is killed, and an address whose file is there cannot
//! be listened on. So a file on which nobody listens is removed first; one on which somebody does
//! is left alone. All of it happens under a lock on the folder, so that of two servers that start
//! at once neither takes the other's file for one that was left behind.

use std::fs::{self, File, Permissions};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{self, Path, PathBuf};

use super::net::BACKLOG;
use super::sys;

/// The file of a socket of ours. Dropping it removes it, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number: which file it is.
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
    let _lock = lock_folder(&path)?;
    let socket = sys::stream_socket(libc::AF_UNIX)?;
    match sys::bind(socket.as_fd(), &address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(&path)? => {
            fs::remove_file(&path)?;
            sys::bind(socket.as_fd(), &address)?;
        }
        result => result?,
    }
    let file = SocketFile { identity: identity(&path)?, path };
    // Before anybody can connect.
    fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
    sys::start_listening(socket.as_fd(), BACKLOG)?;
    Ok((socket, file))
}

/// Holds the lock on the folder of a file until it is dropped.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    sys::lock(folder.as_fd())?;
    Ok(folder)
}

/// Whether a file is that of a socket on which nobody listens any more.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let socket = sys::stream_socket(libc::AF_UNIX)?;
    match sys::connect(socket.as_fd(), &kernel_path(path)?) {
        Err(error) => Ok(error.kind() == io::ErrorKind::ConnectionRefused),
        Ok(()) => Ok(false),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
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
        let _lock = lock_folder(&self.path);
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
