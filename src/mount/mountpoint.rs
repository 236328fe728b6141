//! The folder that is mounted on: whether it can be, and making it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::MountError;
use super::table::{self, MountEntry};
use super::unmount::unmount_device;
use crate::folder::catalog::Catalog;

/// The only thing that a new file system may hold at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// How long a lock that another has is not tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// How long another process may take to mount on the same folder.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder to mount on, which no other vhdfs mounts on until it is unlocked. If it was made for that, it is removed with the value.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// How many folders at the end of the path were made.
    made: usize,
    /// The folder itself; if it cannot be locked, the last check decides.
    lock: Option<OwnedFd>,
}

impl Mountpoint {
    /// Checks that `mountpoint` can be used, and makes it first if that is wanted.
    pub(crate) fn prepare(
        mountpoint: &Path,
        catalog: &Catalog,
        make: bool,
    ) -> Result<Self, MountError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => MountError::MountpointMissing(mountpoint.to_owned()),
            _ => MountError::Mountpoint(mountpoint.to_owned(), error),
        };
        let made = if make {
            make_folders(mountpoint).map_err(failed)?
        } else {
            0
        };
        let path = table::absolute(mountpoint).map_err(failed)?;
        let mut this = Self {
            path,
            made,
            lock: None,
        };
        this.check(catalog)?;
        Ok(this)
    }

    fn check(&mut self, catalog: &Catalog) -> Result<(), MountError> {
        let mut mounted = free_of_ours(&self.path)?;
        if !mounted.as_ref().is_some_and(MountEntry::is_trigger) {
            self.lock = lock(&self.path)?;
            mounted = free_of_ours(&self.path)?;
        }
        let path = || self.path.clone();
        let source = catalog.folder().path();
        let overlaps = is_within(source, &self.path)
            || is_within(&self.path, source) && !catalog.is_single_image();
        if overlaps {
            return Err(MountError::Overlap(path(), source.to_owned()));
        }
        if mounted.as_ref().is_some_and(MountEntry::is_trigger) {
            // A process that looks into it waits for the mount that is being made here.
            return Ok(());
        }
        let metadata = self.path.metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => MountError::MountpointMissing(path()),
            _ if is_gone(&error) => MountError::Stale(path()),
            _ => MountError::Mountpoint(path(), error),
        })?;
        if !metadata.is_dir() {
            return Err(MountError::MountpointNotADirectory(path()));
        }
        match is_empty(&self.path, mounted.is_some()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(MountError::MountpointNotEmpty(path())),
            Err(error) => Err(MountError::Mountpoint(path(), error)),
        }
    }

    /// The mount is there: others may look.
    pub(crate) fn unlock(&mut self) {
        self.lock = None;
    }

    /// How many folders at the end of the path were made, and are to be removed.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// Leaves the removal of the folders that were made to another process.
    pub(crate) fn forget_made(&mut self) {
        self.made = 0;
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        remove_folders(&self.path, self.made);
    }
}

/// Locks the folder (flock(2)), so that the second of two who mount on it at once finds the mount
/// of the first.
fn lock(mountpoint: &Path) -> Result<Option<OwnedFd>, MountError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // What is wrong with the folder, the check says better.
    let Ok(folder) = rustix::fs::open(mountpoint, flags, Mode::empty()) else {
        return Ok(None);
    };
    let latest = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
            Err(Errno::WOULDBLOCK) if Instant::now() < latest => thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => return Err(MountError::InUse(mountpoint.to_owned())),
            // Not every file system has locks.
            Err(_) => return Ok(None),
        }
    }
}

/// Whether `path` is `folder` or below it, by name or as another mount shows it.
fn is_within(path: &Path, folder: &Path) -> bool {
    let identity = |path: &Path| {
        let found = path.metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    if path.starts_with(folder) {
        return true;
    }
    let folder = identity(folder);
    folder.is_some() && path.ancestors().any(|above| identity(above) == folder)
}

/// Makes a folder and those above it that are missing; returns how many.
fn make_folders(folder: &Path) -> io::Result<usize> {
    let is_missing = |path: &&Path| {
        let found = path.symlink_metadata();
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let ancestors = folder
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty());
    let missing = ancestors.take_while(is_missing).count();
    if missing > 0 {
        fs::create_dir_all(folder)?;
    }
    // `a/../b` makes `a`, which is not above `b`.
    let is_plain = !folder.components().any(|part| part == Component::ParentDir);
    Ok(if is_plain { missing } else { 0 })
}

/// Removes `folder` and those above it, `count` in all, up to the first that holds something.
pub(crate) fn remove_folders(folder: &Path, count: usize) {
    for folder in folder.ancestors().take(count) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

fn is_empty(folder: &Path, is_root: bool) -> io::Result<bool> {
    for entry in folder.read_dir()? {
        if !is_root || entry?.file_name() != LOST_AND_FOUND {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is mounted there that is none of ours. A daemon that was killed leaves a mount of which
/// every use fails: that is detached.
fn free_of_ours(path: &Path) -> Result<Option<MountEntry>, MountError> {
    let mounted = || table::find(path).map_err(MountError::Setup);
    let device = match mounted()? {
        Some(entry) if entry.is_ours() && is_stale(path) => entry.device,
        Some(entry) if entry.is_ours() => {
            return Err(MountError::AlreadyMounted(path.to_owned(), entry.source));
        }
        other => return Ok(other),
    };
    if unmount_device(path, true, device).is_ok() {
        warn!(
            "{}: removed the stale mount of a daemon that is gone [stale-removed]",
            path.display()
        );
    } else if is_stale(path) {
        return Err(MountError::Stale(path.to_owned()));
    }
    // The fusermount3 of a daemon with --auto-unmount may have been quicker.
    match mounted()? {
        Some(entry) if entry.is_ours() => {
            Err(MountError::AlreadyMounted(path.to_owned(), entry.source))
        }
        other => Ok(other),
    }
}

fn is_stale(mountpoint: &Path) -> bool {
    // Attributes may be remembered for a moment; statvfs always asks the daemon.
    let asked = mountpoint
        .metadata()
        .and_then(|_| Ok(rustix::fs::statvfs(mountpoint)?));
    asked.is_err_and(|error| is_gone(&error))
}

/// Whether this is the error of a mount whose daemon is gone.
fn is_gone(error: &io::Error) -> bool {
    // A request that meets the end of the connection is aborted.
    let gone = [Some(libc::ENOTCONN), Some(libc::ECONNABORTED)];
    gone.contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_made_are_removed_while_they_are_empty() {
        let top = tempfile::tempdir().unwrap();
        let place = top.path().join("a/b/c");
        assert_eq!(make_folders(&place).unwrap(), 3);
        assert_eq!(make_folders(&place).unwrap(), 0);
        fs::write(top.path().join("a/note"), "").unwrap();
        remove_folders(&place, 3);
        assert!(top.path().join("a/note").exists() && !top.path().join("a/b").exists());
        assert_eq!(make_folders(&top.path().join("d/../e")).unwrap(), 0);
    }

    #[test]
    fn only_a_root_may_hold_lost_and_found() {
        let top = tempfile::tempdir().unwrap();
        assert!(is_empty(top.path(), false).unwrap());
        fs::create_dir(top.path().join(LOST_AND_FOUND)).unwrap();
        assert!(is_empty(top.path(), true).unwrap() && !is_empty(top.path(), false).unwrap());
        fs::write(top.path().join("x"), "").unwrap();
        assert!(!is_empty(top.path(), true).unwrap());
    }
}
