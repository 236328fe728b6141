//! The entries of one folder: all of them at one moment, or one of them asked for by name.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use super::{Catalog, Directory, Found, Skip, contents};
use crate::folder::beneath;
use crate::folder::case::{self, Comparison};
use crate::folder::metadata::Metadata;
use crate::folder::missing;
use crate::folder::names::{self, Claim, DiskNumber, Siblings};

/// The names that a folder held at one moment, in the order of their bytes.
///
/// What an entry is and how it is called is found out when it is asked for, one by one.
#[derive(Debug)]
pub struct Listing {
    directory: Arc<Directory>,
    handle: OwnedFd,
    names: Vec<OsString>,
    /// Where the folder ignores case.
    folded: Option<FoldedNames>,
}

/// The names of a folder that ignores case, by what its file system may take for one.
#[derive(Debug)]
struct FoldedNames {
    /// Each folded, with its place in the listing.
    names: Vec<(OsString, usize)>,
    /// Their stems.
    stems: Vec<(OsString, usize)>,
}

impl FoldedNames {
    fn of(names: &[OsString]) -> io::Result<Self> {
        let sorted = |part: fn(&OsStr) -> &OsStr| {
            let mut folded = Vec::new();
            let reserved = folded.try_reserve_exact(names.len());
            reserved.map_err(|_| Errno::NOMEM)?;
            let all = names.iter().enumerate();
            folded.extend(all.map(|(place, name)| (case::fold(part(name)), place)));
            folded.sort_unstable();
            io::Result::Ok(folded)
        };
        Ok(Self {
            names: sorted(|name| name)?,
            stems: sorted(names::stem)?,
        })
    }

    /// The places of those in `sorted` that are one with `name`.
    fn find(sorted: &[(OsString, usize)], name: &OsStr) -> impl Iterator<Item = usize> {
        let folded = case::fold(name);
        let first = sorted.partition_point(|(known, _)| *known < folded);
        let found = sorted[first..].iter();
        found
            .take_while(move |(known, _)| *known == folded)
            .map(|(_, place)| *place)
    }
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
        let folded = match only {
            None if case::ignores_case(&handle, &names) => Some(FoldedNames::of(&names)?),
            _ => None,
        };
        Ok(Self {
            directory,
            handle,
            names,
            folded,
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

    /// What appears under `view` of all that is listed; `NotFound` as a skip if nothing does.
    fn find(&self, catalog: &Catalog, view: &OsStr) -> Result<Found, Skip> {
        let siblings = ListedSiblings {
            listing: self,
            catalog,
        };
        let Some((name, number, _)) = names::source_of(view, &siblings) else {
            return Err(gone());
        };
        let found = catalog.examine(&self.directory, self.handle.as_fd(), &name)?;
        found.with_disk(index_of(number))
    }

    fn at(&self, places: impl Iterator<Item = usize>) -> Vec<OsString> {
        let names = places.filter_map(|place| self.names.get(place));
        names.cloned().collect()
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

    fn called(&self, name: &OsStr) -> Vec<OsString> {
        match &self.listing.folded {
            Some(folded) => self.listing.at(FoldedNames::find(&folded.names, name)),
            None => vec![name.to_owned()],
        }
    }

    fn are_one(&self, name: &OsStr, other: &OsStr) -> bool {
        name == other || self.listing.folded.is_some() && case::fold(name) == case::fold(other)
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        if let Some(folded) = &self.listing.folded {
            return self.listing.at(FoldedNames::find(&folded.stems, stem));
        }
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

/// A folder of which single entries are asked for, without reading it as long as it tells cases apart.
pub(super) struct LiveSiblings<'a> {
    catalog: &'a Catalog,
    directory: &'a Arc<Directory>,
    handle: OwnedFd,
    examined: RefCell<HashMap<OsString, Result<Found, Skip>>>,
    /// Whether it seems to ignore case; `None` as long as no name was tried.
    seems_to_ignore_case: Cell<Option<bool>>,
}

impl<'a> LiveSiblings<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        directory: &'a Arc<Directory>,
        handle: OwnedFd,
    ) -> Self {
        let known = match Comparison::of(handle.as_fd()) {
            Comparison::Exact => Some(false),
            Comparison::IgnoringCase => Some(true),
            Comparison::Unknown => None,
        };
        Self {
            catalog,
            directory,
            handle,
            examined: RefCell::default(),
            seems_to_ignore_case: Cell::new(known),
        }
    }

    /// What appears under `view`; a skip for `NotFound` if nothing does.
    pub(super) fn find(self, view: &OsStr) -> Result<Found, Skip> {
        let ignores_case = || self.seems_to_ignore_case.get() == Some(true);
        let source = match ignores_case() {
            true => None,
            // This may find out that case is ignored.
            false => names::source_of(view, &self),
        };
        if ignores_case() {
            // A file answers to many names there, and one of them is its own.
            let listing = Listing::read(self.directory.clone(), self.handle, None)?;
            return listing.find(self.catalog, view);
        }
        let Some((name, number, _)) = source else {
            return Err(gone());
        };
        let found = self.examined.into_inner().remove(&name);
        found
            .unwrap_or_else(|| Err(gone()))?
            .with_disk(index_of(number))
    }

    /// Whether there is an entry `name`. The first that there is tells whether case matters here.
    fn has(&self, name: &OsStr) -> bool {
        let is_there = beneath::entry_metadata(self.handle.as_fd(), name).is_ok();
        if is_there && self.seems_to_ignore_case.get().is_none() {
            let seems = case::is_found_in_other_case(self.handle.as_fd(), name);
            self.seems_to_ignore_case.set(seems);
        }
        is_there
    }
}

impl Siblings for LiveSiblings<'_> {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        if let Some(found) = self.examined.borrow().get(name) {
            return claim_of(name, found);
        }
        if self.seems_to_ignore_case.get().is_none() && !self.has(name) {
            return None;
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
            .filter(|name| self.has(name))
            .collect()
    }
}

fn gone() -> Skip {
    missing::not_found().into()
}

/// Which of the disks of an entry is meant, counted from 0.
fn index_of(number: DiskNumber) -> usize {
    number.map_or(0, |number| number as usize - 1)
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
