//! What a mount goes on needing once the sandbox has been entered, and who does what it forbids.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::warn;
use rustix::fs::{Mode, OFlags};

use crate::daemon::sandbox::{Helper, Needs, Sandbox};
use crate::folder::catalog::Catalog;
use crate::mount::unmount::{UnmountError, unmount};
use crate::serve::image::Snapshots;
use sys::FuseDevice;

/// What the daemon goes on needing.
#[derive(Debug)]
pub(super) struct Confinement {
    readable: Vec<OwnedFd>,
    removable: Vec<OwnedFd>,
    passthrough: bool,
}

impl Confinement {
    /// Where the bytes of views, and the names of their readers, come from.
    pub(super) fn new(
        catalog: &Catalog,
        snapshots: &Snapshots,
        allow_devices: bool,
    ) -> io::Result<Self> {
        let mut readable = vec![catalog.folder().open_directory(Path::new(""))?];
        let elsewhere = snapshots.folder().into_iter();
        let devices = allow_devices.then_some(Path::new("/dev"));
        for path in elsewhere.chain(devices).chain([Path::new("/proc")]) {
            readable.push(open(path)?);
        }
        Ok(Self {
            readable,
            removable: Vec::new(),
            passthrough: false,
        })
    }

    /// The kernel will be given files to serve by itself.
    pub(super) fn will_pass_files_through(&mut self) {
        self.passthrough = true;
    }

    /// This file will be removed in the end. Where that is forbidden, it stays.
    pub(super) fn will_remove(&mut self, file: Option<&Path>) {
        let folder = file.and_then(Path::parent).map(open);
        self.removable.extend(folder.and_then(Result::ok));
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        let notify = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        Needs {
            readable: self.readable.iter().map(AsFd::as_fd).collect(),
            removable: self.removable.iter().map(AsFd::as_fd).collect(),
            passthrough: self.passthrough,
            abstract_socket: notify.as_bytes().starts_with(b"@"),
        }
    }
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// A mount, and who can end it.
#[derive(Debug)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) mountpoint: PathBuf,
    helper: Option<Arc<Helper>>,
    devices: Vec<FuseDevice>,
    kept: Option<OwnedFd>,
}

impl Mount {
    /// Starts what will do for the mount what the sandbox forbids.
    pub(super) fn prepare(mountpoint: &Path, sandbox: Sandbox) -> io::Result<Self> {
        let helper = match sandbox {
            Sandbox::Off => None,
            Sandbox::Auto | Sandbox::Require => Some(Arc::new(Helper::start(mountpoint)?)),
        };
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            helper,
            devices: Vec::new(),
            kept: None,
        })
    }

    /// Snapshots whose files can be made inside of the sandbox.
    pub(super) fn make_files_for(&self, snapshots: Snapshots) -> Snapshots {
        match &self.helper {
            Some(helper) => snapshots.with_files_by(helper.clone()),
            None => snapshots,
        }
    }

    /// The mount is there, and served through this descriptor of the device, among others.
    pub(super) fn is_served_by(&mut self, device: impl AsFd) {
        self.devices.push(FuseDevice::of(device));
    }

    /// Keeps a descriptor open as long as the mount.
    pub(super) fn keep(&mut self, descriptor: OwnedFd) {
        self.kept = Some(descriptor);
    }

    /// Ends the connection with the kernel, whatever waits for a source that hangs.
    pub(super) fn abandon(&self) {
        for device in &self.devices {
            if let Err(error) = device.abandon() {
                warn!("readers may wait until all reads of sources have ended: {error}");
            }
        }
    }

    /// Ends the mount, as [`unmount`] does.
    pub(super) fn unmount(&self, lazy: bool) -> Result<(), UnmountError> {
        match &self.helper {
            Some(helper) => helper.unmount(lazy),
            None => unmount(&self.mountpoint, lazy),
        }
    }
}
