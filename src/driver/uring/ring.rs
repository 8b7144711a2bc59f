//! One ring: the queues shared with the kernel, and what names an operation in them.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use crate::driver::token::Token;

/// Operations that one entry into the kernel submits. More are no problem, they cost an entry.
const SUBMISSIONS: u32 = 256;

/// Completions that fit before the kernel has to put them aside and to end multishot operations.
const COMPLETIONS: u32 = 4096;

const _: () = assert!(COMPLETIONS >= 4 * SUBMISSIONS, "one operation completes many times");

/// How long to wait for completions when the kernel has no memory to take operations.
const BREATH: Duration = Duration::from_millis(1);

/// When the kernel works on what an operation has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// When the one thread that submits enters the ring, and not before.
    Deferred,
    /// Whenever that thread is in the kernel.
    Cooperative,
}

/// The queues.
///
/// Operations reach the kernel in the order in which they were pushed, at the latest with the next
/// [`Ring::enter`]. Nothing is lost when a queue is full: operations wait in `backlog`, and the
/// kernel keeps completions (`IORING_FEAT_NODROP`) and hands them over by and by.
pub struct Ring {
    inner: IoUring,
    backlog: VecDeque<squeue::Entry>,
    enter_flags: EnterFlags,
    /// What a test has done to the kernel.
    #[cfg(test)]
    pub mischief: Option<super::tests::mischief::Mischief>,
}

impl Ring {
    /// Sets a ring up for the calling thread.
    ///
    /// # Errors
    /// What the kernel lacks or forbids, and how to change that. `InvalidInput` when it does not
    /// know such work.
    pub fn new(work: Work) -> io::Result<Ring> {
        Ring::with_queues(work, SUBMISSIONS, COMPLETIONS)
    }

    /// As [`Ring::new`], with room for so many operations and completions.
    ///
    /// # Errors
    /// As for [`Ring::new`].
    pub fn with_queues(work: Work, submissions: u32, completions: u32) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        match work {
            Work::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
            Work::Cooperative => builder.setup_coop_taskrun(),
        };
        builder.setup_submit_all().setup_cqsize(completions);
        let inner = builder.build(submissions).map_err(explain)?;
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if inner.params().is_feature_no_iowait() {
            // A server that waits for clients is idle, not waiting for a disk.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Ok(Ring {
            inner,
            backlog: VecDeque::new(),
            enter_flags,
            #[cfg(test)]
            mischief: None,
        })
    }

    /// Tells the kernel where provided buffers are found.
    ///
    /// # Errors
    /// Those of the kernel.
    ///
    /// # Safety
    /// `address` must be page-aligned and hold `entries` buffer entries. These, and the memory that
    /// they point to, must stay valid until every operation that may use them has ended.
    pub unsafe fn register_buffers(
        &self,
        address: u64,
        entries: u16,
        group: u16,
    ) -> io::Result<()> {
        let submitter = self.inner.submitter();
        // SAFETY: the caller promises what the kernel relies on.
        unsafe { submitter.register_buf_ring_with_flags(address, entries, group, 0) }
            .map_err(explain)
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// Memory that the entry points to must stay valid, and not be written to, until the last
    /// completion of the operation was reaped.
    pub unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.to_raw());
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            self.drain_backlog();
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: every entry comes through `push`, whose caller promises that its memory stays
        // valid until the operation has ended; waiting in `backlog` is before that.
        unsafe { self.inner.submission().push(entry) }.is_ok()
    }

    /// Moves what waits into the submission queue, which is emptied into the kernel when full. It
    /// stops when the kernel does not take any; the next entry tries again.
    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.front().cloned() {
            if self.try_push(&entry) {
                self.backlog.pop_front();
            } else if !matches!(self.inner.submit(), Ok(1..)) {
                return;
            }
        }
    }

    /// Submits what was pushed and lets the kernel work off what has happened. Without any
    /// completion it then waits for one; `timeout` says how long (`None`: for ever).
    ///
    /// # Errors
    /// What makes the ring unusable. Interruptions, and a lack of memory that may pass, end the
    /// wait early instead.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.drain_backlog();
        let queued = self.inner.submission().len();
        let timeout = if self.backlog.is_empty() { timeout } else { Some(Duration::ZERO) };
        #[cfg(test)]
        let timeout = self.mischief.as_ref().map_or(timeout, |it| it.patience(timeout));
        match self.enter_once(queued, timeout) {
            // Short of memory the kernel takes fewer, and does not wait.
            Ok(taken) if taken == queued && self.backlog.is_empty() => Ok(()),
            Ok(_) => self.draw_breath(),
            Err(error) if may_pass(&error) => self.draw_breath(),
            Err(error) => Err(error),
        }
    }

    /// Waits a moment for completions alone, with which the kernel gets its memory back.
    fn draw_breath(&mut self) -> io::Result<()> {
        match self.enter_once(0, Some(BREATH)) {
            Err(error) if may_pass(&error) => {
                std::thread::park_timeout(BREATH);
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Enters the kernel once, and says how many operations it took.
    fn enter_once(&mut self, queued: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(Timespec::from);
        let arguments = match &timespec {
            Some(timespec) => SubmitArgs::new().timespec(timespec),
            None => SubmitArgs::new(),
        };
        match self.call(queued, u32::from(timeout != Some(Duration::ZERO)), &arguments) {
            Err(error) => match error.raw_os_error() {
                // Both are found out after all was submitted, and while waiting.
                Some(libc::ETIME | libc::EINTR) => Ok(queued),
                _ => Err(error),
            },
            taken => taken,
        }
    }

    /// The call itself.
    fn call(&mut self, queued: usize, wanted: u32, with: &SubmitArgs<'_, '_>) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(error) = self.mischief.as_mut().and_then(|it| it.refusal()) {
            return Err(error);
        }
        let (flags, submitter) = (self.enter_flags.bits(), self.inner.submitter());
        // SAFETY: the flags say that the argument is of the type given; it and the time that it
        // points to live until the call returns. `queued` entries are published: the handle that
        // pushed them was dropped.
        unsafe { submitter.enter(queued as u32, wanted, flags, Some(with)) }
    }

    /// Moves the completions that are there to `out`, at most as many as the queue holds.
    pub fn reap(&mut self, out: &mut Vec<cqueue::Entry>) {
        #[cfg(test)]
        if let Some(mischief) = &mut self.mischief {
            return mischief.reap(self.inner.completion(), out);
        }
        out.extend(self.inner.completion());
    }

    /// Whether the kernel has put completions aside.
    #[cfg(test)]
    pub fn has_overflowed(&mut self) -> bool {
        self.inner.submission().cq_overflow()
    }
}

/// Whether the kernel has no memory for an operation now, or wants completions to be reaped first.
fn may_pass(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

/// Says what is missing, and who can change it.
fn explain(error: io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "the kernel has no io_uring: Linux 5.19 or newer is needed, built with \
             CONFIG_IO_URING, and no sandbox that hides it"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden: set the sysctl kernel.io_uring_disabled to 0, and let the \
             seccomp profile of the container allow io_uring_setup, io_uring_enter and \
             io_uring_register"
        }
        Some(libc::EINVAL) => "the kernel's io_uring is too old: Linux 5.19 or newer is needed",
        Some(libc::ENOMEM) => "no memory for io_uring: raise the memory limit, or RLIMIT_MEMLOCK",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor for io_uring: raise RLIMIT_NOFILE",
        _ => "io_uring cannot be set up",
    };
    io::Error::new(error.kind(), format!("{advice} ({error})"))
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::*;
    use crate::base::slab::Key;
    use crate::driver::token::Kind;

    #[test]
    fn more_operations_than_both_queues_hold_all_complete_once() {
        for work in [Work::Deferred, Work::Cooperative] {
            complete_all(Ring::new(work).unwrap());
        }
    }

    fn complete_all(mut ring: Ring) {
        let count = 2 * COMPLETIONS + 100;
        for index in 0..count {
            let token = Token::new(Kind::Send, Key { index, generation: 0 });
            // SAFETY: an operation that does nothing has no memory.
            unsafe { ring.push(opcode::Nop::new().build(), token) };
        }
        let mut seen = vec![0; count as usize];
        let (mut reaped, mut entries) = (Vec::new(), 0);
        while seen.contains(&0) {
            ring.enter(Some(Duration::from_secs(1))).unwrap();
            ring.reap(&mut reaped);
            entries += 1;
            assert!(entries < 100, "completions were lost");
            for entry in reaped.drain(..) {
                seen[entry.user_data() as u32 as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }

    #[test]
    fn a_ring_that_is_forbidden_says_what_to_do() {
        let advice = |number| explain(io::Error::from_raw_os_error(number)).to_string();
        assert!(advice(libc::EPERM).contains("kernel.io_uring_disabled"));
        assert!(advice(libc::EPERM).contains("seccomp"));
        assert!(advice(libc::ENOSYS).contains("5.19"));
        assert!(advice(libc::EINVAL).contains("5.19"));
        assert!(advice(libc::EMFILE).contains("RLIMIT_NOFILE"));
    }
}
