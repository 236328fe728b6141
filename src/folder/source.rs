//! Sources: image files and block devices, opened for reading.
//!
//! A [`SourceFile`] stands for one [`Version`](crate::folder::metadata::Version) only: [`SourceFile::check`] finds out when the file
//! has become another. [`SourceFile::settle`] makes sure that nothing can change it unseen.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::folder::filesystem::FileSystemKind;
use crate::folder::metadata::{Kind, Metadata, Timestamp};
use crate::folder::settle::{Proof, Settling};
use disk::ByteRange;
use disk::Disk;

/// Whether a file still is what it was when it was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// The bytes read so far and those read now are of one version.
    Current,
    /// The content has, or may have, changed.
    Changed,
    /// The file was opened for writing since it was settled.
    Written,
}

/// What explains a newer status-change time without a change of content: another mode, owner,
/// number of links or name.
#[derive(Debug, Eq, PartialEq)]
struct Circumstances {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    name: Option<PathBuf>,
}

/// One opened source.
#[derive(Debug)]
pub struct SourceFile {
    file: Arc<OwnedFd>,
    proof: Proof,
    path: PathBuf,
    opened: Metadata,
    /// Distinguishes this opening in the per-thread caches.
    id: u64,
    /// Status-change time up to which every change is explained, in nanoseconds.
    ctime: AtomicI64,
    circumstances: Mutex<Circumstances>,
}

/// A run of data and the hole before it, as last seen of a file.
#[derive(Clone, Copy)]
struct Extent {
    hole: ByteRange,
    data: ByteRange,
}

/// Number of files whose last extent each thread remembers.
const REMEMBERED_EXTENTS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

thread_local! {
    /// Valid as long as the file is current: every read is followed by a check of that.
    static EXTENTS: RefCell<LruCache<u64, Extent>> = RefCell::new(LruCache::new(REMEMBERED_EXTENTS));
}

impl SourceFile {
    /// Takes an opened file; `path` names it in messages.
    ///
    /// # Errors
    ///
    /// If its attributes cannot be had.
    pub fn new(file: OwnedFd, path: &Path) -> io::Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let opened = Metadata::of(file.as_fd())?;
        Ok(Self {
            circumstances: Mutex::new(Circumstances::of(&opened, file.as_fd())),
            ctime: AtomicI64::new(nanoseconds(opened.version.ctime)),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            path: path.to_owned(),
            proof: Proof::Times(None),
            file: Arc::new(file),
            opened,
        })
    }

    /// Takes the proof that nothing can write to the file unseen, for as long as this lives. The
    /// proof is for the version that was opened, if [`SourceFile::check`] succeeds after this. A
    /// writer gets `patience` to end; if it does not, nothing is proven.
    ///
    /// # Errors
    ///
    /// The system's own.
    pub fn settle(&mut self, settling: &Settling, patience: Duration) -> io::Result<()> {
        self.proof = settling.prove(&self.file, &self.opened, &self.path, patience)?;
        Ok(())
    }

    /// Whether it is proven that what is read from now on, up to a successful
    /// [`SourceFile::check`], is of one version.
    pub fn is_settled(&self) -> bool {
        !matches!(self.proof, Proof::Times(_) | Proof::Written)
    }

    /// Whether the file was open for writing when it was to be settled.
    pub fn is_written(&self) -> bool {
        matches!(self.proof, Proof::Written)
    }

    /// Whether a write to the file from `now` on, even after it was closed here, makes
    /// another version of it.
    pub fn keeps_its_version(&self, now: SystemTime) -> bool {
        !self.is_device()
            && self.opened.version.is_older_than_its_clock(now)
            && FileSystemKind::of(&self.file).is_ok_and(FileSystemKind::keeps_times)
    }

    /// The file's attributes when it was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.opened
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.opened.kind == Kind::BlockDevice
    }

    /// The file's name for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks whether the bytes read until now are all of the version that was opened.
    ///
    /// A newer status-change time alone counts as a change unless the mode, the owner, the number
    /// of links or the name moved with it: a file that is unlinked, renamed or chmodded keeps its
    /// content. A block device carries no trace of writes and always counts as current.
    ///
    /// # Errors
    ///
    /// If the attributes cannot be had.
    pub fn check(&self) -> io::Result<Freshness> {
        if let Proof::Lease(lease) | Proof::Times(Some(lease)) = &self.proof
            && !lease.is_held()
        {
            return Ok(Freshness::Written);
        }
        let now = Metadata::of_node(self.file.as_fd())?;
        let (was, is) = (&self.opened.version, &now.version);
        if now.kind == Kind::BlockDevice {
            return Ok(Freshness::Current);
        }
        if (was.size, was.mtime) != (is.size, is.mtime) {
            return Ok(Freshness::Changed);
        }
        let ctime = nanoseconds(is.ctime);
        if ctime == self.ctime.load(Ordering::Acquire) {
            return Ok(Freshness::Current);
        }
        let mut known = self.circumstances.lock();
        if ctime == self.ctime.load(Ordering::Acquire) {
            return Ok(Freshness::Current);
        }
        let found = Circumstances::of(&now, self.file.as_fd());
        if *known == found {
            return Ok(Freshness::Changed);
        }
        *known = found;
        self.ctime.store(ctime, Ordering::Release);
        Ok(Freshness::Current)
    }

    /// The extent around or behind `offset`, asked from the file system.
    fn find_extent(&self, offset: u64) -> io::Result<Extent> {
        let size = self.size();
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => size,
            // Block devices and some network file systems know no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return Ok(Extent {
                    hole: ByteRange::new(offset, offset),
                    data: ByteRange::new(offset, size),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        Ok(Extent {
            hole: ByteRange::new(offset, start),
            data: ByteRange::new(start, end),
        })
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Disk for SourceFile {
    fn size(&self) -> u64 {
        self.opened.version.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(self.file.as_fd(), buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        if offset >= self.size() {
            return Ok(None);
        }
        EXTENTS.with_borrow_mut(|known| {
            let extent = match known.get(&self.id) {
                Some(extent) if extent.covers(offset) => *extent,
                _ => {
                    let extent = self.find_extent(offset)?;
                    known.put(self.id, extent);
                    extent
                }
            };
            let rest = extent.data.intersect(ByteRange::new(offset, u64::MAX));
            Ok((!rest.is_empty()).then_some(rest))
        })
    }
}

/// Fills `buffer` with the bytes of an open file that begin at `offset`.
///
/// # Errors
///
/// The file system's own; `UnexpectedEof` if the file ends before.
pub fn read_exact_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Extent {
    fn covers(&self, offset: u64) -> bool {
        self.hole.contains(offset) || self.data.contains(offset)
    }
}

impl Circumstances {
    fn of(metadata: &Metadata, file: BorrowedFd<'_>) -> Self {
        Self {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            links: metadata.links,
            // The kernel keeps this link up to date when the file is renamed or unlinked.
            name: std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok(),
        }
    }
}

/// A timestamp as one number; saturates some 292 years from 1970.
fn nanoseconds(time: Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        source: SourceFile,
    }

    impl Fixture {
        fn new(content: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk.raw");
            fs::write(&path, content).unwrap();
            let source = SourceFile::new(File::open(&path).unwrap().into(), &path).unwrap();
            Self { folder, source }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("disk.raw")
        }

        fn writer(&self) -> File {
            File::options().write(true).open(self.path()).unwrap()
        }

        fn check(&self) -> Freshness {
            self.source.check().unwrap()
        }
    }

    /// Coarse clocks tick every few milliseconds: a change within the same tick is invisible.
    fn let_the_clock_tick() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    #[test]
    fn changes_of_content_are_seen() {
        let changes: [fn(&File); 4] = [
            |file| assert_eq!(file.write_at(b"x", 0).unwrap(), 1),
            |file| file.set_len(1).unwrap(),
            |file| file.set_len(100).unwrap(),
            |file| {
                let mtime = file.metadata().unwrap().modified().unwrap();
                file.write_at(b"x", 0).unwrap();
                file.set_modified(mtime).unwrap();
            },
        ];
        for change in changes {
            let fixture = Fixture::new(b"abc");
            assert_eq!(fixture.check(), Freshness::Current);
            let_the_clock_tick();
            change(&fixture.writer());
            assert_eq!(fixture.check(), Freshness::Changed);
        }
    }

    #[test]
    fn changes_around_the_content_are_not_changes_of_it() {
        let fixture = Fixture::new(b"abc");
        let other = fixture.folder.path().join("other.raw");
        let steps: [&dyn Fn(); 4] = [
            &|| fs::hard_link(fixture.path(), &other).unwrap(),
            &|| fs::remove_file(&other).unwrap(),
            &|| fs::rename(fixture.path(), &other).unwrap(),
            &|| fs::remove_file(&other).unwrap(),
        ];
        for step in steps {
            let_the_clock_tick();
            step();
            assert_eq!(fixture.check(), Freshness::Current);
            assert_eq!(fixture.check(), Freshness::Current);
        }
    }

    #[test]
    fn a_touch_is_a_change() {
        let fixture = Fixture::new(b"abc");
        let_the_clock_tick();
        fixture.writer().set_modified(SystemTime::now()).unwrap();
        assert_eq!(fixture.check(), Freshness::Changed);
    }

    #[test]
    fn reads_are_exact_or_fail() {
        let fixture = Fixture::new(b"abcdef");
        let mut buffer = [0; 4];
        fixture.source.read_exact_at(&mut buffer, 2).unwrap();
        assert_eq!(&buffer, b"cdef");
        let error = fixture.source.read_exact_at(&mut buffer, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn extents_are_those_of_the_file_system() {
        let fixture = Fixture::new(b"");
        let unit = 1 << 20;
        fixture.writer().set_len(4 * unit).unwrap();
        fixture
            .writer()
            .write_at(&vec![1; unit as usize], unit)
            .unwrap();
        let source =
            SourceFile::new(File::open(fixture.path()).unwrap().into(), &fixture.path()).unwrap();
        let data = Some(ByteRange::new(unit, 2 * unit));
        for _ in 0..2 {
            assert_eq!(source.next_data(0).unwrap(), data);
            assert_eq!(source.next_data(unit).unwrap(), data);
            let rest = Some(ByteRange::new(unit + 5, 2 * unit));
            assert_eq!(source.next_data(unit + 5).unwrap(), rest);
            assert_eq!(source.next_data(2 * unit).unwrap(), None);
            assert_eq!(source.next_data(9 * unit).unwrap(), None);
        }
    }
}
