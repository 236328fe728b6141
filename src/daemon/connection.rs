//! The connection with the kernel that a mount is served through, and how it ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use log::{debug, warn};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::broker::Broker;
use crate::mount::mountpoint::Mountpoint;
use crate::mount::table::{self, DeviceNumber};
use crate::mount::unmount::{UnmountError, unmount_device};

/// Where the administrator has the control files of FUSE connections, as systemd mounts them.
const CONTROL: &str = "/sys/fs/fuse/connections";

/// The kernel's end of a mount. Dropped before [`Connection::ended`], it detaches the mount: better
/// none than one that hangs. What was made for the mount point is removed then.
#[derive(Debug)]
pub(super) struct Connection {
    place: Mountpoint,
    broker: Option<Arc<Broker>>,
    /// Number of the mounted file system's device, as in mountinfo.
    device: Option<DeviceNumber>,
    abort: Option<File>,
    kept: Option<OwnedFd>,
    has_ended: bool,
}

impl Connection {
    /// Of the mount that was just made there, and is the topmost.
    pub(super) fn new(mut place: Mountpoint, broker: Option<Arc<Broker>>) -> Self {
        let entry = table::find(&place.path).ok().flatten();
        place.unlock();
        let device = entry.map(|entry| entry.device);
        let abort = device.map(open_abort).transpose();
        let abort = abort.inspect_err(|error| {
            debug!("readers of a source that hangs will wait for it at the end: {error}");
        });
        Self {
            place,
            broker,
            device,
            abort: abort.ok().flatten(),
            kept: None,
            has_ended: false,
        }
    }

    /// Where the mount is.
    pub(super) fn mountpoint(&self) -> &Path {
        &self.place.path
    }

    /// Keeps a descriptor open as long as the mount.
    pub(super) fn keep(&mut self, descriptor: OwnedFd) {
        self.kept = Some(descriptor);
    }

    /// Whether the mount still has its place in the tree.
    pub(super) fn is_mounted(&self) -> bool {
        let found = table::find(&self.place.path).ok().flatten();
        found.is_some_and(|entry| Some(entry.device) == self.device)
    }

    /// Number that distinguishes the mount from all others.
    pub(super) fn device(&self) -> Option<DeviceNumber> {
        self.device
    }

    /// Ends the mount, and no other; see [`unmount_device`].
    pub(super) fn unmount(&self, lazy: bool) -> Result<(), UnmountError> {
        let Some(device) = self.device else {
            return Err(UnmountError::NotMounted(self.place.path.clone()));
        };
        match &self.broker {
            Some(broker) => broker.unmount(device, lazy),
            None => unmount_device(&self.place.path, lazy, device),
        }
    }

    /// Fails all requests that wait, also those for a source that hangs. Otherwise the kernel does
    /// so only once all threads of this process have ended, and one in a source that hangs may not
    /// end for ever.
    pub(super) fn abort(&mut self) {
        let Some(abort) = &mut self.abort else {
            return;
        };
        if let Err(error) = abort.write_all(b"1") {
            warn!("readers may wait until all reads of sources have ended: {error} [abort]");
        }
    }

    /// The mount is gone, or detached.
    pub(super) fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.unmount(true);
        }
        if self.place.made() > 0
            && let Some(broker) = &self.broker
        {
            broker.remove_mountpoint();
            self.place.forget_made();
        }
    }
}

/// Opens the control file that ends the connection (Documentation/filesystems/fuse/fuse.rst of the
/// kernel). Its folder is named after the minor number of the file system's device; the major is 0.
fn open_abort((_, minor): (u32, u32)) -> io::Result<File> {
    let name = format!("{minor}/abort");
    let there = File::options()
        .write(true)
        .open(Path::new(CONTROL).join(&name));
    match there {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let control = control_files()?;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(control, name, flags, Mode::empty())?.into())
        }
        there => there,
    }
}

/// The control files if they are not mounted anywhere, in a detached mount. Takes CAP_SYS_ADMIN.
fn control_files() -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())
}
