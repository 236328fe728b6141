//! How the source folder says that what was found is not there any more.

use std::io;

use rustix::io::Errno;

/// The error for a source or a folder that is another version by now (`ESTALE`, as of NFS).
pub fn stale() -> io::Error {
    Errno::STALE.into()
}

/// The error for a name under which nothing appears (`ENOENT`).
pub(crate) fn not_found() -> io::Error {
    Errno::NOENT.into()
}

/// Whether an error says that a source is another version by now.
pub fn is_stale(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::STALE)
}

/// An entry that was found and is no longer there is another version of itself.
pub(crate) fn gone_is_stale(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => stale(),
        _ => error,
    }
}
