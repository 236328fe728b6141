//! The state of a running daemon, for `vhdfs status` and for the log.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use indicatif::{HumanBytes, HumanCount};
use log::{debug, info, warn};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::logging::{Message, Messages};
use crate::mount::table::{self, MountEntry};
use crate::serve::fs::{Activity, Totals, ViewState};

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a daemon at a moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// The source, as an absolute path.
    pub source: String,
    /// Where it is mounted, as an absolute path.
    pub mountpoint: String,
    /// Whole seconds since it was mounted.
    pub uptime: u64,
    /// Sums since then.
    pub totals: Totals,
    /// The open views, in the order in which they were opened.
    pub views: Vec<ViewState>,
    /// The latest warnings and errors, oldest first.
    pub messages: Vec<Message>,
}

/// Why the state of a daemon cannot be had.
#[derive(Debug, Error)]
pub enum StatusError {
    /// Nothing of ours is mounted there.
    #[error("{}: vhdfs has mounted nothing there; `findmnt -t fuse.vhdfs` lists its mounts", .0.display())]
    NotMounted(PathBuf),
    /// Another user mounted it.
    #[error("{}: another user mounted it; ask as that user, or as root", .0.display())]
    Denied(PathBuf),
    /// Its daemon was killed, or has no socket.
    #[error("{}: its daemon does not answer: {}; where it is gone, remove its mount with `vhdfs umount --lazy`", .0.display(), .1)]
    Silent(PathBuf, #[source] io::Error),
}

/// What a daemon reports about itself.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) source: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) activity: Arc<Activity>,
    pub(super) messages: Arc<Messages>,
}

impl Reporter {
    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            source: self.source.to_string_lossy().into_owned(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            uptime: self.activity.uptime(),
            totals: self.activity.totals(),
            views: self.activity.views(),
            messages: self.messages.latest(),
        }
    }

    /// Writes the state to the log, a line for each open view.
    pub(super) fn tell(&self) {
        let status = self.status();
        info!(
            "state: {}, mounted for {} s",
            status.totals.summary(status.views.len()),
            status.uptime
        );
        for view in &status.views {
            info!("state: {}", view.summary());
        }
    }

    /// Makes a socket that only the owner of the mount and root can reach. The mount works without
    /// it, so a failure is no more than a message.
    pub(super) fn bind(&self) -> Option<StatusSocket> {
        let bound = table::find(&self.mountpoint).and_then(|entry| {
            let entry = entry.ok_or(io::ErrorKind::NotFound)?;
            StatusSocket::bind(&entry)
        });
        bound
            .inspect_err(|error| info!("`vhdfs status` will not work for this mount: {error}"))
            .ok()
    }

    /// Replies to everybody who connects.
    pub(super) fn listen(self, socket: Option<&StatusSocket>) -> io::Result<()> {
        let Some(socket) = socket else {
            return Ok(());
        };
        let listener = socket.listener.try_clone()?;
        thread::Builder::new()
            .name("status".into())
            .spawn(move || self.answer(&listener))?;
        Ok(())
    }

    fn answer(&self, listener: &UnixListener) {
        for connection in listener.incoming() {
            let told = connection.and_then(|mut connection| {
                connection.set_write_timeout(Some(PATIENCE))?;
                connection.write_all(&serde_json::to_vec(&self.status())?)
            });
            if let Err(error) = told {
                debug!("a status was not delivered: {error}");
            }
        }
    }
}

impl Totals {
    /// One line for people.
    pub fn summary(&self, open: usize) -> String {
        format!(
            "open views: {open}, delivered: {} in {} reads, failed reads: {}, opens: {}, refused opens: {}",
            HumanBytes(self.bytes),
            HumanCount(self.reads),
            self.errors,
            self.opens,
            self.refused_opens,
        )
    }
}

impl ViewState {
    /// One line for people.
    pub fn summary(&self) -> String {
        format!(
            "{}: {}, opened by {} {} s ago, delivered: {} of {}, failed reads: {}",
            self.source,
            self.engine,
            self.reader,
            self.seconds_open,
            HumanBytes(self.bytes),
            HumanBytes(self.view_size),
            self.errors,
        )
    }
}

/// A socket that is removed with the value.
#[derive(Debug)]
pub(super) struct StatusSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl StatusSocket {
    /// Its name in the file system.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Named after the mounted file system, and after the process: once unmounted, its number may be
    /// given to another mount while this daemon has yet to end.
    fn bind(mount: &MountEntry) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for folder in folders(rustix::process::geteuid().as_raw()) {
            match Self::bind_in(&folder, mount) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn bind_in(folder: &Path, mount: &MountEntry) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = folder.symlink_metadata()?;
        let is_ours = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !is_ours || found.mode() & 0o077 != 0 {
            let text = format!("{}: others could use it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        // Daemons that were killed, or have yet to end, left them: the number is ours now.
        for left in sockets_of(folder, mount)? {
            let _ = fs::remove_file(left);
        }
        let path = folder.join(format!("{}{}.sock", prefix(mount), std::process::id()));
        let listener = UnixListener::bind(&path)?;
        rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { path, listener })
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // The next daemon with the number of this mount removes it, too.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!("{}: cannot be removed: {error}", self.path.display());
        }
    }
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
    let mount = mount.filter(|mount| mount.file_system == table::FILE_SYSTEM_TYPE);
    let mount = mount.ok_or_else(not_mounted)?;
    let me = rustix::process::geteuid();
    if !me.is_root() && mount.user != me.as_raw() {
        return Err(StatusError::Denied(path));
    }
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders(mount.user) {
        let sockets = match sockets_of(&folder, &mount) {
            Ok(sockets) => sockets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        for socket in sockets {
            match receive(&socket, mount.user) {
                Ok(status) => return Ok(status),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = error,
            }
        }
    }
    Err(StatusError::Silent(path, failure))
}

fn receive(socket: &Path, owner: u32) -> io::Result<Status> {
    let mut connection = UnixStream::connect(socket)?;
    let peer = rustix::net::sockopt::socket_peercred(&connection)?;
    if peer.uid.as_raw() != owner {
        let text = format!("{}: not the daemon's socket", socket.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    connection.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// What the names of all sockets of this mount begin with.
fn prefix(mount: &MountEntry) -> String {
    format!("{}-{}.", mount.device.0, mount.device.1)
}

/// The sockets in `folder` that are, or were, of this mount.
fn sockets_of(folder: &Path, mount: &MountEntry) -> io::Result<Vec<PathBuf>> {
    let prefix = prefix(mount);
    let mut sockets = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            sockets.push(entry.path());
        }
    }
    Ok(sockets)
}

/// Where the sockets of this user's daemons may be, the best place first.
fn folders(user: u32) -> Vec<PathBuf> {
    if user == 0 {
        return vec!["/run/vhdfs".into(), "/tmp/vhdfs-0".into()];
    }
    let own = rustix::process::geteuid().as_raw() == user;
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|_| own);
    let runtime = runtime.map(|folder| PathBuf::from(folder).join("vhdfs"));
    runtime
        .into_iter()
        .chain([
            format!("/run/user/{user}/vhdfs").into(),
            format!("/tmp/vhdfs-{user}").into(),
        ])
        .collect()
}
