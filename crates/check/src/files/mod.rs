//! File systems in an image, read within bounds and without mounting.

mod bounded;
mod btrfs;
mod ext;
mod fat;
mod memory;
mod tree;
mod xfs;

use std::io::Read;

use crate::unread::Unread;

pub(crate) use btrfs::{Btrfs, Subvolume};
pub(crate) use ext::Ext;
pub(crate) use fat::Fat;
pub(crate) use memory::Memory;
pub(crate) use tree::{Mount, Tree};
pub(crate) use xfs::Xfs;

/// Largest file that is read as a whole, in bytes.
pub(crate) const MAX_FILE: u64 = 16 << 20;
/// Most names of a folder that are looked at.
pub(crate) const MAX_NAMES: usize = 4096;
/// Longest target of a symbolic link, in bytes, as in Linux.
const MAX_LINK: u64 = 4096;

/// What is at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket or a pipe.
    Other,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meta {
    /// What it is.
    pub(crate) kind: Kind,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
}

impl Meta {
    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// Whether it is a folder.
    pub(crate) fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }
}

/// One file system. Paths are absolute, and no part of them but the last is a symbolic link.
pub(crate) trait Files {
    /// What is at a path, links not followed; `None` where there is nothing.
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread>;

    /// Where the symbolic link at a path points to.
    fn link(&self, path: &str) -> Result<String, Unread>;

    /// Names in a folder, sorted, without `.` and `..`; none where there is no folder.
    fn list(&self, path: &str) -> Result<Vec<String>, Unread>;

    /// The regular file at a path as a stream; `None` where there is none.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, Unread>;
}
