//! Asking the daemon of a mount.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::PidfdFlags;
use thiserror::Error;

use super::table::{self, MountEntry};
use crate::daemon::Status;
use crate::daemon::socket::{folders, sockets_of};

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the state of a daemon cannot be had.
#[derive(Debug, Error)]
pub enum StatusError {
    /// Nothing of ours is mounted there.
    #[error("{}: vhdfs has mounted nothing there; `findmnt -t fuse.vhdfs` lists its mounts [not-mounted]", .0.display())]
    NotMounted(PathBuf),
    /// Another user mounted it.
    #[error("{}: another user mounted it; ask as that user, or as root [status-denied]", .0.display())]
    Denied(PathBuf),
    /// Its daemon was killed, or has no socket.
    #[error("{}: its daemon does not answer: {}; where it is gone, remove its mount with `vhdfs umount --lazy` [no-answer]", .0.display(), .1)]
    Silent(PathBuf, #[source] io::Error),
}

/// Asks the daemon that serves `mountpoint`.
///
/// # Errors
///
/// Why its state cannot be had.
pub fn ask(mountpoint: &Path) -> Result<Status, StatusError> {
    let not_mounted = || StatusError::NotMounted(mountpoint.to_owned());
    let path = table::absolute(mountpoint).map_err(|_| not_mounted())?;
    let mount = table::find(&path).ok().flatten();
    let mount = mount.filter(MountEntry::is_ours).ok_or_else(not_mounted)?;
    ask_for(&mount)
}

/// Asks the daemon of `mount`.
///
/// # Errors
///
/// Why its state cannot be had.
pub fn ask_for(mount: &MountEntry) -> Result<Status, StatusError> {
    let path = || mount.mountpoint.clone();
    let me = rustix::process::geteuid();
    if !me.is_root() && mount.user != me.as_raw() {
        return Err(StatusError::Denied(path()));
    }
    with_socket(mount, receive).map_err(|error| StatusError::Silent(path(), error))
}

/// The process that serves `mountpoint`, to see it end.
#[derive(Debug)]
pub struct Daemon(OwnedFd);

impl Daemon {
    /// The daemon of what is mounted there; `None` if there is none, if it belongs to another user,
    /// or if it has no socket.
    pub fn of(mountpoint: &Path) -> Option<Self> {
        let mount = table::find(&table::absolute(mountpoint).ok()?).ok()??;
        let process = with_socket(&mount, |connection| {
            let peer = rustix::net::sockopt::socket_peercred(&connection)?;
            Ok(rustix::process::pidfd_open(peer.pid, PidfdFlags::empty())?)
        });
        process.ok().filter(|_| mount.is_ours()).map(Self)
    }

    /// Waits until the process has ended, and no longer than `patience`.
    pub fn wait(&self, patience: Duration) {
        let timeout = rustix::time::Timespec::try_from(patience).ok();
        let mut ended = [PollFd::new(&self.0, PollFlags::IN)];
        // Interrupted, or out of memory: it ends all the same, unseen.
        let _ = rustix::event::poll(&mut ended, timeout.as_ref());
    }
}

/// What `talk` makes of the first socket of this mount that has a listener.
fn with_socket<T>(mount: &MountEntry, talk: impl Fn(UnixStream) -> io::Result<T>) -> io::Result<T> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders(mount.user) {
        let sockets = match sockets_of(&folder, mount) {
            Ok(sockets) => sockets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        for socket in sockets {
            match connect(&socket, mount.user).and_then(&talk) {
                Ok(result) => return Ok(result),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

/// Connects to a daemon of this user.
fn connect(socket: &Path, owner: u32) -> io::Result<UnixStream> {
    let connection = UnixStream::connect(socket)?;
    let peer = rustix::net::sockopt::socket_peercred(&connection)?;
    if peer.uid.as_raw() != owner {
        let text = format!("{}: not the daemon's socket", socket.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(connection)
}

fn receive(mut connection: UnixStream) -> io::Result<Status> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    connection.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
