//! The operations on inodes and handles: look-up, attributes, opening, reading.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, LazyLock};

use sharded_slab::Slab;

use super::alarm::Alarm;
use super::inodes::{Inodes, Node};
use super::losses::Losses;
use super::open::OpenImages;
use super::{Activity, Attributes, Error, Ownership};
use crate::folder::catalog::{Catalog, Directory, Listing};
use crate::serve::image::{OpenImage, Opening};
use disk::ByteRange;
use sys::memory;
use vhd::view::Filled;

/// Largest hole that is replied to without filling a buffer, in bytes; as large as the largest read
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
    pub(super) catalog: Catalog,
    pub(super) ownership: Ownership,
    pub(super) inodes: Inodes,
    images: OpenImages,
    pub(super) listings: Slab<Arc<Listing>>,
    pub(super) losses: Losses,
    pub(super) shortage: Alarm,
}

impl FileSystem {
    /// Presents what `catalog` finds, opened according to `opening`.
    ///
    /// # Errors
    ///
    /// If the source folder cannot be looked at.
    pub fn new(catalog: Catalog, ownership: Ownership, opening: Opening) -> Result<Self, Error> {
        let images = OpenImages::new(opening);
        let kept = images.waker();
        catalog.listen(move || kept.wake());
        Ok(Self {
            inodes: Inodes::new(catalog.root()?),
            catalog,
            ownership,
            images,
            listings: Slab::new(),
            losses: Losses::default(),
            shortage: Alarm::default(),
        })
    }

    /// The tree below.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Finds the entry `name` of a folder. The kernel holds a reference to its inode until it forgets it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if nothing appears under that name.
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
    /// [`Error::Stale`] if a folder is gone.
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
    /// [`Error::Stale`] if the source is another version by now: looking the name up again
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

    /// Looks up who opened this handle of [`FileSystem::open`]: no part of opening, because it takes as long as
    /// half of that.
    pub fn look_up_reader(&self, handle: u64) {
        if let Some(handle) = self.images.get(handle) {
            handle.activity.look_up_reader();
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
    /// [`Error::Stale`] if the source has changed since it was opened; the source's own error;
    /// [`Error::OutOfMemory`] if the buffer cannot grow, or there is none for tables and decoders.
    pub fn read<'a>(
        &self,
        handle: u64,
        offset: u64,
        size: u32,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Error> {
        let handle = self.images.get(handle).ok_or(Error::BadHandle)?;
        let result = self
            .has_memory_for(&handle.image)
            .and_then(|()| Self::read_image(&handle.image, offset, size, buffer));
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
    /// [`Error::NothingThere`] if there is none; [`Error::Invalid`] for another `whence`.
    pub fn seek(&self, handle: u64, offset: i64, whence: i32) -> Result<u64, Error> {
        let image = &self.images.get(handle).ok_or(Error::BadHandle)?.image;
        self.has_memory_for(image)?;
        let offset = u64::try_from(offset).map_err(|_| Error::NothingThere)?;
        let place = match whence {
            libc::SEEK_DATA => image.seek_data(offset)?,
            libc::SEEK_HOLE => image.seek_hole(offset)?,
            _ => return Err(Error::Invalid),
        };
        place.ok_or(Error::NothingThere)
    }

    /// What an inode stands for. Reading what is open has a check of its own; everything else
    /// begins here, and needs memory.
    fn node(&self, inode: u64) -> Result<Node, Error> {
        self.has_memory()?;
        self.inodes.get(inode).ok_or(Error::Stale)
    }

    /// An image whose bytes lie in a file as they are is read with no more memory than it has.
    fn has_memory_for(&self, image: &OpenImage) -> Result<(), Error> {
        if image.is_flat() {
            return Ok(());
        }
        self.has_memory()
    }

    fn has_memory(&self) -> Result<(), Error> {
        let set_aside = memory::set_aside().map_err(io::Error::from);
        self.shortage.watch(set_aside.map_err(Error::from))
    }

    pub(super) fn directory(&self, inode: u64) -> Result<Arc<Directory>, Error> {
        match self.node(inode)? {
            Node::Directory(directory) => Ok(directory),
            Node::Image(_) => Err(Error::NotADirectory),
        }
    }
}

/// A view that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its handle.
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
