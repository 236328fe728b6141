//! How to mount: who may use the mount, with which kernel options.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use fuser::{MountOption, SessionACL};

use super::error::MountError;
use crate::daemon::sandbox::Sandbox;
use crate::folder::settle::Writers;
use crate::serve::image::{GptPolicy, Policy};

const DEVICE: &str = "/dev/fuse";
const CONFIGURATION: &str = "/etc/fuse.conf";

/// Who may use the mount.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// Only the user who mounted it.
    #[default]
    Owner,
    /// That user and root.
    Root,
    /// Everybody whom the shown owners and modes permit.
    Other,
}

/// How to mount.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may use the mount.
    pub access: Access,
    /// Whether the mount goes away by itself when the daemon is killed.
    pub auto_unmount: bool,
    /// Whether reads bypass the kernel's page cache.
    pub direct_io: bool,
    /// When views become snapshots.
    pub snapshot: Policy,
    /// Where snapshots are made; beside their sources by default.
    pub snapshot_folder: Option<PathBuf>,
    /// What becomes of partition tables.
    pub gpt: GptPolicy,
    /// What is done if a source is open for writing.
    pub writers: Writers,
    /// How much of a sandbox there must be.
    pub sandbox: Sandbox,
    /// Number of threads that receive requests, at least 2.
    pub threads: usize,
    /// Whether the mount point is made if it is missing, and removed in the end.
    pub make_mountpoint: bool,
    /// What was given on the command line, for people and to compare mounts.
    pub named: Vec<String>,
    /// Options of the kernel, such as `noexec`.
    pub kernel: Vec<MountOption>,
}

impl From<Access> for SessionACL {
    fn from(access: Access) -> Self {
        match access {
            Access::Owner => Self::Owner,
            Access::Root => Self::RootAndOwner,
            Access::Other => Self::All,
        }
    }
}

impl Options {
    /// Finds out what would keep this process from mounting, to say it better than the system does.
    ///
    /// # Errors
    ///
    /// What is missing or not permitted.
    pub fn check_permissions(&self) -> Result<(), MountError> {
        if self.auto_unmount && self.access == Access::Owner {
            return Err(MountError::AutoUnmountAlone);
        }
        match OpenOptions::new().read(true).write(true).open(DEVICE) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MountError::DeviceMissing);
            }
            Err(error) => return Err(MountError::DeviceDenied(error)),
        }
        if self.needs_helper() && helper().is_none() {
            return Err(MountError::HelperMissing);
        }
        if !is_root() && self.access != Access::Owner && !sharing_is_allowed() {
            return Err(MountError::SharingDenied);
        }
        Ok(())
    }

    /// The options for the kernel or the helper.
    pub(crate) fn mount_options(&self, source: &Path) -> Vec<MountOption> {
        let name = source.canonicalize().unwrap_or(source.to_owned());
        let name = name.to_string_lossy();
        let mut options = vec![MountOption::RO];
        if self.needs_helper() {
            options.push(MountOption::FSName(
                name.replace('\\', r"\\").replace(',', r"\,"),
            ));
            options.push(MountOption::Subtype("vhdfs".into()));
        } else {
            options.push(MountOption::FSName(name.into()));
            // fuser knows subtypes only for the helper; the kernel takes it as an option.
            options.push(MountOption::CUSTOM("subtype=vhdfs".into()));
        }
        if self.access != Access::Owner {
            options.push(MountOption::DefaultPermissions);
        }
        if self.auto_unmount {
            options.push(MountOption::AutoUnmount);
        }
        options.extend(self.kernel.iter().cloned());
        options
    }

    fn needs_helper(&self) -> bool {
        self.auto_unmount || !is_root()
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program that mounts and unmounts for ordinary users.
pub(crate) fn helper() -> Option<PathBuf> {
    if let Some(path) = env::var_os("FUSERMOUNT_PATH") {
        return Some(path.into()).filter(|path: &PathBuf| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([
        "/usr/bin".into(),
        "/bin".into(),
        "/usr/sbin".into(),
        "/sbin".into(),
    ]);
    let names = ["fusermount3", "fusermount"];
    folders
        .flat_map(|folder| names.map(|name| folder.join(OsStr::new(name))))
        .find(|program| program.is_file())
}

fn sharing_is_allowed() -> bool {
    fs::read_to_string(CONFIGURATION)
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"))
}
