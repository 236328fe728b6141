//! Where daemons can be asked for their state: a socket for each mount.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use log::warn;
use rustix::fs::Mode;

use crate::mount::table::MountEntry;

/// A socket that is removed with the value.
#[derive(Debug)]
pub(super) struct StatusSocket {
    path: PathBuf,
    pub(super) listener: UnixListener,
}

impl StatusSocket {
    /// Its name in the file system.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Named after the mounted file system, and after the process: once unmounted, its number may be
    /// given to another mount while this daemon has yet to end.
    pub(super) fn bind(mount: &MountEntry) -> io::Result<Self> {
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
            warn!(
                "{}: cannot be removed: {error} [socket]",
                self.path.display()
            );
        }
    }
}

/// What the names of all sockets of this mount begin with.
fn prefix(mount: &MountEntry) -> String {
    format!("{}-{}.", mount.device.0, mount.device.1)
}

/// The sockets in `folder` that are, or were, of this mount.
pub(crate) fn sockets_of(folder: &Path, mount: &MountEntry) -> io::Result<Vec<PathBuf>> {
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
pub(crate) fn folders(user: u32) -> Vec<PathBuf> {
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
