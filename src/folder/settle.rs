//! Proof that a source cannot change unseen while it is read. It is taken here, and nowhere else.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::info;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use sys::lease::Refusal;
use thiserror::Error;

use super::filesystem::FileSystemKind;
use super::given_up::GivenUp;
use super::lease::Lease;
use super::metadata::{Kind, Metadata};

/// How long a proof that cannot be had is not asked for again.
const PAUSE: Duration = Duration::from_millis(5);

/// What is done if a source is open for writing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Writers {
    /// Its view is not opened.
    #[default]
    Refuse,
    /// Its view becomes a snapshot: the disk as it would be after a power cut.
    Snapshot,
    /// Its view is opened, and is as good as the times of the source.
    Allow,
}

impl Writers {
    /// How long a writer of a source gets to end before its view is opened: a moment if it could not
    /// be opened otherwise.
    pub fn patience(self) -> Duration {
        match self {
            Self::Refuse => Duration::from_millis(200),
            Self::Snapshot | Self::Allow => Duration::ZERO,
        }
    }
}

/// What is known about who else can write to a file.
#[derive(Debug)]
pub(super) enum Proof {
    /// No process can unseen, as long as the lease is held.
    Lease(Arc<Lease>),
    /// No process can at all.
    Unchangeable,
    /// A device that nothing else uses: the descriptor claims it.
    Claimed { _device: OwnedFd },
    /// Others may, and only the times show it. A lease may see most of them.
    Times(Option<Arc<Lease>>),
    /// It is open for writing.
    Written,
}

/// Why a file has no proof although no writer is seen.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
enum Doubt {
    #[error("its file system is shared with other hosts, or served by a program")]
    Shared,
    #[error("its file system has no leases")]
    NoLeases,
    #[error("overlayfs does not report writable mappings")]
    Overlay,
    #[error("it belongs to another user, which takes CAP_LEASE")]
    NotPermitted,
}

/// Takes proofs for one source folder.
#[derive(Debug, Default)]
pub struct Settling {
    pub(super) given_up: Arc<GivenUp>,
    logged: Mutex<HashSet<Doubt>>,
}

impl Settling {
    /// How often a version was given up; see [`GivenUp::number_of`].
    pub fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// Finds out who else can write to an open file. Whatever its attributes are afterwards is
    /// what was proven.
    /// A writer gets `patience` to end: one that has just closed the file may have left it open in a
    /// process that is only starting.
    pub(super) fn prove(
        &self,
        file: &Arc<OwnedFd>,
        metadata: &Metadata,
        path: &Path,
        patience: Duration,
    ) -> io::Result<Proof> {
        let latest = Instant::now() + patience;
        loop {
            let proof = self.prove_now(file, metadata, path)?;
            if !matches!(proof, Proof::Written) || Instant::now() >= latest {
                return Ok(proof);
            }
            thread::sleep(PAUSE);
        }
    }

    fn prove_now(
        &self,
        file: &Arc<OwnedFd>,
        metadata: &Metadata,
        path: &Path,
    ) -> io::Result<Proof> {
        if metadata.kind == Kind::BlockDevice {
            return prove_device(file);
        }
        let kind = FileSystemKind::of(file)?;
        if kind.is_shared() {
            return Ok(self.doubt(Doubt::Shared, file, metadata, path, None));
        }
        let doubt = match Lease::take(file, metadata.version, path, &self.given_up)? {
            Ok(lease) if kind.is_overlay() => {
                return Ok(self.doubt(Doubt::Overlay, file, metadata, path, Some(lease)));
            }
            Ok(lease) => return Ok(Proof::Lease(lease)),
            Err(Refusal::Writers) => return Ok(Proof::Written),
            Err(Refusal::Denied) => Doubt::NotPermitted,
            Err(Refusal::Unsupported) => Doubt::NoLeases,
        };
        Ok(self.doubt(doubt, file, metadata, path, None))
    }

    /// Without a lease, only what no process can write to is settled.
    fn doubt(
        &self,
        doubt: Doubt,
        file: &OwnedFd,
        metadata: &Metadata,
        path: &Path,
        lease: Option<Arc<Lease>>,
    ) -> Proof {
        if metadata.is_sealed || is_on_read_only(file) {
            return Proof::Unchangeable;
        }
        let mut logged = self.logged.lock();
        if logged.insert(doubt) {
            info!(
                "{}: is read as with --writers allow, and so are others like it: {doubt}; see HOSTS.md",
                path.display()
            );
        }
        Proof::Times(lease)
    }
}

/// Whether the file system of an open file is read-only itself. That a mount of it is says nothing
/// about others.
fn is_on_read_only(file: &OwnedFd) -> bool {
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    let (Ok(found), Ok(table)) = (found, fs::read("/proc/self/mountinfo")) else {
        return false;
    };
    String::from_utf8_lossy(&table)
        .lines()
        .any(|line| tells_read_only(line, found.stx_mnt_id))
}

/// Whether a line of mountinfo (proc_pid_mountinfo(5)) is that of the mount `id`, and its file
/// system read-only.
fn tells_read_only(line: &str, id: u64) -> bool {
    let Some((number, rest)) = line.split_once(' ') else {
        return false;
    };
    let options = rest.split_once(" - ").and_then(|(_, of_file_system)| {
        // Its type, its source, its options.
        of_file_system.split(' ').nth(2)
    });
    number.parse() == Ok(id) && options.is_some_and(|list| list.split(',').any(|one| one == "ro"))
}

/// A device is settled if it cannot be written, or nothing else uses it: no file system, no
/// volume manager, no other mount of ours. Programs that write to its node are not seen.
fn prove_device(file: &OwnedFd) -> io::Result<Proof> {
    let device = rustix::fs::fstat(file)?.st_rdev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // The value of BLKROGET; the sandbox permits no ioctl.
    let read_only = fs::read(format!("/sys/dev/block/{major}:{minor}/ro"));
    if read_only.is_ok_and(|text| text.starts_with(b"1")) {
        return Ok(Proof::Unchangeable);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(_device) => Ok(Proof::Claimed { _device }),
        Err(Errno::BUSY) => Ok(Proof::Written),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_mount_is_no_read_only_file_system() {
        let line = |mount: &str, file_system: &str| {
            format!(
                "36 35 98:0 /mnt1 /mnt2 {mount},noatime master:1 - ext3 /dev/root {file_system},errors=continue"
            )
        };
        assert!(tells_read_only(&line("rw", "ro"), 36));
        assert!(!tells_read_only(&line("ro", "rw"), 36));
        assert!(!tells_read_only(&line("ro", "ro"), 35));
        assert!(!tells_read_only("", 35));
    }
}
