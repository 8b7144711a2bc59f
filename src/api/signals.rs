//! What signals do to a server: they end it, or have it read its certificates again.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

#[cfg(feature = "tls")]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Incoming};

use crate::error::{Error, Result};
use crate::shard::shared::Shared;

/// Waits for signals on a thread of its own.
pub(crate) struct Signals {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Signals {
    /// Drains the server at the first SIGTERM or SIGINT; the second ends the process. SIGHUP has
    /// one with certificates read them again.
    pub(crate) fn obey(shared: &Arc<Shared>) -> Result<Signals> {
        let mut incoming = Incoming::new([SIGTERM, SIGINT]).map_err(Error::Thread)?;
        #[cfg(feature = "tls")]
        if shared.settings.tls.is_some() {
            incoming.add_signal(SIGHUP).map_err(Error::Thread)?;
        }
        let handle = incoming.handle();
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name("fanfare-signals".to_owned())
            .spawn(move || {
                let mut was_told = false;
                for signal in incoming.forever() {
                    #[cfg(feature = "tls")]
                    if signal == SIGHUP {
                        // What came of it is in the log, where whoever sent it looks.
                        let _ = shared.reload_certificates();
                        continue;
                    }
                    // It may be draining already, for another reason: the next process has come.
                    shared.drain();
                    if std::mem::replace(&mut was_told, true) {
                        // The shell's convention for a process that a signal has ended.
                        std::process::exit(128 + signal);
                    }
                }
            })
            .map_err(Error::Thread)?;
        Ok(Signals { handle, thread })
    }

    pub(crate) fn stop(self) {
        self.handle.close();
        // It only waits for signals: it cannot have anything to report.
        drop(self.thread.join());
    }
}
