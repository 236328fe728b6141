//! Opening without waiting for others longer than a moment.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How long somebody who has a write lease on a file gets to give it back.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long to wait between two tries.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// openat2(2), until it is not interrupted.
///
/// # Errors
///
/// The file system's own; `EBUSY` where somebody keeps a write lease on the file.
pub(super) fn openat2(
    at: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let begun = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        match rustix::fs::openat2(at, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR) => {}
            // A rename elsewhere raced with a check of `..`. Or somebody has a write lease, as file servers
            // take for their clients, and was now asked to give it back.
            Err(Errno::AGAIN) if begun.elapsed() < PATIENCE => {
                thread::sleep(pause);
                pause = (2 * pause).clamp(MIN_PAUSE, MAX_PAUSE);
            }
            Err(Errno::AGAIN) => {
                warn!(
                    "{}: cannot be opened: somebody holds a write lease on it; close it there [cannot-open]",
                    path.display()
                );
                return Err(Errno::BUSY);
            }
            result => return result,
        }
    }
}
