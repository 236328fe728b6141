//! Finding out what an entry of the source folder is: an image, a folder, or why neither.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::Location;
use super::{Catalog, Directory, Found, Image, Skip};
use crate::folder::beneath::{self, Target};
use crate::folder::metadata::Kind;
use crate::folder::missing;
use crate::folder::select::{self, Verdict};
use vhd::layout::{Layout, LayoutError};

/// How often an entry is looked at that becomes shorter while its contents are read.
const TRIES: usize = 4;

impl Catalog {
    /// Finds out what the entry `name` of an open folder is.
    pub(super) fn examine(
        &self,
        directory: &Arc<Directory>,
        handle: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Found, Skip> {
        for _ in 0..TRIES {
            match self.examine_once(directory, handle, name) {
                Err(skip) if skip.is_cut_short() => {}
                found => return found,
            }
        }
        Err(missing::stale().into())
    }

    fn examine_once(
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
                if self.own_device.get() == Some(&image.metadata.version.device) {
                    return Err(Skip::OwnMount);
                }
                if image.directory.is_within(&image.metadata) {
                    return Err(Skip::LinkBroken);
                }
                let metadata = self.readable(&image, handle);
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
        for entry in listing.entries(self, 0) {
            let (name, found) = entry?;
            if name == view {
                return Ok(found);
            }
        }
        Err(missing::not_found().into())
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
        self.look_into(&mut image, |image| match (handle, &image.location) {
            (Some(handle), Location::Entry) => beneath::open_entry(handle, &image.name),
            _ => self.open_image(image),
        })?;
        image.min_size = self.options.min_size;
        if verdict == Verdict::Container && image.contents.is_raw_inside() {
            return Err(Skip::NotContainer);
        }
        if image.contents.disk_count() == 1 {
            Layout::checked_virtual_size(image.disk_size())?;
        }
        image.given_up = self.number_given_up(&image);
        image.metadata = self.readable(&image, handle);
        Ok(Found::Image(image))
    }
}
