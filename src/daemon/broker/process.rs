//! The broker's side: its process, from its start to the end of the daemon.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::protocol::{self, Reply, Request};
use crate::daemon::sandbox::{forbid_new_privileges, reduce_capabilities};
use crate::folder::writers::{self, Writer};
use crate::mount::mountpoint::remove_folders;
use crate::mount::unmount::{UnmountError, unmount_device};

/// Set for the broker, which is this program again. Its standard input and output are sockets to the daemon.
pub(super) const BROKER: &str = "VHDFS_BROKER";

/// How long the daemon waits at most for the names of writers.
const PATIENCE: Duration = Duration::from_secs(1);

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
        // To unmount, to make files, and to see what other processes have open.
        let kept =
            CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_PTRACE;
        reduce_capabilities(kept)?;
        // Ordinary users need the setuid program that unmounts for them.
        forbid_new_privileges().map_err(io::Error::other)?;
    }
    let files = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new()
        .name("files".into())
        .spawn(move || serve_files(&files))?;
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
            Some(Request::UnnamedFile | Request::Writers) | None => return Ok(()),
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

/// Does what the daemon asks of files, until it ends.
fn serve_files(daemon: &OwnedFd) {
    let mut search = Search::default();
    while let Ok((message, Some(file))) = protocol::receive(daemon) {
        let (reply, made) = match Request::decode(&message) {
            Some(Request::UnnamedFile) => match unnamed_file(&file) {
                Ok(made) => (Reply::Done, Some(made)),
                Err(error) => (Reply::Errno(error.raw_os_error()), None),
            },
            Some(Request::Writers) => (Reply::Writers(search.writers_of(file)), None),
            Some(Request::Unmount { .. } | Request::RemoveMountpoint) | None => return,
        };
        let made = made.as_ref().map(|file| file.as_fd());
        if protocol::send(daemon, &reply.encode(), made).is_err() {
            return;
        }
    }
}

fn unnamed_file(folder: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    // EXCL: nobody can give the file a name.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)
}

/// Looks for writers, one file at a time.
#[derive(Default)]
struct Search(Option<JoinHandle<()>>);

impl Search {
    /// Who has the file open for writing, as far as that is found in time: a process that hangs may
    /// keep who looks at it waiting.
    fn writers_of(&mut self, file: OwnedFd) -> Vec<Writer> {
        if self.0.as_ref().is_some_and(|last| !last.is_finished()) {
            return Vec::new();
        }
        let (found, writers) = mpsc::channel();
        let search = move || {
            for writer in writers::of(file.as_fd()) {
                if found.send(writer).is_err() {
                    return;
                }
            }
        };
        // Without a thread nobody is found.
        self.0 = thread::Builder::new()
            .name("writers".into())
            .spawn(search)
            .ok();
        let latest = Instant::now() + PATIENCE;
        let next = || {
            let left = latest.saturating_duration_since(Instant::now());
            writers.recv_timeout(left).ok()
        };
        std::iter::from_fn(next).collect()
    }
}
