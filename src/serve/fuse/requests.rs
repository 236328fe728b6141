//! The requests of the kernel: decoded, run by [`FileSystem`] on the right thread, and replied to.

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use log::{debug, error};

use crate::serve::fs::{Cache, DirectoryEntry, Error, FileSystem, Taken};
use crate::serve::workers::Workers;

use super::Passthrough;
use super::attributes::{file_attr, file_type};
use super::buffers::Buffers;

/// How long the kernel may cache look-ups and attributes: a change of the source folder is seen within
/// this time.
const TIME_TO_LIVE: Duration = Duration::from_millis(900);

/// Inode numbers are never used twice, so their generation never changes.
const GENERATION: Generation = Generation(0);

/// Read-ahead and other background requests that the kernel may have under way at once. A source
/// that hangs occupies some for ever: the others must not wait for those.
const MAX_BACKGROUND: u16 = 1024;

/// Serves FUSE requests from a [`FileSystem`].
#[derive(Debug)]
pub struct Fuse {
    fs: Arc<FileSystem>,
    buffers: Arc<Buffers>,
    workers: Workers,
    passthrough: Arc<Passthrough>,
    direct_io: bool,
}

impl Fuse {
    /// Serves `fs` with `event_loops` threads; with `direct_io`, past the kernel's page cache.
    pub fn new(fs: Arc<FileSystem>, event_loops: usize, direct_io: bool) -> Self {
        Self {
            fs,
            buffers: Arc::new(Buffers::new(event_loops)),
            workers: Workers::new(event_loops),
            passthrough: Arc::default(),
            direct_io,
        }
    }

    /// Decides whether the kernel may serve files by itself, once that is known.
    pub fn passthrough(&self) -> Arc<Passthrough> {
        self.passthrough.clone()
    }

    /// Runs a request on the thread that [`Workers`] chooses.
    fn serve(&self, operation: &'static str, request: impl FnOnce(&FileSystem) + Send + 'static) {
        let fs = self.fs.clone();
        self.workers
            .run(move || contained(operation, || request(&fs)));
    }
}

impl Filesystem for Fuse {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each is requested if the kernel offers it; none is needed for correct replies.
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            InitFlags::FUSE_PASSTHROUGH,
        ] {
            if let Err(missing) = config.add_capabilities(wanted) {
                debug!("the kernel does not offer {missing:?}");
            }
        }
        // Clones are on plain file systems, which is what a depth of 1 permits.
        let _ = config.set_max_stack_depth(1);
        if let Err(largest) = config.set_max_readahead(u32::MAX) {
            // The call with the largest value that the kernel named cannot fail.
            let _ = config.set_max_readahead(largest);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.serve("lookup", move |fs| match fs.lookup(parent.0, &name) {
            Ok(attributes) => reply.entry(&TIME_TO_LIVE, &file_attr(&attributes), GENERATION),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn forget(&self, _: &Request, inode: INodeNo, count: u64) {
        self.fs.forget(inode.0, count);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve("getattr", move |fs| match fs.attributes(inode.0) {
            Ok(attributes) => reply.attr(&TIME_TO_LIVE, &file_attr(&attributes)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.0 & libc::O_ACCMODE != libc::O_RDONLY {
            reply.error(errno(&Error::ReadOnly));
            return;
        }
        let (fs, passthrough, direct_io) =
            (self.fs.clone(), self.passthrough.clone(), self.direct_io);
        let pid = request.pid();
        self.workers.run(move || {
            contained("open", || match fs.open(inode.0, pid) {
                Ok(opened) => {
                    let handle = opened.handle;
                    let file = opened.image.whole_file().filter(|_| !direct_io);
                    let device = &reply;
                    let register = file.map(|file| move || device.open_backing(file));
                    match passthrough.join(inode.0, register) {
                        Some(backing) => {
                            fs.passed_through(handle);
                            // No cache of FUSE's own is in the way, so there is none to keep.
                            let mode = FopenFlags::empty();
                            reply.opened_passthrough(FileHandle(handle), mode, &backing)
                        }
                        None => reply.opened(FileHandle(handle), mode(opened.cache, direct_io)),
                    }
                    fs.look_up_reader(handle);
                }
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let buffers = self.buffers.clone();
        self.serve("read", move |fs| {
            let mut buffer = buffers.take(size as usize);
            match fs.read(handle.0, offset, size, &mut buffer) {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.passthrough.leave(inode.0);
        self.fs.release(handle.0);
        reply.ok();
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve("lseek", move |fs| match fs.seek(handle.0, offset, whence) {
            // Views are no larger than the largest off_t.
            Ok(place) => reply.offset(place as i64),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve("opendir", move |fs| match fs.open_directory(inode.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve("readdir", move |fs| {
            let take = |entry: DirectoryEntry<'_>| {
                let kind = file_type(&entry.attributes);
                let inode = INodeNo(entry.attributes.inode);
                taken(reply.add(inode, entry.next, kind, entry.name))
            };
            match fs.read_directory(inode.0, handle.0, offset, false, take) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve("readdirplus", move |fs| {
            let take = |entry: DirectoryEntry<'_>| {
                let attr = file_attr(&entry.attributes);
                taken(reply.add(
                    attr.ino,
                    entry.next,
                    entry.name,
                    &TIME_TO_LIVE,
                    &attr,
                    GENERATION,
                ))
            };
            match fs.read_directory(inode.0, handle.0, offset, true, take) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.release_directory(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve("statfs", move |fs| match fs.catalog().folder().statvfs() {
            Ok(found) => reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                found.f_bsize as u32,
                found.f_namemax as u32,
                found.f_frsize as u32,
            ),
            Err(error) => reply.error(errno(&error.into())),
        });
    }

    // The kernel asks for none of these again after one ENOSYS.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(errno(&Error::NotImplemented));
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(errno(&Error::NotImplemented));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(errno(&Error::NotImplemented));
    }

    fn access(&self, _: &Request, _: INodeNo, _: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.error(errno(&Error::NotImplemented));
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(errno(&Error::NotImplemented));
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(errno(&Error::NotImplemented));
    }
}

/// Runs a request. If it panics, the reply that it owns is dropped, and the kernel gets EIO.
fn contained(operation: &'static str, request: impl FnOnce()) {
    let request = || {
        #[cfg(test)]
        tests::panic_if_wanted();
        request();
    };
    if catch_unwind(AssertUnwindSafe(request)).is_err() {
        error!("{operation}: a bug made this request fail with EIO; please report it [bug]");
    }
}

/// How the kernel is to treat an open file that it does not serve by itself.
fn mode(cache: Cache, direct_io: bool) -> FopenFlags {
    match cache {
        _ if direct_io => FopenFlags::FOPEN_DIRECT_IO,
        Cache::Bypass => FopenFlags::FOPEN_DIRECT_IO,
        Cache::Keep => FopenFlags::FOPEN_KEEP_CACHE,
        Cache::Renew => FopenFlags::empty(),
    }
}

fn errno(error: &Error) -> Errno {
    debug!("{error}");
    Errno::from_i32(error.errno())
}

fn taken(full: bool) -> Taken {
    if full { Taken::Full } else { Taken::Yes }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fuser::{Config, Session};

    use super::*;
    use crate::folder::catalog::{self, Catalog};
    use crate::serve::fs::Ownership;
    use crate::serve::image::Opening;

    /// How many of the next requests are to panic.
    static WANTED_PANICS: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn panic_if_wanted() {
        let one_less = |count: usize| count.checked_sub(1);
        let taken = WANTED_PANICS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        assert!(taken.is_err(), "wanted by the test");
    }

    /// More panics than threads: each costs one request an EIO, and the mount lives.
    #[test]
    fn a_panic_is_an_error_of_one_request() {
        const THREADS: usize = 3;
        let lab = tempfile::tempdir().unwrap();
        let (source, mnt) = (lab.path().join("source"), lab.path().join("mnt"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&mnt).unwrap();
        fs::write(source.join("disk.raw"), [7; 9000]).unwrap();
        let catalog = Catalog::open(&source, catalog::Options::default()).unwrap();
        let opening = Opening::default();
        let fs = FileSystem::new(catalog, Ownership::default(), opening).unwrap();
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        let fuse = Fuse::new(Arc::new(fs), THREADS, true);
        let session = Session::new(fuse, &mnt, &config).unwrap().spawn().unwrap();
        let view = mnt.join("disk.vhd");
        assert_eq!(fs::read(&view).unwrap()[..9000], [7; 9000]);
        let file = fs::File::open(&view).unwrap();
        for _ in 0..4 * THREADS {
            WANTED_PANICS.store(1, Ordering::SeqCst);
            let mut bytes = [0; 100];
            let error = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        }
        for name in ["a", "b", "c", "d", "e"] {
            WANTED_PANICS.store(1, Ordering::SeqCst);
            let error = fs::metadata(mnt.join(name)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        }
        drop(file);
        assert_eq!(fs::read(&view).unwrap()[..9000], [7; 9000]);
        session.umount_and_join().unwrap();
    }
}
