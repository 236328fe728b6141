//! Ending a mount from any process.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use thiserror::Error;

use super::options::{helper, is_root};
use crate::mount::table::{self, DeviceNumber, MountEntry};

/// Why a mount was not ended.
#[derive(Debug, Error)]
pub enum UnmountError {
    /// Another mount lies on it.
    #[error("{}: another mount lies on that of this daemon, which goes away with the daemon; `umount -l` removes what is left once the other is gone [covered]", .0.display())]
    Covered(PathBuf),
    /// Nothing of ours is mounted there.
    #[error("{}: vhdfs has mounted nothing there; `findmnt -t fuse.vhdfs` lists its mounts [not-mounted]", .0.display())]
    NotMounted(PathBuf),
    /// Files are open in it, or a process has its working folder there.
    #[error("{}: it is in use; close what uses it (`fuser -vm` lists them), or detach it with `vhdfs umount --lazy` [unmount-busy]", .0.display())]
    Busy(PathBuf),
    /// Another user mounted it.
    #[error("{}: not permitted; unmount as the user who mounted it, or as root [unmount-denied]", .0.display())]
    Denied(PathBuf),
    /// Another failure.
    #[error("{}: cannot unmount: {} [unmount-failed]", .0.display(), .1)]
    Failed(PathBuf, #[source] io::Error),
}

/// Unmounts what vhdfs has mounted on `mountpoint`. With `lazy`, detaches it even while it is in
/// use: open files go on, and no path leads to it any more.
///
/// # Errors
///
/// Why it is still mounted.
pub fn unmount(mountpoint: &Path, lazy: bool) -> Result<(), UnmountError> {
    unmount_top(mountpoint, lazy, |_| true)
}

/// Unmounts the one mount on `mountpoint` that has `device`, as [`unmount`] does.
///
/// # Errors
///
/// Why it is still mounted; another mount on the same folder is left alone.
pub fn unmount_device(
    mountpoint: &Path,
    lazy: bool,
    device: DeviceNumber,
) -> Result<(), UnmountError> {
    let path =
        table::absolute(mountpoint).map_err(|_| UnmountError::NotMounted(mountpoint.to_owned()))?;
    let entries =
        table::all_at(&path).map_err(|error| UnmountError::Failed(mountpoint.to_owned(), error))?;
    match entries.iter().position(|entry| entry.device == device) {
        None => return Err(UnmountError::NotMounted(path)),
        Some(0) => {}
        Some(_) => return Err(UnmountError::Covered(path)),
    }
    unmount_top(mountpoint, lazy, |entry| entry.device == device)
}

fn unmount_top(
    mountpoint: &Path,
    lazy: bool,
    is_meant: impl Fn(&MountEntry) -> bool,
) -> Result<(), UnmountError> {
    let failed = |error| UnmountError::Failed(mountpoint.to_owned(), error);
    let path =
        table::absolute(mountpoint).map_err(|_| UnmountError::NotMounted(mountpoint.to_owned()))?;
    let entry = table::find(&path).map_err(failed)?;
    let is_ours = |entry: &MountEntry| entry.file_system == table::FILE_SYSTEM_TYPE;
    if !entry.is_some_and(|entry| is_ours(&entry) && is_meant(&entry)) {
        return Err(UnmountError::NotMounted(path));
    }
    if !is_root() {
        return unmount_by_helper(path, lazy);
    }
    let flags = if lazy {
        UnmountFlags::DETACH
    } else {
        UnmountFlags::empty()
    };
    rustix::mount::unmount(&path, flags | UnmountFlags::NOFOLLOW).map_err(|error| match error {
        Errno::BUSY => UnmountError::Busy(path),
        Errno::INVAL | Errno::NOENT => UnmountError::NotMounted(path),
        Errno::PERM => UnmountError::Denied(path),
        error => UnmountError::Failed(path, error.into()),
    })
}

fn unmount_by_helper(path: PathBuf, lazy: bool) -> Result<(), UnmountError> {
    let Some(helper) = helper() else {
        let error = io::Error::other("`fusermount3` is missing; install the package fuse3");
        return Err(UnmountError::Failed(path, error));
    };
    let output = Command::new(helper)
        .env("LC_ALL", "C")
        .arg(if lazy { "-uz" } else { "-u" })
        .arg("--")
        .arg(&path)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => output,
        Err(error) => return Err(UnmountError::Failed(path, error)),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    Err(if text.contains("busy") {
        UnmountError::Busy(path)
    } else if text.contains("not permitted")
        || text.contains("Permission denied")
        || text.contains("not found in")
    {
        UnmountError::Denied(path)
    } else {
        UnmountError::Failed(path, io::Error::other(text.trim().to_owned()))
    })
}
