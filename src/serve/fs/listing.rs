//! Listing folders: entries with their inodes, from any offset on.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::inodes::{self, ROOT};
use super::{Attributes, Error, FileSystem};
use crate::folder::catalog::{Found, Listing, Skip};

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

/// What became of an entry that was handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It was taken, and there may be room for more.
    Yes,
    /// There was no room for it.
    Full,
}

impl FileSystem {
    /// Opens a folder for listing: its entries as they are now; returns a handle.
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

    /// Hands the entries from `offset` on to `take` until that returns [`Taken::Full`]. With
    /// `remember`, the kernel gets a reference to the inode of each that was taken but `.` and `..`.
    ///
    /// # Errors
    ///
    /// If nothing can be listed for now; an entry that cannot be read is left out.
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
        let name = listing.name(index).unwrap_or_default();
        let path = || listing.directory().shown_path().join(name);
        if skip.is_a_loss() && !skip.is_a_shortage() && self.losses.tell(&path(), &skip) {
            self.activity().skipped();
        }
        match skip.is_a_shortage().then(|| skip.into_failure()).flatten() {
            Some(failure) => self.shortage.watch(Err(failure.into())),
            None => Ok(None),
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
    /// Number of disks of one entry that an offset can distinguish.
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
