//! A mount from its first check to its end: mounting, readiness, signals, unmounting.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use fuser::{Config, Session};
use indicatif::MultiProgress;
use log::info;
use rustix::fs::MemfdFlags;

use super::{auto_unmount, events, notify, progress, read_ahead};
use crate::daemon::sandbox;
use crate::folder::catalog::{self, Catalog};
use crate::logging::Messages;
use crate::mount::mountpoint;
use crate::serve::fs::{FileSystem, Ownership};
use crate::serve::fuse::{Fuse, Passthrough};
use crate::serve::image::{Opening, Policy, Snapshots};
use sys;

use super::confinement::{Confinement, Mount};
use super::events::Event;
use super::status::{Reporter, StatusSocket};
use crate::mount::error::MountError;
use crate::mount::options::{Access, Options};

/// Where a mount tells what goes on in it.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// The latest warnings and errors.
    pub messages: Arc<Messages>,
    /// Where to draw the progress of readers, if anywhere.
    pub bars: Option<MultiProgress>,
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
    reporting: Reporting,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), MountError> {
    let allow_devices = catalog.allow_devices;
    let mut catalog = Catalog::open(source, catalog)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    if options.access == Access::Other {
        catalog = catalog.heeding_acls();
    }
    let mountpoint = mountpoint::check(mountpoint, &catalog)?;
    options.check_permissions()?;
    let snapshots = Snapshots::new(
        options.snapshot,
        options.snapshot_folder.as_deref(),
        catalog.folder().path(),
    )
    .map_err(|error| MountError::SnapshotFolder(error.to_string()))?;
    let mut confinement = Confinement::new(&catalog, &snapshots, allow_devices)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    let mut mount = Mount::prepare(&mountpoint, options.sandbox).map_err(MountError::Setup)?;
    let opening = Opening {
        snapshots: mount.make_files_for(snapshots),
        gpt: options.gpt,
    };
    let fs = FileSystem::new(catalog, ownership, opening).map_err(|error| {
        MountError::Source(
            source.to_owned(),
            io::Error::from_raw_os_error(error.errno()),
        )
    })?;
    let reporter = Reporter {
        source: source.canonicalize().unwrap_or(source.to_owned()),
        mountpoint: mountpoint.clone(),
        activity: fs.activity().clone(),
        messages: reporting.messages,
    };
    let (events, happened) = mpsc::channel();
    // Before mounting: a signal that comes between must not leave the mount behind.
    let signals = events::catch_signals().map_err(MountError::Setup)?;
    let session = connect(fs, source, &mountpoint, options, &mut confinement)?;
    mount.is_served_by(&session);
    if options.auto_unmount {
        let device = auto_unmount::close_before_socket(&session).map_err(MountError::Setup)?;
        mount.is_served_by(&device);
        mount.keep(device);
    }
    read_ahead::raise(&mountpoint);
    let socket = reporter.bind();
    confinement.will_remove(socket.as_ref().map(StatusSocket::path));
    // No thread has been started yet: each inherits the sandbox from the one that starts it.
    let begun = sandbox::enter(options.sandbox, &confinement.needs())
        .map_err(MountError::Sandbox)
        .and_then(|()| {
            let activity = reporter.activity.clone();
            events::watch_signals(signals, events.clone())
                .and_then(|()| start(session, events))
                .and_then(|()| wait_until_it_answers(&mountpoint))
                .and_then(|()| reporter.clone().listen(socket.as_ref()))
                .and_then(|()| match reporting.bars {
                    Some(bars) => progress::start(bars, activity),
                    None => Ok(()),
                })
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
    drop(confinement);
    notify::ready(&reporter.activity);
    let stopping = || {
        drop(socket);
        notify::stopping();
    };
    events::wait_for_the_end(&mount, &happened, || reporter.tell(), stopping)
}

/// Mounts, and finds out whether the kernel lets this process pass files through.
fn connect(
    fs: FileSystem,
    source: &Path,
    mountpoint: &Path,
    options: &Options,
    confinement: &mut Confinement,
) -> Result<Session<Fuse>, MountError> {
    let mut config = Config::default();
    config.mount_options = options.mount_options(source);
    config.acl = options.access.into();
    config.n_threads = Some(options.threads);
    let fuse = Fuse::new(Arc::new(fs), options.threads, options.direct_io);
    let passthrough = fuse.passthrough();
    let session = Session::new(fuse, mountpoint, &config)
        .map_err(|error| MountError::Mount(mountpoint.to_owned(), error))?;
    if options.snapshot != Policy::Never && permit_passthrough(&session, &passthrough) {
        confinement.will_pass_files_through();
    }
    Ok(session)
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

/// Asks for the attributes of the mount as any other process would: through the kernel, answered by
/// the session. The sandbox permits no more.
fn wait_until_it_answers(mountpoint: &Path) -> io::Result<()> {
    mountpoint.metadata().map(drop)
}
