//! Further files: the extents, external data files and backing files that an image names.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::open_file::OpenFile;
use super::{Catalog, Image};
use crate::folder::beneath::Target;
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::missing;
use disk::format::{Container, FormatError, Given, Need, Opening, Options, Role, Step};

/// A further file of an image, in one version.
#[derive(Clone, Debug)]
pub(super) struct Further {
    /// Path below the source folder as the image names it, which may hold `..` and links.
    named: PathBuf,
    /// Path below the source folder, free of both.
    pub(super) real: PathBuf,
    pub(super) metadata: Metadata,
}

/// Why a further file cannot be had.
#[derive(Debug, Error)]
pub enum FurtherError {
    /// There is nothing of that name.
    #[error(
        "needs its {role} {}, which is not there: put it there, or name the right one with `qemu-img rebase -u`",
        name.display()
    )]
    Missing {
        /// What it is to the image.
        role: Role,
        /// Its path below the source folder.
        name: PathBuf,
    },
    /// It lies outside of the source folder.
    #[error(
        "needs its {role} {}, which is outside of the source folder: name a folder that holds both, or merge them with `qemu-img convert`",
        name.display()
    )]
    Outside {
        /// What it is to the image.
        role: Role,
        /// Its path below the source folder.
        name: PathBuf,
    },
    /// It is a folder, a device or a FIFO.
    #[error("needs its {role} {}, which is not a file", name.display())]
    NotAFile {
        /// What it is to the image.
        role: Role,
        /// Its path below the source folder.
        name: PathBuf,
    },
    /// It cannot be read.
    #[error("needs its {role} {}, which cannot be read: {error}", name.display())]
    Unreadable {
        /// What it is to the image.
        role: Role,
        /// Its path below the source folder.
        name: PathBuf,
        /// The file system's own error.
        #[source]
        error: io::Error,
    },
}

/// Why a file gives no disk.
#[derive(Debug, Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Further(#[from] FurtherError),
}

impl OpenError {
    /// A file is another version by now.
    pub(super) fn stale() -> Self {
        Self::Format(FormatError::Io(missing::stale()))
    }

    /// The error of the system that says nothing about the image, if that is the reason.
    pub(super) fn into_io(self) -> Result<io::Error, Self> {
        match self {
            Self::Format(error) => io_of(error).map_err(Self::Format),
            Self::Further(FurtherError::Unreadable { error, .. }) if !is_denied(&error) => {
                Ok(error)
            }
            error @ Self::Further(_) => Err(error),
        }
    }
}

fn io_of(error: FormatError) -> Result<io::Error, FormatError> {
    match error {
        FormatError::Io(error) => Ok(error),
        FormatError::Further { role, name, error } => {
            io_of(*error).map_err(|error| FormatError::Further {
                role,
                name,
                error: Box::new(error),
            })
        }
        error => Err(error),
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

impl Further {
    /// Whether `found` is the same file in the same version.
    pub(super) fn is(&self, found: &Self) -> bool {
        self.real == found.real && self.metadata.version == found.metadata.version
    }
}

impl Catalog {
    /// The disk number `disk` of an image whose file is `given`, and what tells of the others. The further files that
    /// it asks for are added to `further`.
    pub(super) fn open_disk(
        &self,
        image: &Image,
        given: Given,
        disk: usize,
        further: &mut Vec<Further>,
    ) -> (Opening, Result<Container, OpenError>) {
        self.parse(given, disk, |need| {
            let of = match need.of.checked_sub(1) {
                None => image.file_path(),
                Some(index) => further[index].real.clone(),
            };
            let mut found = self.find_further(&of, need)?;
            let file = self.open_further(&found, need)?;
            let metadata = Metadata::of(file.as_fd());
            found.metadata = metadata.map_err(|error| unreadable(need, &found.real, error))?;
            if found.metadata.kind != Kind::File {
                let (role, name) = (need.role, found.real);
                return Err(FurtherError::NotAFile { role, name }.into());
            }
            let file = OpenFile::new(file, found.metadata.version.size);
            let given = found.given(Arc::new(file));
            further.push(found);
            Ok(given)
        })
    }

    /// The disk number `disk` of an image, and what tells of the others: parses it, and asks `open` for each further file.
    pub(super) fn parse(
        &self,
        given: Given,
        disk: usize,
        mut open: impl FnMut(&Need) -> Result<Given, OpenError>,
    ) -> (Opening, Result<Container, OpenError>) {
        let options = Options {
            chains: self.options.chains,
            compressed: self.options.compressed,
            disk,
        };
        let mut opening = Opening::new(given, options, Arc::clone(&self.caches));
        let mut parse = || {
            loop {
                match opening.step()? {
                    Step::Ready(disk) => return Ok(disk),
                    Step::Needs(needs) => {
                        let given: Result<Vec<_>, _> = needs.iter().map(&mut open).collect();
                        opening.give(given?)?;
                    }
                }
            }
        };
        let parsed = parse();
        (opening, parsed)
    }

    /// Finds the further file that the file at `of` needs.
    fn find_further(&self, of: &Path, need: &Need) -> Result<Further, FurtherError> {
        let named = of.parent().unwrap_or(Path::new("")).join(&need.name);
        let (role, name) = (need.role, named.clone());
        match self.follow_further(&named) {
            Ok(Target::Inside(real, metadata)) if metadata.kind == Kind::File => Ok(Further {
                named,
                real,
                metadata,
            }),
            Ok(Target::Inside(..)) => Err(FurtherError::NotAFile { role, name }),
            Ok(Target::Outside) => Err(FurtherError::Outside { role, name }),
            Ok(Target::Broken) => Err(FurtherError::Missing { role, name }),
            Err(error) => Err(unreadable(need, &named, error)),
        }
    }

    fn follow_further(&self, named: &Path) -> io::Result<Target> {
        match leads_out(named) {
            true => Ok(Target::Outside),
            false => self.folder.follow(named),
        }
    }

    fn open_further(&self, found: &Further, need: &Need) -> Result<OwnedFd, FurtherError> {
        let file = self.folder.open_image(&found.real);
        file.map_err(|error| unreadable(need, &found.real, error))
    }

    /// Whether the names of further files still lead to the same versions of them.
    pub(super) fn are_current(&self, further: &[Further]) -> bool {
        further
            .iter()
            .all(|known| match self.follow_further(&known.named) {
                Ok(Target::Inside(real, metadata)) => known.is(&Further {
                    named: PathBuf::new(),
                    real,
                    metadata,
                }),
                _ => false,
            })
    }

    /// Opens a further file in the version that was found.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is another by now; the file system's own.
    pub(super) fn open_known(&self, known: &Further) -> io::Result<OwnedFd> {
        let is_current = self.are_current(std::slice::from_ref(known));
        let file = is_current.then(|| self.folder.open_image(&known.real));
        let file = file
            .ok_or_else(missing::stale)?
            .map_err(missing::gone_is_stale)?;
        match Metadata::of(file.as_fd())? {
            found if found.version == known.metadata.version => Ok(file),
            _ => Err(missing::stale()),
        }
    }
}

impl Further {
    /// What a parser is given of it.
    pub(super) fn given(&self, bytes: disk::format::File) -> Given {
        Given {
            name: self.real.to_string_lossy().into_owned(),
            identity: self.metadata.version.identity(),
            bytes,
        }
    }
}

fn unreadable(need: &Need, name: &Path, error: io::Error) -> FurtherError {
    FurtherError::Unreadable {
        role: need.role,
        name: name.to_owned(),
        error,
    }
}

/// Whether a path, relative to the source folder, leaves that on its way, or is none: a link on the way may lead further
/// up or down, which the kernel watches.
fn leads_out(path: &Path) -> bool {
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_seen() {
        for path in ["..", "a/../../b", "/a", "a/../../a/b", "../source/b"] {
            assert!(leads_out(Path::new(path)), "{path}");
        }
        for path in ["a", "a/../b", "./a/./../b", "a/b/../../c"] {
            assert!(!leads_out(Path::new(path)), "{path}");
        }
    }
}
