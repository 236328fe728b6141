//! The broker's side: its process, from its start to the end of the daemon.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::protocol::{self, Reply, Request};
use crate::daemon::sandbox::{forbid_new_privileges, reduce_capabilities};
use crate::mount::mountpoint::remove_folders;
use crate::mount::unmount::{UnmountError, unmount_device};

/// Set for the broker, which is this program again. Its standard input and output are sockets to the daemon.
pub(super) const BROKER: &str = "VHDFS_BROKER";

/// Whether this process was started as a broker.
pub fn is_broker() -> bool {
    env::var_os(BROKER).is_some()
}

/// Is the broker, until the daemon ends.
pub fn run_broker() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    // A signal to the daemon's group, from a terminal or a service manager, is for the daemon, which
    // then still needs the broker.
    let _ = rustix::process::setsid();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    if rustix::process::geteuid().is_root() {
        let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE;
        reduce_capabilities(kept)?;
        // Ordinary users need the setuid program that unmounts for them.
        forbid_new_privileges().map_err(io::Error::other)?;
    }
    let files = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new()
        .name("files".into())
        .spawn(move || make_files(&files))?;
    let daemon = io::stdin();
    let (made, _) = protocol::receive(&daemon)?;
    let made = made.try_into().map_or(0, usize::from_le_bytes);
    let (mountpoint, _) = protocol::receive(&daemon)?;
    let mountpoint = PathBuf::from(OsString::from_vec(mountpoint));
    loop {
        let (message, _) = protocol::receive(&daemon)?;
        let reply = match Request::decode(&message) {
            Some(Request::Unmount { device, lazy }) => {
                Reply::from(unmount_device(&mountpoint, lazy, device))
            }
            Some(Request::RemoveMountpoint) => {
                remove_folders(&mountpoint, made);
                Reply::Done
            }
            // The daemon has ended.
            Some(Request::UnnamedFile) | None => return Ok(()),
        };
        protocol::send(&daemon, &reply.encode(), None)?;
    }
}

impl From<Result<(), UnmountError>> for Reply {
    fn from(result: Result<(), UnmountError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(UnmountError::NotMounted(_)) => Self::NotMounted,
            Err(UnmountError::Busy(_)) => Self::Busy,
            Err(UnmountError::Covered(_)) => Self::Covered,
            Err(UnmountError::Denied(_)) => Self::Denied,
            Err(UnmountError::Failed(_, error)) => match error.raw_os_error() {
                Some(code) => Self::Errno(code),
                None => Self::Failed(error.to_string()),
            },
        }
    }
}

/// Makes an unnamed file in each folder that the daemon sends, until it ends.
fn make_files(daemon: &OwnedFd) {
    while let Ok((_, Some(folder))) = protocol::receive(daemon) {
        // EXCL: nobody can give the file a name.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR);
        let (reply, file) = match &made {
            Ok(file) => (Reply::Done, Some(file.as_fd())),
            Err(error) => (Reply::Errno(error.raw_os_error()), None),
        };
        if protocol::send(daemon, &reply.encode(), file).is_err() {
            return;
        }
    }
}
