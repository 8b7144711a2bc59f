//! Descriptors on their way from one process to another, over a Unix socket.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::sys;

/// Most descriptors that go with one message.
pub const DESCRIPTORS_MAX: usize = 64;

/// Room for a control message with so many, in words so that it is aligned for its header.
const CONTROL_WORDS: usize = DESCRIPTORS_MAX * size_of::<RawFd>() / 8 + 8;

/// Sends bytes, at least one, with descriptors, which the receiver gets copies of. Says how many
/// bytes were taken; the descriptors have gone with the first.
///
/// # Errors
/// `InvalidInput` for more than [`DESCRIPTORS_MAX`]; else those of `sendmsg`.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let length = size_of_val(&*numbers) as libc::c_uint;
    let mut control = [0u64; CONTROL_WORDS];
    let mut slice =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message header is integers and pointers, for which all-zero bytes are a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    if !numbers.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the macro computes with its argument alone. The sum is at most 16 + 256, less
        // than the 320 bytes of `control`.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
        // SAFETY: `control` has room for one header and `length` bytes of data, as just computed,
        // and is aligned for the header; `numbers` has `length` bytes.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(first).cast::<RawFd>();
            ptr::copy_nonoverlapping(numbers.as_ptr(), data, numbers.len());
        }
    }
    sys::repeat_interrupted(|| {
        // SAFETY: the header points to live memory of the lengths that it names, which is read.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) }
    })
}

/// Receives bytes, none at the end of the stream, and the descriptors that come with them.
///
/// # Errors
/// `InvalidData` when more descriptors came than can be taken; else those of `recvmsg`.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a message header is integers and pointers, for which all-zero bytes are a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_CMSG_CLOEXEC;
    let received = sys::repeat_interrupted(|| {
        // SAFETY: the header points to live, writable memory of the lengths that it names.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) }
    })?;
    let descriptors = received_descriptors(&header);
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received, descriptors))
}

/// Takes the descriptors that the kernel has made for a message.
fn received_descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled the control buffer, which lives as long as the header, with
    // whole control messages; the macros stay within its length.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: `message` is one of these messages, aligned by the kernel.
        let part = unsafe { &*message };
        if (part.cmsg_level, part.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: the data begins there; its length follows from that of the message.
            let (data, before) = unsafe { (libc::CMSG_DATA(message), libc::CMSG_LEN(0)) };
            let bytes = (part.cmsg_len as usize).saturating_sub(before as usize);
            for index in 0..bytes / size_of::<RawFd>() {
                // SAFETY: the data holds that many numbers, which need not be aligned. The kernel
                // has just made these descriptors for us, so that nobody else owns them.
                descriptors.push(unsafe {
                    OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned())
                });
            }
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    descriptors
}

/// Whether the process at the other end runs as the same user as this one.
///
/// # Errors
/// Those of `getsockopt`: it is no Unix socket.
pub fn is_same_user(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of_val(&peer) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let place = (&raw mut peer).cast();
    // SAFETY: `place` is a live structure of the length given: the call writes no more.
    let answer =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut length) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call takes no memory and cannot fail.
    Ok(peer.uid == unsafe { libc::geteuid() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn m64_a_listener_arrives_with_the_bytes_it_was_sent_with_and_goes_on_listening() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(send(here.as_fd(), b"one", &[listener.as_fd()]).unwrap(), 3);
        assert_eq!(send(here.as_fd(), b"none", &[]).unwrap(), 4);
        drop(listener);
        let mut client = TcpStream::connect(address).unwrap();
        let mut bytes = [0; 64];
        let (length, mut descriptors) = receive(there.as_fd(), &mut bytes).unwrap();
        assert_eq!((&bytes[..length], descriptors.len()), (&b"one"[..], 1));
        let (mut served, _) = TcpListener::from(descriptors.remove(0)).accept().unwrap();
        client.write_all(b"x").unwrap();
        served.read_exact(&mut [0]).unwrap();
        let (length, descriptors) = receive(there.as_fd(), &mut bytes).unwrap();
        assert_eq!((&bytes[..length], descriptors.len()), (&b"none"[..], 0));
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut bytes).unwrap().0, 0);
    }

    #[test]
    fn as_many_as_may_go_with_one_message_do_and_no_more() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut many = vec![here.as_fd(); DESCRIPTORS_MAX + 1];
        let kind = send(here.as_fd(), b"x", &many).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::InvalidInput);
        many.pop();
        send(here.as_fd(), b"x", &many).unwrap();
        let (_, descriptors) = receive(there.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
        assert!(is_same_user(there.as_fd()).unwrap());
    }
}
