//! A mount from its first check to its end: mounting, readiness, signals, unmounting.

mod error;
mod options;
mod unmount;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use fuser::{Config, Session};
use log::{info, warn};
use rustix::fs::MemfdFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::catalog::{self, Catalog};
use crate::fs::{FileSystem, Ownership};
use crate::fuse::{Fuse, Passthrough};
use crate::image::{Policy, Snapshots};
use crate::mounts;
use crate::sys;

pub use error::MountError;
pub use options::{Access, Options};
pub use unmount::{UnmountError, unmount};

/// How long the mount may take to end after it was unmounted in order.
const ORDERLY_END: Duration = Duration::from_secs(10);

/// How long files that are still open are served after a signal has detached the mount.
const GRACE: Duration = Duration::from_secs(3);

/// What can happen while a mount is served.
enum Event {
    Signal,
    Ended(io::Result<()>),
}

/// Mounts, calls `ready` once the mount answers, and serves it until it is unmounted or a signal
/// ends it.
///
/// # Errors
///
/// Why it cannot be mounted, or how serving it failed.
pub fn serve(
    source: &Path,
    mountpoint: &Path,
    catalog: catalog::Options,
    ownership: Ownership,
    options: &Options,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), MountError> {
    let mut catalog = Catalog::open(source, catalog)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    if options.access == Access::Other {
        catalog = catalog.heeding_acls();
    }
    let mountpoint = check_mountpoint(mountpoint, &catalog)?;
    options.check_permissions()?;
    let snapshots = Snapshots::new(options.snapshot, options.snapshot_folder.as_deref())
        .map_err(|error| MountError::SnapshotFolder(error.to_string()))?;
    let fs = FileSystem::new(catalog, ownership, snapshots).map_err(|error| {
        MountError::Source(
            source.to_owned(),
            io::Error::from_raw_os_error(error.errno()),
        )
    })?;
    let (events, happened) = mpsc::channel();
    // Before mounting: a signal that comes between must not leave the mount behind.
    watch_signals(events.clone()).map_err(MountError::Setup)?;
    mount(fs, source, &mountpoint, options, events)?;
    if let Err(error) = wait_until_it_answers(&mountpoint).and_then(|()| ready()) {
        let _ = unmount(&mountpoint, true);
        return Err(MountError::Setup(error));
    }
    info!(
        "{} is mounted on {}",
        source.display(),
        mountpoint.display()
    );
    wait_for_the_end(&mountpoint, &happened)
}

fn mount(
    fs: FileSystem,
    source: &Path,
    mountpoint: &Path,
    options: &Options,
    events: Sender<Event>,
) -> Result<(), MountError> {
    let mut config = Config::default();
    config.mount_options = options.mount_options(source);
    config.acl = options.access.into();
    config.n_threads = Some(options.threads);
    let fuse = Fuse::new(Arc::new(fs), options.threads, options.direct_io);
    let passthrough = fuse.passthrough();
    let session = Session::new(fuse, mountpoint, &config)
        .map_err(|error| MountError::Mount(mountpoint.to_owned(), error))?;
    if options.snapshot != Policy::Never {
        permit_passthrough(&session, &passthrough);
    }
    thread::Builder::new()
        .name("session".into())
        .spawn(move || {
            // Nobody listens any more where the process is about to end.
            let _ = events.send(Event::Ended(session.run()));
        })
        .map_err(MountError::Setup)?;
    Ok(())
}

/// The kernel agrees to passthrough at INIT whoever asks, and refuses the files of those who lack
/// CAP_SYS_ADMIN later: so it is tried.
fn permit_passthrough(session: &Session<Fuse>, passthrough: &Passthrough) {
    let probe = rustix::fs::memfd_create("vhdfs-probe", MemfdFlags::CLOEXEC)
        .map_err(io::Error::from)
        .and_then(|file| sys::probe_passthrough(session, &file));
    match probe {
        Ok(()) => passthrough.permit(),
        Err(error) => {
            info!("snapshots are read by the daemon: the kernel passes no file through: {error}")
        }
    }
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever().filter(|signal| *signal != SIGHUP) {
                let _ = events.send(Event::Signal);
            }
        })?;
    Ok(())
}

/// Looks at the mount as any other process would: through the kernel, answered by the session.
fn wait_until_it_answers(mountpoint: &Path) -> io::Result<()> {
    mountpoint.read_dir().map(drop)
}

fn wait_for_the_end(mountpoint: &Path, happened: &Receiver<Event>) -> Result<(), MountError> {
    match happened.recv() {
        Ok(Event::Ended(result)) => result.map_err(MountError::Serve),
        Ok(Event::Signal) => {
            end_by_signal(mountpoint, happened);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// Unmounts; where files are open, detaches the mount and serves them a little longer. A second
/// signal ends that at once.
fn end_by_signal(mountpoint: &Path, happened: &Receiver<Event>) {
    let mut patience = ORDERLY_END;
    match unmount(mountpoint, false) {
        Ok(()) => {}
        Err(UnmountError::Busy(_)) => {
            warn!(
                "{}: files are open; they can be read for {} s more",
                mountpoint.display(),
                GRACE.as_secs()
            );
            patience = GRACE;
            if let Err(error) = unmount(mountpoint, true) {
                warn!("{error}");
            }
        }
        Err(error) => warn!("{error}"),
    }
    match happened.recv_timeout(patience) {
        Ok(_) | Err(RecvTimeoutError::Disconnected) => {}
        Err(RecvTimeoutError::Timeout) => {
            warn!("{}: gone, with files still open", mountpoint.display())
        }
    }
}

/// Checks that the mount point can be used, and answers its canonical path.
fn check_mountpoint(mountpoint: &Path, catalog: &Catalog) -> Result<PathBuf, MountError> {
    let path = || mountpoint.to_owned();
    remove_stale_mount(mountpoint)?;
    let metadata = mountpoint.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::MountpointMissing(path()),
        _ => MountError::Mountpoint(path(), error),
    })?;
    if !metadata.is_dir() {
        return Err(MountError::MountpointNotADirectory(path()));
    }
    let canonical = mountpoint
        .canonicalize()
        .map_err(|error| MountError::Mountpoint(path(), error))?;
    let mounted = mounts::find(&canonical).map_err(MountError::Setup)?;
    if let Some(entry) = mounted {
        return Err(MountError::AlreadyMounted(canonical, entry.file_system));
    }
    let source = catalog.folder().path();
    let overlaps = source.starts_with(&canonical)
        || canonical.starts_with(source) && !catalog.is_single_image();
    if overlaps {
        return Err(MountError::Overlap(canonical, source.to_owned()));
    }
    match canonical
        .read_dir()
        .map(|mut entries| entries.next().is_some())
    {
        Ok(false) => Ok(canonical),
        Ok(true) => Err(MountError::MountpointNotEmpty(canonical)),
        Err(error) => Err(MountError::Mountpoint(canonical, error)),
    }
}

/// A daemon that was killed leaves a mount of which every use fails: detaches it where it is ours.
fn remove_stale_mount(mountpoint: &Path) -> Result<(), MountError> {
    let stale = mountpoint
        .metadata()
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN));
    if !stale {
        return Ok(());
    }
    let absolute = mounts::absolute(mountpoint)
        .map_err(|error| MountError::Mountpoint(mountpoint.into(), error))?;
    let entry = mounts::find(&absolute).map_err(MountError::Setup)?;
    if entry.is_none_or(|entry| entry.file_system != mounts::FILE_SYSTEM_TYPE) {
        return Err(MountError::Stale(absolute));
    }
    unmount(&absolute, true).map_err(|_| MountError::Stale(absolute.clone()))?;
    warn!(
        "{}: removed the stale mount of a daemon that is gone",
        absolute.display()
    );
    Ok(())
}
