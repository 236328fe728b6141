//! Tells the log that the process has run out of descriptors: once, however many requests fail.

use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;

use super::Error;

/// Whether the log is to be told, and whether it was.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    armed: AtomicBool,
    rung: AtomicBool,
}

impl Alarm {
    /// From here on the log is told. Before the mount has answered once, whoever mounts tells why
    /// it cannot.
    pub(super) fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Lets a result through, and looks at it.
    pub(super) fn watch<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(result, Err(Error::TooManyOpen))
            && self.armed.load(Ordering::Relaxed)
            && !self.rung.swap(true, Ordering::Relaxed)
        {
            warn!(
                "too many open files: requests fail with EMFILE while that lasts; raise the limit with `ulimit -n`, or open fewer views at once"
            );
        }
        result
    }
}
