//! What makes `--auto-unmount` hold when the daemon is killed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// fuser opens its socket to fusermount3 right behind the device: this leaves room for it.
const BEHIND_THE_SOCKET: i32 = 16;

/// Another descriptor of the FUSE device, to be kept as long as the mount: with it, the device is
/// closed before fuser's socket to fusermount3 if this process is killed.
///
/// fusermount3 waits for the end of the socket, then tries the mount once, and unmounts it if
/// that fails with ENOTCONN. While the device is still open that is ECONNABORTED, and the mount is
/// left behind. Linux gives up the files of a process in the reverse order of the highest number
/// that each has (`close_files`, `task_work_run`).
///
/// # Errors
///
/// If no descriptor is left.
pub(super) fn close_before_socket(device: impl AsFd) -> io::Result<OwnedFd> {
    let behind = device.as_fd().as_raw_fd() + BEHIND_THE_SOCKET;
    Ok(rustix::io::fcntl_dupfd_cloexec(device, behind)?)
}
