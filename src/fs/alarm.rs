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
    /// Lets a result through, and looks at it. Before anything has succeeded, the mount cannot be
    /// had at all, and whoever mounts it tells why.
    pub(super) fn watch<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_ok() {
            self.armed.store(true, Ordering::Relaxed);
        }
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
