//! The phases of a mount, each made of the one before.
//!
//! Whatever fails once the mount is there, the [`Connection`] that the phases hand on ends it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use fuser::{Config, Session};
use indicatif::MultiProgress;
use log::info;
use rustix::fs::MemfdFlags;
use signal_hook::iterator::Signals;

use super::broker::Broker;
use super::confinement::Confinement;
use super::connection::Connection;
use super::events::{self, Event};
use super::sandbox::{self, Sandbox};
use super::socket::StatusSocket;
use super::status::Reporter;
use super::{Reporting, Request, auto_unmount, notify, progress, read_ahead};
use crate::folder::catalog::Catalog;
use crate::folder::lease;
use crate::mount::error::MountError;
use crate::mount::mountpoint::Mountpoint;
use crate::mount::options::{Access, Options};
use crate::serve::fs::FileSystem;
use crate::serve::fuse::{Fuse, Passthrough};
use crate::serve::image::{Opening, Policy, Snapshots};

/// Everything was checked and opened that needs no mount.
pub(super) struct Prepared {
    fs: FileSystem,
    options: Options,
    confinement: Confinement,
    broker: Option<Arc<Broker>>,
    place: Mountpoint,
    reporter: Reporter,
    bars: Option<MultiProgress>,
    /// Caught before there is a mount that a signal could leave behind.
    signals: Signals,
}

/// The mount is there, and is not served yet.
pub(super) struct Mounted {
    session: Session<Fuse>,
    connection: Connection,
    options: Options,
    confinement: Confinement,
    reporter: Reporter,
    socket: Option<StatusSocket>,
    bars: Option<MultiProgress>,
    signals: Signals,
}

/// The process has given up what serving does not need. It still has one thread: those that it
/// starts from now on are confined as it is.
pub(super) struct Confined {
    session: Session<Fuse>,
    connection: Connection,
    reporter: Reporter,
    socket: Option<StatusSocket>,
    bars: Option<MultiProgress>,
    signals: Signals,
}

/// The mount replies to requests.
pub(super) struct Serving {
    connection: Connection,
    happened: Receiver<Event>,
    reporter: Reporter,
    socket: Option<StatusSocket>,
}

impl Prepared {
    /// Opens the source and checks the mount point and what mounting takes.
    pub(super) fn new(request: Request, reporting: Reporting) -> Result<Self, MountError> {
        let Request {
            source,
            mountpoint,
            catalog,
            ownership,
            options,
        } = request;
        let of_source = |error| MountError::Source(source.clone(), error);
        let allow_devices = catalog.allow_devices;
        let mut catalog = Catalog::open(&source, catalog).map_err(of_source)?;
        if options.access == Access::Other {
            catalog = catalog.respecting_acls();
        }
        let place = Mountpoint::prepare(&mountpoint, &catalog, options.make_mountpoint)?;
        options.check_permissions()?;
        let snapshots = Snapshots::new(
            options.snapshot,
            options.snapshot_folder.as_deref(),
            catalog.folder().path(),
        )
        .map_err(|error| MountError::SnapshotFolder(error.to_string()))?;
        let confinement =
            Confinement::new(&catalog, &snapshots, allow_devices).map_err(of_source)?;
        let broker = match options.sandbox {
            Sandbox::Off => None,
            Sandbox::Auto | Sandbox::Require => Some(Arc::new(
                Broker::start(&place.path, place.made()).map_err(MountError::Setup)?,
            )),
        };
        let opening = Opening {
            snapshots: match &broker {
                Some(broker) => snapshots.with_files_by(broker.clone()),
                None => snapshots,
            },
            gpt: options.gpt,
            writers: options.writers,
            finder: broker.clone().map(|broker| broker as _),
        };
        let fs = FileSystem::new(catalog, ownership, opening)
            .map_err(|error| of_source(io::Error::from_raw_os_error(error.errno())))?;
        let reporter = Reporter {
            source: source.canonicalize().unwrap_or(source),
            mountpoint: place.path.clone(),
            options: options.named.clone(),
            activity: fs.activity().clone(),
            caches: fs.catalog().caches().clone(),
            messages: reporting.messages,
        };
        Ok(Self {
            fs,
            options,
            confinement,
            broker,
            place,
            reporter,
            bars: reporting.bars,
            signals: events::catch_signals().map_err(MountError::Setup)?,
        })
    }

    /// Mounts, and finds out what the kernel lets this process do for the mount.
    pub(super) fn mount(mut self) -> Result<Mounted, MountError> {
        let mountpoint = &self.reporter.mountpoint;
        let mut config = Config::default();
        config.mount_options = self.options.mount_options(&self.reporter.source);
        config.acl = self.options.access.into();
        config.n_threads = Some(self.options.threads);
        let fs = Arc::new(self.fs);
        let fuse = Fuse::new(fs.clone(), self.options.threads, self.options.direct_io);
        let passthrough = fuse.passthrough();
        let session = Session::new(fuse, mountpoint, &config)
            .map_err(|error| MountError::of_mounting(mountpoint, error))?;
        let mut connection = Connection::new(self.place, self.broker);
        if let Some(device) = connection.device() {
            fs.catalog().leave_out(device);
        }
        if self.options.snapshot != Policy::Never && permit_passthrough(&session, &passthrough) {
            self.confinement.will_pass_files_through();
        }
        if self.options.auto_unmount {
            connection
                .keep(auto_unmount::close_before_socket(&session).map_err(MountError::Setup)?);
        }
        read_ahead::raise(mountpoint);
        let socket = self.reporter.bind();
        self.confinement
            .will_remove(socket.as_ref().map(StatusSocket::path));
        Ok(Mounted {
            session,
            connection,
            options: self.options,
            confinement: self.confinement,
            reporter: self.reporter,
            socket,
            bars: self.bars,
            signals: self.signals,
        })
    }
}

impl Mounted {
    /// Enters the sandbox.
    pub(super) fn confine(self) -> Result<Confined, MountError> {
        sandbox::enter(self.options.sandbox, &self.confinement.needs())
            .map_err(MountError::Sandbox)?;
        Ok(Confined {
            session: self.session,
            connection: self.connection,
            reporter: self.reporter,
            socket: self.socket,
            bars: self.bars,
            signals: self.signals,
        })
    }
}

impl Confined {
    /// Starts the threads, and calls `ready` once the mount replies to requests.
    pub(super) fn serve(
        self,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> Result<Serving, MountError> {
        let (events, happened) = mpsc::channel();
        let serving = Serving {
            connection: self.connection,
            happened,
            reporter: self.reporter,
            socket: self.socket,
        };
        let begin = || {
            events::watch_signals(self.signals, events.clone())?;
            lease::prepare()?;
            start(self.session, events)?;
            wait_for_a_reply(&serving.reporter.mountpoint)?;
            serving.reporter.clone().listen(serving.socket.as_ref())?;
            if let Some(bars) = self.bars {
                progress::start(bars, serving.reporter.activity.clone())?;
            }
            ready()
        };
        begin().map_err(MountError::Setup)?;
        info!(
            "{} is mounted on {}",
            serving.reporter.source.display(),
            serving.reporter.mountpoint.display()
        );
        notify::ready(&serving.reporter.activity);
        Ok(serving)
    }
}

impl Serving {
    /// Waits until the mount has ended.
    pub(super) fn wait(self) -> Result<(), MountError> {
        let Self {
            connection,
            happened,
            reporter,
            socket,
        } = self;
        let stopping = || {
            drop(socket);
            notify::stopping();
        };
        events::wait_for_the_end(connection, &happened, || reporter.log_state(), stopping)
    }
}

fn start(session: Session<Fuse>, events: Sender<Event>) -> io::Result<()> {
    let session = session.spawn()?;
    thread::Builder::new()
        .name("session".into())
        .spawn(move || {
            let session = session;
            let ended = session.guard.join();
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")));
            // The receiver is gone if the process is about to end.
            let _ = events.send(Event::Ended(ended));
            // What is left of the session would unmount whatever lies on the mount point, were it
            // dropped. The connection unmounts, and nothing but its own mount.
            loop {
                thread::park();
            }
        })?;
    Ok(())
}

/// The kernel agrees to passthrough at INIT without a check, and later refuses the files of a process that
/// lacks CAP_SYS_ADMIN: so it is tried.
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

/// Asks for the attributes of the mount as any other process would: through the kernel, which asks
/// the session. The sandbox permits no more.
fn wait_for_a_reply(mountpoint: &Path) -> io::Result<()> {
    mountpoint.metadata().map(drop)
}
