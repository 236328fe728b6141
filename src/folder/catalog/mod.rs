//! Which sources appear, and as what: the namespace, without any FUSE.

mod access;
mod chain;
mod contents;
mod entry;
mod examine;
mod listing;
mod skip;
mod survey;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;

use crate::folder::beneath::{self, SourceFolder};
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::opened::Source;
use crate::folder::select::{self, Selection};
use crate::folder::source::SourceFile;
use disk::Disk;
use disk::cache::{Caches, DEFAULT_CACHE_SIZE};
use disk::format::Given;

pub use chain::FurtherError;
use chain::OpenError;
pub use contents::format_of;
use contents::{Contents, KnownContents};
use entry::Location;
pub use entry::{Directory, Found, Image};
pub use listing::Listing;
pub use skip::{Refused, Skip};
pub use survey::Survey;

/// What the user chose about the namespace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which files are images.
    pub selection: Selection,
    /// Whether links to block devices appear.
    pub allow_devices: bool,
    /// Virtual size in bytes that smaller disks grow to; 0 where none does.
    pub min_size: u64,
    /// Whether backing files and external data files may be opened.
    pub chains: bool,
    /// Whether compressed images are read.
    pub compressed: bool,
    /// Limit in bytes of what is kept of the tables of images, and the same of what was decompressed.
    pub cache_size: u64,
    /// Whether a file that does not appear because of what it holds is told to the log, once.
    pub log_skipped: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            allow_devices: false,
            min_size: 0,
            chains: false,
            compressed: false,
            cache_size: DEFAULT_CACHE_SIZE,
            log_skipped: false,
        }
    }
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
    known: KnownContents,
    /// What all images share that are not raw.
    caches: Arc<Caches>,
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
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let caches = Caches::new(options.cache_size, threads);
        Ok(Self {
            folder,
            only,
            options,
            heeds_acls: false,
            known: KnownContents::default(),
            caches,
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

    /// Opens an image in the version that was found: every file that its disk is read from.
    ///
    /// # Errors
    ///
    /// `ESTALE` if one of them is another version by now, or gone; the file system's own.
    pub fn open_source(&self, image: &Image) -> io::Result<Source> {
        let main = self.open_version(image)?;
        let Contents::Disks(disks) = &image.contents else {
            let size = main.size();
            return Ok(Source::flat(main, size));
        };
        let facts = disks.facts(image.disk).ok_or(Errno::STALE)?;
        if facts.flat_file == Some(0) {
            return Ok(Source::flat(main, facts.size));
        }
        let mut files = vec![Arc::new(main)];
        for known in &disks.further {
            let file = SourceFile::new(self.open_known(known)?, &known.real)?;
            files.push(Arc::new(file));
        }
        let given = Given {
            name: image.shown_path().to_string_lossy().into_owned(),
            identity: image.metadata.version.identity(),
            bytes: files[0].clone(),
        };
        let mut next = disks.further.iter().zip(&files[1..]);
        let parsed = self.parse(given, image.disk, |_| {
            // The same versions ask for the same files in the same order.
            let (known, file) = next.next().ok_or(OpenError::stale())?;
            Ok(known.given(file.clone()))
        });
        let disk = parsed.map_err(|error| error.into_io().unwrap_or_else(io::Error::other))?;
        Ok(Source::of_files(files, disk))
    }

    fn open_version(&self, image: &Image) -> io::Result<SourceFile> {
        let path = image.shown_path();
        let file = self.open_image(image).map_err(gone_is_stale)?;
        let file = SourceFile::new(file, &path)?;
        if file.metadata().version != image.metadata.version {
            return Err(Errno::STALE.into());
        }
        Ok(file)
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
