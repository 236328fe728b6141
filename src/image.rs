//! One opened view: exact bytes of one version of a source, or an error.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;
use rustix::io::Errno;

use crate::catalog::{Catalog, Image};
use crate::source::{Freshness, SourceFile};
use crate::view::{Filled, View};

/// An opened view, shared by all who have it open.
#[derive(Debug)]
pub struct OpenImage {
    view: View<SourceFile>,
    stale: AtomicBool,
}

impl OpenImage {
    /// Opens the image in the version that was found.
    ///
    /// # Errors
    ///
    /// `ESTALE` where the source is another version by now; the file system's own.
    pub fn open(catalog: &Catalog, image: &Image) -> io::Result<Self> {
        let source = catalog.open_source(image)?;
        let layout = image.layout().map_err(io::Error::other)?;
        Ok(Self {
            view: View::new(layout, source),
            stale: AtomicBool::new(false),
        })
    }

    /// The bytes of the view, without the promise that they are all of one version: call
    /// [`OpenImage::check`] after using them.
    pub fn view(&self) -> &View<SourceFile> {
        &self.view
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
