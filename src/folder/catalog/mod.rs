//! Which sources appear, and as what: the namespace, without any FUSE.

mod access;
mod entry;
mod examine;
mod listing;
mod skip;

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use rustix::io::Errno;

use crate::folder::beneath::{self, SourceFolder};
use crate::folder::metadata::{Kind, Metadata, Version};
use crate::folder::select::{self, Selection};
use crate::folder::source::SourceFile;
use vhd::format::Format;

use entry::Location;
pub use entry::{Directory, Found, Image};
pub use examine::sniff;
pub use listing::Listing;
pub use skip::Skip;

/// Number of files whose format is remembered: enough that listing a folder of 100,000 images
/// again sniffs none of them again. About 100 bytes each.
const REMEMBERED_FORMATS: NonZeroUsize = NonZeroUsize::new(1 << 17).unwrap();

/// What the user chose about the namespace.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which files are images.
    pub selection: Selection,
    /// Whether links to block devices appear.
    pub allow_devices: bool,
    /// Virtual size in bytes that smaller disks grow to; 0 where none does.
    pub min_size: u64,
    /// Whether a file that does not appear because of its format is told to the log, once.
    pub log_skipped: bool,
}

/// The folder tree as it appears.
#[derive(Debug)]
pub struct Catalog {
    folder: SourceFolder,
    /// The single image that is shown, where the source is a file: its name, and its place.
    only: Option<(OsString, Location)>,
    options: Options,
    /// Whether the modes of what is found are those that their access control lists leave.
    heeds_acls: bool,
    formats: Mutex<LruCache<Version, Format>>,
}
impl Catalog {
    /// The tree below the folder at `path`, or the single image there.
    ///
    /// # Errors
    ///
    /// Where `path` does not exist or cannot be read.
    pub fn open(path: &Path, options: Options) -> io::Result<Self> {
        let canonical = path.canonicalize()?;
        let (folder, only) = if canonical.is_dir() {
            (SourceFolder::open(&canonical)?, None)
        } else {
            let (Some(parent), Some(file)) = (canonical.parent(), canonical.file_name()) else {
                return Err(Errno::NOENT.into());
            };
            let name = path.file_name().unwrap_or(file).to_owned();
            let location = match Metadata::from(&rustix::fs::stat(&canonical)?).kind {
                Kind::BlockDevice => Location::Device(canonical.clone()),
                _ => Location::Linked(file.into()),
            };
            (SourceFolder::open(parent)?, Some((name, location)))
        };
        Ok(Self {
            folder,
            only,
            options,
            heeds_acls: false,
            formats: Mutex::new(LruCache::new(REMEMBERED_FORMATS)),
        })
    }

    /// Takes from all modes what access control lists withhold, for a mount on which the modes
    /// decide who may read. Costs a system call for each entry.
    pub fn heeding_acls(mut self) -> Self {
        self.heeds_acls = true;
        self
    }

    /// The source folder; where the source is a single image, the folder that holds it.
    pub fn folder(&self) -> &SourceFolder {
        &self.folder
    }

    /// Whether the source is a single image.
    pub fn is_single_image(&self) -> bool {
        self.only.is_some()
    }

    /// The folder at the top.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn root(&self) -> io::Result<Arc<Directory>> {
        let metadata = self.folder.metadata(Path::new(""))?;
        Ok(Arc::new(Directory::new(
            PathBuf::new(),
            PathBuf::new(),
            &metadata,
            None,
        )))
    }

    /// What `directory` holds now.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or is another folder by now (`ESTALE`).
    pub fn list(&self, directory: &Arc<Directory>) -> io::Result<Listing> {
        let handle = self.open_directory(directory)?;
        let only = self.only.as_ref().map(|(name, _)| name.as_os_str());
        Listing::read(directory.clone(), handle, only)
    }

    /// What appears in `directory` under the name `view`, without reading the folder.
    ///
    /// # Errors
    ///
    /// `ENOENT` where nothing does; the file system's own.
    pub fn lookup(&self, directory: &Arc<Directory>, view: &OsStr) -> io::Result<Found> {
        let found = match &self.only {
            Some(_) => self.lookup_single(directory, view),
            None if select::is_hidden(view) => Err(Skip::Hidden),
            None => {
                let handle = self.open_directory(directory)?;
                listing::LiveSiblings::new(self, directory, handle).find(view)
            }
        };
        found.map_err(|skip| skip.into_failure().unwrap_or(Errno::NOENT.into()))
    }

    /// Attributes of a folder that appears.
    ///
    /// # Errors
    ///
    /// `ESTALE` where its place is taken by something else, or empty.
    pub fn directory_metadata(&self, directory: &Directory) -> io::Result<Metadata> {
        let metadata = self.folder.metadata(&directory.real);
        let metadata = metadata.map_err(gone_is_stale)?;
        directory.check(&metadata)?;
        Ok(self.heed_directory(directory, metadata))
    }

    /// Opens an image in the version that was found.
    ///
    /// # Errors
    ///
    /// `ESTALE` where it is another version by now, or gone; the file system's own.
    pub fn open_source(&self, image: &Image) -> io::Result<SourceFile> {
        let path = image.shown_path();
        let source = SourceFile::new(self.open_image(image).map_err(gone_is_stale)?, &path)?;
        if source.metadata().version != image.metadata.version {
            return Err(Errno::STALE.into());
        }
        Ok(source)
    }

    /// Opens the folder that holds the bytes of an image.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn open_folder_of(&self, image: &Image) -> io::Result<OwnedFd> {
        let folder = match &image.location {
            Location::Linked(path) => path.parent().unwrap_or(Path::new("")),
            _ => &image.directory.real,
        };
        self.folder.open_directory(folder)
    }

    fn open_image(&self, image: &Image) -> io::Result<OwnedFd> {
        match &image.location {
            Location::Entry => self.folder.open_image(&image.real_path()),
            Location::Linked(path) => self.folder.open_image(path),
            Location::Device(path) => beneath::open_path(path),
        }
    }

    fn open_directory(&self, directory: &Directory) -> io::Result<OwnedFd> {
        let handle = self
            .folder
            .open_directory(&directory.real)
            .map_err(gone_is_stale)?;
        directory.check(&Metadata::of(handle.as_fd())?)?;
        Ok(handle)
    }
}

/// An entry that was found and is no longer there is another version of itself.
fn gone_is_stale(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Errno::STALE.into(),
        _ => error,
    }
}
