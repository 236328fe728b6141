//! One opened view: exact bytes of one version of a source, or an error.

mod snapshot;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;
use rustix::io::Errno;

use crate::catalog::{Catalog, Image};
use crate::layout::Origin;
use crate::range::ByteRange;
use crate::source::{Freshness, SourceFile};
use crate::view::{Filled, View};

pub use snapshot::{Policy, SnapshotError, Snapshots};

/// Where the bytes of an opened view come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// The source itself, checked for changes at every read.
    Direct,
    /// A clone of the source, which nothing changes.
    Snapshot,
}

/// An opened view, shared by all who have it open.
#[derive(Debug)]
pub struct OpenImage {
    view: View<SourceFile>,
    engine: Engine,
    stale: AtomicBool,
}

impl OpenImage {
    /// Opens the image in the version that was found.
    ///
    /// # Errors
    ///
    /// `ESTALE` where the source is another version by now; the file system's own; where
    /// `snapshots` demands a snapshot, why there is none.
    pub fn open(catalog: &Catalog, image: &Image, snapshots: &Snapshots) -> io::Result<Self> {
        let source = catalog.open_source(image)?;
        let layout = image.layout().map_err(io::Error::other)?;
        let clone = snapshots.take(&source, &layout, || catalog.open_folder_of(image));
        let clone = clone.map_err(|error| {
            if !matches!(error, SnapshotError::Changed) {
                warn!(
                    "{}: cannot be opened: no snapshot: {error}",
                    source.path().display()
                );
            }
            io::Error::from(error.errno())
        })?;
        let (source, engine) = match clone {
            // The clone has the body at the same offsets, so the same layout fits.
            Some(clone) => (SourceFile::new(clone, source.path())?, Engine::Snapshot),
            None => (source, Engine::Direct),
        };
        Ok(Self {
            view: View::new(layout, source),
            engine,
            stale: AtomicBool::new(false),
        })
    }

    /// Where the bytes come from.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// A file that holds the whole view, which the kernel may serve by itself.
    pub fn whole_file(&self) -> Option<BorrowedFd<'_>> {
        (self.engine == Engine::Snapshot).then(|| self.view.source().as_fd())
    }

    /// The file that holds the source's bytes, at the offsets that they have in the view.
    pub fn body(&self) -> BorrowedFd<'_> {
        self.view.source().as_fd()
    }

    /// The bytes from `offset` on that [`OpenImage::body`] holds; empty where others stand there.
    pub fn body_at(&self, offset: u64) -> ByteRange {
        let rest = ByteRange::new(offset, self.size());
        let piece = self.view.layout().pieces(rest).next();
        let piece = piece.filter(|piece| piece.origin == Origin::Source);
        piece.map_or(ByteRange::new(offset, offset), |piece| piece.range)
    }

    /// Size of the view in bytes.
    pub fn size(&self) -> u64 {
        self.view.layout().view_size()
    }

    /// Reads the bytes of the view that begin at `offset` into the whole of `buffer`.
    ///
    /// # Errors
    ///
    /// `ESTALE` where the source has changed since it was opened; the source's own error. The
    /// bytes in `buffer` mean nothing then.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<Filled> {
        self.guarded(|| self.view.read(buffer, offset))
    }

    /// Finds the next data at or behind `offset`; see [`View::seek_data`].
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::read`].
    pub fn seek_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.guarded(|| self.view.seek_data(offset))
    }

    /// Finds the next hole at or behind `offset`; see [`View::seek_hole`].
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::read`].
    pub fn seek_hole(&self, offset: u64) -> io::Result<Option<u64>> {
        self.guarded(|| self.view.seek_hole(offset))
    }

    /// Fails where the source has changed since it was opened.
    ///
    /// # Errors
    ///
    /// `ESTALE` then, and for good.
    pub fn check(&self) -> io::Result<()> {
        if self.engine == Engine::Snapshot {
            return Ok(());
        }
        let stale = self.stale.load(Ordering::Acquire);
        if !stale && self.view.source().check()? == Freshness::Current {
            return Ok(());
        }
        if !self.stale.swap(true, Ordering::AcqRel) {
            let path = self.view.source().path();
            warn!(
                "{}: changed while it was open; reads of it now fail with ESTALE",
                path.display()
            );
        }
        Err(Errno::STALE.into())
    }

    /// Looks at the version after the bytes were taken and before anybody gets them. A change also
    /// explains an error, such as a read behind the new end.
    fn guarded<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = operation();
        self.check()?;
        result
    }
}
