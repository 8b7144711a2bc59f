//! The unsafe part: a ring whose operations never refer to memory that is gone, and what the
//! runtimes do not offer of their streams.
#![allow(unsafe_code, reason = "this module exists to have it all in one place")]

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Operations that one entry into the kernel submits; with more there are more entries.
const SUBMISSIONS: u32 = 1024;

/// Completions that fit; they are moved out whenever the submissions are full.
const COMPLETIONS: u32 = 8192;

/// Receive buffers, and the size of each.
const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 4096;

/// The one group of buffers.
const GROUP: u16 = 0;

/// Where the buffers begin, behind the ring of entries that says where they are.
const OFFSET: usize = (BUFFERS as usize * size_of::<BufRingEntry>()).next_multiple_of(4096);

/// What the kernel has done. A socket is a slot of the ring's own table of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connection was accepted; the result is its slot.
    Accept,
    /// Bytes have come.
    Receive,
    /// Bytes were sent.
    Send,
    /// What was in flight on a socket has been told to end.
    Cancel,
    /// A slot is free.
    Close,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Accept, Kind::Receive, Kind::Send, Kind::Cancel, Kind::Close];

    fn token(self, socket: u32) -> u64 {
        (self as u64) << 32 | u64::from(socket)
    }
}

/// A report of the kernel.
#[derive(Debug)]
pub struct Completion {
    /// Of which operation.
    pub kind: Kind,
    /// On which socket.
    pub socket: u32,
    /// What came of it: a number, or a negative error.
    pub result: i32,
    /// Whether the operation goes on.
    pub goes_on: bool,
    /// The buffer that was filled, to be given to [`Ring::release`].
    pub buffer: Option<Buffer>,
}

/// A receive buffer that is ours until it is released.
#[derive(Debug)]
pub struct Buffer(u16);

/// A ring with fixed files and a ring of receive buffers. There is one in a process, and it is
/// never dropped: so the memory of operations in flight stays where it is until the process ends.
pub struct Ring {
    inner: IoUring,
    /// The entries, then the buffers; a mapping that is never unmapped.
    memory: *mut u8,
    /// How many buffers the kernel was given since the beginning.
    tail: u16,
    /// By socket: the bytes that its one send in flight refers to.
    sending: Vec<Option<Rc<Vec<u8>>>>,
    completions: VecDeque<cqueue::Entry>,
}

impl Ring {
    /// Sets the ring up for this thread, with a table of so many files.
    pub fn new(files: u32) -> io::Result<&'static mut Ring> {
        let inner = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        inner.submitter().register_files_sparse(files)?;
        let length = OFFSET + usize::from(BUFFERS) * BUFFER_BYTES;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // Populated, so that what is resident grows with clients alone.
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), length, access, flags) }?;
        // SAFETY: the mapping is page-aligned, has room for the entries, and is never unmapped.
        unsafe {
            inner.submitter().register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, 0)
        }?;
        let memory = memory.cast();
        let (sending, completions) = (Vec::new(), VecDeque::new());
        let mut ring = Ring { inner, memory, tail: 0, sending, completions };
        (0..BUFFERS).for_each(|id| ring.release(Buffer(id)));
        Ok(Box::leak(Box::new(ring)))
    }

    /// Accepts connections until a completion says that this does not go on.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(true);
        // SAFETY: the entry has no memory.
        unsafe { self.push(entry.build().user_data(Kind::Accept.token(0))) }
    }

    /// Receives until a completion says that this does not go on.
    pub fn receive(&mut self, socket: u32) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fixed(socket), GROUP).build();
        // SAFETY: the entry has no memory but the buffers, which are never unmapped.
        unsafe { self.push(entry.user_data(Kind::Receive.token(socket))) }
    }

    /// Sends all of a range of bytes: the kernel itself goes on after a part, and completes with
    /// less only when the connection has failed.
    ///
    /// # Panics
    /// If a send of the socket is in flight: the two could interleave.
    pub fn send(&mut self, socket: u32, bytes: Rc<Vec<u8>>, range: Range<usize>) -> io::Result<()> {
        let index = socket as usize;
        if index >= self.sending.len() {
            self.sending.resize(index + 1, None);
        }
        assert!(self.sending[index].is_none(), "one send of a socket is in flight at most");
        let slice = &bytes[range];
        let entry = opcode::Send::new(Fixed(socket), slice.as_ptr(), slice.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(Kind::Send.token(socket));
        self.sending[index] = Some(bytes);
        // SAFETY: the bytes are in `sending`, which shares them without letting anybody change
        // them, until the operation's only completion was taken; and the ring is never dropped.
        unsafe { self.push(entry) }
    }

    /// Whether a send of the socket is in flight.
    pub fn is_sending(&self, socket: u32) -> bool {
        self.sending.get(socket as usize).is_some_and(Option::is_some)
    }

    /// Ends what is in flight on the socket. A shutdown would do too, but the kernel hands it to a
    /// thread, which may find another connection in the slot.
    pub fn cancel(&mut self, socket: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fixed(socket)).all()).build();
        // SAFETY: the entry has no memory.
        unsafe { self.push(entry.user_data(Kind::Cancel.token(socket))) }
    }

    /// Frees the slot of a socket that nothing is in flight on.
    pub fn close(&mut self, socket: u32) -> io::Result<()> {
        let entry = opcode::Close::new(Fixed(socket)).build();
        // SAFETY: the entry has no memory.
        unsafe { self.push(entry.user_data(Kind::Close.token(socket))) }
    }

    /// # Safety
    /// Memory that the entry refers to must stay as it is until its last completion was taken.
    unsafe fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller promises what the kernel relies on.
        while unsafe { self.inner.submission().push(&entry) }.is_err() {
            self.inner.submit()?;
            self.completions.extend(self.inner.completion());
        }
        Ok(())
    }

    /// Submits what was asked for, and waits until something has happened.
    pub fn wait(&mut self) -> io::Result<()> {
        let wanted = usize::from(self.completions.is_empty());
        match self.inner.submit_and_wait(wanted) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.completions.extend(self.inner.completion());
        Ok(())
    }

    /// The next report, as long as there are any.
    pub fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.pop_front()?;
        let socket = entry.user_data() as u32;
        let kind = Kind::ALL[(entry.user_data() >> 32) as usize];
        if kind == Kind::Send {
            self.sending[socket as usize] = None;
        }
        Some(Completion {
            kind,
            socket,
            result: entry.result(),
            goes_on: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()).map(Buffer),
        })
    }

    /// The bytes of a buffer.
    pub fn bytes(&mut self, buffer: &mut Buffer) -> &mut [u8] {
        // SAFETY: the number of a buffer is less than their count, so that it ends within the
        // mapping. The kernel gave it up with the completion that made the `Buffer`, of which
        // there is no copy, and has it again after `release`, which takes it.
        unsafe { std::slice::from_raw_parts_mut(self.buffer(buffer.0), BUFFER_BYTES) }
    }

    /// Gives a buffer back to the kernel.
    pub fn release(&mut self, buffer: Buffer) {
        let position = usize::from(self.tail % BUFFERS);
        let address = self.buffer(buffer.0) as u64;
        let entries: *mut BufRingEntry = self.memory.cast();
        // SAFETY: the position is less than the number of entries, which the mapping begins with.
        // There are no more buffers than entries, so that the kernel has read this one, and it
        // does not look at it again before it sees the new tail.
        let entry = unsafe { &mut *entries.add(position) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer.0);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is two bytes of the first entry, which setting that entry leaves alone.
        let tail = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: it lies at an even address of the mapping, and the kernel only reads it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Ordering::Release);
    }

    fn buffer(&self, number: u16) -> *mut u8 {
        assert!(number < BUFFERS);
        // SAFETY: the number is less than the count, so that this is within the mapping.
        unsafe { self.memory.add(OFFSET + usize::from(number) * BUFFER_BYTES) }
    }
}

/// A stream of a runtime that tells the number of its descriptor, and keeps it open while it lives.
#[cfg(any(feature = "glommio", feature = "monoio"))]
pub trait Stream: AsRawFd {
    /// The descriptor.
    fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the two types that this is for close the descriptor when they are dropped.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

#[cfg(feature = "glommio")]
impl Stream for glommio::net::TcpStream {}

#[cfg(feature = "monoio")]
impl Stream for monoio::net::TcpStream {}

/// The stream that a half reads from.
#[cfg(feature = "monoio")]
pub fn monoio_stream(half: &monoio::net::tcp::TcpOwnedReadHalf) -> &monoio::net::TcpStream {
    // SAFETY: the cell lives as long as the half. The other half makes an exclusive reference when
    // a write begins, and keeps none while it waits: a write holds the descriptor, not the stream.
    // Both run on this thread, and no method that is called through this reference changes it.
    unsafe { &*half.0.get() }
}

/// A listener of glommio's, which is otherwise made from an address, with its own options.
#[cfg(feature = "glommio")]
pub fn glommio_listener(listener: TcpListener) -> glommio::net::TcpListener {
    use std::os::fd::{FromRawFd, IntoRawFd};
    // SAFETY: the descriptor is open, and handed over to the only owner.
    unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) }
}
