//! What appears: folders and images, each with where it is and what it was when it was found.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Skip;
use super::contents::Contents;
use crate::folder::metadata::{Metadata, Timestamp, Version};
use crate::folder::missing;
use crate::folder::names::{Claim, DiskNumber};
use crate::folder::select;
use disk::Patch;
use disk::format::Format;
use vhd::footer::{FOOTER_SIZE, Footer, Identity};
use vhd::layout::{self, Layout, LayoutError};

/// A folder that appears.
#[derive(Debug)]
pub struct Directory {
    /// Path below the source folder as a user of the mount sees it.
    pub(super) shown: PathBuf,
    /// Path below the source folder with all links resolved.
    pub(super) real: PathBuf,
    pub(super) file_system: u64,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) parent: Option<Arc<Directory>>,
}

/// Where the bytes of an image are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Location {
    /// In the entry itself.
    Entry,
    /// Behind a link, at this path below the source folder.
    Linked(PathBuf),
    /// In the block device at this absolute path.
    Device(PathBuf),
}

/// An image that appears, in one version.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) directory: Arc<Directory>,
    pub(super) name: OsString,
    pub(super) location: Location,
    pub(super) metadata: Metadata,
    pub(super) contents: Contents,
    /// Which of the disks it is, counted from 0.
    pub(super) disk: usize,
    /// Virtual size in bytes that it grows to if it is smaller.
    pub(super) min_size: u64,
    /// Whether the versions were so old when they were looked into that no others can have the
    /// same times.
    pub(super) is_lasting: bool,
    /// What was given up of its versions before.
    pub(super) given_up: u64,
}

/// An entry that appears.
#[derive(Clone, Debug)]
pub enum Found {
    /// A folder and its attributes.
    Directory(Arc<Directory>, Metadata),
    /// An image.
    Image(Image),
}

impl Directory {
    pub(super) fn new(
        shown: PathBuf,
        real: PathBuf,
        metadata: &Metadata,
        parent: Option<Arc<Self>>,
    ) -> Self {
        Self {
            shown,
            real,
            file_system: metadata.version.file_system,
            device: metadata.version.device,
            inode: metadata.version.inode,
            parent,
        }
    }

    /// Path below the source folder as a user of the mount sees it.
    pub fn shown_path(&self) -> &Path {
        &self.shown
    }

    /// Mount, device and inode number of the folder.
    pub fn identity(&self) -> (u64, u64, u64) {
        (self.file_system, self.device, self.inode)
    }

    /// The folder above; `None` for the one at the top.
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Whether `metadata` is that of this folder, through whatever mount it is seen.
    fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.version.device, metadata.version.inode)
    }

    pub(super) fn check(&self, metadata: &Metadata) -> io::Result<()> {
        if self.is(metadata) && self.file_system == metadata.version.file_system {
            Ok(())
        } else {
            Err(missing::stale())
        }
    }

    /// Whether `metadata` is that of this folder or one above: showing it again would never end.
    pub(super) fn is_within(&self, metadata: &Metadata) -> bool {
        std::iter::successors(Some(self), |directory| directory.parent.as_deref())
            .any(|directory| directory.is(metadata))
    }
}

impl Image {
    pub(super) fn new(
        directory: &Arc<Directory>,
        name: &OsStr,
        location: Location,
        metadata: Metadata,
    ) -> Self {
        Self {
            directory: directory.clone(),
            name: name.to_owned(),
            location,
            metadata,
            contents: Contents::Raw,
            disk: 0,
            min_size: 0,
            is_lasting: false,
            given_up: 0,
        }
    }

    /// The folder that its entry is in.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Name of its entry in the source folder; it is part of the footer's unique id.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Path of its entry below the source folder.
    pub fn shown_path(&self) -> PathBuf {
        self.directory.shown.join(&self.name)
    }

    pub(super) fn real_path(&self) -> PathBuf {
        self.directory.real.join(&self.name)
    }

    /// Attributes of the source.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Number that distinguishes versions with the same times, of which all but the latest were given up.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Path of its file below the source folder, free of links as far as it is there.
    pub(super) fn file_path(&self) -> PathBuf {
        match &self.location {
            Location::Entry | Location::Device(_) => self.real_path(),
            Location::Linked(path) => path.clone(),
        }
    }

    /// The format that it is in.
    pub fn format(&self) -> Format {
        self.contents.format()
    }

    /// Paths below the source folder of all files that the disk is read from; the image itself first.
    pub fn files(&self) -> Vec<PathBuf> {
        let further = self.further_paths().map(Path::to_owned);
        std::iter::once(self.shown_path()).chain(further).collect()
    }

    /// Paths below the source folder, free of links, of the further files that the disk is read from.
    pub fn further_paths(&self) -> impl Iterator<Item = &Path> {
        let further = self.contents.further().iter();
        further.map(|file| file.real.as_path())
    }

    /// Versions of the further files that the disk is read from.
    pub fn further_versions(&self) -> impl Iterator<Item = &Version> {
        let further = self.contents.further().iter();
        further.map(|file| &file.metadata.version)
    }

    /// When the disk was modified: the latest time of all of its files.
    pub fn mtime(&self) -> Timestamp {
        let further = self.further_versions().map(|version| version.mtime);
        further.fold(self.metadata.version.mtime, Timestamp::max)
    }

    /// Bytes that the file systems have allocated to the disk, as far as that is known without reading its
    /// tables: those of its files, and no more than it has, or than its part of an archive.
    pub fn allocated_size(&self) -> u64 {
        let own = self.metadata.blocks;
        let further = self.contents.further().iter();
        let blocks = further.fold(own, |sum, file| sum.saturating_add(file.metadata.blocks));
        let bytes = blocks.saturating_mul(512);
        match self.contents {
            Contents::Raw | Contents::Verbatim => bytes,
            Contents::Disks(ref disks) => {
                let facts = disks.facts(self.disk);
                let stored = facts.map_or(u64::MAX, |facts| facts.stored);
                bytes.min(stored).min(self.virtual_size())
            }
        }
    }

    /// Number of the disk, counted from 1, if its file holds several.
    pub fn disk_number(&self) -> DiskNumber {
        let number = u32::try_from(self.disk + 1).ok()?;
        (self.contents.disk_count() > 1).then_some(number)
    }

    /// Number of disks that its file holds.
    pub fn disk_count(&self) -> usize {
        self.contents.disk_count()
    }

    /// The identity that the footer carries.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            base_name: self.name.as_encoded_bytes(),
            source_size: self.disk_size(),
            mtime_seconds: self.mtime().seconds,
        }
    }

    /// Size in bytes of the disk that the source holds.
    pub fn disk_size(&self) -> u64 {
        let size = self.metadata.version.size;
        match &self.contents {
            Contents::Raw => size,
            Contents::Verbatim => size.saturating_sub(FOOTER_SIZE as u64),
            Contents::Disks(disks) => disks.facts(self.disk).map_or(0, |disk| disk.size),
        }
    }

    /// Whether its disk appears larger than whole MiB demand.
    pub fn is_grown(&self) -> bool {
        self.ungrown_size() < self.virtual_size()
    }

    /// Whether it is a VHD that appears byte for byte.
    pub fn keeps_bytes(&self) -> bool {
        matches!(self.contents, Contents::Verbatim) && !self.is_grown()
    }

    /// Whether the view begins with the bytes of its file: a raw disk, or a VHD that appears byte for byte.
    pub fn is_plain(&self) -> bool {
        matches!(self.contents, Contents::Raw) || self.keeps_bytes()
    }

    /// Size of the disk in bytes as it appears, without the footer.
    pub fn virtual_size(&self) -> u64 {
        let size = self.ungrown_size();
        if self.min_size <= size {
            return size;
        }
        layout::virtual_size(self.min_size).unwrap_or(size)
    }

    /// Virtual size in bytes without `--min-size`.
    fn ungrown_size(&self) -> u64 {
        let size = self.disk_size();
        layout::virtual_size(size).unwrap_or(size)
    }

    /// Size of the view in bytes.
    pub fn view_size(&self) -> u64 {
        self.virtual_size() + FOOTER_SIZE as u64
    }

    /// What stands where in the view. `patches` are laid over the body; a VHD that does not grow
    /// appears as it is.
    ///
    /// # Errors
    ///
    /// If the source is empty or too large, or the patches do not fit.
    pub fn layout(&self, patches: Vec<Patch>) -> Result<Layout, LayoutError> {
        if self.keeps_bytes() {
            return Layout::verbatim(self.metadata.version.size);
        }
        let virtual_size = self.virtual_size();
        let footer = Footer::fixed(self.identity(), virtual_size);
        Layout::grown_vhd(self.disk_size(), virtual_size, footer.encode(), patches)
    }
}

impl Found {
    pub(super) fn claim(&self) -> Claim {
        match self {
            Self::Directory(..) => Claim::Own,
            Self::Image(image) => image.claim(),
        }
    }

    /// Number of the disk if it is one of several.
    pub(super) fn disk_number(&self) -> DiskNumber {
        match self {
            Self::Directory(..) => None,
            Self::Image(image) => image.disk_number(),
        }
    }

    /// Number of views that it has, those that cannot be shown included.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Directory(..) => 1,
            Self::Image(image) => image.disk_count(),
        }
    }

    /// The same file's disk at `index`, counted from 0.
    pub(super) fn with_disk(&self, index: usize) -> Result<Self, Skip> {
        match self {
            Self::Directory(..) => Ok(self.clone()),
            Self::Image(image) => image.with_disk(index).map(Self::Image),
        }
    }
}

impl Image {
    fn claim(&self) -> Claim {
        match u32::try_from(self.disk_count()) {
            Ok(count) if count > 1 => Claim::Several(count),
            _ if self.keeps_bytes() && select::has_vhd_extension(&self.name) => Claim::Own,
            _ => Claim::Derived,
        }
    }

    /// The disk at `index` of its file, counted from 0.
    ///
    /// # Errors
    ///
    /// Why that is not shown.
    pub(super) fn with_disk(&self, index: usize) -> Result<Self, Skip> {
        if let Contents::Disks(disks) = &self.contents
            && let Some(Err(refused)) = disks.disks.get(index)
        {
            return Err(Skip::Refused(Arc::clone(refused)));
        }
        let image = Self {
            disk: index,
            ..self.clone()
        };
        Layout::checked_virtual_size(image.disk_size())?;
        Ok(image)
    }
}
