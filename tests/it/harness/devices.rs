//! Loop devices of a test's own, and file systems on them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mount::wait_until;
use super::process::{Lab, run, run_ok, stdout_of, tool};
use super::root::as_root;

/// A mounted file system in a sparse file; unmounted and gone with the value. Needs root.
#[derive(Debug)]
pub(crate) struct FileSystem {
    mountpoint: PathBuf,
    lab: Lab,
}

impl FileSystem {
    /// Makes and mounts one of `kind` (`xfs`, `btrfs`, `ext4`, `vfat`) with `size` bytes.
    #[track_caller]
    pub(crate) fn new(kind: &str, size: u64) -> Self {
        Self::with(kind, size, &[])
    }

    /// The same, made with further options of mkfs.
    #[track_caller]
    pub(crate) fn with(kind: &str, size: u64, options: &[&str]) -> Self {
        let lab = Lab::new();
        let (device, mountpoint) = (lab.path().join("device"), lab.folder("mounted"));
        File::create(&device)
            .and_then(|file| file.set_len(size))
            .expect("a sparse file");
        let mut make = Command::new(tool(&format!("mkfs.{kind}")));
        // That of FAT knows no other way to say little.
        make.args((kind != "vfat").then_some("-q"));
        make.args(options).arg(&device);
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

/// An image as a block device; detached with the value.
#[derive(Debug)]
pub(crate) struct Loop(PathBuf);

impl Loop {
    /// A device of sectors of 512 bytes that cannot be written.
    pub(crate) fn read_only(image: &Path) -> Self {
        Self::attach(image, &["--read-only"])
    }

    /// A device whose writes are the image's.
    pub(crate) fn writable(image: &Path) -> Self {
        Self::attach(image, &[])
    }

    /// A device of sectors of so many bytes.
    pub(crate) fn with_sectors_of(image: &Path, bytes: u64) -> Self {
        Self::attach(image, &[&format!("--sector-size={bytes}")])
    }

    /// A device that was attached by other means.
    pub(crate) fn attached(device: PathBuf) -> Self {
        Self(device)
    }

    fn attach(image: &Path, options: &[&str]) -> Self {
        let mut command = as_root(tool("losetup"));
        command.args(["--find", "--show"]).args(options).arg(image);
        Self(PathBuf::from(stdout_of(&mut command).trim()))
    }

    /// The device.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let output = run(as_root(tool("losetup")).arg("--detach").arg(&self.0));
        assert!(
            output.status.success() || std::thread::panicking(),
            "{} cannot be detached: {output:?}",
            self.0.display()
        );
    }
}
