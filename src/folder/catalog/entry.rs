//! What appears: folders and images, each with where it is and what it was when it was found.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::folder::metadata::Metadata;
use crate::folder::names::Claim;
use crate::folder::select;
use disk::Patch;
use vhd::footer::{FOOTER_SIZE, Footer, Identity};
use vhd::format::Format;
use vhd::layout::{self, Layout, LayoutError};

/// A folder that appears.
#[derive(Debug)]
pub struct Directory {
    /// Path below the source folder as a user of the mount sees it.
    pub(super) shown: PathBuf,
    /// Path below the source folder with all links resolved.
    pub(super) real: PathBuf,
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
    pub(super) format: Format,
    /// Virtual size in bytes that it grows to where it is smaller.
    pub(super) min_size: u64,
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
            device: metadata.version.device,
            inode: metadata.version.inode,
            parent,
        }
    }

    /// Path below the source folder as a user of the mount sees it.
    pub fn shown_path(&self) -> &Path {
        &self.shown
    }

    /// Device and inode number of the folder.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// The folder above; nothing for the one at the top.
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        self.identity() == (metadata.version.device, metadata.version.inode)
    }

    pub(super) fn check(&self, metadata: &Metadata) -> io::Result<()> {
        if self.is(metadata) {
            Ok(())
        } else {
            Err(Errno::STALE.into())
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
            format: Format::Raw,
            min_size: 0,
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

    /// Raw, or a fixed VHD that appears as it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The format whose rules decide what can be changed in the view: raw for all that does not
    /// appear byte for byte.
    pub fn shown_format(&self) -> Format {
        match self.keeps_bytes() {
            true => self.format,
            false => Format::Raw,
        }
    }

    /// The identity that the footer carries.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            base_name: self.name.as_encoded_bytes(),
            source_size: self.disk_size(),
            mtime_seconds: self.metadata.version.mtime.seconds,
        }
    }

    /// Size in bytes of the disk that the source holds.
    pub fn disk_size(&self) -> u64 {
        let size = self.metadata.version.size;
        match self.format {
            Format::FixedVhd => size.saturating_sub(FOOTER_SIZE as u64),
            _ => size,
        }
    }

    /// Whether its disk appears larger than whole MiB demand.
    pub fn is_grown(&self) -> bool {
        self.ungrown_size() < self.virtual_size()
    }

    /// Whether it is a VHD that appears byte for byte.
    pub fn keeps_bytes(&self) -> bool {
        self.format == Format::FixedVhd && !self.is_grown()
    }

    /// Size of the disk in bytes as it appears, without the footer.
    pub fn virtual_size(&self) -> u64 {
        let size = self.ungrown_size();
        if self.min_size <= size {
            return size;
        }
        layout::virtual_size(self.min_size).unwrap_or(size)
    }

    /// Virtual size in bytes where nothing makes the disk larger.
    fn ungrown_size(&self) -> u64 {
        let size = self.disk_size();
        match self.format {
            Format::FixedVhd => size,
            _ => layout::virtual_size(size).unwrap_or(size),
        }
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
    /// Where the source is empty or too large, or the patches do not fit.
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
            Self::Image(image)
                if image.format == Format::FixedVhd && select::has_vhd_extension(&image.name) =>
            {
                Claim::Own
            }
            Self::Image(_) => Claim::Derived,
        }
    }
}
