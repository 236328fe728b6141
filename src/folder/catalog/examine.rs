//! Finding out what an entry of the source folder is: an image, a folder, or why neither.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::warn;
use lru::LruCache;
use rustix::io::Errno;

use super::entry::Location;
use super::{Catalog, Directory, Found, Image, Skip};
use crate::folder::beneath::{self, Target};
use crate::folder::metadata::{Kind, Metadata, Version};
use crate::folder::select::{self, Verdict};
use crate::folder::source;
use vhd::format::{Format, HEAD_SIZE, TAIL_SIZE};
use vhd::layout::{Layout, LayoutError};

impl Catalog {
    /// Finds out what the entry `name` of an open folder is.
    pub(super) fn examine(
        &self,
        directory: &Arc<Directory>,
        handle: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Found, Skip> {
        if let Some((only, location)) = &self.only {
            return self.examine_single(directory, only, location);
        }
        if select::is_hidden(name) {
            return Err(Skip::Hidden);
        }
        let shown = directory.shown.join(name);
        if self.options.selection.excludes(&shown) {
            return Err(Skip::Excluded);
        }
        let metadata = beneath::entry_metadata(handle, name)?;
        if metadata.kind != Kind::Link {
            let image = Image::new(directory, name, Location::Entry, metadata);
            return self.examine_target(image, shown, directory.real.join(name), Some(handle));
        }
        match self.folder.follow(&directory.real.join(name))? {
            Target::Inside(path, metadata) => {
                let location = match metadata.kind {
                    Kind::BlockDevice => Location::Device(path.clone()),
                    _ => Location::Linked(path.clone()),
                };
                let image = Image::new(directory, name, location, metadata);
                self.examine_target(image, shown, path, None)
            }
            Target::Outside => Err(Skip::LinkOutside),
            Target::Broken => Err(Skip::LinkBroken),
        }
    }

    fn examine_target(
        &self,
        image: Image,
        shown: PathBuf,
        real: PathBuf,
        handle: Option<BorrowedFd<'_>>,
    ) -> Result<Found, Skip> {
        match image.metadata.kind {
            Kind::Directory => {
                if image.directory.is_within(&image.metadata) {
                    return Err(Skip::LinkBroken);
                }
                let metadata = self.heed(&image, handle);
                let directory = Directory::new(shown, real, &metadata, Some(image.directory));
                Ok(Found::Directory(Arc::new(directory), metadata))
            }
            Kind::File => self.examine_image(image, self.options.selection.of_file(&shown), handle),
            Kind::BlockDevice if !self.options.allow_devices => Err(Skip::Device),
            Kind::BlockDevice => {
                self.examine_image(image, self.options.selection.of_file(&shown), handle)
            }
            Kind::Link | Kind::Other => Err(Skip::Special),
        }
    }

    fn examine_single(
        &self,
        directory: &Arc<Directory>,
        name: &OsStr,
        location: &Location,
    ) -> Result<Found, Skip> {
        let metadata = match location {
            Location::Linked(path) => self.folder.metadata(path)?,
            _ => self.folder.metadata(Path::new(""))?,
        };
        let mut image = Image::new(directory, name, location.clone(), metadata);
        if matches!(location, Location::Device(_)) {
            if !self.options.allow_devices {
                return Err(Skip::Device);
            }
            image.metadata.kind = Kind::BlockDevice;
        } else if metadata.kind != Kind::File {
            return Err(Skip::Special);
        }
        let verdict = self.options.selection.of_named_file(Path::new(name));
        self.examine_image(image, verdict, None)
    }

    pub(super) fn lookup_single(
        &self,
        directory: &Arc<Directory>,
        view: &OsStr,
    ) -> Result<Found, Skip> {
        let listing = self.list(directory)?;
        let (name, found) = listing.entry(self, 0)?;
        if name == view {
            Ok(found)
        } else {
            Err(io::Error::from(Errno::NOENT).into())
        }
    }

    fn examine_image(
        &self,
        mut image: Image,
        verdict: Verdict,
        handle: Option<BorrowedFd<'_>>,
    ) -> Result<Found, Skip> {
        match verdict {
            Verdict::Unselected => return Err(Skip::Unselected),
            Verdict::Excluded => return Err(Skip::Excluded),
            Verdict::Compressed => return Err(Skip::Compressed),
            Verdict::Image | Verdict::Container => {}
        }
        if image.metadata.version.size == 0 && image.metadata.kind == Kind::File {
            return Err(LayoutError::Empty.into());
        }
        self.detect_format(&mut image, handle)?;
        image.min_size = self.options.min_size;
        match image.format {
            Format::Raw if verdict == Verdict::Container => return Err(Skip::NotContainer),
            Format::Raw => Layout::checked_virtual_size(image.metadata.version.size).map(drop)?,
            Format::FixedVhd => {}
            other => return Err(Skip::Format(other)),
        }
        image.metadata = self.heed(&image, handle);
        Ok(Found::Image(image))
    }

    /// Fills in the format, from memory where this version was looked at before.
    fn detect_format(&self, image: &mut Image, handle: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let is_file = image.metadata.kind == Kind::File;
        if is_file && let Some(format) = self.formats().get(&image.metadata.version) {
            image.format = *format;
            return Ok(());
        }
        let file = match (handle, &image.location) {
            (Some(handle), Location::Entry) => beneath::open_entry(handle, &image.name)?,
            _ => self.open_image(image)?,
        };
        // The entry may have been replaced since: go on with what was opened.
        image.metadata = Metadata::of(file.as_fd())?;
        image.format = sniff(file.as_fd(), image.metadata.version.size)?;
        // Another request may have looked at the same version meanwhile, and told the log. A device
        // is of one version whatever is written to it.
        let known = self.formats().put(image.metadata.version, image.format);
        let is_new = known != Some(image.format);
        if is_new && self.options.log_skipped && !image.format.is_presentable() {
            let path = image.shown_path();
            warn!(
                "{}: does not appear: {}",
                path.display(),
                Skip::Format(image.format)
            );
        }
        Ok(())
    }

    fn formats(&self) -> parking_lot::MutexGuard<'_, LruCache<Version, Format>> {
        self.formats.lock()
    }
}

/// Tells the format of an opened file of `size` bytes from its first and last sector.
///
/// # Errors
///
/// The file system's own; `UnexpectedEof` where the file is shorter by now.
pub fn sniff(file: BorrowedFd<'_>, size: u64) -> io::Result<Format> {
    let mut head = [0; HEAD_SIZE];
    let head = &mut head[..size.min(HEAD_SIZE as u64) as usize];
    source::read_exact_at(file, head, 0)?;
    let mut tail = [0; TAIL_SIZE];
    let tail = &mut tail[..size.min(TAIL_SIZE as u64) as usize];
    source::read_exact_at(file, tail, size - tail.len() as u64)?;
    Ok(Format::detect(head, tail, size))
}
