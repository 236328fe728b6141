//! Why a part of an image could not be read, though the image itself could.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use ext4_view::Ext4Error;
use log::debug;
use thiserror::Error;

use super::initrd::InitrdError;

/// Why something inside of an image could not be read.
#[derive(Debug, Error)]
pub(crate) enum Unread {
    /// A structure leads to where nothing can be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file system is damaged or of a kind that is not known.
    #[error("{0}")]
    Ext4(#[from] Ext4Error),
    /// As above, of XFS.
    #[error("XFS is damaged, or of a kind that is not read ({0})")]
    Xfs(lamxfs::Error),
    /// As above, of btrfs.
    #[error("btrfs is damaged, or of a kind that is not read ({0})")]
    Btrfs(lambutter::Error),
    /// As above, of LVM.
    #[error("LVM: {0}")]
    Lvm(String),
    /// The initial RAM disk is damaged or of a kind that is not known.
    #[error("{0}")]
    Initrd(#[from] InitrdError),
    /// A parser gave up in a way that it should not.
    #[error("its structure is damaged")]
    Panic,
    /// The file system does not fit its partition.
    #[error("the file system is larger than its partition")]
    LargerThanPartition,
    /// The file system would need too much memory.
    #[error("the file system has {0} block groups, which is too many")]
    BlockGroups(u64),
    /// A file is larger than what is read.
    #[error("`{path}` has {size} bytes, and at most {limit} are read")]
    FileSize {
        /// Its path.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// All text files together are larger than what is read.
    #[error("more than {0} bytes of text would have to be read")]
    TextBudget(u64),
    /// A script or a setting is not understood.
    #[error("{0}")]
    Script(String),
    /// A file was not kept when it was unpacked.
    #[error("it is too large to be kept in memory")]
    NotKept,
    /// A file that should be there is not.
    #[error("there is no such file")]
    Missing,
    /// A partition that should hold a FAT file system holds something else.
    #[error("it holds {0}, and FAT is required")]
    NotFat(&'static str),
}

impl From<lamxfs::Error> for Unread {
    fn from(error: lamxfs::Error) -> Self {
        Self::Xfs(error)
    }
}

impl From<lambutter::Error> for Unread {
    fn from(error: lambutter::Error) -> Self {
        Self::Btrfs(error)
    }
}

thread_local! {
    /// Whether this thread runs a parser whose panics are results.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code that calls the parsers of other projects, which were not made for hostile bytes: a
/// panic in one of them is one more reason why something cannot be read, and not for the terminal.
pub(crate) fn contained<T>(read: impl FnOnce() -> Result<T, Unread>) -> Result<T, Unread> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| match CONTAINED.get() {
            true => debug!("while reading what is in an image: {info}"),
            false => report(info),
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    CONTAINED.set(outer);
    result.unwrap_or(Err(Unread::Panic))
}
