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
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::SystemTime;

use rustix::io::Errno;

use crate::folder::beneath::{self, SourceFolder};
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::opened::Source;
use crate::folder::select::{self, Selection};
use crate::folder::settle::{Settling, Writers};
use crate::folder::source::{Freshness, SourceFile};
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
    settling: Settling,
    /// The device of the mount that shows the catalog: it is left out.
    own_device: OnceLock<u64>,
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
            heeds_acls: false,
            known: KnownContents::default(),
            caches,
            settling: Settling::default(),
            own_device: OnceLock::new(),
        })
    }

    /// Takes from all modes what access control lists withhold, for a mount on which the modes
    /// decide who may read. Costs a system call for each entry.
    pub fn heeding_acls(mut self) -> Self {
        self.heeds_acls = true;
        self
    }

    /// Leaves out what is on this device: the mount that shows all of this must not show itself.
    pub fn leave_out(&self, (major, minor): (u32, u32)) {
        // A catalog is mounted once.
        let _ = self.own_device.set(rustix::fs::makedev(major, minor));
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

    /// Opens an image in the version that was found: every file that its disk is read from. They
    /// are settled if that is possible. If somebody writes to one of them and `writers` refuses that, what
    /// is returned has that file, and no disk.
    ///
    /// # Errors
    ///
    /// `ESTALE` if one of them is another version by now, was given up, or is gone; the file
    /// system's own.
    pub fn open_source(&self, image: &Image, writers: Writers) -> io::Result<Source> {
        let source = self.open_settled(image, writers)?;
        if source.written_file().is_some() && writers == Writers::Refuse {
            return Ok(source);
        }
        // Only now: until it was settled, it may have been given up.
        if self.number_given_up(image) != image.given_up {
            return Err(Errno::STALE.into());
        }
        // Its times may be those of what was there when it was looked into, and its contents not.
        let is_lasting = image.is_lasting && source.keeps_its_version(SystemTime::now());
        if !is_lasting && !self.still_holds(image, &source.files()[0])? {
            self.give_up(image);
            return Err(Errno::STALE.into());
        }
        Ok(source)
    }

    /// Makes sure that the versions never count as the same again, because somebody writes and
    /// their times need not show it.
    pub fn give_up(&self, image: &Image) {
        let given_up = self.settling.given_up();
        given_up.note(image.metadata.version);
        image
            .further_versions()
            .for_each(|version| given_up.note(*version));
    }

    /// What was given up of the image's versions: the same number again only if nothing was since.
    fn number_given_up(&self, image: &Image) -> u64 {
        let given_up = self.settling.given_up();
        let of_all = std::iter::once(&image.metadata.version).chain(image.further_versions());
        of_all.fold(0, |sum: u64, version| {
            // Spread, so that no two orders of numbers add up to the same.
            sum.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(given_up.number_of(version))
        })
    }

    /// Settles an opened file; `Ok(false)` if somebody writes to it and that is refused.
    fn settle(&self, file: &mut SourceFile, writers: Writers) -> io::Result<bool> {
        file.settle(&self.settling, writers.patience())?;
        if file.is_written() && writers != Writers::Allow {
            // A snapshot is of one moment, whatever was written before it.
            return Ok(writers == Writers::Snapshot);
        }
        match file.check()? {
            Freshness::Current => Ok(true),
            // A writer who was there before may have changed it after it was found.
            _ => Err(Errno::STALE.into()),
        }
    }

    fn open_settled(&self, image: &Image, writers: Writers) -> io::Result<Source> {
        let mut main = self.open_file_of(image)?;
        let (found, opened) = (image.metadata.version, main.metadata().version);
        let is_same_file = found.identity() == opened.identity() && found.size == opened.size;
        if found != opened && !(is_same_file && writers == Writers::Snapshot) {
            return Err(Errno::STALE.into());
        }
        if !self.settle(&mut main, writers)? {
            return Ok(Source::flat(main, 0));
        }
        // What is being written is of another time at every moment.
        if found != opened && !main.is_written() {
            return Err(Errno::STALE.into());
        }
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
            let mut file = SourceFile::new(self.open_known(known)?, &known.real)?;
            if !self.settle(&mut file, writers)? {
                return Ok(Source::flat(file, 0));
            }
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

    fn open_file_of(&self, image: &Image) -> io::Result<SourceFile> {
        let file = self.open_image(image).map_err(gone_is_stale)?;
        SourceFile::new(file, &image.shown_path())
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
