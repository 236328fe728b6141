//! Tells the log that the process has run out of something: once, however many requests fail.

use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;

use super::Error;

/// Whether the log is to be told, and of what it was.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    armed: AtomicBool,
    descriptors: AtomicBool,
    memory: AtomicBool,
}

impl Alarm {
    /// Lets a result through, and looks at it. Before anything has succeeded, the mount cannot be
    /// had at all, and whoever mounts it tells why.
    pub(super) fn watch<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let (rung, text) = match &result {
            Ok(_) => {
                self.armed.store(true, Ordering::Relaxed);
                return result;
            }
            Err(Error::TooManyOpen) => (
                &self.descriptors,
                "too many open files: requests fail with EMFILE while that lasts; raise the limit with `ulimit -n`, or open fewer views at once",
            ),
            Err(Error::OutOfMemory) => (
                &self.memory,
                "out of memory: requests fail with ENOMEM while that lasts",
            ),
            Err(_) => return result,
        };
        if self.armed.load(Ordering::Relaxed) && !rung.swap(true, Ordering::Relaxed) {
            warn!("{text}");
        }
        result
    }
}
