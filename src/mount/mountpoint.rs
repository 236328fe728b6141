//! Whether a folder can be mounted on.

use std::io;
use std::path::{Path, PathBuf};

use log::warn;

use super::error::MountError;
use super::table;
use super::unmount::unmount;
use crate::folder::catalog::Catalog;

/// Checks that the mount point can be used, and returns its canonical path.
pub(crate) fn check(mountpoint: &Path, catalog: &Catalog) -> Result<PathBuf, MountError> {
    let path = || mountpoint.to_owned();
    remove_stale_mount(mountpoint)?;
    let metadata = mountpoint.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::MountpointMissing(path()),
        _ => MountError::Mountpoint(path(), error),
    })?;
    if !metadata.is_dir() {
        return Err(MountError::MountpointNotADirectory(path()));
    }
    let canonical = mountpoint
        .canonicalize()
        .map_err(|error| MountError::Mountpoint(path(), error))?;
    let mounted = table::find(&canonical).map_err(MountError::Setup)?;
    if let Some(entry) = mounted {
        return Err(MountError::AlreadyMounted(canonical, entry.file_system));
    }
    let source = catalog.folder().path();
    let overlaps = source.starts_with(&canonical)
        || canonical.starts_with(source) && !catalog.is_single_image();
    if overlaps {
        return Err(MountError::Overlap(canonical, source.to_owned()));
    }
    match canonical
        .read_dir()
        .map(|mut entries| entries.next().is_some())
    {
        Ok(false) => Ok(canonical),
        Ok(true) => Err(MountError::MountpointNotEmpty(canonical)),
        Err(error) => Err(MountError::Mountpoint(canonical, error)),
    }
}

/// A daemon that was killed leaves a mount of which every use fails: detaches it where it is ours.
fn remove_stale_mount(mountpoint: &Path) -> Result<(), MountError> {
    if !is_stale(mountpoint) {
        return Ok(());
    }
    let absolute = table::absolute(mountpoint)
        .map_err(|error| MountError::Mountpoint(mountpoint.into(), error))?;
    let entry = table::find(&absolute).map_err(MountError::Setup)?;
    let is_ours = entry.is_some_and(|entry| entry.file_system == table::FILE_SYSTEM_TYPE);
    if is_ours && unmount(&absolute, true).is_ok() {
        warn!(
            "{}: removed the stale mount of a daemon that is gone",
            absolute.display()
        );
        return Ok(());
    }
    // The fusermount3 of a daemon with --auto-unmount may have been quicker.
    if is_stale(mountpoint) {
        return Err(MountError::Stale(absolute));
    }
    Ok(())
}

fn is_stale(mountpoint: &Path) -> bool {
    // Attributes may be remembered for a moment; statvfs always asks the daemon.
    let asked = mountpoint
        .metadata()
        .and_then(|_| Ok(rustix::fs::statvfs(mountpoint)?));
    // A request that meets the end of the connection is aborted.
    let gone = [Some(libc::ENOTCONN), Some(libc::ECONNABORTED)];
    asked.is_err_and(|error| gone.contains(&error.raw_os_error()))
}
