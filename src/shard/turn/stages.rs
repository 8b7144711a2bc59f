//! A shard follows its server from one stage of its life to the next.

use std::time::Duration;

use crate::driver::Driver;

use super::super::dismissal::Dismissal;
use super::super::shared::Stage;
use super::super::state::State;
use super::Shard;

/// How long a server whose drain has come to the end of its time waits for those that were left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a server that hands over serves connections on which nothing has come yet: those that
/// were accepted just before.
const GRACE: Duration = Duration::from_secs(1);

/// How long it does so when the next process waits for its state file, and how long its clients
/// have to hear that it ends.
const HURRY: Duration = Duration::from_millis(250);

impl<D: Driver> Shard<D> {
    /// Goes on in its life as far as the server has.
    pub(super) fn follow_stage(&mut self) {
        let stage = self.context.shared.stage();
        if stage >= Stage::Closing && !self.context.with(|state| state.is_closing) {
            self.dismissal = None;
            self.close_all(self.context.shared.settings.options.limits.shutdown_timeout);
        }
        if stage == Stage::Draining {
            self.dismiss();
        }
        self.stage = stage;
        // Until then polling clients come, also with new connections, to hear that they are closed.
        if self.close_by.is_some() && self.context.with(|state| state.sessions.is_empty()) {
            self.driver.stop_listening();
            self.context.with(State::drop_idle);
        }
    }

    /// Tells all clients that the server ends, and waits for so long that they have heard it.
    fn close_all(&mut self, timeout: Duration) {
        let by = self.driver.now().after(timeout);
        self.close_by = Some(self.close_by.map_or(by, |before| before.min(by)));
        self.context.with(State::close_all);
        self.context.run_jobs();
    }

    /// Takes nobody any more, and sends those away whose turn has come.
    fn dismiss(&mut self) {
        if self.close_by.is_some() {
            return;
        }
        let now = self.driver.now();
        let shared = &self.context.shared;
        let is_handing_over = shared.is_handing_over();
        let is_hurried = is_handing_over && shared.settings.options.state_file().is_some();
        let dismissal = self.dismissal.get_or_insert_with(|| {
            self.driver.stop_listening();
            shared.stops_listening();
            // Whoever comes to the next process may be on a connection that this one has accepted.
            self.context.with(|state| state.is_draining = !is_handing_over);
            let timeout = if is_hurried { HURRY } else { shared.settings.drain_timeout };
            Dismissal::new(now, timeout, if is_handing_over { GRACE } else { Duration::ZERO })
        });
        if is_hurried && dismissal.by() > now.after(HURRY) {
            // It began before the next process had come, who waits for the state file.
            *dismissal = Dismissal::new(now, HURRY, Duration::ZERO);
        }
        if dismissal.by() <= now {
            return self.close_all(if is_hurried { HURRY } else { LAST_WORDS });
        }
        if dismissal.is_due(now) {
            if dismissal.is_idle() {
                let sessions = self.context.with(|state| state.sessions_left());
                dismissal.add(sessions, now, shared.posts().len());
            }
            let (owed, random) = (self.context.owed_sessions(), self.context.with(State::any_byte));
            for session in dismissal.take(now, &owed, random) {
                self.context.with(|state| state.send_away(session));
            }
        }
        let is_over = self.context.with(|state| state.sessions.is_empty());
        if is_over && dismissal.grace() <= now {
            // What else its tasks do has the time that it has when a server closes.
            let timeout = shared.settings.options.limits.shutdown_timeout;
            self.close_by = Some(dismissal.by().after(LAST_WORDS).min(now.after(timeout)));
        }
        self.context.run_jobs();
    }
}
