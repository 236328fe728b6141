//! The one table from errors to errno values.

use std::collections::TryReserveError;
use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::serve::image::{Refusal, SnapshotError};
use disk::gpt::RelocateError;

/// Why a file system operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// No entry of that name.
    #[error("no such entry")]
    NotFound,
    /// The inode stands for a version that is gone.
    #[error("the source has changed or is gone")]
    Stale,
    /// The inode is no folder.
    #[error("not a folder")]
    NotADirectory,
    /// The inode is a folder.
    #[error("is a folder")]
    IsADirectory,
    /// No open file or folder has that handle.
    #[error("no such open file")]
    BadHandle,
    /// No data, or no hole, at or behind the offset.
    #[error("no data behind the offset")]
    NothingThere,
    /// The offset or the whence of a seek makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// Too many files are open in this process to open one more.
    #[error(
        "too many files are open; raise the limit with `ulimit -n`, or LimitNOFILE= of the systemd unit [too-many-open]"
    )]
    TooManyOpen,
    /// The system refuses more memory.
    #[error("out of memory")]
    OutOfMemory,
    /// The source is being written, and that is refused.
    #[error("the source is being written")]
    Busy,
    /// The view cannot be opened in the way that the user demands.
    #[error("it cannot be opened as demanded")]
    Unsupported,
    /// The source is larger than a view can be.
    #[error("too large")]
    TooLarge,
    /// The mount can only be read.
    #[error("read-only")]
    ReadOnly,
    /// The request is for nothing that a view has; the kernel need not send it again.
    #[error("not implemented")]
    NotImplemented,
    /// The source's own error.
    #[error(transparent)]
    Source(io::Error),
}

impl Error {
    /// The errno value that the kernel hands to the caller.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => Errno::NOENT,
            Self::Stale => Errno::STALE,
            Self::NotADirectory => Errno::NOTDIR,
            Self::IsADirectory => Errno::ISDIR,
            Self::BadHandle => Errno::BADF,
            Self::NothingThere => Errno::NXIO,
            Self::Invalid => Errno::INVAL,
            Self::TooManyOpen => Errno::MFILE,
            Self::OutOfMemory => Errno::NOMEM,
            Self::Busy => Errno::BUSY,
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::TooLarge => Errno::FBIG,
            Self::ReadOnly => Errno::ROFS,
            Self::NotImplemented => Errno::NOSYS,
            // An end of file where bytes must be is damage, not an end.
            Self::Source(error) => Errno::from_io_error(error).unwrap_or(Errno::IO),
        }
        .raw_os_error()
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Self::NotFound,
            Some(Errno::STALE) => Self::Stale,
            Some(Errno::NOTDIR) => Self::NotADirectory,
            Some(Errno::MFILE | Errno::NFILE) => Self::TooManyOpen,
            Some(Errno::NOMEM) => Self::OutOfMemory,
            None if error.kind() == io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            _ => Self::Source(error),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Source(error) | Refusal::Gpt(RelocateError::Io(error)) => of_opening(error),
            Refusal::Snapshot(SnapshotError::Changed) => Self::Stale,
            Refusal::Snapshot(error) => error.into_io().map_or(Self::Unsupported, of_opening),
            Refusal::Gpt(_) => Self::Unsupported,
            Refusal::Layout(_) => Self::TooLarge,
            Refusal::Written(_) | Refusal::WrittenUncloned(..) => Self::Busy,
        }
    }
}

/// A source that ends before the size that was found for it is another version by now.
fn of_opening(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Stale,
        _ => error.into(),
    }
}

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vhd::LayoutError;

    #[test]
    fn errno_values_survive_the_way_through() {
        for errno in [
            Errno::NOENT,
            Errno::STALE,
            Errno::IO,
            Errno::ACCESS,
            Errno::MFILE,
            Errno::NOMEM,
        ] {
            let error = Error::from(io::Error::from(errno));
            assert_eq!(error.errno(), errno.raw_os_error());
        }
        for (refusal, errno) in [
            (Refusal::Written(Vec::new()), Errno::BUSY),
            (Refusal::Snapshot(SnapshotError::Changed), Errno::STALE),
            (Refusal::Snapshot(SnapshotError::Device), Errno::OPNOTSUPP),
            (
                Refusal::Snapshot(SnapshotError::Clone(Errno::NOSPC.into())),
                Errno::NOSPC,
            ),
            (Refusal::Layout(LayoutError::Empty), Errno::FBIG),
            (
                Refusal::Source(io::ErrorKind::UnexpectedEof.into()),
                Errno::STALE,
            ),
        ] {
            assert_eq!(Error::from(refusal).errno(), errno.raw_os_error());
        }
        let short = Error::from(io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(short.errno(), libc::EIO);
        let no_memory = Error::from(io::Error::from(io::ErrorKind::OutOfMemory));
        assert_eq!(no_memory.errno(), libc::ENOMEM);
        assert_eq!(Error::from(io::Error::other("?")).errno(), libc::EIO);
    }
}
