//! Which sources appear, and as what: the namespace, without any FUSE.

mod access;
mod chain;
mod contents;
mod entry;
mod examine;
mod listing;
mod open_file;
mod opening;
mod skip;
mod survey;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::folder::beneath::SourceFolder;
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::missing;
use crate::folder::select::{self, Selection};
use crate::folder::settle::Settling;
use disk::cache::{Caches, DEFAULT_CACHE_SIZE};

pub use chain::FurtherError;
use contents::KnownContents;
pub use contents::format_of;
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
    /// Virtual size in bytes that smaller disks grow to; 0 if none does.
    pub min_size: u64,
    /// Whether backing files and external data files may be opened.
    pub chains: bool,
    /// Whether compressed images are read.
    pub compressed: bool,
    /// Limit in bytes of what is kept of the tables of images, and the same of what was decompressed.
    pub cache_size: u64,
    /// Whether a file that does not appear because of what it holds is logged, once.
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
    /// The single image that is shown if the source is a file: its name, and its place.
    only: Option<(OsString, Location)>,
    options: Options,
    /// Whether the modes of what is found are those that their access control lists leave.
    respects_acls: bool,
    known: KnownContents,
    /// What all images share that are not raw.
    caches: Arc<Caches>,
    settling: Settling,
    /// The device of the mount that shows the catalog: it is left out.
    own_device: OnceLock<u64>,
}

impl Catalog {
    /// The tree below the folder at `path`, or the single image there.
    ///
    /// # Errors
    ///
    /// If `path` does not exist or cannot be read.
    pub fn open(path: &Path, options: Options) -> io::Result<Self> {
        let canonical = path.canonicalize()?;
        let (folder, only) = if canonical.is_dir() {
            (SourceFolder::open(&canonical)?, None)
        } else {
            let (Some(parent), Some(file)) = (canonical.parent(), canonical.file_name()) else {
                return Err(missing::not_found());
            };
            let name = path.file_name().unwrap_or(file).to_owned();
            let location = match Metadata::of_path(&canonical)?.kind {
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
            respects_acls: false,
            known: KnownContents::default(),
            caches,
            settling: Settling::default(),
            own_device: OnceLock::new(),
        })
    }

    /// Takes from all modes what access control lists withhold, for a mount on which the modes
    /// decide who may read. Costs a system call for each entry.
    pub fn respecting_acls(mut self) -> Self {
        self.respects_acls = true;
        self
    }

    /// Leaves out what is on this device: the mount that shows all of this must not show itself.
    pub fn leave_out(&self, (major, minor): (u32, u32)) {
        // A catalog is mounted once.
        let _ = self.own_device.set(rustix::fs::makedev(major, minor));
    }

    /// Calls `tell` whenever a version is given up; see [`GivenUp::listen`](crate::folder::given_up::GivenUp::listen).
    pub fn listen(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.settling.given_up().listen(tell);
    }

    /// What is kept of the tables and blocks of images.
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// The source folder; if the source is a single image, the folder that holds it.
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
    /// If it cannot be read, or is another folder by now (`ESTALE`).
    pub fn list(&self, directory: &Arc<Directory>) -> io::Result<Listing> {
        let handle = self.open_directory(directory)?;
        let only = self.only.as_ref().map(|(name, _)| name.as_os_str());
        Listing::read(directory.clone(), handle, only)
    }

    /// What appears in `directory` under the name `view`, without reading the folder.
    ///
    /// # Errors
    ///
    /// `ENOENT` if nothing does; the file system's own.
    pub fn lookup(&self, directory: &Arc<Directory>, view: &OsStr) -> io::Result<Found> {
        let found = match &self.only {
            Some(_) => self.lookup_single(directory, view),
            None if select::is_hidden(view) => Err(Skip::Hidden),
            None => {
                let handle = self.open_directory(directory)?;
                listing::LiveSiblings::new(self, directory, handle).find(view)
            }
        };
        found.map_err(|skip| skip.into_failure().unwrap_or_else(missing::not_found))
    }

    /// Attributes of a folder that appears.
    ///
    /// # Errors
    ///
    /// `ESTALE` if its place is taken by something else, or empty.
    pub fn directory_metadata(&self, directory: &Directory) -> io::Result<Metadata> {
        let metadata = self.folder.metadata(&directory.real);
        let metadata = metadata.map_err(missing::gone_is_stale)?;
        directory.check(&metadata)?;
        Ok(self.readable_directory(directory, metadata))
    }
}
