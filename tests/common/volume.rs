//! File systems in a file of their own, mounted with the value.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Lab, run, run_ok, tool};

/// A mounted file system; takes root.
#[derive(Debug)]
pub(crate) struct Volume {
    lab: Lab,
    folder: PathBuf,
}

impl Volume {
    /// XFS with reflinks, of `size` bytes (300 MiB at least).
    pub(crate) fn xfs(size: u64) -> Self {
        Self::new(size, "mkfs.xfs", &["-q", "-m", "reflink=1"])
    }

    /// btrfs with one copy of everything.
    pub(crate) fn btrfs(size: u64) -> Self {
        Self::new(size, "mkfs.btrfs", &["-q", "-m", "single", "-d", "single"])
    }

    fn new(size: u64, make: &str, arguments: &[&str]) -> Self {
        let lab = Lab::new();
        let device = lab.path().join("device");
        File::create(&device)
            .and_then(|file| file.set_len(size))
            .expect("a file for a file system");
        run_ok(Command::new(tool(make)).args(arguments).arg(&device));
        let folder = lab.folder("volume");
        let volume = Self { lab, folder };
        volume.mount("loop");
        volume
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The file that holds it.
    pub(crate) fn device(&self) -> PathBuf {
        self.lab.path().join("device")
    }

    /// Mounts it with these options.
    pub(crate) fn mount(&self, options: &str) {
        run_ok(
            Command::new(tool("mount"))
                .args(["-o", options])
                .args([&self.device(), &self.folder]),
        );
    }

    /// Changes the options it is mounted with.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run_ok(
            Command::new(tool("mount"))
                .args(["-o", &options])
                .arg(&self.folder),
        );
    }

    /// Unmounts it.
    pub(crate) fn unmount(&self) {
        run_ok(Command::new(tool("umount")).arg(&self.folder));
    }

    /// Takes it out of the tree while it is in use.
    pub(crate) fn detach(&self) {
        run_ok(Command::new(tool("umount")).arg("-l").arg(&self.folder));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = run(Command::new(tool("umount")).arg("-l").arg(&self.folder));
    }
}
