//! The folder that is mounted on: whether it can be, and making it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use log::warn;

use super::error::MountError;
use super::table::{self, MountEntry};
use super::unmount::unmount;
use crate::folder::catalog::Catalog;

/// The only thing that a new file system may hold at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// A folder to mount on. Where it was made for that, it is removed with the value.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// How many folders at the end of the path were made.
    made: usize,
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
        let this = Self { path, made };
        this.check(catalog)?;
        Ok(this)
    }

    fn check(&self, catalog: &Catalog) -> Result<(), MountError> {
        let path = || self.path.clone();
        let mounted = free_of_ours(&self.path)?;
        let source = catalog.folder().path();
        let overlaps = source.starts_with(&self.path)
            || self.path.starts_with(source) && !catalog.is_single_image();
        if overlaps {
            return Err(MountError::Overlap(path(), source.to_owned()));
        }
        if mounted.as_ref().is_some_and(MountEntry::is_trigger) {
            // Whoever looks into it waits for the mount that is being made here.
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

    /// How many folders at the end of the path were made, and are to be removed.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// Whoever removes them, it is done.
    pub(crate) fn forget_made(&mut self) {
        self.made = 0;
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        remove_folders(&self.path, self.made);
    }
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
    match mounted()? {
        Some(entry) if entry.is_ours() && is_stale(path) => {}
        Some(entry) if entry.is_ours() => {
            return Err(MountError::AlreadyMounted(path.to_owned(), entry.source));
        }
        other => return Ok(other),
    }
    if unmount(path, true).is_ok() {
        warn!(
            "{}: removed the stale mount of a daemon that is gone",
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

/// Whether this is what a mount says whose daemon is gone.
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
