//! What a mount goes on needing once the sandbox has been entered, and who does what it forbids.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::sandbox::Needs;
use crate::folder::catalog::Catalog;
use crate::serve::image::Snapshots;

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
        // What the kernel knows of block devices is in /sys.
        let devices = ["/dev", "/sys"].map(Path::new).into_iter();
        let devices = devices.filter(|_| allow_devices);
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

    /// This file will be removed in the end. If that is forbidden, it stays.
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
