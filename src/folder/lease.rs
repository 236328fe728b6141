//! Read leases on sources: as long as one is held, no process can write to its file unseen, not even
//! through a mapping. A process that wants to gets the file at once, and the lease is lost for good.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;

use log::{error, info};
use parking_lot::{Mutex, MutexGuard};
use sys::lease::{self, Notice, Receiver, Refusal};

use super::given_up::GivenUp;
use super::metadata::Version;

/// All leases of this process, because its signals are the process's, too.
static LEASES: LazyLock<Leases> = LazyLock::new(Leases::default);

/// Number of parts of the table of leases, with a lock each: a thread that must wait for a core while it
/// holds one should not hold up a writer of another file.
const PARTS: usize = 64;

#[derive(Debug)]
struct Leases {
    /// The thread that gives leases back, once there is one.
    receiver: Mutex<Option<Receiver>>,
    /// By descriptor.
    parts: [Mutex<HashMap<RawFd, Arc<Leased>>>; PARTS],
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            receiver: Mutex::default(),
            parts: [(); PARTS].map(|()| Mutex::default()),
        }
    }
}

/// A lease on one version of a file, given back when dropped.
#[derive(Debug)]
pub(super) struct Lease(Arc<Leased>);

/// What is leased. The table of leases holds it until the lease is given back: a writer does not depend
/// on the thread that drops it, which may be waiting for a core.
#[derive(Debug)]
struct Leased {
    file: Arc<OwnedFd>,
    version: Version,
    path: PathBuf,
    given_up: Arc<GivenUp>,
    /// A writer came.
    is_lost: AtomicBool,
    /// Nobody waits for it any more.
    is_given_back: AtomicBool,
}

/// Starts the thread that is notified of writers, while threads can be started.
///
/// # Errors
///
/// If none can.
pub fn prepare() -> io::Result<()> {
    LEASES.receiver().map(drop)
}

impl Lease {
    /// Takes a lease on a file that is open for reading. If it is lost later, `given_up` notes
    /// the version, and the log names the file by `path`.
    ///
    /// # Errors
    ///
    /// In the inner result, why there is no lease; in the outer, the system's own.
    pub(super) fn take(
        file: &Arc<OwnedFd>,
        version: Version,
        path: &Path,
        given_up: &Arc<GivenUp>,
    ) -> io::Result<Result<Arc<Self>, Refusal>> {
        let receiver = LEASES.receiver()?;
        let leased = Arc::new(Leased {
            file: file.clone(),
            version,
            path: path.to_owned(),
            given_up: given_up.clone(),
            is_lost: AtomicBool::new(false),
            is_given_back: AtomicBool::new(false),
        });
        // Before it is taken: a writer may come at once.
        let descriptor = file.as_raw_fd();
        LEASES.part(descriptor).insert(descriptor, leased.clone());
        let lease = Self(leased);
        Ok(lease::take(file, receiver)?.map(|()| Arc::new(lease)))
    }

    /// Whether nothing can have written to the file since the lease was taken.
    pub(super) fn is_held(&self) -> bool {
        self.0.is_held()
    }
}

impl Leased {
    fn is_held(&self) -> bool {
        if self.is_lost.load(Ordering::Acquire) {
            return false;
        }
        let is_held = lease::is_held(&self.file);
        if !is_held && self.give_way() {
            self.report();
        }
        is_held
    }

    /// Whether nobody has let the writer go on yet, if there is one; another thread may be about to.
    fn has_writer_waiting(&self) -> bool {
        !self.is_given_back.load(Ordering::Acquire) && !lease::is_held(&self.file)
    }

    /// Lets the writer go on who waits for the file; returns whether no other thread saw him before. All of them
    /// do it, because the first may be waiting for a core, and the writer with it.
    fn give_way(&self) -> bool {
        let is_first = !self.is_lost.swap(true, Ordering::AcqRel);
        // Before the writer can write: what is looked up from now on is another version.
        self.given_up.note(self.version);
        lease::give_back(&self.file);
        self.is_given_back.store(true, Ordering::Release);
        is_first
    }

    /// Says that the lease was given back. May take its time.
    fn report(&self) {
        self.given_up.tell();
        info!(
            "{}: gives way to a writer; with O_NONBLOCK he got EAGAIN, and succeeds when he tries again",
            self.path.display()
        );
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Self(leased) = self;
        if !leased.is_lost.load(Ordering::Acquire) {
            lease::give_back(&leased.file);
        }
        let descriptor = leased.file.as_raw_fd();
        let mut by_descriptor = LEASES.part(descriptor);
        // A new lease may have been taken on the same file.
        let is_ours = |known: &Arc<Leased>| Arc::ptr_eq(known, leased);
        if by_descriptor.get(&descriptor).is_some_and(is_ours) {
            by_descriptor.remove(&descriptor);
        }
    }
}

impl Leases {
    fn part(&self, descriptor: RawFd) -> MutexGuard<'_, HashMap<RawFd, Arc<Leased>>> {
        self.parts[descriptor.unsigned_abs() as usize % PARTS].lock()
    }

    /// The thread that is notified of writers; it is started for the first lease, and inherits the
    /// sandbox of the thread that takes it.
    fn receiver(&'static self) -> io::Result<Receiver> {
        let mut receiver = self.receiver.lock();
        if let Some(receiver) = *receiver {
            return Ok(receiver);
        }
        let (lost, to_report) = mpsc::channel::<Arc<Leased>>();
        // Apart: a log may make those wait that write to it.
        thread::Builder::new()
            .name("lost-leases".into())
            .spawn(move || to_report.iter().for_each(|lease| lease.report()))?;
        let (made, ready) = mpsc::channel();
        thread::Builder::new()
            .name("leases".into())
            .spawn(move || {
                let signals = match lease::receive() {
                    Ok((receiver, signals)) => {
                        let _ = made.send(Ok(receiver));
                        signals
                    }
                    Err(error) => {
                        let _ = made.send(Err(error));
                        return;
                    }
                };
                loop {
                    match signals.wait() {
                        Ok(notice) => self.give_way(&notice, &lost),
                        Err(error) => {
                            error!("writers may have to wait for sources that are open: {error} [leases]");
                            return;
                        }
                    }
                }
            })?;
        let started = ready.recv().map_err(io::Error::other)??;
        *receiver = Some(started);
        Ok(started)
    }

    /// Looks at what is concerned; what was lost goes to `lost`. A signal may come late, for a descriptor that is
    /// another file's by now: then nothing is lost.
    fn give_way(&self, notice: &Notice, lost: &mpsc::Sender<Arc<Leased>>) {
        let mut concerned = Vec::new();
        match notice {
            Notice::Of(descriptor) => {
                let known = self.part(*descriptor);
                concerned.extend(known.get(descriptor).cloned());
            }
            Notice::OfSome => {
                for part in &self.parts {
                    concerned.extend(part.lock().values().cloned());
                }
            }
        }
        for lease in concerned {
            if lease.has_writer_waiting() && lease.give_way() {
                let _ = lost.send(lease);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::folder::metadata::Timestamp;

    /// The kernel itself lets a writer go on after /proc/sys/fs/lease-break-time, 45 s.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// An empty file that is open, and what notes that it was given up.
    struct Opened {
        path: tempfile::TempPath,
        file: Arc<OwnedFd>,
        version: Version,
        given_up: Arc<GivenUp>,
    }

    impl Opened {
        fn new() -> Self {
            let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            let time = Timestamp {
                seconds: 7,
                nanoseconds: 0,
            };
            Self {
                file: Arc::new(File::open(&path).unwrap().into()),
                path,
                version: Version {
                    file_system: 1,
                    device: 2,
                    inode: 3,
                    size: 0,
                    mtime: time,
                    ctime: time,
                },
                given_up: Arc::default(),
            }
        }

        fn lease(&self) -> Arc<Lease> {
            let lease = Lease::take(&self.file, self.version, &self.path, &self.given_up);
            lease.unwrap().unwrap()
        }

        /// Opens the file for writing, and closes it.
        fn write(&self) {
            let (sender, is_open) = mpsc::channel();
            let path = self.path.to_path_buf();
            thread::spawn(move || sender.send(File::options().write(true).open(path)));
            let writer = is_open.recv_timeout(PATIENCE);
            drop(writer.expect("he goes on").unwrap());
        }
    }

    #[test]
    fn a_writer_does_not_wait_for_the_thread_that_saw_him_first() {
        let opened = Opened::new();
        let lease = opened.lease();
        // As if that thread had no core since.
        lease.0.is_lost.store(true, Ordering::Release);
        opened.write();
        assert_ne!(opened.given_up.number_of(&opened.version), 0);
        assert!(!lease.is_held());
        let latest = Instant::now() + PATIENCE;
        while !lease.0.is_given_back.load(Ordering::Acquire) && Instant::now() < latest {
            thread::yield_now();
        }
        assert!(lease.0.is_given_back.load(Ordering::Acquire));
    }

    #[test]
    fn a_writer_does_not_wait_for_the_thread_that_closes_the_view() {
        let opened = Opened::new();
        // As if that thread had no core since nobody else had the view.
        std::mem::forget(Arc::into_inner(opened.lease()));
        opened.write();
    }

    #[test]
    fn a_writer_does_not_wait_where_an_older_lease_of_the_file_ends() {
        let opened = Opened::new();
        let older = opened.lease();
        opened.write();
        assert!(!older.is_held());
        let lease = opened.lease();
        drop(older);
        opened.write();
        assert!(!lease.is_held());
    }
}
