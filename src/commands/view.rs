//! Opening views for the commands that read them without a mount.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use super::{Failure, catalog_options};
use crate::advice;
use crate::cli::{SelectionArgs, ViewArgs};
use crate::folder::catalog::{self, Catalog, Found, Image};
use crate::folder::select::Selection;
use crate::folder::settle::Writers;
use crate::serve::image::{OpenImage, Opening, Policy, Refusal, Snapshots};
use vhd::footer::{FOOTER_SIZE, Footer};

/// Why there is no view to read.
#[derive(Debug, Error)]
pub(super) enum ViewError {
    /// The file system's own, or the source changed.
    #[error("{}: cannot be read: {}{} [unreadable]", .0.display(), .1, advice::on_reading(.1))]
    Read(PathBuf, #[source] io::Error),
    /// It does not appear in a mount.
    #[error("{}: has no view: {} [no-view]", .0.display(), .1)]
    NoView(PathBuf, #[source] catalog::Skip),
    /// There are several disks in it.
    #[error(
        "{}: holds several disks; name one of them: {} [several-disks]", .0.display(), .1.join(", ")
    )]
    Several(PathBuf, Vec<String>),
    /// It appears, and cannot be opened as asked.
    #[error("{}: cannot be opened: {} [cannot-open]", .0.display(), .1)]
    Refused(PathBuf, #[source] Refusal),
}

impl ViewError {
    /// The image at `path` could not be read.
    pub(super) fn reading(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Read(path.clone(), error)
    }
}

/// An image that the user named, and where it was found.
#[derive(Debug)]
pub(super) struct Named {
    path: PathBuf,
    /// Where it was found.
    pub(super) catalog: Arc<Catalog>,
    /// Name of its view.
    pub(super) name: OsString,
    /// What was found.
    pub(super) image: Image,
}

impl Named {
    /// Finds the image at `path`: naming it selects it, whatever it is called, also if it is a
    /// device. One of several disks of a file, which is no file of its own, is named as a mount would name it.
    ///
    /// # Errors
    ///
    /// If it cannot be read, has no view, or has several.
    pub(super) fn find(path: &Path, choice: &Choice) -> Result<Self, ViewError> {
        let mut views = Self::find_all(path, choice)?;
        match (views.pop(), views.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                let views = views.iter().flatten().chain(last.iter().flatten());
                let names = views.map(|view| view.name.to_string_lossy().into_owned());
                Err(ViewError::Several(path.to_owned(), names.collect()))
            }
        }
    }

    /// Finds all disks of the image at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn find_all(
        path: &Path,
        choice: &Choice,
    ) -> Result<Vec<Result<Self, ViewError>>, ViewError> {
        let failed = ViewError::reading(path);
        let is_folder = || failed(io::Error::from(io::ErrorKind::IsADirectory));
        if path.is_dir() {
            return Err(is_folder());
        }
        if !path.exists()
            && let Some(shown) = Self::find_shown(path, choice)
        {
            return Ok(vec![Ok(shown)]);
        }
        let catalog = Catalog::open(path, choice.0.clone()).map_err(&failed)?;
        let catalog = Arc::new(catalog);
        let listing = catalog
            .root()
            .and_then(|root| catalog.list(&root))
            .map_err(&failed)?;
        let views = listing.entries(&catalog, 0).map(|entry| match entry {
            Ok((name, Found::Image(image))) => Ok(Self {
                path: path.to_owned(),
                catalog: Arc::clone(&catalog),
                name,
                image,
            }),
            Ok((_, Found::Directory(..))) => Err(is_folder()),
            Err(catalog::Skip::Unreadable(error)) => Err(failed(error)),
            Err(skip) => Err(ViewError::NoView(path.to_owned(), skip)),
        });
        Ok(views.collect())
    }

    /// Finds the image that a mount of its folder would show at `path`.
    fn find_shown(path: &Path, choice: &Choice) -> Option<Self> {
        let name = path.file_name()?;
        let folder = match path.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        let catalog = Catalog::open(folder, choice.0.clone()).ok()?;
        let root = catalog.root().ok()?;
        match catalog.lookup(&root, name).ok()? {
            Found::Image(image) => Some(Self {
                path: path.to_owned(),
                catalog: Arc::new(catalog),
                name: name.to_owned(),
                image,
            }),
            Found::Directory(..) => None,
        }
    }

    /// Opens its view, as a snapshot if `snapshots` says so.
    ///
    /// # Errors
    ///
    /// If it is another version by now, or cannot be opened as `view` wants it.
    pub(super) fn open(
        &self,
        view: &ViewArgs,
        snapshots: Policy,
        writers: Writers,
    ) -> Result<OpenImage, ViewError> {
        open(&self.catalog, &self.image, view, snapshots, writers)
            .map_err(|refusal| refused(&self.path, refusal))
    }
}

/// Device and inode number of every file that an image is read from.
pub(super) fn files_of(image: &Image) -> Vec<(u64, u64)> {
    let further = image.further_versions();
    std::iter::once(&image.metadata().version)
        .chain(further)
        .map(|version| (version.device, version.inode))
        .collect()
}

/// What is shown to a command that names one image.
#[derive(Clone, Debug)]
pub(super) struct Choice(catalog::Options);

impl Choice {
    /// # Errors
    ///
    /// A pattern that is none.
    pub(super) fn new(selection: &SelectionArgs, view: &ViewArgs) -> Result<Self, Failure> {
        Ok(Self(catalog::Options {
            // Naming a device is asking for it.
            allow_devices: true,
            ..catalog_options(selection, view, false)?
        }))
    }

    /// Which files are images.
    pub(super) fn selection(&self) -> &Selection {
        &self.0.selection
    }
}

/// Opens the view of an image of a catalog, as a snapshot if `snapshots` says so.
///
/// # Errors
///
/// If it is another version by now, or cannot be opened as `view` wants it.
pub(super) fn open(
    catalog: &Catalog,
    image: &Image,
    view: &ViewArgs,
    snapshots: Policy,
    writers: Writers,
) -> Result<OpenImage, Refusal> {
    let opening = Opening {
        gpt: view.gpt.into(),
        snapshots: Snapshots::by_policy(snapshots),
        writers,
        finder: None,
    };
    OpenImage::open(catalog, image, &opening)
}

/// The unique id in the footer of a view, which says what disk it is, in which size; of a VHD that
/// appears byte for byte, its own.
///
/// # Errors
///
/// As for reading the view.
pub(super) fn unique_id(image: &OpenImage) -> io::Result<Uuid> {
    let mut bytes = [0; FOOTER_SIZE];
    image.read(&mut bytes, image.size().saturating_sub(FOOTER_SIZE as u64))?;
    let footer = Footer::decode(&bytes);
    Ok(footer.map_or(Uuid::nil(), |footer| footer.unique_id))
}

/// The error for a refused view of the image at `path`.
pub(super) fn refused(path: &Path, refusal: Refusal) -> ViewError {
    match refusal {
        Refusal::Source(error) => ViewError::Read(path.to_owned(), error),
        refusal => ViewError::Refused(path.to_owned(), refusal),
    }
}
