//! Why an entry of the source folder does not appear.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use thiserror::Error;

use super::chain::OpenError;
use crate::folder::names::NameError;
use disk::Disk;
use disk::format::{Format, FormatError};
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
    /// It was looked into, and no disk can be shown.
    #[error(transparent)]
    Refused(Arc<Refused>),
    /// It is read as a part of another image that appears.
    #[error("it is a part of {}", .0.display())]
    Part(PathBuf),
    /// It leads out of the source folder.
    #[error("it is a link that leads outside of the source folder")]
    LinkOutside,
    /// It leads nowhere, or to a folder that contains it.
    #[error("it is a link that leads nowhere or in a circle")]
    LinkBroken,
    /// It is the mount itself.
    #[error("it is this very mount")]
    OwnMount,
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

/// Why a file that was looked into shows no disk.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct Refused {
    /// The format that its content is in; `None` if that is not known, or it is raw.
    pub(super) format: Option<Format>,
    /// Whether the same version of the file alone is always refused.
    pub(super) is_lasting: bool,
    #[source]
    error: OpenError,
}

impl Refused {
    /// `file` is the image, and `is_alone` says that no further file was asked for.
    pub(super) fn new(error: OpenError, file: &dyn Disk, is_alone: bool) -> Self {
        let format = Format::of(file).ok();
        Self {
            format: format.filter(|format| *format != Format::RAW),
            is_lasting: is_alone && matches!(error, OpenError::Format(_)),
            error,
        }
    }

    /// A file in a format in which there never is a disk that can be shown.
    pub(super) fn of_format(format: Format, error: FormatError) -> Self {
        Self {
            format: Some(format),
            is_lasting: true,
            error: error.into(),
        }
    }
}

impl Skip {
    /// The format that keeps the entry from appearing, if that is the reason.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Refused(refused) => refused.format,
            Self::Compressed => Some(Format::XZ),
            _ => None,
        }
    }

    /// The error that the caller must report, because it says nothing about the entry itself: the
    /// process or the system ran out of something, or the file system failed.
    pub fn into_failure(self) -> Option<io::Error> {
        let is_one = self.is_a_failure();
        match self {
            Self::Unreadable(error) if is_one => Some(error),
            _ => None,
        }
    }

    /// Whether the file system failed, which says nothing about the entry itself.
    pub fn is_a_failure(&self) -> bool {
        matches!(self, Self::Unreadable(error) if !matches!(
            Errno::from_io_error(error),
            Some(Errno::NOENT | Errno::ACCESS | Errno::PERM)
        ))
    }

    /// Whether the file ended before the size that was found for it, because it is being written.
    pub(super) fn is_cut_short(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    }

    /// Whether the process or the system ran out of something.
    pub fn is_a_shortage(&self) -> bool {
        matches!(self, Self::Unreadable(error) if matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
        ))
    }

    /// Whether it was selected and does not appear, so that mounting the folder reports it.
    pub fn is_a_loss(&self) -> bool {
        match self {
            Self::Hidden | Self::Excluded | Self::Unselected | Self::Compressed | Self::Part(_) => {
                false
            }
            _ => !self.is_gone(),
        }
    }

    /// Whether the entry vanished while it was looked at.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}
