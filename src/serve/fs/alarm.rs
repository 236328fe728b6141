//! Logs that the process has run out of something: once, however many requests fail.

use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;

use super::Error;

/// Whether running out is to be logged, and what was logged.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    armed: AtomicBool,
    descriptors: AtomicBool,
    memory: AtomicBool,
}

impl Alarm {
    /// Lets a result through, and looks at it. Before anything has succeeded, the mount cannot be
    /// made at all, and the command that mounts reports why.
    pub(super) fn watch<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let (rung, text) = match &result {
            Ok(_) => {
                self.armed.store(true, Ordering::Relaxed);
                return result;
            }
            Err(Error::TooManyOpen) => (
                &self.descriptors,
                "too many open files: requests fail with EMFILE while that lasts; raise the limit with `ulimit -n`, or open fewer views at once [too-many-open]",
            ),
            Err(Error::OutOfMemory) => (
                &self.memory,
                "out of memory: requests fail with ENOMEM while that lasts [no-memory]",
            ),
            Err(_) => return result,
        };
        if self.armed.load(Ordering::Relaxed) && !rung.swap(true, Ordering::Relaxed) {
            warn!("{text}");
        }
        result
    }
}
