//! Why an entry of the source folder does not appear.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::folder::names::NameError;
use vhd::format::Format;
use vhd::layout::LayoutError;

/// Why an entry of the source folder does not appear, and what to do about it.
#[derive(Debug, Error)]
pub enum Skip {
    /// Its name begins with a dot.
    #[error("its name begins with a dot")]
    Hidden,
    /// A pattern excludes it.
    #[error("an --exclude pattern matches it")]
    Excluded,
    /// Nothing selects it.
    #[error("its extension names no disk image; select it with --include or --all")]
    Unselected,
    /// Its extensions are those of a compressed image, and nothing selects it.
    #[error("it is compressed; show it with --compressed")]
    Compressed,
    /// Its extension promises a container and it holds none.
    #[error(
        "its content is not what its extension says: a part of another image, cut off, or raw; if it is a raw image, select it with --include or --all"
    )]
    NotContainer,
    /// There are no bytes in it, or too many.
    #[error(transparent)]
    Size(#[from] LayoutError),
    /// It is a container that would have to be converted.
    #[error("it is a {0} file, not a raw image; {remedy}", remedy = .0.remedy())]
    Format(Format),
    /// It leads out of the source folder.
    #[error("it is a link that leads outside of the source folder")]
    LinkOutside,
    /// It leads nowhere, or to a folder that contains it.
    #[error("it is a link that leads nowhere or in a circle")]
    LinkBroken,
    /// It is a block device.
    #[error("it is a block device; show it with --allow-devices")]
    Device,
    /// It is a character device, FIFO or socket.
    #[error("it is neither a file nor a folder")]
    Special,
    /// No name is left for its view.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Skip {
    /// The format that keeps the entry from appearing, where that is the reason.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Format(format) => Some(*format),
            _ => None,
        }
    }

    /// The error that a caller must be told, because it says nothing about the entry itself: the
    /// process or the system ran out of something, or the file system failed.
    pub fn into_failure(self) -> Option<io::Error> {
        match self {
            Self::Unreadable(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::ACCESS | Errno::PERM) => None,
                _ => Some(error),
            },
            _ => None,
        }
    }

    /// Whether the entry vanished while it was looked at.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}
