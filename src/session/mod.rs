//! A mount from its first check to its end: mounting, readiness, signals, unmounting.

mod error;
mod events;
mod mountpoint;
mod notify;
mod options;
mod progress;
mod status;
mod unmount;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use fuser::{Config, Session};
use indicatif::MultiProgress;
use log::info;
use rustix::fs::MemfdFlags;

use crate::catalog::{self, Catalog};
use crate::fs::{FileSystem, Ownership};
use crate::fuse::{Fuse, Passthrough};
use crate::image::{Opening, Policy, Snapshots};
use crate::logging::Messages;
use crate::sys;

pub use error::MountError;
use events::Event;
pub use options::{Access, Options};
use status::Reporter;
pub use status::{Status, StatusError, ask};
pub use unmount::{UnmountError, unmount};

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
    let catalog = Catalog::open(source, catalog)
        .map_err(|error| MountError::Source(source.to_owned(), error))?;
    let mountpoint = mountpoint::check(mountpoint, &catalog)?;
    options.check_permissions()?;
    let snapshots = Snapshots::new(
        options.snapshot,
        options.snapshot_folder.as_deref(),
        catalog.folder().path(),
    )
    .map_err(|error| MountError::SnapshotFolder(error.to_string()))?;
    let opening = Opening {
        snapshots,
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
    events::watch_signals(events.clone()).map_err(MountError::Setup)?;
    mount(fs, source, &mountpoint, options, events)?;
    let socket = reporter.clone().listen();
    let begun = wait_until_it_answers(&mountpoint)
        .and_then(|()| match reporting.bars {
            Some(bars) => progress::start(bars, reporter.activity.clone()),
            None => Ok(()),
        })
        .and_then(|()| ready());
    if let Err(error) = begun {
        let _ = unmount(&mountpoint, true);
        return Err(MountError::Setup(error));
    }
    info!(
        "{} is mounted on {}",
        source.display(),
        mountpoint.display()
    );
    notify::ready(&reporter.activity);
    let stopping = || {
        drop(socket);
        notify::stopping();
    };
    events::wait_for_the_end(&mountpoint, &happened, || reporter.tell(), stopping)
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

/// Looks at the mount as any other process would: through the kernel, answered by the session.
fn wait_until_it_answers(mountpoint: &Path) -> io::Result<()> {
    mountpoint.read_dir().map(drop)
}
