//! What the mount shows of an entry besides its bytes.

use crate::folder::catalog::{Found, Image};
use crate::folder::metadata::{Metadata, Timestamp};
use vhd::footer::{FOOTER_SIZE, SECTOR_SIZE};

/// What users may override of the attributes shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    /// Owner of everything.
    pub uid: Option<u32>,
    /// Group of everything.
    pub gid: Option<u32>,
    /// Permission bits of views.
    pub file_mode: Option<u32>,
    /// Permission bits of folders.
    pub dir_mode: Option<u32>,
}

/// The attributes of an entry as the mount shows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Access time of the source.
    pub atime: Timestamp,
    /// Modification time of the source.
    pub mtime: Timestamp,
    /// Status-change time of the source.
    pub ctime: Timestamp,
    /// Whether it is a folder; a view otherwise.
    pub is_directory: bool,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Ownership {
    /// What is shown of an entry.
    pub(super) fn attributes(&self, found: &Found, inode: u64) -> Attributes {
        match found {
            Found::Directory(_, metadata) => self.of_directory(metadata, inode),
            Found::Image(image) => self.of_image(image, inode),
        }
    }

    /// What is shown of a folder.
    pub(super) fn of_directory(&self, metadata: &Metadata, inode: u64) -> Attributes {
        Attributes {
            size: metadata.version.size,
            blocks: metadata.blocks,
            is_directory: true,
            mode: self.dir_mode.unwrap_or(read_only(metadata.mode)),
            ..self.common(metadata, inode)
        }
    }

    /// What is shown of a view.
    pub(super) fn of_image(&self, image: &Image, inode: u64) -> Attributes {
        let metadata = image.metadata();
        Attributes {
            size: image.view_size(),
            blocks: image.allocated_size() / SECTOR_SIZE + FOOTER_SIZE as u64 / SECTOR_SIZE,
            mtime: image.mtime(),
            mode: self.file_mode.unwrap_or(read_only(metadata.mode)),
            ..self.common(metadata, inode)
        }
    }

    fn common(&self, metadata: &Metadata, inode: u64) -> Attributes {
        Attributes {
            inode,
            size: 0,
            blocks: 0,
            atime: metadata.atime,
            mtime: metadata.version.mtime,
            ctime: metadata.version.ctime,
            is_directory: false,
            mode: 0,
            uid: self.uid.unwrap_or(metadata.uid),
            gid: self.gid.unwrap_or(metadata.gid),
        }
    }
}

impl Attributes {
    /// What a listing says of `.` and `..`.
    pub(super) fn of_dot(inode: u64) -> Self {
        let never = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        Self {
            inode,
            size: 0,
            blocks: 0,
            atime: never,
            mtime: never,
            ctime: never,
            is_directory: true,
            mode: 0,
            uid: 0,
            gid: 0,
        }
    }
}

fn read_only(mode: u32) -> u32 {
    mode & !0o222
}
