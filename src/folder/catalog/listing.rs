//! The entries of one folder: all of them at one moment, or one of them asked for by name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::{Catalog, Directory, Found, Skip, contents};
use crate::folder::beneath;
use crate::folder::metadata::Metadata;
use crate::folder::missing;
use crate::folder::names::{self, Claim, Siblings};

/// The names that a folder held at one moment, in the order of their bytes.
///
/// What an entry is and how it is called is found out when it is asked for, one by one.
#[derive(Debug)]
pub struct Listing {
    directory: Arc<Directory>,
    handle: OwnedFd,
    names: Vec<OsString>,
}

impl Listing {
    pub(super) fn read(
        directory: Arc<Directory>,
        handle: OwnedFd,
        only: Option<&OsStr>,
    ) -> io::Result<Self> {
        let mut names = match only {
            Some(name) => vec![name.to_owned()],
            None => beneath::entry_names(&handle)?,
        };
        names.sort_unstable();
        Ok(Self {
            directory,
            handle,
            names,
        })
    }

    /// Number of entries, whether they appear or not.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the folder held nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The folder.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Name of the entry at `index` in the source folder.
    pub fn name(&self, index: usize) -> Option<&OsStr> {
        self.names.get(index).map(OsString::as_os_str)
    }

    /// What the entry at `index` is now: each of its views, with the name under which it appears, or
    /// why it does not. All but files that hold several disks have one. An `index` at or behind
    /// [`Listing::len`] counts as vanished.
    pub fn entries(
        &self,
        catalog: &Catalog,
        index: usize,
    ) -> impl Iterator<Item = Result<(OsString, Found), Skip>> {
        let examined = match self.names.get(index) {
            Some(name) => catalog.examine(&self.directory, self.handle.as_fd(), name),
            None => Err(missing::not_found().into()),
        };
        let (found, skip) = match examined {
            Ok(found) => (Some(found), None),
            Err(skip) => (None, Some(skip)),
        };
        let views = found.into_iter().flat_map(move |found| {
            (0..found.count()).map(move |disk| {
                let found = found.with_disk(disk)?;
                let siblings = ListedSiblings {
                    listing: self,
                    catalog,
                };
                let (number, claim) = (found.disk_number(), found.claim());
                let view = names::view_name(&self.names[index], number, claim, &siblings)?;
                Ok((view, found))
            })
        });
        skip.map(Err).into_iter().chain(views)
    }

    /// A better reason why the entry at `index` does not appear: if nothing selects it, its
    /// content may say that selecting it would not help.
    pub fn explain(&self, index: usize, skip: Skip) -> Skip {
        if !matches!(skip, Skip::Unselected | Skip::NotContainer) {
            return skip;
        }
        let format = self.name(index).and_then(|name| {
            let file = beneath::open_entry(self.handle.as_fd(), name).ok()?;
            let metadata = Metadata::of(file.as_fd()).ok()?;
            super::format_of(file, metadata.version.size).ok()
        });
        format.and_then(contents::refusal).unwrap_or(skip)
    }

    fn contains(&self, name: &OsStr) -> bool {
        let found = self
            .names
            .binary_search_by(|other| other.as_os_str().cmp(name));
        found.is_ok()
    }
}

struct ListedSiblings<'a> {
    listing: &'a Listing,
    catalog: &'a Catalog,
}

impl Siblings for ListedSiblings<'_> {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        let listing = self.listing;
        if !listing.contains(name) {
            return None;
        }
        let found = self
            .catalog
            .examine(&listing.directory, listing.handle.as_fd(), name);
        claim_of(name, &found)
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        // All names that begin with the stem and a dot stand together.
        let mut prefix = stem.to_owned();
        prefix.push(".");
        let names = &self.listing.names;
        let first = names.partition_point(|name| *name < prefix);
        names[first..]
            .iter()
            .take_while(|name| name.as_bytes().starts_with(prefix.as_bytes()))
            .filter(|name| names::stem(name) == stem)
            .cloned()
            .collect()
    }
}

/// A folder of which single entries are asked for, without reading it.
pub(super) struct LiveSiblings<'a> {
    catalog: &'a Catalog,
    directory: &'a Arc<Directory>,
    handle: OwnedFd,
    examined: RefCell<HashMap<OsString, Result<Found, Skip>>>,
}

impl<'a> LiveSiblings<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        directory: &'a Arc<Directory>,
        handle: OwnedFd,
    ) -> Self {
        Self {
            catalog,
            directory,
            handle,
            examined: RefCell::default(),
        }
    }

    /// What appears under `view`; a skip for `NotFound` if nothing does.
    pub(super) fn find(self, view: &OsStr) -> Result<Found, Skip> {
        let gone = || Err(missing::not_found().into());
        let Some((name, number, _)) = names::source_of(view, &self) else {
            return gone();
        };
        let found = self.examined.into_inner().remove(&name);
        let index = number.map_or(0, |number| number as usize - 1);
        found.unwrap_or_else(gone)?.with_disk(index)
    }
}

impl Siblings for LiveSiblings<'_> {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        if let Some(found) = self.examined.borrow().get(name) {
            return claim_of(name, found);
        }
        let found = self
            .catalog
            .examine(self.directory, self.handle.as_fd(), name);
        let claim = claim_of(name, &found);
        self.examined.borrow_mut().insert(name.to_owned(), found);
        claim
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        names::spellings(stem, self.catalog.options.selection.may_select_xz())
            .filter(|name| beneath::entry_metadata(self.handle.as_fd(), name).is_ok())
            .collect()
    }
}

/// An entry that cannot be read keeps its claim, so that its failure renames no other.
fn claim_of(name: &OsStr, found: &Result<Found, Skip>) -> Option<Claim> {
    match found {
        Ok(found) => Some(found.claim()),
        Err(skip @ Skip::Unreadable(_)) if !skip.is_gone() => {
            Some(if crate::folder::select::has_vhd_extension(name) {
                Claim::Own
            } else {
                Claim::Derived
            })
        }
        Err(_) => None,
    }
}
