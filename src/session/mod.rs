//! A mount from its first check to its end: mounting, readiness, signals, unmounting.

mod error;
mod options;
mod unmount;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use fuser::{Config, Session};
use log::{info, warn};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::catalog::{self, Catalog};
use crate::fs::{FileSystem, Ownership};
use crate::fuse::{Fuse, Passthrough};
use crate::image::{Policy, Snapshots};
use crate::mounts;
use crate::sandbox::{self, Helper, Needs, Sandbox};
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
    let allow_devices = catalog.allow_devices;
    let catalog = Catalog::open(source, catalog)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    let mountpoint = check_mountpoint(mountpoint, &catalog)?;
    options.check_permissions()?;
    let snapshots = Snapshots::new(options.snapshot, options.snapshot_folder.as_deref())
        .map_err(|error| MountError::SnapshotFolder(error.to_string()))?;
    let readable = readable_folders(&catalog, &snapshots, allow_devices)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    let mount = Mount::prepare(&mountpoint, options.sandbox).map_err(MountError::Setup)?;
    let snapshots = match &mount.helper {
        Some(helper) => snapshots.with_files_by(helper.clone()),
        None => snapshots,
    };
    let fs = FileSystem::new(catalog, ownership, snapshots).map_err(|error| {
        MountError::Source(
            source.to_owned(),
            io::Error::from_raw_os_error(error.errno()),
        )
    })?;
    let (events, happened) = mpsc::channel();
    // Before mounting: a signal that comes between must not leave the mount behind.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(MountError::Setup)?;
    let (session, passthrough) = connect(fs, source, &mountpoint, options)?;
    let needs = Needs {
        readable: readable.iter().map(AsFd::as_fd).collect(),
        passthrough,
        ..Needs::default()
    };
    // No thread has been started yet: each inherits the sandbox from the one that starts it.
    let begun = sandbox::enter(options.sandbox, &needs)
        .map_err(MountError::Sandbox)
        .and_then(|()| {
            watch_signals(signals, events.clone())
                .and_then(|()| start(session, events))
                .and_then(|()| wait_until_it_answers(&mountpoint))
                .and_then(|()| ready())
                .map_err(MountError::Setup)
        });
    if let Err(error) = begun {
        let _ = mount.unmount(true);
        return Err(error);
    }
    info!(
        "{} is mounted on {}",
        source.display(),
        mountpoint.display()
    );
    wait_for_the_end(&mount, &happened)
}

/// A mount, and who can end it.
struct Mount {
    mountpoint: PathBuf,
    helper: Option<Arc<Helper>>,
}

impl Mount {
    /// Starts what will end the mount where the sandbox does not let this process.
    fn prepare(mountpoint: &Path, sandbox: Sandbox) -> io::Result<Self> {
        let helper = match sandbox {
            Sandbox::Off => None,
            Sandbox::Auto | Sandbox::Require => Some(Arc::new(Helper::start(mountpoint)?)),
        };
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            helper,
        })
    }

    fn unmount(&self, lazy: bool) -> Result<(), UnmountError> {
        match &self.helper {
            Some(helper) => helper.unmount(lazy),
            None => unmount(&self.mountpoint, lazy),
        }
    }
}

/// Where the bytes of views may come from.
fn readable_folders(
    catalog: &Catalog,
    snapshots: &Snapshots,
    allow_devices: bool,
) -> io::Result<Vec<OwnedFd>> {
    let mut folders = vec![catalog.folder().open_directory(Path::new(""))?];
    let elsewhere = snapshots.folder().into_iter();
    for folder in elsewhere.chain(allow_devices.then_some(Path::new("/dev"))) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folders.push(rustix::fs::open(folder, flags, Mode::empty())?);
    }
    Ok(folders)
}

/// Mounts, and finds out whether the kernel lets this process pass files through.
fn connect(
    fs: FileSystem,
    source: &Path,
    mountpoint: &Path,
    options: &Options,
) -> Result<(Session<Fuse>, bool), MountError> {
    let mut config = Config::default();
    config.mount_options = options.mount_options(source);
    config.acl = options.access.into();
    config.n_threads = Some(options.threads);
    let fuse = Fuse::new(Arc::new(fs), options.threads, options.direct_io);
    let passthrough = fuse.passthrough();
    let session = Session::new(fuse, mountpoint, &config)
        .map_err(|error| MountError::Mount(mountpoint.to_owned(), error))?;
    let permitted = options.snapshot != Policy::Never && permit_passthrough(&session, &passthrough);
    Ok((session, permitted))
}

fn start(session: Session<Fuse>, events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new()
        .name("session".into())
        .spawn(move || {
            // Nobody listens any more where the process is about to end.
            let _ = events.send(Event::Ended(session.run()));
        })?;
    Ok(())
}

/// The kernel agrees to passthrough at INIT whoever asks, and refuses the files of those who lack
/// CAP_SYS_ADMIN later: so it is tried.
fn permit_passthrough(session: &Session<Fuse>, passthrough: &Passthrough) -> bool {
    let probe = rustix::fs::memfd_create("vhdfs-probe", MemfdFlags::CLOEXEC)
        .map_err(io::Error::from)
        .and_then(|file| sys::probe_passthrough(session, &file));
    match &probe {
        Ok(()) => passthrough.permit(),
        Err(error) => {
            info!("snapshots are read by the daemon: the kernel passes no file through: {error}")
        }
    }
    probe.is_ok()
}

fn watch_signals(mut signals: Signals, events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever().filter(|signal| *signal != SIGHUP) {
                let _ = events.send(Event::Signal);
            }
        })?;
    Ok(())
}

/// Asks for the attributes of the mount as any other process would: through the kernel, answered by
/// the session. The sandbox permits no more.
fn wait_until_it_answers(mountpoint: &Path) -> io::Result<()> {
    mountpoint.metadata().map(drop)
}

fn wait_for_the_end(mount: &Mount, happened: &Receiver<Event>) -> Result<(), MountError> {
    match happened.recv() {
        Ok(Event::Ended(Ok(()))) => Ok(()),
        Ok(Event::Ended(Err(error))) => {
            // Nobody answers any more: better no mount than one that hangs.
            let _ = mount.unmount(true);
            Err(MountError::Serve(error))
        }
        Ok(Event::Signal) => {
            end_by_signal(mount, happened);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// Unmounts; where files are open, detaches the mount and serves them a little longer. A second
/// signal ends that at once.
fn end_by_signal(mount: &Mount, happened: &Receiver<Event>) {
    let mountpoint = &mount.mountpoint;
    let mut patience = ORDERLY_END;
    match mount.unmount(false) {
        Ok(()) => {}
        Err(UnmountError::Busy(_)) => {
            warn!(
                "{}: files are open; they can be read for {} s more",
                mountpoint.display(),
                GRACE.as_secs()
            );
            patience = GRACE;
            if let Err(error) = mount.unmount(true) {
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
