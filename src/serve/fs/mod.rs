//! The file system in our own terms: lookup, attributes, listing, opening, reading. No FUSE here.

mod activity;
mod alarm;
mod attributes;
mod error;
mod inodes;
mod open;
mod rate;

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, LazyLock};

use log::warn;
use rustix::io::Errno;
use sharded_slab::Slab;

use crate::folder::catalog::{Catalog, Directory, Found, Listing, Skip};
use crate::serve::image::{OpenImage, Opening};
use disk::ByteRange;
use sys::memory;
use vhd::view::Filled;

pub use activity::{Activity, OpenView, Reader, Totals, ViewState};
use alarm::Alarm;
pub use attributes::{Attributes, Ownership};
pub use error::Error;
pub use inodes::ROOT;
use inodes::{Inodes, Node};
use open::OpenImages;

/// One entry of a listing.
#[derive(Debug)]
pub struct DirectoryEntry<'a> {
    /// Where the listing goes on behind this entry.
    pub next: u64,
    /// Its name.
    pub name: &'a OsStr,
    /// Its attributes; of `.` and `..` only inode and kind mean anything.
    pub attributes: Attributes,
}

/// Largest hole that is answered without filling a buffer, in bytes; as large as the largest read
/// that FUSE kernels send by default.
const ZEROS_SIZE: usize = 1 << 20;

/// Pages that were written: the kernel would back others with its one page of zeros, and hand each of
/// those to FUSE the slow way (`get_user_pages`), at three quarters of the speed.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut zeros = vec![1; ZEROS_SIZE];
    std::hint::black_box(&mut zeros).fill(0);
    zeros
});

/// The mounted tree.
#[derive(Debug)]
pub struct FileSystem {
    catalog: Catalog,
    ownership: Ownership,
    inodes: Inodes,
    images: OpenImages,
    listings: Slab<Arc<Listing>>,
    shortage: Alarm,
}

impl FileSystem {
    /// Presents what `catalog` finds, opened as `opening` has it.
    ///
    /// # Errors
    ///
    /// Where the source folder cannot be looked at.
    pub fn new(catalog: Catalog, ownership: Ownership, opening: Opening) -> Result<Self, Error> {
        Ok(Self {
            inodes: Inodes::new(catalog.root()?),
            catalog,
            ownership,
            images: OpenImages::new(opening),
            listings: Slab::new(),
            shortage: Alarm::default(),
        })
    }

    /// The tree below.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Finds the entry `name` of a folder. The kernel is told of its inode until it forgets it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where nothing appears under that name.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attributes, Error> {
        let directory = self.directory(parent)?;
        let found = self.catalog.lookup(&directory, name).map_err(Error::from);
        let found = self.shortage.watch(found)?;
        let inode = self.shortage.watch(self.inodes.remember(&found))?;
        Ok(self.ownership.attributes(&found, inode))
    }

    /// The kernel dropped `count` references to an inode.
    pub fn forget(&self, inode: u64, count: u64) {
        self.inodes.forget(inode, count);
    }

    /// Attributes of an inode. Those of a view never change, because another version of its source
    /// is another inode.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where a folder is gone.
    pub fn attributes(&self, inode: u64) -> Result<Attributes, Error> {
        match self.node(inode)? {
            Node::Directory(directory) => {
                let metadata = self.catalog.directory_metadata(&directory)?;
                Ok(self.ownership.of_directory(&metadata, inode))
            }
            Node::Image(image) => Ok(self.ownership.of_image(&image, inode)),
        }
    }

    /// What is open and was read.
    pub fn activity(&self) -> &Arc<Activity> {
        self.images.activity()
    }

    /// Opens a view for the process `pid`.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where the source is another version by now: looking the name up again
    /// finds that.
    pub fn open(&self, inode: u64, pid: u32) -> Result<Opened, Error> {
        let Node::Image(image) = self.node(inode)? else {
            return Err(Error::IsADirectory);
        };
        let opened = self.images.open(&self.catalog, inode, &image, pid);
        let (handle, image) = self.shortage.watch(opened)?;
        // Also of what bypasses the cache: a mapping may bring it there nevertheless.
        let may_keep = self.inodes.may_keep_cache(inode, image.keeps_its_version());
        let cache = match (image.is_settled(), may_keep) {
            (false, _) => Cache::Bypass,
            (true, true) => Cache::Keep,
            (true, false) => Cache::Renew,
        };
        Ok(Opened {
            handle,
            image,
            cache,
        })
    }

    /// From now on the kernel serves this handle of [`FileSystem::open`] without asking.
    pub fn passed_through(&self, handle: u64) {
        if let Some(handle) = self.images.get(handle) {
            handle.activity.passed_through();
        }
    }

    /// Closes a handle of [`FileSystem::open`].
    pub fn release(&self, handle: u64) {
        self.images.release(handle);
    }

    /// The bytes of an open view from `offset` on: `size` of them, or what is left before the end.
    /// They are in `buffer`, which only ever grows, or in memory that is always zero.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where the source has changed since it was opened; the source's own error;
    /// [`Error::OutOfMemory`] where the buffer cannot grow.
    pub fn read<'a>(
        &self,
        handle: u64,
        offset: u64,
        size: u32,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Error> {
        let handle = self.images.get(handle).ok_or(Error::BadHandle)?;
        let result = Self::read_image(&handle.image, offset, size, buffer);
        match &result {
            Ok(bytes) => handle.activity.delivered(offset, bytes.len()),
            Err(error) => handle.activity.failed(error),
        }
        result
    }

    fn read_image<'a>(
        image: &OpenImage,
        offset: u64,
        size: u32,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Error> {
        let within = ByteRange::new(0, image.size());
        let length = ByteRange::at(offset, size.into()).intersect(within).len() as usize;
        if buffer.len() < length {
            buffer.try_reserve_exact(length - buffer.len())?;
            buffer.resize(length, 0);
        }
        match image.read(&mut buffer[..length], offset)? {
            Filled::Zeros if length <= ZEROS_SIZE => Ok(&ZEROS[..length]),
            Filled::Zeros => {
                buffer[..length].fill(0);
                Ok(&buffer[..length])
            }
            Filled::Data => Ok(&buffer[..length]),
        }
    }

    /// Offset of the next data or hole of an open view, for `whence` `SEEK_DATA` or `SEEK_HOLE`.
    ///
    /// # Errors
    ///
    /// [`Error::NothingThere`] where there is none; [`Error::Invalid`] for another `whence`.
    pub fn seek(&self, handle: u64, offset: i64, whence: i32) -> Result<u64, Error> {
        let image = &self.images.get(handle).ok_or(Error::BadHandle)?.image;
        let offset = u64::try_from(offset).map_err(|_| Error::NothingThere)?;
        let place = match whence {
            libc::SEEK_DATA => image.seek_data(offset)?,
            libc::SEEK_HOLE => image.seek_hole(offset)?,
            _ => return Err(Error::Invalid),
        };
        place.ok_or(Error::NothingThere)
    }

    /// Opens a folder for listing: its entries as they are now; answers a handle.
    ///
    /// # Errors
    ///
    /// The source folder's own.
    pub fn open_directory(&self, inode: u64) -> Result<u64, Error> {
        let directory = self.directory(inode)?;
        let listing = self.catalog.list(&directory).map_err(Error::from);
        let listing = Arc::new(self.shortage.watch(listing)?);
        let handle = self.listings.insert(listing).ok_or(Error::TooManyOpen)?;
        Ok(handle as u64)
    }

    /// Closes a handle of [`FileSystem::open_directory`].
    pub fn release_directory(&self, handle: u64) {
        self.listings.take(handle as usize);
    }

    /// Hands the entries from `offset` on to `take` until it answers that it is full. With
    /// `remember`, the kernel is told of the inode of each that was taken but `.` and `..`.
    ///
    /// # Errors
    ///
    /// Where nothing can be listed for now; an entry that cannot be read is left out.
    pub fn read_directory(
        &self,
        inode: u64,
        handle: u64,
        offset: u64,
        remember: bool,
        mut take: impl FnMut(DirectoryEntry<'_>) -> Taken,
    ) -> Result<(), Error> {
        let listing = self
            .listings
            .get(handle as usize)
            .ok_or(Error::BadHandle)?
            .clone();
        let mut next = offset;
        let above = listing.directory().parent();
        let above = above.map_or(ROOT, |above| inodes::number_of_directory(above));
        let dots = [(".", inode), ("..", above)];
        for (name, inode) in dots.into_iter().skip(offset.min(2) as usize) {
            next += 1;
            let attributes = Attributes::of_dot(inode);
            let name = OsStr::new(name);
            if take(DirectoryEntry {
                next,
                name,
                attributes,
            }) == Taken::Full
            {
                return Ok(());
            }
        }
        let mut took_any = offset < 2;
        let mut place = Place::of_offset(next.max(2));
        while place.index < listing.len() {
            let entry = self.listed(&listing, place);
            place = entry.next;
            let (name, found) = match entry.entry {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                // The next call begins with this entry and reports the error.
                Err(_) if took_any => return Ok(()),
                Err(error) => return Err(error),
            };
            let inode = match remember.then(|| self.inodes.remember(&found)) {
                Some(Ok(inode)) => inode,
                None => inodes::number_of(&found),
                Some(Err(_)) if took_any => return Ok(()),
                Some(Err(error)) => return self.shortage.watch(Err(error)),
            };
            let attributes = self.ownership.attributes(&found, inode);
            if take(DirectoryEntry {
                next: place.offset(),
                name: &name,
                attributes,
            }) == Taken::Full
            {
                if remember {
                    self.inodes.forget(inode, 1);
                }
                return Ok(());
            }
            took_any = true;
        }
        Ok(())
    }

    /// The view at a place of a listing, and the next place.
    fn listed(&self, listing: &Listing, place: Place) -> Listed {
        let mut views = listing.entries(&self.catalog, place.index).skip(place.disk);
        let view = views.next();
        Listed {
            next: match views.next() {
                Some(_) if place.disk + 1 < Place::DISKS => Place {
                    disk: place.disk + 1,
                    ..place
                },
                _ => Place {
                    index: place.index + 1,
                    disk: 0,
                },
            },
            entry: view.map_or(Ok(None), |view| self.shown(listing, place.index, view)),
        }
    }

    /// The entry of a listing; `None` if it does not appear. Running out of descriptors or
    /// memory is an error, because leaving entries out would be a loss.
    fn shown(
        &self,
        listing: &Listing,
        index: usize,
        view: Result<(OsString, Found), Skip>,
    ) -> Result<Option<(OsString, Found)>, Error> {
        let skip = match view {
            Ok(entry) => return Ok(Some(entry)),
            Err(skip) => skip,
        };
        let Some(failure) = skip.into_failure() else {
            return Ok(None);
        };
        if matches!(
            Errno::from_io_error(&failure),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
        ) {
            return self.shortage.watch(Err(failure.into()));
        }
        let name = listing.name(index).unwrap_or_default();
        let path = listing.directory().shown_path().join(name);
        warn!(
            "{}: does not appear: {}",
            path.display(),
            Skip::Unreadable(failure)
        );
        Ok(None)
    }

    /// What an inode stands for. Reading what is open needs nothing more than it has; everything
    /// else begins here, and needs memory.
    fn node(&self, inode: u64) -> Result<Node, Error> {
        if let Err(error) = memory::set_aside() {
            return self.shortage.watch(Err(io::Error::from(error).into()));
        }
        self.inodes.get(inode).ok_or(Error::Stale)
    }

    fn directory(&self, inode: u64) -> Result<Arc<Directory>, Error> {
        match self.node(inode)? {
            Node::Directory(directory) => Ok(directory),
            Node::Image(_) => Err(Error::NotADirectory),
        }
    }
}

/// A place in a listing, as an offset that the kernel gives back: entry and disk of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    index: usize,
    disk: usize,
}

/// What is at a place of a listing.
struct Listed {
    entry: Result<Option<(OsString, Found)>, Error>,
    next: Place,
}

impl Place {
    /// Number of disks of one entry that an offset can tell apart.
    const DISKS: usize = 1 << 8;

    /// Offsets 0 and 1 are those of `.` and `..`.
    fn of_offset(offset: u64) -> Self {
        let place = offset.saturating_sub(2);
        Self {
            index: (place / Self::DISKS as u64) as usize,
            disk: (place % Self::DISKS as u64) as usize,
        }
    }

    fn offset(self) -> u64 {
        2 + self.index as u64 * Self::DISKS as u64 + self.disk as u64
    }
}

/// A view that was opened.
#[derive(Debug)]
pub struct Opened {
    /// What it is called from now on.
    pub handle: u64,
    /// Its bytes.
    pub image: Arc<OpenImage>,
    /// What the kernel may cache of it.
    pub cache: Cache,
}

/// What the kernel may cache of a view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cache {
    /// What is read from now on, and what was read through earlier opens.
    Keep,
    /// What is read from now on.
    Renew,
    /// Nothing: it is not proven to be of one version.
    Bypass,
}

/// What became of an entry that was handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It was taken, and there may be room for more.
    Yes,
    /// There was no room for it.
    Full,
}
