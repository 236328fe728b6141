//! The broker: a small process outside of the sandbox that does for the confined daemon what no
//! sandboxed process can.
//!
//! It ends this one mount, which takes CAP_SYS_ADMIN or a setuid program, and Landlock permits no
//! unmounting at all. And it makes unnamed files for snapshots beside the sources, so that the
//! daemon itself needs no right to write below the source folder. In the end it removes the mount
//! point if that was made for the mount. And it finds out who has a source open for writing, which
//! takes a look at all processes. It does nothing else, and ends with the daemon.

mod process;
mod protocol;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::folder::writers::{FindWriters, Writer};
use crate::mount::table::DeviceNumber;
use crate::mount::unmount::UnmountError;
use crate::serve::image::UnnamedFiles;

use process::BROKER;
pub use process::{is_broker, run_broker};
use protocol::{Reply, Request};

/// The daemon's side of the broker, which ends when this is dropped.
#[derive(Debug)]
pub struct Broker {
    mountpoint: PathBuf,
    unmounting: Mutex<OwnedFd>,
    /// Apart from the other, so that a file system that hangs does not keep the mount from ending.
    files: Mutex<OwnedFd>,
}

impl Broker {
    /// Starts the broker, which will be able to unmount `mountpoint`, and to remove the last `made`
    /// folders of its path.
    ///
    /// # Errors
    ///
    /// If the process cannot be started.
    pub fn start(mountpoint: &Path, made: usize) -> io::Result<Self> {
        let pair = || {
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        };
        let ((unmounting, its_unmounting), (files, its_files)) = (pair()?, pair()?);
        Command::new("/proc/self/exe")
            .arg0("vhdfs-broker")
            .env(BROKER, "1")
            // It must not keep in use what the daemon lets go of.
            .current_dir("/")
            .stdin(Stdio::from(its_unmounting))
            .stdout(Stdio::from(its_files))
            .stderr(Stdio::null())
            .spawn()?;
        protocol::send(&unmounting, &made.to_le_bytes(), None)?;
        protocol::send(&unmounting, mountpoint.as_os_str().as_bytes(), None)?;
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            unmounting: Mutex::new(unmounting),
            files: Mutex::new(files),
        })
    }

    /// Unmounts the one mount that has `device`, as
    /// [`unmount_device`](crate::mount::unmount::unmount_device) does.
    ///
    /// # Errors
    ///
    /// As there, or if the broker was killed.
    pub fn unmount(&self, device: DeviceNumber, lazy: bool) -> Result<(), UnmountError> {
        let path = self.mountpoint.clone();
        let failed = |text: String| UnmountError::Failed(path.clone(), io::Error::other(text));
        let (reply, _) = ask(&self.unmounting, Request::Unmount { device, lazy }, None).map_err(|error| {
            failed(format!(
                "the broker that unmounts is gone ({error}); run `vhdfs umount` when vhdfs has ended"
            ))
        })?;
        Err(match reply {
            Reply::Done => return Ok(()),
            Reply::NotMounted => UnmountError::NotMounted(path),
            Reply::Busy => UnmountError::Busy(path),
            Reply::Covered => UnmountError::Covered(path),
            Reply::Denied => UnmountError::Denied(path),
            Reply::Failed(text) => failed(text),
            Reply::Writers(_) => failed("the broker is confused".into()),
            Reply::Errno(code) => UnmountError::Failed(path, io::Error::from_raw_os_error(code)),
        })
    }
}

impl Broker {
    /// Removes the folders that were made for the mount, as far as they are empty.
    pub(super) fn remove_mountpoint(&self) {
        // Without a broker they stay.
        let _ = ask(&self.unmounting, Request::RemoveMountpoint, None);
    }
}

impl UnnamedFiles for Broker {
    fn unnamed_file(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        match ask(&self.files, Request::UnnamedFile, Some(folder))? {
            (Reply::Done, Some(file)) => Ok(file),
            (Reply::Errno(code), _) => Err(Errno::from_raw_os_error(code)),
            _ => Err(Errno::PIPE),
        }
    }
}

impl FindWriters for Broker {
    fn writers_of(&self, file: BorrowedFd<'_>) -> Vec<Writer> {
        match ask(&self.files, Request::Writers, Some(file)) {
            Ok((Reply::Writers(writers), _)) => writers,
            _ => Vec::new(),
        }
    }
}

/// Sends a request and waits for its reply; others wait meanwhile.
fn ask(
    socket: &Mutex<OwnedFd>,
    request: Request,
    file: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<(Reply, Option<OwnedFd>)> {
    let socket = socket.lock();
    protocol::send(&*socket, &request.encode(), file)?;
    let (message, file) = protocol::receive(&*socket)?;
    let reply = Reply::decode(&message).ok_or(Errno::PIPE)?;
    Ok((reply, file))
}
