//! When to accept again after the kernel has refused to.

use std::time::Duration;

use crate::base::clock::Time;

/// The first pause after an accept that the kernel refused; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The pauses of one listener.
#[derive(Debug)]
pub struct Backoff {
    /// How long the next pause will be.
    pause: Duration,
    /// When the present one is over.
    until: Option<Time>,
}

impl Backoff {
    /// Without a pause.
    pub fn new() -> Backoff {
        Backoff { pause: PAUSE_MIN, until: None }
    }

    /// Whether to wait now.
    pub fn is_pausing(&self, now: Time) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When to go on, if there is a pause.
    pub fn until(&self) -> Option<Time> {
        self.until
    }

    /// Ends the pause: there may be a descriptor to accept with.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// A connection was accepted.
    pub fn accepted(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// An accept failed with this error number. Says whether that begins a pause.
    pub fn refused(&mut self, error: i32, now: Time) -> bool {
        match error {
            // The connection failed before it was accepted (accept(2)), or the operation was ended.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::ECONNABORTED => false,
            libc::EPERM | libc::EPROTO | libc::ENETDOWN | libc::ENETUNREACH => false,
            libc::EHOSTDOWN | libc::EHOSTUNREACH | libc::ENOPROTOOPT | libc::ENONET => false,
            // Descriptors or memory are used up. What else there may be must not spin either.
            _ => {
                self.until = Some(now.after(self.pause));
                self.pause = (2 * self.pause).min(PAUSE_MAX);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_get_longer_up_to_a_second_until_a_connection_is_accepted() {
        let mut backoff = Backoff::new();
        let mut pauses_ms = Vec::new();
        for _ in 0..9 {
            assert!(backoff.refused(libc::EMFILE, Time::ZERO));
            let until = backoff.until().unwrap();
            assert!(backoff.is_pausing(Time::ZERO) && !backoff.is_pausing(until));
            pauses_ms.push(until.since(Time::ZERO).as_millis());
        }
        assert_eq!(pauses_ms, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        backoff.accepted();
        backoff.refused(libc::ENFILE, Time::ZERO);
        assert_eq!(backoff.until(), Some(Time::ZERO.after(PAUSE_MIN)));
        backoff.end();
        assert!(!backoff.is_pausing(Time::ZERO));
    }

    #[test]
    fn a_connection_that_failed_is_no_reason_to_pause() {
        let mut backoff = Backoff::new();
        for error in [libc::ECONNABORTED, libc::EINTR, libc::EPROTO, libc::ENETUNREACH] {
            assert!(!backoff.refused(error, Time::ZERO));
        }
        assert_eq!(backoff.until(), None);
    }
}
