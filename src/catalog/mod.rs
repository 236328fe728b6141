//! Which sources appear, and as what: the namespace, without any FUSE.

mod access;
mod entry;
mod listing;
mod skip;

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log::warn;
use lru::LruCache;
use rustix::io::Errno;

use crate::folder::{self, SourceFolder, Target};
use crate::format::{Format, HEAD_SIZE, TAIL_SIZE};
use crate::layout::{Layout, LayoutError};
use crate::select::{self, Selection, Verdict};
use crate::source::{self, Kind, Metadata, SourceFile, Version};

use entry::Location;
pub use entry::{Directory, Found, Image};
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

    /// Finds out what the entry `name` of an open folder is.
    fn examine(
        &self,
        directory: &Arc<Directory>,
        handle: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<Found, Skip> {
        if let Some((only, location)) = &self.only {
            return self.examine_single(directory, only, location);
        }
        if select::is_hidden(name) {
            return Err(Skip::Hidden);
        }
        let shown = directory.shown.join(name);
        if self.options.selection.excludes(&shown) {
            return Err(Skip::Excluded);
        }
        let metadata = folder::entry_metadata(handle, name)?;
        if metadata.kind != Kind::Link {
            let image = Image::new(directory, name, Location::Entry, metadata);
            return self.examine_target(image, shown, directory.real.join(name), Some(handle));
        }
        match self.folder.follow(&directory.real.join(name))? {
            Target::Inside(path, metadata) => {
                let location = match metadata.kind {
                    Kind::BlockDevice => Location::Device(path.clone()),
                    _ => Location::Linked(path.clone()),
                };
                let image = Image::new(directory, name, location, metadata);
                self.examine_target(image, shown, path, None)
            }
            Target::Outside => Err(Skip::LinkOutside),
            Target::Broken => Err(Skip::LinkBroken),
        }
    }

    fn examine_target(
        &self,
        image: Image,
        shown: PathBuf,
        real: PathBuf,
        handle: Option<BorrowedFd<'_>>,
    ) -> Result<Found, Skip> {
        match image.metadata.kind {
            Kind::Directory => {
                if image.directory.is_within(&image.metadata) {
                    return Err(Skip::LinkBroken);
                }
                let metadata = self.heed(&image, handle);
                let directory = Directory::new(shown, real, &metadata, Some(image.directory));
                Ok(Found::Directory(Arc::new(directory), metadata))
            }
            Kind::File => self.examine_image(image, self.options.selection.of_file(&shown), handle),
            Kind::BlockDevice if !self.options.allow_devices => Err(Skip::Device),
            Kind::BlockDevice => {
                self.examine_image(image, self.options.selection.of_file(&shown), handle)
            }
            Kind::Link | Kind::Other => Err(Skip::Special),
        }
    }

    fn examine_single(
        &self,
        directory: &Arc<Directory>,
        name: &OsStr,
        location: &Location,
    ) -> Result<Found, Skip> {
        let metadata = match location {
            Location::Linked(path) => self.folder.metadata(path)?,
            _ => self.folder.metadata(Path::new(""))?,
        };
        let mut image = Image::new(directory, name, location.clone(), metadata);
        if matches!(location, Location::Device(_)) {
            if !self.options.allow_devices {
                return Err(Skip::Device);
            }
            image.metadata.kind = Kind::BlockDevice;
        } else if metadata.kind != Kind::File {
            return Err(Skip::Special);
        }
        self.examine_image(image, Verdict::Image, None)
    }

    fn lookup_single(&self, directory: &Arc<Directory>, view: &OsStr) -> Result<Found, Skip> {
        let listing = self.list(directory)?;
        let (name, found) = listing.entry(self, 0)?;
        if name == view {
            Ok(found)
        } else {
            Err(io::Error::from(Errno::NOENT).into())
        }
    }

    fn examine_image(
        &self,
        mut image: Image,
        verdict: Verdict,
        handle: Option<BorrowedFd<'_>>,
    ) -> Result<Found, Skip> {
        match verdict {
            Verdict::Unselected => return Err(Skip::Unselected),
            Verdict::Excluded => return Err(Skip::Excluded),
            Verdict::Image | Verdict::VhdOnly => {}
        }
        if image.metadata.version.size == 0 && image.metadata.kind == Kind::File {
            return Err(LayoutError::Empty.into());
        }
        self.detect_format(&mut image, handle)?;
        match image.format {
            Format::Raw if verdict == Verdict::VhdOnly => return Err(Skip::NotVhd),
            Format::Raw => Layout::checked_virtual_size(image.metadata.version.size).map(drop)?,
            Format::FixedVhd => {}
            other => return Err(Skip::Format(other)),
        }
        image.metadata = self.heed(&image, handle);
        Ok(Found::Image(image))
    }

    /// Fills in the format, from memory where this version was looked at before.
    fn detect_format(&self, image: &mut Image, handle: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let is_file = image.metadata.kind == Kind::File;
        if is_file && let Some(format) = self.formats().get(&image.metadata.version) {
            image.format = *format;
            return Ok(());
        }
        let file = match (handle, &image.location) {
            (Some(handle), Location::Entry) => folder::open_entry(handle, &image.name)?,
            _ => self.open_image(image)?,
        };
        // The entry may have been replaced since: go on with what was opened.
        image.metadata = Metadata::of(file.as_fd())?;
        image.format = sniff(file.as_fd(), image.metadata.version.size)?;
        // Another request may have looked at the same version meanwhile, and told the log.
        let is_new = !is_file
            || self
                .formats()
                .put(image.metadata.version, image.format)
                .is_none();
        if is_new && self.options.log_skipped && !image.format.is_presentable() {
            let path = image.shown_path();
            warn!(
                "{}: does not appear: {}",
                path.display(),
                Skip::Format(image.format)
            );
        }
        Ok(())
    }

    fn formats(&self) -> std::sync::MutexGuard<'_, LruCache<Version, Format>> {
        self.formats
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn open_image(&self, image: &Image) -> io::Result<OwnedFd> {
        match &image.location {
            Location::Entry => self.folder.open_image(&image.real_path()),
            Location::Linked(path) => self.folder.open_image(path),
            Location::Device(path) => folder::open_path(path),
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

/// Tells the format of an opened file of `size` bytes from its first and last sector.
///
/// # Errors
///
/// The file system's own; `UnexpectedEof` where the file is shorter by now.
pub fn sniff(file: BorrowedFd<'_>, size: u64) -> io::Result<Format> {
    let mut head = [0; HEAD_SIZE];
    let head = &mut head[..size.min(HEAD_SIZE as u64) as usize];
    source::read_exact_at(file, head, 0)?;
    let mut tail = [0; TAIL_SIZE];
    let tail = &mut tail[..size.min(TAIL_SIZE as u64) as usize];
    source::read_exact_at(file, tail, size - tail.len() as u64)?;
    Ok(Format::detect(head, tail, size))
}

/// An entry that was found and is no longer there is another version of itself.
fn gone_is_stale(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Errno::STALE.into(),
        _ => error,
    }
}
