//! Modes that let nobody read more in the mount than in the source folder.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::chain::Further;
use super::{Catalog, Directory, Image, Location};
use crate::folder::acl;
use crate::folder::beneath;
use crate::folder::metadata::Metadata;

impl Catalog {
    /// The attributes of a folder with the mode that says who may read it.
    pub(super) fn readable_directory(&self, directory: &Directory, metadata: Metadata) -> Metadata {
        let metadata = self.without_acl_bits(metadata, || self.folder.acl(&directory.real));
        match &directory.parent {
            Some(parent) => self.through_folders(metadata, &directory.real, &parent.real),
            None => metadata,
        }
    }

    /// The attributes with the mode that says who may read the entry.
    pub(super) fn readable(&self, image: &Image, handle: Option<BorrowedFd<'_>>) -> Metadata {
        let metadata = self.without_acl_bits(image.metadata, || self.acl_of(image, handle));
        let metadata = match &image.location {
            Location::Linked(path) => self.through_folders(metadata, path, &image.directory.real),
            _ => metadata,
        };
        let further = image.contents.further().iter();
        further.fold(metadata, |metadata, further| {
            self.through_further(metadata, further, &image.directory.real)
        })
    }

    /// Takes from the mode of an image that is shown in the folder at `shown_in` what one of its further
    /// files withholds: who may not read that reads none of its bytes here.
    fn through_further(
        &self,
        mut metadata: Metadata,
        further: &Further,
        shown_in: &Path,
    ) -> Metadata {
        if !self.respects_acls {
            return metadata;
        }
        let mut found = self.without_acl_bits(further.metadata, || self.folder.acl(&further.real));
        // Reading one is like passing a folder.
        found.mode = found.mode >> 2 & 0o111;
        metadata.mode = acl::behind(&metadata, &found);
        self.through_folders(metadata, &further.real, shown_in)
    }

    /// Takes from the mode of what is at `path`, and is shown in the folder at `shown_in`, what the
    /// folders on the way there withhold, as far as that is another way.
    fn through_folders(&self, mut metadata: Metadata, path: &Path, shown_in: &Path) -> Metadata {
        if !self.respects_acls || path.parent() == Some(shown_in) {
            return metadata;
        }
        let on_the_way = path.ancestors().skip(1);
        for folder in on_the_way.filter(|folder| !shown_in.starts_with(folder)) {
            metadata.mode = match self.folder.metadata(folder) {
                Ok(found) => {
                    let found = self.without_acl_bits(found, || self.folder.acl(folder));
                    acl::behind(&metadata, &found)
                }
                Err(_) => metadata.mode & !0o777,
            };
        }
        metadata
    }

    /// The attributes with what is left of the mode after the access control list, if that
    /// matters. A list that cannot be read grants nothing.
    fn without_acl_bits(
        &self,
        mut metadata: Metadata,
        list: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
    ) -> Metadata {
        // Another list is another status-change time, and so another version of a file.
        if self.respects_acls && metadata.mode & 0o077 != 0 {
            match list() {
                Ok(None) => {}
                Ok(Some(list)) => metadata.mode = acl::restrict(metadata.mode, &list),
                Err(_) => metadata.mode &= !0o077,
            }
        }
        metadata
    }

    fn acl_of(&self, image: &Image, handle: Option<BorrowedFd<'_>>) -> io::Result<Option<Vec<u8>>> {
        match (&image.location, handle) {
            (Location::Entry, Some(handle)) => beneath::entry_acl(handle, &image.name),
            (Location::Entry, None) => self.folder.acl(&image.real_path()),
            (Location::Linked(path), _) => self.folder.acl(path),
            (Location::Device(path), _) => beneath::path_acl(path),
        }
    }
}
