//! The heartbeat. In protocol 4 the server pings and the client answers (protocol.md §7), in
//! protocol 3 it is the other way round (§13.3).
//!
//! There is never more than one ping of the server outstanding. The pong re-arms the interval from
//! the moment it came; while it is awaited, the first other packet restarts the timeout once. A
//! client that pings has the interval and the timeout for its next one, whatever else it sends.

use std::time::Duration;

use crate::base::clock::Time;

/// When the next ping, or the answer to the last one, is due.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    due: Time,
    /// When the latest ping was sent, in microseconds that wrap: only a difference counts.
    pinged_us: u32,
    round_trip: RoundTrip,
    state: State,
}

/// Microseconds in three bytes, so that a heartbeat stays within sixteen; none is zero.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrip([u8; 3]);

impl RoundTrip {
    const MICROS_MAX: u32 = 0xff_ffff;

    fn of(micros: u32) -> RoundTrip {
        let [_, bytes @ ..] = micros.clamp(1, Self::MICROS_MAX).to_be_bytes();
        RoundTrip(bytes)
    }

    fn duration(self) -> Option<Duration> {
        let [high, middle, low] = self.0;
        let micros = u32::from_be_bytes([0, high, middle, low]);
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }
}

/// The low bits of a moment.
fn wrapping_micros(now: Time) -> u32 {
    now.as_micros() as u32
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    Pinged,
    PingedAndExtended,
    /// It is for the client to ping.
    Listening,
}

/// What a moment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Quiet,
    /// A ping must be sent now.
    Ping,
    /// The answer did not come in time.
    Dead,
}

impl Heartbeat {
    /// The heartbeat of a session that opened now: the first ping comes after the interval.
    pub fn new(now: Time, interval: Duration) -> Heartbeat {
        let (pinged_us, round_trip) = (0, RoundTrip::default());
        Heartbeat { due: now.after(interval), pinged_us, round_trip, state: State::Resting }
    }

    /// The heartbeat of a session whose client has just opened it, or pinged, and must do so again
    /// in this time.
    pub fn of_client(now: Time, patience: Duration) -> Heartbeat {
        let (pinged_us, round_trip) = (0, RoundTrip::default());
        Heartbeat { due: now.after(patience), pinged_us, round_trip, state: State::Listening }
    }

    /// The next moment to call [`Heartbeat::expire`].
    pub fn due(&self) -> Time {
        self.due
    }

    /// Says what is due now.
    pub fn expire(&mut self, now: Time, timeout: Duration) -> Beat {
        if now < self.due {
            return Beat::Quiet;
        }
        match self.state {
            State::Resting => {
                // From when the ping was due, not from when we came to it: what the client may
                // take does not depend on how busy we are.
                self.due = self.due.after(timeout);
                self.pinged_us = wrapping_micros(now);
                self.state = State::Pinged;
                Beat::Ping
            }
            _ => Beat::Dead,
        }
    }

    /// We have stood still for so long, which does not count in `now`. The client has waited for
    /// its ping all the while and may soon give us up, so that it is sent as if time had passed. An
    /// answer that is awaited may be behind much else that has come meanwhile: it gets the whole
    /// timeout again, but no answer more than once, or who is gone would never be missed.
    pub fn resumed(&mut self, now: Time, stall: Duration, timeout: Duration) {
        match self.state {
            State::Resting => self.due = self.due.before(stall).max(now),
            State::Pinged => {
                self.due = now.after(timeout);
                self.state = State::PingedAndExtended;
            }
            State::PingedAndExtended | State::Listening => {}
        }
    }

    /// A pong came, asked for or not.
    pub fn pong(&mut self, now: Time, interval: Duration) {
        if self.is_awaited() {
            self.round_trip = RoundTrip::of(wrapping_micros(now).wrapping_sub(self.pinged_us));
        }
        self.due = now.after(interval);
        self.state = State::Resting;
    }

    /// How long the client took to answer the latest ping that it has answered.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.duration()
    }

    /// Whether a ping was not answered yet.
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::Pinged | State::PingedAndExtended)
    }

    /// Another packet came.
    pub fn traffic(&mut self, now: Time, timeout: Duration) {
        if self.state == State::Pinged {
            self.due = now.after(timeout);
            self.state = State::PingedAndExtended;
        }
    }

    /// What the client has sent is not read, and its pong may be in there: it is pinged again after
    /// the interval, which shows whether it is there at all. One that pings by itself gets so long.
    pub fn forgive(&mut self, now: Time, interval: Duration, patience: Duration) {
        match self.state {
            State::Resting => {}
            _ if self.due > now => {}
            State::Listening => self.due = now.after(patience),
            State::Pinged | State::PingedAndExtended => {
                self.due = now.after(interval);
                self.state = State::Resting;
            }
        }
    }

    /// The transport has changed: an answer that is awaited gets the whole timeout again, since the
    /// ping may have been on its way over the old one.
    pub fn upgraded(&mut self, now: Time, timeout: Duration) {
        match self.state {
            State::Resting | State::Listening => {}
            State::Pinged | State::PingedAndExtended => self.due = now.after(timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(200);
    const STALL: Duration = Duration::from_secs(60);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn no_ping_before_the_interval_has_passed() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        assert_eq!(heartbeat.expire(at(299), TIMEOUT), Beat::Quiet);
        assert_eq!(heartbeat.expire(at(300), TIMEOUT), Beat::Ping);
    }

    #[test]
    fn b4_3_no_pong_within_the_timeout_is_the_end() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        assert_eq!(heartbeat.expire(at(300), TIMEOUT), Beat::Ping);
        assert_eq!(heartbeat.expire(at(499), TIMEOUT), Beat::Quiet);
        assert_eq!(heartbeat.expire(at(500), TIMEOUT), Beat::Dead);
    }

    #[test]
    fn a_ping_that_is_sent_late_leaves_the_client_no_more_time() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        assert_eq!(heartbeat.expire(at(320), TIMEOUT), Beat::Ping);
        assert_eq!(heartbeat.expire(at(500), TIMEOUT), Beat::Dead);
    }

    #[test]
    fn m66_a_client_is_not_dropped_because_the_server_stood_still() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        assert_eq!(heartbeat.expire(at(300), TIMEOUT), Beat::Ping);
        heartbeat.resumed(at(499), STALL, TIMEOUT);
        assert_eq!(heartbeat.expire(at(698), TIMEOUT), Beat::Quiet);
        heartbeat.resumed(at(698), STALL, TIMEOUT);
        assert_eq!(heartbeat.expire(at(699), TIMEOUT), Beat::Dead, "it gets the time again once");
    }

    #[test]
    fn m66_a_ping_that_was_due_while_the_server_stood_still_is_due_now() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        heartbeat.resumed(at(10), Duration::from_millis(100), TIMEOUT);
        assert_eq!(heartbeat.expire(at(199), TIMEOUT), Beat::Quiet);
        heartbeat.resumed(at(199), STALL, TIMEOUT);
        assert_eq!(heartbeat.expire(at(199), TIMEOUT), Beat::Ping);
        assert_eq!(heartbeat.expire(at(398), TIMEOUT), Beat::Quiet);
        assert_eq!(heartbeat.expire(at(399), TIMEOUT), Beat::Dead);
    }

    #[test]
    fn the_interval_counts_from_the_pong() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        let mut pings = Vec::new();
        for millis in 0..1200 {
            match heartbeat.expire(at(millis), TIMEOUT) {
                Beat::Ping => pings.push(millis),
                Beat::Dead => panic!("the pong was in time"),
                Beat::Quiet => {}
            }
            if pings.last().is_some_and(|ping| ping + 100 == millis) {
                heartbeat.pong(at(millis), INTERVAL);
            }
        }
        assert_eq!(pings, [300, 700, 1100]);
    }

    #[test]
    fn other_traffic_restarts_the_timeout_once_a_ping() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        heartbeat.expire(at(300), TIMEOUT);
        heartbeat.traffic(at(450), TIMEOUT);
        heartbeat.traffic(at(600), TIMEOUT);
        assert_eq!(heartbeat.expire(at(649), TIMEOUT), Beat::Quiet);
        assert_eq!(heartbeat.expire(at(650), TIMEOUT), Beat::Dead);
    }

    #[test]
    fn cve_2026_48802_a_million_unasked_pongs_are_one_deadline() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        for _ in 0..1_000_000 {
            heartbeat.pong(at(10), INTERVAL);
        }
        assert_eq!(heartbeat.due(), at(310));
        assert_eq!(size_of::<Heartbeat>(), 16);
    }

    #[test]
    fn the_round_trip_is_that_of_the_latest_ping_that_was_answered() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        heartbeat.pong(at(100), INTERVAL);
        assert_eq!(heartbeat.round_trip(), None, "nobody has asked");
        heartbeat.expire(at(400), TIMEOUT);
        assert!(heartbeat.is_awaited());
        heartbeat.traffic(at(410), TIMEOUT);
        heartbeat.pong(at(430), INTERVAL);
        assert_eq!(heartbeat.round_trip(), Some(Duration::from_millis(30)));
        heartbeat.expire(at(730), TIMEOUT);
        assert_eq!(heartbeat.round_trip(), Some(Duration::from_millis(30)), "not answered yet");
        heartbeat.pong(at(30_000), INTERVAL);
        let most = Duration::from_micros(RoundTrip::MICROS_MAX.into());
        assert_eq!(heartbeat.round_trip(), Some(most));
    }

    #[test]
    fn b4_33_an_upgrade_gives_the_awaited_pong_the_whole_timeout_again() {
        let mut heartbeat = Heartbeat::new(at(0), INTERVAL);
        heartbeat.expire(at(300), TIMEOUT);
        heartbeat.upgraded(at(490), TIMEOUT);
        assert_eq!(heartbeat.expire(at(500), TIMEOUT), Beat::Quiet);
        assert_eq!(heartbeat.expire(at(690), TIMEOUT), Beat::Dead);
    }
}
