//! Opening views for the commands that read them without a mount.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use crate::advice;
use crate::cli::ViewArgs;
use crate::folder::catalog::{self, Catalog, Found, Image};
use crate::serve::image::{OpenImage, Opening, Policy, Refusal, Snapshots};
use vhd::footer::{FOOTER_SIZE, Footer};

/// Why there is no view to read.
#[derive(Debug, Error)]
pub(super) enum ViewError {
    /// The file system's own, or the source changed.
    #[error("{}: cannot be read: {}{}", .0.display(), .1, advice::on_reading(.1))]
    Read(PathBuf, #[source] io::Error),
    /// It does not appear in a mount.
    #[error("{}: has no view: {}", .0.display(), .1)]
    NoView(PathBuf, #[source] catalog::Skip),
    /// It appears, and cannot be opened as asked.
    #[error("{}: cannot be opened: {}", .0.display(), .1)]
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
    catalog: Catalog,
    /// What was found.
    pub(super) image: Image,
}

impl Named {
    /// Finds the image at `path`: naming it selects it, whatever it is called, also where it is a
    /// device.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or has no view.
    pub(super) fn find(path: &Path, view: &ViewArgs) -> Result<Self, ViewError> {
        let failed = ViewError::reading(path);
        let no_view = |skip| match skip {
            catalog::Skip::Unreadable(error) => failed(error),
            skip => ViewError::NoView(path.to_owned(), skip),
        };
        let is_folder = || failed(io::Error::from(io::ErrorKind::IsADirectory));
        if path.is_dir() {
            return Err(is_folder());
        }
        let options = catalog::Options {
            allow_devices: true,
            min_size: view.min_size.unwrap_or(0),
            ..Default::default()
        };
        let catalog = Catalog::open(path, options).map_err(&failed)?;
        let listing = catalog
            .root()
            .and_then(|root| catalog.list(&root))
            .map_err(&failed)?;
        match listing.entry(&catalog, 0).map_err(no_view)? {
            (_, Found::Image(image)) => Ok(Self {
                path: path.to_owned(),
                catalog,
                image,
            }),
            (_, Found::Directory(..)) => Err(is_folder()),
        }
    }

    /// Opens its view, as a snapshot where `snapshots` says so.
    ///
    /// # Errors
    ///
    /// Where it is another version by now, or cannot be opened as `view` wants it.
    pub(super) fn open(&self, view: &ViewArgs, snapshots: Policy) -> Result<OpenImage, ViewError> {
        open(&self.catalog, &self.image, view, snapshots)
            .map_err(|refusal| refused(&self.path, refusal))
    }
}

/// Opens the view of an image of a catalog, as a snapshot where `snapshots` says so.
///
/// # Errors
///
/// Where it is another version by now, or cannot be opened as `view` wants it.
pub(super) fn open(
    catalog: &Catalog,
    image: &Image,
    view: &ViewArgs,
    snapshots: Policy,
) -> Result<OpenImage, Refusal> {
    let opening = Opening {
        gpt: view.gpt.into(),
        snapshots: Snapshots::by_policy(snapshots),
    };
    OpenImage::prepare(catalog, image, &opening)
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

/// What to tell of a view that the image at `path` should have.
pub(super) fn refused(path: &Path, refusal: Refusal) -> ViewError {
    match refusal {
        Refusal::Source(error) => ViewError::Read(path.to_owned(), error),
        refusal => ViewError::Refused(path.to_owned(), refusal),
    }
}
