//! Why a mount failed, in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::advice;
use crate::daemon::sandbox::SandboxError;
use crate::mount::options::helper;

/// Why a mount failed.
#[derive(Debug, Error)]
pub enum MountError {
    /// The source cannot be used.
    #[error("{}: cannot open the source: {}{} [source]", .0.display(), .1, advice::on_reading(.1))]
    Source(PathBuf, #[source] io::Error),
    /// The folder for snapshots cannot be used.
    #[error(
        "--snapshot-dir: {0}; name a writable folder on the file system of the images [snapshot-dir]"
    )]
    SnapshotFolder(String),
    /// There is no mount point.
    #[error("{}: the mount point does not exist; create it with `mkdir`, or add --mkdir [mountpoint-missing]", .0.display())]
    MountpointMissing(PathBuf),
    /// The mount point is a file.
    #[error("{}: the mount point is not a folder; name an empty one [mountpoint-file]", .0.display())]
    MountpointNotADirectory(PathBuf),
    /// There is something in the mount point.
    #[error("{}: the mount point is not empty; name an empty folder [mountpoint-full]", .0.display())]
    MountpointNotEmpty(PathBuf),
    /// There is a mount of ours, of this source.
    #[error("{}: vhdfs has mounted {} there already, or with other options; unmount it with `vhdfs umount`, or name another folder [mounted-already]", .0.display(), .1.display())]
    AlreadyMounted(PathBuf, PathBuf),
    /// Another process holds it.
    #[error("{}: another process has locked the mount point; wait until it has mounted, or name another folder [mountpoint-locked]", .0.display())]
    InUse(PathBuf),
    /// The source contains the mount point, or the other way round.
    #[error("{}: the mount point and the source {} contain one another; name a folder elsewhere [overlap]", .0.display(), .1.display())]
    Overlap(PathBuf, PathBuf),
    /// A dead mount that is not ours, or that we may not remove, is in the way.
    #[error("{}: a mount whose daemon is gone is in the way; remove it with `fusermount3 -uz` or, as root, `umount -l` [stale-mount]", .0.display())]
    Stale(PathBuf),
    /// The mount point cannot be looked at.
    #[error("{}: cannot use the mount point: {}; name an empty folder that you own [mountpoint]", .0.display(), .1)]
    Mountpoint(PathBuf, #[source] io::Error),
    /// The kernel has no FUSE, or it is not in this container.
    #[error(
        "/dev/fuse is missing; load it with `modprobe fuse`, give it to the container with `--device /dev/fuse`, or write VHDs with `vhdfs cat` [fuse-missing]"
    )]
    DeviceMissing,
    /// The user may not use FUSE.
    #[error(
        "/dev/fuse: {0}; let root run `chmod 666 /dev/fuse`, or mount as root, in a container with `--cap-add SYS_ADMIN` [fuse-denied]"
    )]
    DeviceDenied(#[source] io::Error),
    /// The helper that mounts for ordinary users is missing.
    #[error(
        "`fusermount3` is missing, which mounts for ordinary users; install the package fuse3, or mount as root [fusermount]"
    )]
    HelperMissing,
    /// The administrator does not let ordinary users share mounts.
    #[error(
        "--allow-other and --allow-root need the line `user_allow_other` in /etc/fuse.conf; let root add it, or mount as root [allow-other]"
    )]
    SharingDenied,
    /// The helper unmounts only mounts that others may use.
    #[error(
        "--auto-unmount works only together with --allow-other or --allow-root; add one of them [auto-unmount]"
    )]
    AutoUnmountAlone,
    /// The system refused the mount.
    #[error("{}: cannot mount: {}{} [mount-refused]", .0.display(), one_line(.1), advice::on_mounting(.1))]
    Mount(PathBuf, #[source] io::Error),
    /// The process cannot get what it needs.
    #[error("cannot start: {}{} [resources]", .0, advice::on_resources(.0))]
    Setup(#[source] io::Error),
    /// The sandbox is demanded and not to be had.
    #[error("--sandbox require: {0}; `--sandbox auto` mounts with what there is [sandbox]")]
    Sandbox(#[source] SandboxError),
    /// Serving requests failed.
    #[error("the connection to the kernel failed: {0}; mount again [connection]")]
    Serve(#[source] io::Error),
}

impl MountError {
    /// The system refused to mount on `mountpoint`.
    pub fn of_mounting(mountpoint: &Path, error: io::Error) -> Self {
        // What root may not do is left to the helper, and if there is none, only that is told.
        let error = match error.kind() {
            io::ErrorKind::NotFound if helper().is_none() => Errno::PERM.into(),
            _ => error,
        };
        Self::Mount(mountpoint.to_owned(), error)
    }
}

fn one_line(error: &io::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
