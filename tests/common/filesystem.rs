//! File systems of a test's own, on loop devices.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mount::wait_until;
use super::process::{Lab, run, run_ok, tool};

/// A mounted file system in a sparse file; unmounted and gone with the value. Needs root.
#[derive(Debug)]
pub(crate) struct FileSystem {
    mountpoint: PathBuf,
    lab: Lab,
}

impl FileSystem {
    /// Makes and mounts one of `kind` (`xfs`, `btrfs`, `ext4`) with `size` bytes.
    #[track_caller]
    pub(crate) fn new(kind: &str, size: u64) -> Self {
        let lab = Lab::new();
        let (device, mountpoint) = (lab.path().join("device"), lab.folder("mounted"));
        File::create(&device)
            .and_then(|file| file.set_len(size))
            .expect("a sparse file");
        let mut make = Command::new(tool(&format!("mkfs.{kind}")));
        make.arg("-q").arg(&device);
        // mkfs.btrfs asks for the source of every mount, and fails where one is just going away.
        if wait_until("a file system", || run(&mut make).status.success()).is_err() {
            run_ok(&mut make);
        }
        run_ok(
            Command::new(tool("mount"))
                .args(["-o", "loop"])
                .arg(&device)
                .arg(&mountpoint),
        );
        Self { mountpoint, lab }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The folder `name` inside, made where it is not there yet.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.mountpoint.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// The file that holds it.
    pub(crate) fn device(&self) -> PathBuf {
        self.lab.path().join("device")
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let unmount = |lazy: &[&str]| {
            run(Command::new("umount").args(lazy).arg(&self.mountpoint))
                .status
                .success()
        };
        if !unmount(&[]) {
            unmount(&["-l"]);
            assert!(
                std::thread::panicking(),
                "{} is still in use",
                self.mountpoint.display()
            );
        }
    }
}
