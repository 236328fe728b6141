//! Which sizes a view can have.

use crate::geometry::SECTOR_SIZE;

/// Azure takes only virtual sizes that are a multiple of this many bytes (1 MiB).
pub const ALIGNMENT: u64 = 1 << 20;

/// Largest file size that POSIX offsets (`off_t`) can express, in bytes.
pub(crate) const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Largest virtual size in bytes that a view can have: a whole MiB, with room for the footer in the
/// largest file.
pub const MAX_VIRTUAL_SIZE: u64 = (MAX_FILE_SIZE - SECTOR_SIZE) / ALIGNMENT * ALIGNMENT;

/// Virtual size in bytes of the disk that appears for a source of `source_size` bytes: rounded up
/// to a whole MiB. `None` if that cannot be expressed.
pub fn virtual_size(source_size: u64) -> Option<u64> {
    source_size.checked_next_multiple_of(ALIGNMENT)
}

/// Least virtual size in bytes of a managed disk that is uploaded: 20,972,032 bytes with the footer.
pub const MIN_UPLOAD_SIZE: u64 = 20 << 20;

/// Largest virtual size in bytes that can be uploaded: 35,183,298,347,520 bytes with the footer.
pub const MAX_UPLOAD_SIZE: u64 = 32_767 << 30;

/// Largest virtual size in bytes of an OS disk, and the limit of several uploaders.
pub const MAX_OS_DISK_SIZE: u64 = 4_095 << 30;
